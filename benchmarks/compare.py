"""Compare mixedflow with its peers and with the floor; write docs/benchmarks.md.

    python benchmarks/compare.py                                    # small sizes, to the terminal
    python benchmarks/compare.py --sizes full --out docs/benchmarks.md
    python benchmarks/compare.py --only grouped --peers mixedflow,floor,mixedlm-rs

Every figure is of a whole process, from Parquet to estimates; the runs of a case are interleaved, and
ratios are taken within a round. See benchmarks/README.md for the questions.
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

import cases
import runners
import tables
from cases import PEERS, Case, Peer
from running import Limits, Run, command, interleaved, make, missing, one_core, run

QUESTIONS = ("grouped", "scaling", "crossed", "repeated", "start", "stages", "runners")

INTRODUCTION = """# Benchmarks

Written by `python benchmarks/compare.py --sizes {sizes} --out docs/benchmarks.md`; what is asked and how
it is measured stands in `benchmarks/README.md`. All figures are of whole processes: start, imports,
reading, fit. Each is a median; ratios are taken within a round of interleaved runs, their range in
brackets. "floor" reads the same columns with pyarrow and multiplies X'X with NumPy: no model.
"difference" is a peer's −2 log L less that of mixedflow's fit of the same model, in lme4's convention.
"""

TEXTS = {
    "grouped": "## One grouping factor\n\n`{}`, REML, a hundred rows a group.\n",
    "scaling": "## From one size to the next\n\nThe same model; each size with its start.\n",
    "crossed": "## Crossed factors\n",
    "repeated": "## Repeated measures\n\n`{}` with `{}`, no random effects; eight visits, 10 to 30 % of"
    " them missing. gls is nlme's.\n",
    "start": "## A small example\n\n`{}`, 180 rows: whole processes, then warm fits.\n",
    "stages": "## By stage\n\nThe grouped model on {:,} rows. The floor of each stage does the like with"
    " pyarrow and NumPy alone: read the columns, count the groups, stack the columns, X'X, add two sums"
    " of the groups, and factorise every group's matrix as often as the fit evaluates.\n",
    "runners": "## This process and Dask workers\n\nCondensing the grouped data on {:,} rows, on as many"
    " cores: CPU time of this process (`synchronous`, `threads`) or of it and its workers together"
    " (`processes`). A pass is one of a process that has condensed before; the whole process starts the"
    " workers and condenses four times. Least of the rounds.\n",
}


@dataclass
class Session:
    """What was asked on the command line, and the versions that peers have told."""

    sizes: str
    folder: Path
    limits: Limits
    peers: tuple[Peer, ...]
    rounds: int | None
    versions: dict[str, str] = field(default_factory=dict)
    absent: dict[str, str] = field(default_factory=dict)

    def tell(self, name: str, found: Run) -> None:
        """Say on the terminal that a run has ended."""
        self.versions |= found.answer.get("versions", {})
        said = found.failure or f"{found.cpu:.2f} s CPU, {found.memory / 1e6:.0f} MB"
        print(f"  {name}: {said}", file=sys.stderr, flush=True)


def measure(
    session: Session, case: Case, only: Sequence[str] = ()
) -> tuple[dict[str, dict[int, Run]], dict[str, str]]:
    """Return the runs of a case, and why the other peers have none."""
    print(f"{case.family}, {case.name}", file=sys.stderr, flush=True)
    declined, asked = {}, []
    for peer in session.peers:
        if only and peer.name not in only:
            continue
        reason = session.absent.get(peer.name) or peer.declines(case)
        if reason:
            declined[peer.name] = reason
        else:
            asked.append(peer)
    raw = any(peer.script.endswith(".R") for peer in asked)
    make(case.data, session.folder, raw=raw)
    commands = {peer.name: command(peer, case, session.folder) for peer in asked}
    warm = [peer.name for peer in asked if peer.compiles]
    rounds = session.rounds or case.rounds
    return interleaved(commands, rounds, session.limits, warm, session.tell), declined


def optima(
    session: Session, case: Case, found: dict[str, dict[int, Run]]
) -> dict[str, float | None]:
    """Return mixedflow's −2 log L of the model that each peer fitted."""
    known: dict[tuple[str, bool], float | None] = {}
    ours = next(iter(found.get(tables.OURS, {0: Run()}).values()))
    known[case.formula, case.reml] = ours.answer.get("minus2ll")
    out = {}
    for name, rounds in found.items():
        model = next(iter(rounds.values())).answer.get("model", {})
        key = (model.get("formula", case.formula), model.get("reml", case.reml))
        if key not in known:
            other = replace(case, formula=key[0], reml=key[1])
            fitted = run(command(PEERS[0], other, session.folder), session.limits)
            known[key] = fitted.answer.get("minus2ll")
        out[name] = known[key]
    return out


def compared(session: Session, case: Case, only: Sequence[str] = ()) -> str:
    """Return heading and table of a case."""
    found, declined = measure(session, case, only)
    body = tables.comparison(found, declined, optima(session, case, found))
    return f"### {case.name}\n\n{body}"


def answer_grouped(session: Session) -> str:
    """One factor against floor and peers."""
    parts = [TEXTS["grouped"].format(cases.GROUPED)]
    for rows, rounds in cases.GROUPED_SIZES[session.sizes]:
        parts.append(compared(session, cases.grouped(rows, rounds)))
    return "\n".join(parts)


def answer_scaling(session: Session) -> str:
    """The same model from size to size."""
    found = {}
    for rows in cases.SCALING_SIZES[session.sizes]:
        case = cases.grouped(rows, 1 if session.sizes == "tiny" else 3)
        found[rows] = measure(session, case, (tables.OURS, "floor"))[0]
    return TEXTS["scaling"] + "\n" + tables.scaling(found)


