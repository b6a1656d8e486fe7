"""The keys that say where the work runs: ``dask``.

Stands outside the equations of ``docs/algorithm.md``: nothing here changes a number.
"""

from __future__ import annotations

import re
from typing import Literal

from pydantic import Field, field_validator, model_validator

from mixedflow.config.section import Names, Section

DaskKind = Literal["synchronous", "threads", "processes", "local", "address", "srun", "jobqueue"]
JobSystem = Literal["slurm", "pbs", "sge", "lsf", "htcondor"]

_MEMORY = re.compile(r"(\d+(?:\.\d+)?)\s*([kMGT]?i?B)", re.IGNORECASE)
_UNITS = {"b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12}
_UNITS |= {"kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40}


def parse_memory(text: str) -> int:
    """Return the number of bytes that ``"2 GB"`` or ``"512 MiB"`` means."""
    found = _MEMORY.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"'{text}' is not an amount of memory; write it like '2 GB' or '512 MiB'")
    size = int(float(found[1]) * _UNITS[found[2].lower()])
    if size <= 0:
        raise ValueError(f"'{text}' is no memory at all; write it like '2 GB' or '512 MiB'")
    return size


class TlsConfig(Section):
    """Certificates with which a connection is encrypted and both sides are known."""

    ca: str = Field(min_length=1, description="File of the authority that signed, in PEM.")
    cert: str = Field(min_length=1, description="File of the certificate that is shown, in PEM.")
    key: str = Field(min_length=1, description="File of its private key, in PEM.")


class JobQueueConfig(Section):
    """How workers are asked of a batch system, one job a worker."""

    system: JobSystem = Field(
        default="slurm",
        description=(
            "`slurm`; the others take the same path and have not been tested here: `pbs`, `sge`,"
            " `lsf`, `htcondor`."
        ),
    )
    minimum: int = Field(
        default=1, ge=0, description="Workers that stay; `dask.workers` is the most."
    )
    walltime: int = Field(
        default=60,
        ge=1,
        description=(
            "Minutes that a worker may run. Workers hand over their work and end by themselves when"
            " nine tenths are past; others take their place."
        ),
    )
    queue: str | None = Field(default=None, description="Queue or partition.")
    account: str | None = Field(
        default=None, description="Account or project; never to be set without accounting."
    )
    directives: Names = Field(
        default=(), description="Further directives of the batch system, as `--constraint=avx2`."
    )
    options: dict[str, str] = Field(
        default_factory=dict,
        description=(
            "Further arguments of Dask-Jobqueue's cluster for the system, such as `disk` of HTCondor."
        ),
    )


class DaskConfig(Section):
    """Where the passes over the rows run; never changes a result, so it reruns nothing."""

    kind: DaskKind = Field(
        default="threads",
        description=(
            "`synchronous`: in the process itself; `threads` or `processes` (or `local`) of this"
            " machine; `address`: a running Dask scheduler; `srun`: workers on all nodes of the Slurm"
            " job that runs the rule; `jobqueue`: workers as jobs of their own."
        ),
    )
    workers: int | None = Field(
        default=None,
        ge=1,
        description=(
            "Workers; when left out the rule's Snakemake `threads` over `threads`, for `srun` its"
            " `tasks`, for `jobqueue` 2."
        ),
    )
    threads: int = Field(default=1, ge=1, description="Threads of one worker.")
    memory: str | None = Field(
        default=None,
        description=(
            "Memory of all workers together, like `4 GB`; the rule's Snakemake `mem_mb` when left"
            " out (for `jobqueue`, of each worker)."
        ),
    )
    address: str | None = Field(
        default=None, description="Address of the scheduler, for `kind: address`."
    )
    scheduler_file: str | None = Field(
        default=None, description="Scheduler file, for `kind: address`, instead of `address`."
    )
    patience: float | None = Field(
        default=None,
        gt=0,
        description=(
            "Seconds in which the scheduler must have a worker, for `kind: address`; 60 when left out."
        ),
    )
    tls: TlsConfig | None = Field(
        default=None,
        description=(
            "Certificates, for `address` with `tls://`; `srun` and `jobqueue` make their own for each"
            " run when it is left out."
        ),
    )
    interface: str | None = Field(
        default=None,
        description="Network interface for `srun` and `jobqueue`, such as `ib0`.",
    )
    performance_report: bool = Field(
        default=False,
        description=(
            "`true`: Dask's own report about every pass with Dask workers, an HTML page beside the log of"
            " its job (`results/logs/condense/...dask.html`); needs `pip install 'mixedflow[dashboard]'`."
        ),
    )
    jobqueue: JobQueueConfig | None = Field(
        default=None, description="Jobs of the workers, for `kind: jobqueue`."
    )

    @field_validator("memory")
    @classmethod
    def _memory_is_an_amount(cls, value: str | None) -> str | None:
        if value is not None:
            parse_memory(value)
        return value

    @model_validator(mode="after")
    def _keys_fit_kind(self) -> DaskConfig:
        given = [key for key in ("address", "scheduler_file") if getattr(self, key) is not None]
        if self.kind == "address" and len(given) != 1:
            raise ValueError("kind 'address' needs either 'address' or 'scheduler_file'")
        if self.performance_report and self.kind in ("synchronous", "threads"):
            raise ValueError(
                f"'performance_report' is about Dask workers, and kind '{self.kind}' has none; write kind"
                " 'local', or leave it out"
            )
        for key, kinds in _ONLY_FOR.items():
            if getattr(self, key) is not None and self.kind not in kinds:
                allowed = " and ".join(f"'{kind}'" for kind in kinds)
                raise ValueError(f"'{key}' is for kind {allowed} only, not '{self.kind}'")
        return self


_ONLY_FOR: dict[str, tuple[DaskKind, ...]] = {
    "address": ("address",),
    "scheduler_file": ("address",),
    "patience": ("address",),
    "tls": ("address", "srun", "jobqueue"),
    "interface": ("srun", "jobqueue"),
    "jobqueue": ("jobqueue",),
}
