"""Files that a killed run leaves: half-written results, certificates, Snakemake's temporary folders.

Stands outside the equations of ``docs/algorithm.md``. Nothing reads them, so they only take space; what
a process that runs is writing is left alone.
"""

from __future__ import annotations

import os
import re
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path

from mixedflow.operating.processes import writes

HALF = re.compile(r"\.(?P<name>.+)\.(?P<role>new|old)-(?P<pid>\d+)-[0-9a-f]{8}")
PRIVATE = re.compile(r"\.mixedflow-(?P<host>.+)-(?P<pid>\d+)-[^-]+")


def leftovers(folder: Path, results: Path) -> list[Path]:
    """Return what may be deleted, once all jobs of the folder have ended."""
    return [*_half_written(results), *_private(folder), *sorted(folder.glob(".snakemake/tmp.*"))]


def _half_written(results: Path) -> Iterator[Path]:
    for place, folders, files in os.walk(results):
        for name in sorted([*folders, *files]):
            found = HALF.fullmatch(name)
            if found is not None and not writes(int(found["pid"])):
                yield Path(place) / name
        folders[:] = [name for name in folders if not HALF.fullmatch(name)]


def _private(folder: Path) -> Iterator[Path]:
    """Give folders of certificates whose process on this machine is gone."""
    for place in sorted(folder.glob(".mixedflow-*")):
        found = PRIVATE.fullmatch(place.name)
        mine = found is not None and found["host"] == socket.gethostname()
        if found is not None and mine and not writes(int(found["pid"])):
            yield place


def remove(place: Path) -> None:
    """Delete a leftover; an old result whose new one never came gets its name back."""
    found = HALF.fullmatch(place.name)
    if found is not None and found["role"] == "old":
        target = place.with_name(found["name"])
        if not os.path.lexists(target):
            place.rename(target)
            return
    if place.is_dir() and not place.is_symlink():
        shutil.rmtree(place, ignore_errors=True)
    else:
        place.unlink(missing_ok=True)
