"""The machine that this runs on: cores, memory, versions, and whether a socket can listen.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
import pkgutil
import resource
import shutil
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

from mixedflow.equations.budget import usable_cores
from mixedflow.operating import limits
from mixedflow.operating.asked import Asked
from mixedflow.operating.facts import version_of, versions
from mixedflow.operating.finding import Finding, Verdict
from mixedflow.parallel.threads import THREAD_VARIABLES

PLUGIN = "snakemake_executor_plugin_"
OWN_EXECUTOR = "mixedflow-dask"
BUILT_IN = frozenset({"", "local", "dryrun", "touch"})
MB = 1e6
HPC = "pip install 'mixedflow[hpc]'"


def check_threads(asked: Asked) -> Iterator[Finding]:
    """Say how many cores there are for a run, and whether variables ask for more."""
    machine, allowed, share = limits.machine_cores(), usable_cores(), limits.group_cores()
    cores = allowed if share is None else min(allowed, max(1, int(share)))
    said = f"{cores} of the machine's {machine} cores may be used"
    if cores < machine:
        why = "control group" if share is not None and share < allowed else "affinity"
        yield Finding(
            "threads", "cores", "note", f"{said} ({why})", f"tell Snakemake: --cores {cores}"
        )
    else:
        yield Finding("threads", "cores", "ok", said)
    given = {name: os.environ[name] for name in THREAD_VARIABLES if os.environ.get(name)}
    large = [f"{n}={v}" for n, v in given.items() if not v.isdigit() or int(v) > cores]
    if large:
        yield Finding(
            "threads", "variables", "warning", f"{', '.join(large)} is more than {cores} cores",
            "unset it: the steps set what their rule was given",
        )  # fmt: skip
    else:
        shown = ", ".join(f"{name}={value}" for name, value in given.items()) or "none is set"
        yield Finding("threads", "variables", "ok", f"of BLAS, OpenMP and Numba: {shown}")
    if not asked.executor:
        yield from _too_wide(asked, cores)


def _too_wide(asked: Asked, cores: int) -> Iterator[Finding]:
    for need in asked.needs:
        if need.cpus > cores:
            said = f"it may use {need.cpus} threads, and Snakemake gives it the {cores} cores there are"
            yield Finding("threads", f"rule {need.rule}", "note", said)


def check_memory(asked: Asked) -> Iterator[Finding]:
    """Say how much memory there is for a run here, against its largest job."""
    told, group = limits.machine_bytes(), limits.group_bytes()
    space = resource.getrlimit(resource.RLIMIT_AS)[0]
    if told is None:
        yield Finding("memory", "machine", "note", "the system does not tell how much there is")
        return
    bounds = {"the machine": told[0]}
    bounds |= {} if group is None else {"a control group": group}
    bounds |= {} if space == resource.RLIM_INFINITY else {"ulimit -v": float(space)}
    by, most = min(bounds.items(), key=lambda bound: bound[1])
    said = f"{most / MB:.0f} MB by {by}, {min(most, told[1]) / MB:.0f} MB of it free now"
    yield Finding("memory", "here", "ok" if by == "the machine" else "note", said)
    if asked.executor or not asked.needs:
        return
    largest = max(asked.needs, key=lambda need: need.mem_mb)
    if largest.mem_mb > most / MB:
        yield Finding(
            "memory", f"rule {largest.rule}", "warning",
            f"it may take {largest.mem_mb} MB, more than the {most / MB:.0f} MB here",
            "smaller partition_rows, fewer workers, or a larger machine",
        )  # fmt: skip


def check_versions(asked: Asked) -> Iterator[Finding]:
    """Say which versions are here, and whether what the run needs is installed."""
    found = versions()
    shown = ", ".join(f"{name} {version or 'missing'}" for name, version in found.items())
    missing = [name for name, version in found.items() if not version]
    how = f"install {', '.join(missing)}" if missing else ""
    yield Finding("versions", "here", "error" if missing else "ok", shown, how)
    yield from _check_plugins(asked)
    if asked.dask in {"srun", "jobqueue"}:
        needed = ("cryptography",) + (("dask-jobqueue",) if asked.dask == "jobqueue" else ())
        lacking = [name for name in needed if not version_of(name)]
        if lacking:
            said = f"dask.kind '{asked.dask}' needs {' and '.join(lacking)}"
            yield Finding("versions", "packages", "error", said, HPC)
    other = _other_snakemake()
    if other:
        said = f"the command snakemake is that of another Python: {other}"
        how = "use 'mixedflow run', or activate this environment"
        yield Finding("versions", "snakemake", "warning", said, how)


def plugins() -> list[str]:
    """Return the executors that Snakemake discovers in this Python, as it looks for them."""
    names = (module.name for module in pkgutil.iter_modules())
    return sorted(n.removeprefix(PLUGIN).replace("_", "-") for n in names if n.startswith(PLUGIN))


def _check_plugins(asked: Asked) -> Iterator[Finding]:
    seen = plugins()
    said = f"Snakemake sees {', '.join(seen) or 'none'} besides its own"
    lacking = asked.executor not in BUILT_IN and asked.executor not in seen
    if lacking and asked.executor != OWN_EXECUTOR:
        said = f"the profile asks for the executor '{asked.executor}', and {said}"
        package = f"pip install snakemake-executor-plugin-{asked.executor}"
        yield Finding("versions", "executors", "error", said, package)
    elif OWN_EXECUTOR not in seen:
        bad: Verdict = "error" if lacking else "note"
        how = "pip install mixedflow; of a clone: pip install -e . --config-settings editable_mode=strict"
        yield Finding("versions", "executors", bad, f"{said}, so {OWN_EXECUTOR} is hidden", how)
    else:
        yield Finding("versions", "executors", "ok", said)


def _other_snakemake() -> str:
    """Return the command ``snakemake`` if it is not the one of this Python."""
    found = shutil.which("snakemake")
    if found is None or Path(found).parent == Path(sys.executable).parent:
        return ""
    return found


def check_network(asked: Asked) -> Iterator[Finding]:
    """Say whether a socket can listen here and be reached."""
    try:
        with socket.create_server(("127.0.0.1", 0)) as server:
            server.settimeout(5)
            with socket.create_connection(server.getsockname(), timeout=5):
                server.accept()[0].close()
    except OSError as fault:
        said = f"no socket can listen on the loopback: {fault.strerror or fault}"
        how = "Dask's workers need one; take dask.kind 'threads'"
        needed = asked.dask not in {"", "threads", "synchronous"} or asked.executor == OWN_EXECUTOR
        yield Finding("network", "loopback", "error" if needed else "warning", said, how)
    else:
        yield Finding(
            "network", "loopback", "ok", "a socket listens on the loopback and is reached"
        )
    if asked.dask in {"srun", "jobqueue"}:
        yield _outward(asked)


def _outward(asked: Asked) -> Finding:
    """Say which address the scheduler of workers on other nodes would have."""
    if asked.interface is not None:
        names = [name for _, name in socket.if_nameindex()]
        if asked.interface not in names:
            said = f"there is no network interface '{asked.interface}' here; there is {', '.join(names)}"
            return Finding("network", "interface", "error", said, "change dask.interface")
        said = f"workers reach the scheduler by the interface {asked.interface}"
        return Finding("network", "interface", "ok", said)
    try:
        address = socket.gethostbyname(socket.gethostname())
    except OSError:
        said = f"this machine's name, {socket.gethostname()}, has no address"
        return Finding("network", "interface", "warning", said, "name dask.interface")
    if address.startswith("127."):
        said = f"this machine's name leads to {address}, which other nodes cannot reach"
        return Finding("network", "interface", "note", said, "name dask.interface, such as ib0")
    return Finding("network", "interface", "ok", f"this machine's name leads to {address}")
