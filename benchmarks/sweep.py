"""Sweeps of many responses: time, memory, and whether every trait is at the optimum of its own fit.

    python benchmarks/sweep.py                                            # 1,000 traits, to the terminal
    python benchmarks/sweep.py --traits 20000 --out docs/sweep_benchmarks.md
    python benchmarks/sweep.py --only harder --traits 20000

``speed``: 5,000 rows, 100 groups, 5 covariates, a random intercept, a fifth of the traits heavily skewed;
first on all cores, then beside the peers on one, each on as many traits as it does in about a minute.
``agreement``: traits at random and all that are singular beside ``mixedflow.fit``, and 200 beside lme4
with a tight optimizer. ``harder``: random slopes and crossed factors on a twentieth of the traits, 30 % of
the values missing at random. Every figure of time is of a whole process; see benchmarks/README.md.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from cases import HERE, Dataset
from compare import page
from convert import traits_to_raw
from running import Limits, Run, interleaved, make, one_core, run
from sweep_agreement import beside_fits, beside_values
from tables import Rounds, median, ratios, short, spread, table

FIXED = [f"x{k}" for k in range(5)]
INTERCEPT = "~ x0 + x1 + x2 + x3 + x4 + (1 | g)"
HARDER = {
    "random slopes": "~ x0 + x1 + x2 + x3 + x4 + (1 + x1 | g)",
    "two crossed factors": "~ x0 + x1 + x2 + x3 + x4 + (1 | g) + (1 | h)",
    "slopes and crossed": "~ x0 + x1 + x2 + x3 + x4 + (1 + x1 | g) + (1 | h)",
}
LME4_SAMPLE = 200
QUESTIONS = ("speed", "agreement", "harder")


@dataclass(frozen=True)
class Way:
    """A peer's way to many responses, and the share of the traits that it is asked."""

    name: str
    script: str
    way: str
    share: float


OURS = Way("mixedflow", "sweep_mixedflow.py", "", 1.0)
WAYS = (
    Way("lme-python `fit_prepared`", "sweep_lme_python.py", "prepared", 1.0),
    Way("lme-python `refit_lmer`", "sweep_lme_python.py", "refit", 1.0),
    Way("mixedlm-rs `with_endog`", "sweep_mixedlm_rs.py", "with_endog", 0.5),
    Way("mixedlm-rs, a model a trait", "sweep_mixedlm_rs.py", "loop", 0.25),
    Way("lme4 `refit`", "sweep_lme4.R", "refit", 0.12),
)

INTRODUCTION = """# Benchmarks of sweeps

Written by `python benchmarks/sweep.py --traits {sizes} --out docs/sweep_benchmarks.md`; how it is measured
stands in `benchmarks/README.md`. Figures of time and memory are of whole processes, from Parquet to
estimates, on one core unless said; mixedflow's have standard errors, Satterthwaite's degrees of freedom
and p-values in them.
"""


