"""Bytes of what a step reads and writes, as its files have them.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from mixedflow.recording.recorder import current, note

_GLOB_CHARACTERS = frozenset("*?[")


def note_read(*paths: str | Path) -> None:
    """Keep the size of files, folders or globs that are read."""
    if current() is not None:
        note(bytes_read=_size(paths))


def note_written(*paths: str | Path) -> None:
    """Keep the size of files or folders that were written."""
    if current() is not None:
        note(bytes_written=_size(paths))


def _size(paths: tuple[str | Path, ...]) -> int | None:
    """Return the bytes of all files, None where one cannot be looked at."""
    try:
        return sum(file.stat().st_size for path in paths for file in _files(Path(path)))
    except (OSError, ValueError, NotImplementedError):
        return None


def _files(path: Path) -> Iterator[Path]:
    if path.is_dir():
        yield from (file for file in path.rglob("*") if file.is_file())
    elif path.exists() or not _GLOB_CHARACTERS & set(str(path)):
        yield path
    else:
        pattern = path.relative_to(path.anchor) if path.anchor else path
        yield from Path(path.anchor).glob(str(pattern))
