"""Figures to Markdown: medians, ratios within a round, and their spread."""

from __future__ import annotations

import os
import platform
import statistics
from collections.abc import Iterable, Sequence
from pathlib import Path

from running import Run

OURS = "mixedflow"
Rounds = dict[int, Run]


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a Markdown table; all columns but the first to the right."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines) + "\n"


def short(value: float) -> str:
    """Return three digits."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def ratios(found: Rounds, ours: Rounds, what: str) -> list[float]:
    """Return the peer's figure over ours, round by round."""
    both = [number for number in found if number in ours and not ours[number].failure]
    return [getattr(found[n], what) / getattr(ours[n], what) for n in both]


def spread(values: Sequence[float]) -> str:
    """Return median and range."""
    if not values:
        return ""
    middle = short(statistics.median(values))
    if len(values) == 1:
        return middle
    return f"{middle} ({short(min(values))}–{short(max(values))})"


def median(found: Rounds, what: str) -> float:
    """Return the median over the rounds."""
    return statistics.median(getattr(run, what) for run in found.values())


def machine_line(versions: dict[str, str], busy: str) -> str:
    """Return what the figures were measured on: no names, no paths."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    named = ", ".join(f"{name} {number}" for name, number in sorted(versions.items()))
    return (
        f"Measured on {processor()}, {os.cpu_count()} cores, {memory:.0f} GiB; "
        f"{platform.system()}, Python {platform.python_version()}; {named}. "
        f"One thread and one core for every process. {busy}\n"
    )


def processor() -> str:
    """Return the kind of processor."""
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    except OSError:
        pass
    return platform.machine()


HEAD = (
    "", "CPU s", "x mixedflow (range)", "wall s", "peak MB", "x mixedflow", "−2 log L", "difference",
    "remarks",
)  # fmt: skip


def comparison(
    found: dict[str, Rounds],
    declined: dict[str, str],
    optima: dict[str, float | None],
) -> str:
    """Return the table of a case: one row a peer, also for those that gave no answer."""
    ours = found.get(OURS, {})
    rows = [_row(name, rounds, ours, optima.get(name)) for name, rounds in found.items()]
    empty = [""] * (len(HEAD) - 2)
    return table(HEAD, [*rows, *[[name, *empty, why] for name, why in declined.items()]])


def _row(name: str, rounds: Rounds, ours: Rounds, optimum: float | None) -> list[str]:
    first = next(iter(rounds.values()))
    good = {number: run for number, run in rounds.items() if not run.failure}
    if not good:
        after = f" after {short(first.cpu)} s CPU, {short(first.memory / 1e6)} MB"
        return [name, *[""] * (len(HEAD) - 2), first.failure + after]
    answer = next(iter(good.values())).answer
    value = answer.get("minus2ll")
    remarks = [answer.get("note", ""), "" if len(good) > 1 else "one run"]
    if answer.get("converged") is False:
        remarks.append("says it has not converged")
    return [
        name,
        short(median(good, "cpu")),
        spread(ratios(good, ours, "cpu")) if name != OURS else "1",
        short(median(good, "wall")),
        short(median(good, "memory") / 1e6),
        spread([statistics.median(r)] if (r := ratios(good, ours, "memory")) else []),
        "" if value is None else f"{value:.4f}",
        "" if value is None or optimum is None or name == OURS else f"{value - optimum:+.1e}",
        "; ".join(text for text in remarks if text),
    ]


def warm_fits(found: dict[str, Rounds]) -> str:
    """Return the table of fits in a process that has fitted before."""
    rows = []
    for name, rounds in found.items():
        times = [run.answer["warm_ms"] for run in rounds.values() if run.answer.get("warm_ms")]
        if times:
            rows.append([name, spread(times)])
    return table(("", "ms of a warm fit (range)"), rows)


def scaling(found: dict[int, dict[str, Rounds]]) -> str:
    """Return what a further million rows cost from one size to the next."""
    sizes = sorted(found)
    names = list(found[sizes[0]])
    head = ["rows"]
    for name in names:
        head += [f"{name}: CPU s", "for each further million", "peak MB"]
    rows, before = [], dict.fromkeys(names, (0, 0.0))
    for size in sizes:
        line = [f"{size:,}"]
        for name, runs in found[size].items():
            cpu, (fewer, less) = median(runs, "cpu"), before[name]
            further = short(1e6 * (cpu - less) / (size - fewer)) if fewer else ""
            line += [short(cpu), further, short(median(runs, "memory") / 1e6)]
            before[name] = (size, cpu)
        rows.append(line)
    return table(head, rows)


def stages(runs: Sequence[dict[str, dict[str, float]]]) -> str:
    """Return seconds by stage beside the floor of each."""
    rows = []
    for stage in runs[0]["stages"]:
        ours = [run["stages"][stage] for run in runs]
        floor = statistics.median(run["floors"][stage] for run in runs)
        rows.append([stage, spread(ours), short(floor) if floor else "–"])
    sums = [sum(run["stages"].values()) for run in runs]
    floor = statistics.median(sum(run["floors"].values()) for run in runs)
    rows.append(["all", spread(sums), short(floor)])
    return table(("stage", "CPU s (range)", "floor, CPU s"), rows)
