"""What a configuration and a profile would ask of the place where the jobs run.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from mixedflow.errors import ConfigError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.config.plan import WorkflowPlan

PASSES = ("prepare", "condense", "diagnose")
PROFILE_FILES = ("profile.yaml", "config.yaml")
"""Names of a profile's file, as Snakemake looks for them."""

REPORT_MINUTES = 30
"""Time of a job that names none, in the shipped profiles."""


@dataclass(frozen=True, slots=True)
class Need:
    """What a job of a rule asks of a node at its first attempt."""

    rule: str
    cpus: int
    mem_mb: int
    minutes: int


@dataclass(frozen=True, slots=True)
class Asked:
    """What a run would ask for.

    Attributes
    ----------
    executor : of Snakemake, "" for this machine
    dask : kind of the configuration's workers
    interface : network interface that the configuration names
    profile : name of the profile, "" for none
    needs : of the rules, the largest of each
    attempts : at a job; each asks for as much again
    resources : that the profile names for every job
    status : command that jobs are watched with, as the profile says
    rows_mb : of all data as eight-byte numbers
    """

    executor: str = ""
    dask: str = ""
    interface: str | None = None
    profile: str = ""
    needs: tuple[Need, ...] = ()
    attempts: int = 1
    resources: Mapping[str, str] = field(default_factory=dict)
    status: str = ""
    rows_mb: float = 0.0

    @property
    def on_slurm(self) -> bool:
        """Whether Slurm runs the jobs, or the workers."""
        return self.executor == "slurm" or self.dask in {"srun", "jobqueue"}

    @property
    def elsewhere(self) -> bool:
        """Whether other machines see the folder."""
        return bool(self.executor) or self.dask in {"address", "srun", "jobqueue"}


def read_profile(place: Path) -> tuple[str, Mapping[str, Any]]:
    """Return name and keys of a profile: a folder, its file, or the name of a shipped one.

    Raises
    ------
    ConfigError
        when there is none, or it is no mapping
    """
    from mixedflow.config import read_yaml

    chosen = find_profile(place)
    content = read_yaml(chosen) or {}
    if not isinstance(content, Mapping):
        raise ConfigError(f"{chosen} holds no mapping of options, so it is no profile of Snakemake")
    return chosen.parent.name, content


def find_profile(place: Path) -> Path:
    """Return the file of a profile, which is a folder, its file, or the name of a shipped one."""
    shipped = shipped_profiles()
    folder = place
    if not place.exists() and place.name == str(place) and str(place) in shipped:
        folder = shipped[str(place)]
    candidates = [folder] if folder.is_file() else [folder / name for name in PROFILE_FILES]
    chosen = next((path for path in candidates if path.is_file()), None)
    if chosen is None:
        raise ConfigError(
            f"there is no profile '{place}'{did_you_mean(str(place), shipped)}; name a folder that holds "
            f"profile.yaml, or one of mixedflow's: {listing(shipped)}"
        )
    return chosen


def shipped_profiles() -> dict[str, Path]:
    """Return the profiles that come with mixedflow, by name."""
    package = Path(__file__).parents[1]
    for place in (package / "_workflow", package.parent / "workflow"):
        if (place / "profiles").is_dir():
            return {
                path.parent.name: path.parent for path in sorted(place.glob("profiles/*/*.yaml"))
            }
    return {}


def make_asked(
    plan: WorkflowPlan | None,
    name: str,
    profile: Mapping[str, Any],
    partition: str | None = None,
) -> Asked:
    """Return what a run of a plan by a profile would ask for; sizes of files are looked up now."""
    resources = _resources(profile.get("default-resources"))
    return Asked(
        executor=str(profile.get("executor", "")),
        dask="" if plan is None else plan.config.dask.kind,
        interface=None if plan is None else plan.config.dask.interface,
        profile=name,
        needs=() if plan is None else tuple(_changed(_needs(plan), profile)),
        attempts=1 + _whole(profile.get("retries"), 0),
        resources=resources if partition is None else resources | {"slurm_partition": partition},
        status=str(profile.get("slurm-status-command", "")),
        rows_mb=0.0 if plan is None else sum(plan.rows_mb(each) for each in plan.config.data),
    )


def merged(content: Any, profile: Mapping[str, Any]) -> Any:
    """Return the content of a configuration with the keys that a profile sets."""
    import yaml

    given = profile.get("config")
    if not isinstance(given, Mapping):
        pairs = (line.partition("=") for line in _lines(given))
        given = {name: yaml.safe_load(value) for name, equals, value in pairs if equals}
    if not isinstance(content, Mapping) or not given:
        return content
    both = {**content, **given}
    for name, value in given.items():
        if isinstance(value, Mapping) and isinstance(content.get(name), Mapping):
            both[name] = {**content[name], **value}
    return both


def _needs(plan: WorkflowPlan) -> Iterator[Need]:
    """Give what the rules ask for, as ``workflow/rules`` has it, the largest over the data sets."""
    config, threads = plan.config, plan.threads
    each = list(config.data)
    mem_mb = max(plan.pass_mb(name, threads) for name in each)
    minutes = max(plan.minutes(name, threads) for name in each)
    passes = PASSES if config.models else PASSES[:1]
    yield from (Need(rule, threads, mem_mb, minutes) for rule in passes)
    if config.models:
        longest = max(plan.minutes(name) for name in each)
        yield Need("fit", 1, max(plan.sums_mb(name) for name in each), longest)
    if config.sweep:
        yield Need("sweep_run", threads, mem_mb, minutes)
    yield Need("report", 1, plan.sums_mb(), REPORT_MINUTES)


def _changed(needs: Iterator[Need], profile: Mapping[str, Any]) -> Iterator[Need]:
    """Give the needs as a profile sets them."""
    threads = profile.get("set-threads") or {}
    resources = profile.get("set-resources") or {}
    for need in needs:
        own = resources.get(need.rule) or {} if isinstance(resources, Mapping) else {}
        cpus = (
            _whole(threads.get(need.rule), need.cpus) if isinstance(threads, Mapping) else need.cpus
        )
        tasks = -(-_whole(own.get("tasks"), 1) // max(1, _whole(own.get("nodes"), 1)))
        mem_mb = _whole(own.get("mem_mb"), need.mem_mb)
        yield Need(need.rule, cpus * tasks, mem_mb, _whole(own.get("runtime"), need.minutes))


def _resources(given: Any) -> dict[str, str]:
    """Return default resources, which a profile may list or map."""
    if isinstance(given, Mapping):
        return {str(name): str(value) for name, value in given.items()}
    pairs = (line.partition("=") for line in _lines(given))
    return {name: value for name, equals, value in pairs if equals}


def _lines(given: Any) -> list[str]:
    if isinstance(given, str):
        return [given]
    return [str(line) for line in given] if isinstance(given, list | tuple) else []


def _whole(value: Any, otherwise: int) -> int:
    """Return a number of a profile; what has to be computed by Snakemake is not known here."""
    try:
        return int(value)
    except (TypeError, ValueError):
        return otherwise
