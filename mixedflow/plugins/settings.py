"""What ``snakemake --executor mixedflow-dask`` can be told.

Snakemake makes its command line of the fields and does not read unions, so each option names its own
type. Stands outside the equations of ``docs/algorithm.md``.
"""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase

DEFAULT_PATIENCE = 60
DEFAULT_DAYS = 10

common_settings = CommonSettings(
    non_local_exec=True,
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=True,
    pass_default_resources_args=True,
    pass_envvar_declarations_to_cmd=False,  # they go with the task and are not seen in `ps`
    auto_deploy_default_storage_provider=False,
    init_seconds_before_status_checks=0,
)


def _about(kind: type, help_text: str, *, env_var: bool = False) -> dict[str, Any]:
    return {"type": kind, "help": help_text, "env_var": env_var, "required": False}


@dataclass
class ExecutorSettings(ExecutorSettingsBase):
    """Options ``--mixedflow-dask-...``: a scheduler, or workers that are started."""

    address: str | None = field(
        default=None,
        metadata=_about(str, "Address of a Dask scheduler, tcp:// or tls://.", env_var=True),
    )
    scheduler_file: Path | None = field(
        default=None, metadata=_about(Path, "File written by `dask scheduler --scheduler-file`.")
    )
    local_workers: int | None = field(
        default=None, metadata=_about(int, "Start so many workers on this machine's loopback.")
    )
    srun: bool = field(
        default=False,
        metadata=_about(bool, "Start a worker on every node of the Slurm job that this is in."),
    )
    interface: str | None = field(
        default=None, metadata=_about(str, "Network interface for `srun`, such as ib0.")
    )
    worker_threads: int = field(
        default=1, metadata=_about(int, "Threads of a worker that is started here.")
    )
    worker_mem_mb: int | None = field(
        default=None,
        metadata=_about(
            int, "Memory in MB of a worker that is started here; not counted if left out."
        ),
    )
    patience: int = field(
        default=DEFAULT_PATIENCE,
        metadata=_about(
            int, "Seconds to wait for the first worker, and for one that can hold a job."
        ),
    )
    logdir: Path | None = field(
        default=None,
        metadata=_about(Path, "Folder of the jobs' logs; .snakemake/mixedflow-dask by default."),
    )
    keep_successful_logs: bool = field(
        default=False,
        metadata=_about(bool, "Keep the logs of jobs that succeeded, too; those of others stay."),
    )
    delete_logfiles_older_than: int = field(
        default=DEFAULT_DAYS,
        metadata=_about(int, "Days after which logs are deleted; 0 keeps them."),
    )
