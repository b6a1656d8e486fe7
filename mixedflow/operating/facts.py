"""What a worker, or a node, tells of itself; runs there.

``python -m mixedflow.operating.facts WITNESS SECONDS`` prints it as JSON. Stands outside the equations
of ``docs/algorithm.md``.
"""

from __future__ import annotations

import asyncio
import json
import os
import platform
import socket
import sys
import time
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("dask", "distributed", "snakemake", "numpy")
PAUSE = 0.1


def versions() -> dict[str, str]:
    """Return versions of Python, mixedflow and what it stands on; "" for what is not there."""
    from mixedflow import __version__

    found = {"python": platform.python_version(), "mixedflow": __version__}
    return found | {name: version_of(name) for name in PACKAGES}


def version_of(package: str) -> str:
    """Return the version of an installed package, "" if it is not there."""
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return ""


def facts() -> dict[str, Any]:
    """Return what this process says of itself; the clock last."""
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "versions": versions(),
        "time": time.time(),
    }


async def facts_of_worker(witness: str, seconds: float) -> dict[str, Any]:
    """Return the facts, and whether a file shows up within some seconds."""
    told = facts()
    deadline = time.monotonic() + seconds
    while not (seen := Path(witness).exists()) and time.monotonic() < deadline:
        await asyncio.sleep(PAUSE)
    return told | {"seen": seen}


if __name__ == "__main__":
    found = asyncio.run(facts_of_worker(sys.argv[1], float(sys.argv[2])))
    sys.stdout.write(json.dumps(found | {"time": time.time()}) + "\n")
