"""The steps of a sweep: plan jobs, run one, gather the table.

Stands at "Sweeps" in ``docs/algorithm.md``. What a step needs of the sweep is learned again from data
and plan; rows that are stored are recognised by their content and never fitted again.
"""

from __future__ import annotations

import json
from pathlib import Path

from mixedflow.config import DaskConfig, DataConfig, SweepConfig
from mixedflow.config.sweep_plan import listed_traits
from mixedflow.data import atomic_write_text
from mixedflow.errors import StoredFileError
from mixedflow.parallel import limited_threads
from mixedflow.recording import note, note_read, phase
from mixedflow.steps.opening import OnDone, runner_of
from mixedflow.steps.sweep_jobs import KIND, SweepJobs, made_jobs, traits_of_a_job
from mixedflow.sweeping import SweepPlan, fit_missing, gather, missing_traits, plan_sweep
from mixedflow.sweeps.asking import SweepRequest
from mixedflow.sweeps.result import JOBS, SweepResult


def plan_step(data: DataConfig, sweep: SweepConfig, folder: Path, dask: DaskConfig) -> SweepJobs:
    """Write to the folder of a sweep which jobs are left of it."""
    note_read(data.path)
    with limited_threads(1), runner_of(dask) as runner:
        with phase("plan"):
            plan = planned(data, sweep, folder)
        with phase("compare"):
            left = missing_traits(plan, folder, runner=runner)
    keys = tuple(model.key for model in plan.models)
    jobs = made_jobs(left, traits_of_a_job(sweep, plan.models), keys)
    found = SweepJobs(data, sweep, keys, len(plan.names), jobs)
    found.save(folder)
    note(rows=plan.source.n_rows, partitions=plan.source.n_partitions, traits=len(plan.names))
    return found


def run_step(folder: Path, key: str, dask: DaskConfig, on_done: OnDone | None = None) -> int:
    """Fit the traits of a job, those that are not stored, and return how many they are."""
    jobs = SweepJobs.load(folder)
    job = jobs.job(key)
    note(traits=len(job.traits))
    with limited_threads(1), runner_of(dask) as runner:
        plan = _as_planned(jobs, folder)
        with phase("fit"):
            fit_missing(plan, folder, runner=runner, on_done=on_done, only=job.traits)
    told = {"job": key, "traits": len(job.traits)}
    atomic_write_text(folder / JOBS / f"{key}.json", json.dumps(told) + "\n")
    return len(job.traits)


def gather_step(folder: Path, dask: DaskConfig, on_done: OnDone | None = None) -> SweepResult:
    """Write the table of a sweep from its parts; what was removed of them is fitted again."""
    jobs = SweepJobs.load(folder)
    with limited_threads(1), runner_of(dask) as runner:
        plan = _as_planned(jobs, folder)
        with phase("fit"):
            rows = fit_missing(plan, folder, runner=runner, on_done=on_done)
        with phase("gather"):
            result = gather(plan, rows)
    with phase("write"):
        result.save(folder)
    note(traits=len(plan.names))
    return result


def planned(data: DataConfig, sweep: SweepConfig, folder: Path | None) -> SweepPlan:
    """Return a sweep with its designs learned."""
    request = SweepRequest(
        models={name: model.formula for name, model in sweep.models.items()},
        subsets=dict(sweep.subsets) or None,
        tests=dict(sweep.tests) or None,
        residual={name: model.residual for name, model in sweep.models.items()},
        reml=sweep.reml,
        ddf=sweep.ddf,
        q=sweep.q,
        weights=sweep.weights,
        levels=data.levels,
        missing=data.missing,
    )
    long, matrix = sweep.long, sweep.matrix
    return plan_sweep(
        request,
        data.path,
        listed_traits(sweep),
        types=dict(data.types),
        matrix=None if matrix is None else (matrix.path, matrix.names),
        long=None if long is None else long.model_dump() | {"row": list(long.row)},
        path=folder,
    )


def _as_planned(jobs: SweepJobs, folder: Path) -> SweepPlan:
    """Return the sweep of a plan, which must be that of the data as they are now."""
    note_read(jobs.data.path)
    with phase("plan"):
        plan = planned(jobs.data, jobs.sweep, folder)
    note(rows=plan.source.n_rows, partitions=plan.source.n_partitions)
    if tuple(model.key for model in plan.models) != jobs.models:
        raise StoredFileError(
            f"'{folder}': the predictors of {plan.source.name}, or mixedflow itself, have changed"
            f" since the sweep was planned; {KIND.again}"
        )
    return plan