def answer_crossed(session: Session) -> str:
    """Crossed factors against peers."""
    parts = [TEXTS["crossed"]]
    if session.sizes != "tiny":
        case = cases.insteval(3)
        parts.append(f"`{case.formula}`\n\n" + compared(session, case))
    for rows, rounds in cases.CROSSED_SIZES[session.sizes]:
        case = cases.crossed(rows, rounds)
        parts.append(f"`{case.formula}`, Zipf's law\n\n" + compared(session, case))
    return "\n".join(parts)


def answer_repeated(session: Session) -> str:
    """An unstructured covariance over the visits, beside nlme's gls."""
    parts = []
    for subjects, rounds in cases.REPEATED_SIZES[session.sizes]:
        case = cases.repeated(subjects, rounds)
        parts = parts or [TEXTS["repeated"].format(case.formula, case.residual)]
        parts.append(compared(session, case, (tables.OURS, "gls")))
    return "\n".join(parts)


def answer_start(session: Session) -> str:
    """The smallest fit: first in a process, then warm."""
    rounds, repeat = (1, 3) if session.sizes == "tiny" else (5, 20)
    first = cases.sleepstudy(rounds, 0)
    found = measure(session, cases.sleepstudy(min(rounds, 3), repeat))[0]
    parts = [TEXTS["start"].format(first.formula), compared(session, first)]
    return "\n".join([*parts, "### Warm fits\n", tables.warm_fits(found)])


def answer_stages(session: Session) -> str:
    """Where the time goes."""
    rows = cases.STAGES_ROWS[session.sizes]
    case = cases.grouped(rows, 1 if session.sizes == "tiny" else 3)
    make(case.data, session.folder, raw=False)
    request = json.dumps(case.request(session.folder / case.data.name))
    script = str(cases.HERE / "stages.py")
    commands: dict[str, list[str]] = {"stages": [sys.executable, script, request]}
    rounds = session.rounds or case.rounds
    runs = interleaved(commands, rounds, session.limits, ("stages",), session.tell)
    answers: list[Any] = [r.answer for r in runs["stages"].values() if not r.failure]
    if not answers:
        return TEXTS["stages"].format(rows) + "\n" + runs["stages"][0].failure + "\n"
    return TEXTS["stages"].format(rows) + "\n" + tables.stages(answers)


def answer_runners(session: Session) -> str:
    """What workers cost beside this process."""
    rows = cases.STAGES_ROWS[session.sizes]
    case = cases.grouped(rows, 1 if session.sizes == "tiny" else 3)
    make(case.data, session.folder, raw=False)
    found = runners.compared(str(session.folder / case.data.name), session.rounds or case.rounds)
    return TEXTS["runners"].format(rows) + "\n" + found


ANSWERS: dict[str, Callable[[Session], str]] = {
    "grouped": answer_grouped,
    "scaling": answer_scaling,
    "crossed": answer_crossed,
    "repeated": answer_repeated,
    "start": answer_start,
    "stages": answer_stages,
    "runners": answer_runners,
}


def pages(session: Session, questions: Sequence[str]) -> Iterator[str]:
    """Measure, and return the document after each question, so that none is lost."""
    bodies, load = [], os.getloadavg()[1]
    for name in questions:
        bodies.append(ANSWERS[name](session))
        load = max(load, *os.getloadavg()[1:])
        yield page(session, bodies, load)


def page(session: Any, bodies: Sequence[str], load: float, introduction: str = INTRODUCTION) -> str:
    """Return the document with what has been answered so far."""
    cores = os.cpu_count() or 1
    busy = (
        f"Other work was running beside (load {load:.1f} on {cores} cores), which draws CPU times out"
        " too: trust the ratios."
        if load > 1.2
        else ""
    )
    head = introduction.format(sizes=session.sizes)
    return "\n".join([head, tables.machine_line(session.versions, busy), *bodies])


def parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    names = [peer.name for peer in PEERS]
    add("--only", action="append", choices=QUESTIONS, help="a question; may be given again")
    add("--sizes", choices=cases.SIZES, default="small", help="huge adds 10^8 rows to scaling")
    add("--out", type=Path, help="Markdown file to write; the terminal unless given")
    add("--data", type=Path, default=cases.HERE / "results", help="folder for the data")
    add("--peers", help=f"comma-separated, of {', '.join(names)}; all unless given")
    add("--rounds", type=int, help="rounds of every case instead of its own number")
    add("--limit", type=float, default=300.0, help="CPU seconds a process may take")
    add("--memory", type=float, help="GB a process may take; two thirds of the machine's")
    chosen = parser.parse_args(arguments)
    unknown = set((chosen.peers or names[0]).split(",")) - set(names)
    if unknown:
        parser.error(f"no such peer: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    return chosen


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure what was asked and write the tables."""
    chosen = parse(arguments)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    memory = chosen.memory * 1e9 if chosen.memory else 2 * machine / 3
    wanted = chosen.peers.split(",") if chosen.peers else [peer.name for peer in PEERS]
    peers = tuple(peer for peer in PEERS if peer.name in wanted)
    one_core()
    chosen.data.mkdir(parents=True, exist_ok=True)
    session = Session(
        chosen.sizes, chosen.data, Limits(chosen.limit, memory), peers, chosen.rounds
    )  # fmt: skip
    session.absent = {peer.name: why for peer in peers if (why := missing(peer))}
    text = ""
    for text in pages(session, chosen.only or QUESTIONS):
        if chosen.out:
            chosen.out.write_text(text, encoding="utf-8")
    if not chosen.out:
        print(text)


if __name__ == "__main__":
    main()
