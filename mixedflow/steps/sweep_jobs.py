"""The jobs of a sweep: which traits each fits, and how many make one worth beginning.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from mixedflow.config import DataConfig, SweepConfig
from mixedflow.config.reading import checked
from mixedflow.data import atomic_write_text
from mixedflow.data.fingerprint import sha256_of_text
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.errors import ConfigError, StoredFileError, did_you_mean
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.result import JOBS, PLAN

KIND = ManifestKind(
    "a sweep's plan", PLAN, 1, "mixedflow-sweep-plan", again="run `mixedflow sweep plan` again"
)
LENGTH = 16
"""Hexadecimal digits of a job's key."""

JOB_SECONDS = 30.0
"""Seconds that a job should take, on one core: ten times what it needs to begin."""
SECONDS_PER_VALUE = 1e-8
"""Adding up one value of a row for one trait (measured at 20,000 traits, 5,000 rows, 8 columns)."""
SECONDS_PER_ENTRY = 1e-7
"""All iterations' work on one entry of a group's sums for one trait (measured at 100 groups)."""
SECONDS_ALONE = 0.1
"""A trait that is fitted by itself (measured at two crossed factors)."""
PASSES_ALONE = 15


@dataclass(frozen=True, slots=True)
class SweepJob:
    """Traits that are fitted by one job, each by all models; its key is made of them."""

    key: str
    traits: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SweepJobs:
    """What a sweep was asked, and what of it was left to do when it was planned.

    Attributes
    ----------
    data, sweep : what was asked
    models : keys of the models, refits for tests among them
    traits : number of all traits
    jobs : of those traits that are not stored
    """

    data: DataConfig
    sweep: SweepConfig
    models: tuple[str, ...]
    traits: int
    jobs: tuple[SweepJob, ...]

    @property
    def left(self) -> int:
        """Traits that were not stored."""
        return sum(len(job.traits) for job in self.jobs)

    def job(self, key: str) -> SweepJob:
        """Return a job of the plan."""
        own = {job.key: job for job in self.jobs}
        if key not in own:
            raise ConfigError(f"the plan has no job '{key}'{did_you_mean(key, own)}")
        return own[key]

    def save(self, folder: Path) -> None:
        """Write the plan to the folder of the sweep; notes of jobs of an earlier one are removed."""
        for note in (folder / JOBS).glob("*.json"):
            note.unlink(missing_ok=True)
        content = {
            "data": self.data.model_dump(mode="json", exclude_unset=True),
            "sweep": self.sweep.model_dump(mode="json", exclude_unset=True),
            "models": list(self.models),
            "traits": self.traits,
            "jobs": [asdict(job) for job in self.jobs],
        }
        atomic_write_text(folder / PLAN, KIND.text(content, indent=None))

    @classmethod
    def load(cls, folder: Path) -> SweepJobs:
        """Read the plan in the folder of a sweep."""
        content = read_manifest(folder, KIND)
        where = str(folder / PLAN)
        try:
            return cls(
                checked(DataConfig, content["data"], where),
                checked(SweepConfig, content["sweep"], where),
                tuple(content["models"]),
                int(content["traits"]),
                tuple(_job(one) for one in content["jobs"]),
            )
        except (KeyError, TypeError, ValueError) as fault:
            raise StoredFileError(f"'{where}' lacks {fault}; {KIND.again}") from None


def _job(content: Mapping[str, Any]) -> SweepJob:
    return SweepJob(str(content["key"]), tuple(content["traits"]))


def made_jobs(traits: Sequence[str], size: int, models: Sequence[str]) -> tuple[SweepJob, ...]:
    """Return jobs of about equal size, none with more than ``size`` traits."""
    count = max(1, -(-len(traits) // size))
    each = max(1, -(-len(traits) // count))
    lots = [tuple(traits[first : first + each]) for first in range(0, len(traits), each)]
    return tuple(SweepJob(_key(lot, models), lot) for lot in lots)


def _key(traits: Sequence[str], models: Sequence[str]) -> str:
    return sha256_of_text(json.dumps([list(models), list(traits)]))[:LENGTH]


def traits_of_a_job(sweep: SweepConfig, models: Sequence[SweepModel]) -> int:
    """Return the traits that make a job worth beginning."""
    if sweep.traits_per_job is not None:
        return sweep.traits_per_job
    return max(1, round(JOB_SECONDS / seconds_per_trait(models)))


def seconds_per_trait(models: Sequence[SweepModel]) -> float:
    """Return what fitting a trait by all models takes on one core, roughly."""
    return sum(_seconds(model) for model in models)


def _seconds(model: SweepModel) -> float:
    rows, factors = model.source.n_rows, model.system.factors
    columns = model.system.p + 1 + sum(factor.dim for factor in factors)
    reading = SECONDS_PER_VALUE * rows * columns
    if model.entries is None:
        return SECONDS_ALONE + PASSES_ALONE * reading
    (factor,) = factors
    return reading + SECONDS_PER_ENTRY * factor.n_levels * columns**2
