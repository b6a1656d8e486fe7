"""Before a run: what the sweeps of a configuration will fit, and how long that may take.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mixedflow.config import Config, SweepConfig
from mixedflow.config.sweep_plan import listed_traits
from mixedflow.errors import MixedflowError
from mixedflow.parallel import limited_threads
from mixedflow.steps.check import duration
from mixedflow.steps.opening import Outlook
from mixedflow.steps.sweep import planned
from mixedflow.steps.sweep_jobs import seconds_per_trait, traits_of_a_job
from mixedflow.sweeping import SweepPlan


def check_sweeps_step(config: Config, directory: Path, *, where: str) -> list[Outlook]:
    """Check every sweep against its data, and return what a run would do."""
    found = []
    for name, sweep in config.sweep.items():
        data = config.data[sweep.data]
        here = data.model_copy(update={"path": str(directory / data.path)})
        try:
            with limited_threads(1):
                plan = planned(here, _seen_from(directory, sweep), None)
        except MixedflowError as fault:
            raise type(fault)(f"{where}: sweep.{name}: {fault}") from None
        found.append(Outlook(name, list(_lines(sweep, plan))))
    return found


def _seen_from(directory: Path, sweep: SweepConfig) -> SweepConfig:
    """Return a sweep whose files are those of another working directory."""
    changes: dict[str, object] = {"traits": tuple(listed_traits(sweep, directory) or ())}
    if sweep.matrix is not None:
        paths = {key: str(directory / path) for key, path in sweep.matrix.model_dump().items()}
        changes["matrix"] = sweep.matrix.model_copy(update=paths)
    return sweep.model_copy(update=changes)


def _lines(sweep: SweepConfig, plan: SweepPlan) -> Iterator[tuple[str, str]]:
    yield (
        "traits",
        f"{len(plan.names):,}: {', '.join(plan.names[:4])}{' ...' * (len(plan.names) > 4)}",
    )
    yield "data", f"{plan.source.name}, {plan.source.n_rows:,} rows"
    for name, model in sweep.models.items():
        alone = any(m.entries is None for m in plan.models if m.name == name)
        yield f"model {name}", model.formula + ("; traits one by one" if alone else "")
    if sweep.subsets:
        yield "subsets", ", ".join(sweep.subsets)
    if sweep.tests:
        yield "tests", ", ".join(f"{a} in {b}" for a, b in sweep.tests.values())
    yield "q-values", sweep.q
    jobs = -(-len(plan.names) // traits_of_a_job(sweep, plan.models))
    yield "jobs, about", f"{jobs:,}"
    yield "time, about", duration(1.0 + len(plan.names) * seconds_per_trait(plan.models))