@dataclass
class Session:
    """What was asked on the command line, and the versions that peers have told."""

    sizes: str
    traits: int
    folder: Path
    limits: Limits
    rounds: int
    sample: int
    versions: dict[str, str] = field(default_factory=dict)

    def tell(self, name: str, found: Run) -> None:
        """Say on the terminal that a run has ended."""
        self.versions |= found.answer.get("versions", {})
        said = found.failure or f"{found.cpu:.2f} s CPU, {found.memory / 1e6:.0f} MB"
        print(f"  {name}: {said}", file=sys.stderr, flush=True)

    def data(self, traits: int, missing: float) -> Path:
        """Return the file of so many traits, made where it is not there."""
        more = f"_{missing:g}" if missing else ""
        name = f"wide_{traits}{more}.parquet"
        arguments = ("make_data.py", "wide", "--traits", str(traits), "--missing", str(missing))
        make(Dataset(name, 5_000, (*arguments, "--out")), self.folder, raw=False)
        return self.folder / name

    @property
    def few(self) -> int:
        """Traits of the smaller run: what a further trait costs is the difference."""
        return max(20, self.traits // 50)


def names(count: int) -> list[str]:
    """Return the first traits."""
    return [f"trait{t:05d}" for t in range(count)]


def asked(session: Session, way: Way, formula: str, data: Path, traits: Sequence[str]) -> list[str]:
    """Return the command of a process, with its request in a file."""
    key = f"{Path(way.script).stem}_{way.way}_{len(traits)}_{abs(hash(formula)) % 10**6}"
    keep = session.folder / f"{key}.json"
    script = str(HERE / "peers" / way.script)
    if script.endswith(".R"):
        raw = session.folder / f"{data.stem}_{len(traits)}_{traits[-1]}.raw"
        traits_to_raw(data, raw, ["g", "h", *FIXED], traits)
        grouping = "g,h" if "| h" in formula else "g"
        listed = session.folder / f"{key}.txt"
        listed.write_text("\n".join(traits) + "\n", encoding="utf-8")
        given = [formula, str(raw), grouping, str(listed), way.way, str(keep)]
        return ["Rscript", script, *given]
    request = {
        "data": str(data), "formula": formula, "traits": list(traits), "fixed": FIXED, "group": "g",
        "way": way.way, "keep": str(keep),
    }  # fmt: skip
    path = session.folder / f"{key}.request"
    path.write_text(json.dumps(request), encoding="utf-8")
    return [sys.executable, script, str(path)]


def kept_in(command: Sequence[str]) -> Path:
    """Return the file that a command keeps its -2 log L in."""
    if command[0] == "Rscript":
        return Path(command[-1])
    return Path(json.loads(Path(command[-1]).read_text(encoding="utf-8"))["keep"])


def values_of(command: Sequence[str]) -> dict[str, float]:
    """Return the -2 log L that a command has kept."""
    return dict(json.loads(kept_in(command).read_text(encoding="utf-8")))


def answer_speed(session: Session) -> str:
    """All traits on all cores; then beside the peers on one."""
    data = session.data(session.traits, 0.0)
    command = asked(session, OURS, INTERCEPT, data, names(session.traits))
    found = interleaved(
        {"all cores": command}, session.rounds, session.limits, ["all cores"], session.tell
    )
    whole = found["all cores"]
    lines = [[f"{session.traits:,}", *measured(whole)]]
    head = ("traits", "least wall s", "wall s", "CPU s", "ms a trait, CPU", "peak MB")
    text = f"## 5,000 rows, 100 groups\n\n`{INTERCEPT}`, REML, {os.cpu_count()} cores.\n\n"
    kept = os.sched_getaffinity(0) if hasattr(os, "sched_getaffinity") else None
    one_core()
    beside = compared(session, data)
    if kept:
        os.sched_setaffinity(0, kept)
    return text + table(head, [[*lines[0][:4], ms(whole, session.traits), lines[0][4]]]) + beside


def measured(found: Rounds) -> list[str]:
    """Return least wall time, its spread, CPU time, memory."""
    wall = [one.wall for one in found.values()]
    return [
        short(min(wall)),
        spread(wall),
        short(median(found, "cpu")),
        short(median(found, "memory") / 1e6),
    ]


def ms(found: Rounds, count: int) -> str:
    """Return the CPU milliseconds of a trait."""
    return f"{1e3 * median(found, 'cpu') / count:.2f}"


def compared(session: Session, data: Path) -> str:
    """Return the table of all peers, each beside mixedflow on the same traits, on one core."""
    commands = {}
    for size in (session.few, session.traits):
        commands[f"{OURS.name}@{size}"] = asked(session, OURS, INTERCEPT, data, names(size))
    for way in WAYS:
        count = max(session.few + 1, round(way.share * session.traits))
        for one in (OURS, way):
            for size in (session.few, count):
                commands[f"{one.name}@{size}"] = asked(session, one, INTERCEPT, data, names(size))
    warm = [f"{OURS.name}@{session.few}"]
    found = interleaved(commands, session.rounds, session.limits, warm, session.tell)
    rows = [_beside(way, session, commands, found) for way in WAYS]
    every, few = found[f"{OURS.name}@{session.traits}"], found[f"{OURS.name}@{session.few}"]
    own = 1e3 * (least(every) - least(few)) / (session.traits - session.few)
    head = (
        "", "traits", "CPU s", "x mixedflow on the same (range)", "ms a further trait", "x mixedflow",
        "x on all traits", "peak MB", "highest −2 log L less ours", "lowest",
    )  # fmt: skip
    said = (
        "Each on as many traits as it does in about a minute, and mixedflow on the same ones. A further "
        f"trait is what a process costs more than on {session.few} traits, without its start: "
        f"{own:.2f} ms of mixedflow, of which {session.traits:,} took {short(least(every))} s and "
        f"{short(median(every, 'memory') / 1e6)} MB. All traits are at that rate where fewer were fitted. "
        "The two last columns are of −2 log L, over the traits (refit of lme4 1.1-31 takes n − 1 for n − p)."
    )
    return f"\n### Beside the peers\n\n{said}\n\n{table(head, rows)}"


def _beside(
    way: Way, session: Session, commands: dict[str, list[str]], found: dict[str, Rounds]
) -> list[str]:
    """Return a peer's row."""
    count = max(session.few + 1, round(way.share * session.traits))
    peer, ours = found[f"{way.name}@{count}"], found[f"{OURS.name}@{count}"]
    first = next(iter(peer.values()))
    if first.failure:
        return [way.name, f"{count:,}", first.failure, *[""] * 7]
    every = found[f"{OURS.name}@{session.traits}"]
    few = {name: least(found[f"{name}@{session.few}"]) for name in (way.name, OURS.name)}
    each = (least(peer) - few[way.name]) / (count - session.few)
    own = (least(every) - few[OURS.name]) / (session.traits - session.few)
    whole = (few[way.name] + (session.traits - session.few) * each) / least(every)
    theirs = values_of(commands[f"{way.name}@{count}"])
    high, low = beside_values(theirs, values_of(commands[f"{OURS.name}@{count}"]))
    return [
        way.name, f"{count:,}", short(median(peer, "cpu")), spread(ratios(peer, ours, "cpu")),
        f"{1e3 * each:.2f}", short(each / own), short(whole), short(median(peer, "memory") / 1e6),
        f"{high:+.1e}", f"{low:+.1e}",
    ]  # fmt: skip


def least(found: Rounds) -> float:
    """Return the least CPU time."""
    return min(one.cpu for one in found.values())


def answer_agreement(session: Session) -> str:
    """Traits beside single fits and beside lme4."""
    import mixedflow as mf

    data = session.data(session.traits, 0.0)
    found = mf.sweep(INTERCEPT, str(data), traits=names(session.traits)).table
    text = beside_fits(INTERCEPT, data, found, session.sample, every_singular=True)
    return f"## Agreement\n\n{text}{beside_lme4(session, INTERCEPT, data, found, LME4_SAMPLE)}"


def beside_lme4(session: Session, formula: str, data: Path, found: Any, count: int) -> str:
    """Return a sentence on lme4's optima of traits at random."""
    good = found.loc[found["converged"]]
    some = good.sample(min(count, len(good)), random_state=2)
    command = asked(
        session, Way("lme4", "sweep_lme4.R", "lmer", 1.0), formula, data, list(some["trait"])
    )
    done = run(command, session.limits)
    session.tell(f"lme4, {len(some)} traits", done)
    if done.failure:
        return f"lme4 on {len(some)} traits: {done.failure}.\n"
    ours = dict(zip(some["trait"], some["deviance"], strict=True))
    theirs = values_of(command)
    high, low = beside_values(theirs, ours)
    apart = sum(abs(theirs[t] - ours[t]) > 2e-6 for t in ours)
    return (
        f"lme4's `lmer` with a tight optimizer on {len(some)} traits at random: its log L is at most "
        f"{max(0.0, -0.5 * low):.1e} above and at most {max(0.0, 0.5 * high):.1e} below; "
        f"{apart} differ by more than 1e-6.\n"
    )


def model_cell(formula: str) -> str:
    """Return a formula as a table can hold it."""
    return "`" + formula.replace("|", "\\|") + "`"


def answer_harder(session: Session) -> str:
    """Random slopes, crossed factors, values missing at random."""
    import pandas as pd

    count = max(20, session.traits // 20)
    data = session.data(count, 0.3)
    kept = replace(OURS, way="table")
    commands = {
        name: asked(session, kept, model, data, names(count)) for name, model in HARDER.items()
    }
    found = interleaved(commands, session.rounds, session.limits, list(commands)[:1], session.tell)
    rows, texts = [], []
    for name, formula in HARDER.items():
        runs = found[name]
        first = next(iter(runs.values()))
        if first.failure:
            rows.append([name, model_cell(formula), first.failure, *[""] * 4])
            continue
        rows.append(
            [name, model_cell(formula), *measured(runs)[:3], ms(runs, count), measured(runs)[3]]
        )
        fits = pd.read_parquet(kept_in(commands[name]).with_suffix(".parquet"))
        said = beside_fits(formula, data, fits, session.sample // 10, every_singular=False)
        texts.append(
            f"{name}: {said}{beside_lme4(session, formula, data, fits, LME4_SAMPLE // 10)}"
        )
    head = ("", "model", "least wall s", "wall s", "CPU s", "ms a trait, CPU", "peak MB")
    return (
        f"## Slopes, crossed factors, 30 % missing\n\n{count:,} traits, 5,000 rows of which every trait "
        f"lacks its own 30 %, 100 and 40 levels.\n\n{table(head, rows)}\n" + "\n".join(texts)
    )


ANSWERS: dict[str, Callable[[Session], str]] = {
    "speed": answer_speed,
    "agreement": answer_agreement,
    "harder": answer_harder,
}


def pages(session: Session, questions: Sequence[str]) -> Iterator[str]:
    """Measure, and return the document after each question."""
    bodies: list[str] = []
    load = os.getloadavg()[0]
    for name in questions:
        bodies.append(ANSWERS[name](session))
        load = max(load, *os.getloadavg()[:2])
        yield page(session, bodies, load, INTRODUCTION)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked and write the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--only", action="append", choices=QUESTIONS, help="a question; may be given again")
    add("--traits", type=int, default=1_000)
    add("--sample", type=int, default=500, help="traits at random beside single fits")
    add("--rounds", type=int, default=3)
    add("--out", type=Path, help="Markdown file to write; the terminal unless given")
    add("--data", type=Path, default=HERE / "results", help="folder for the data")
    add("--limit", type=float, default=300.0, help="CPU seconds a process may take")
    add("--memory", type=float, default=8.0, help="GB a process may take")
    chosen = parser.parse_args(arguments)
    if chosen.traits < 24:
        parser.error("--traits must be 24 or more")
    chosen.data.mkdir(parents=True, exist_ok=True)
    limits = Limits(chosen.limit, chosen.memory * 1e9)
    session = Session(
        str(chosen.traits),
        chosen.traits,
        chosen.data.resolve(),
        limits,
        chosen.rounds,
        chosen.sample,
    )
    text = ""
    for text in pages(session, chosen.only or QUESTIONS):
        if chosen.out:
            chosen.out.write_text(text, encoding="utf-8")
    if not chosen.out:
        print(text)


if __name__ == "__main__":
    main()
