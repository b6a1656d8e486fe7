"""Nothing half-written: files and folders get their name only when they are complete.

Stands outside the equations of ``docs/algorithm.md``; every room that writes uses it.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from mixedflow.errors import OutputError


def _sibling(path: Path, role: str) -> Path:
    """Return a free hidden name next to ``path``, so that a rename never crosses file systems."""
    return path.with_name(f".{path.name}.{role}-{os.getpid()}-{secrets.token_hex(4)}")


def _cannot_write(path: Path, error: OSError) -> OutputError:
    reason = error.strerror or str(error)
    return OutputError(f"'{path}' cannot be written: {reason[:1].lower()}{reason[1:]}")


def _remove(path: Path) -> None:
    """Delete a file or a folder; a missing one is fine."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def atomic_write_bytes(path: str | Path, content: bytes) -> None:
    """Write a file under a temporary name beside it and rename it.

    Raises
    ------
    OutputError
        when the folder cannot be made or written
    """
    target = Path(path)
    temporary = _sibling(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as handle:
            handle.write(content)
            handle.flush()
            os.fsync(handle.fileno())
        temporary.replace(target)
    except OSError as error:
        _forget(temporary)
        raise _cannot_write(target, error) from error


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text under a temporary name beside ``path`` and rename it."""
    atomic_write_bytes(path, text.encode("utf-8"))


def _forget(path: Path) -> None:
    try:
        _remove(path)
    except OSError:
        return


@contextmanager
def atomic_file(path: str | Path) -> Iterator[Path]:
    """Give a temporary path to write a file to; it becomes ``path`` when the body succeeds."""
    target = Path(path)
    temporary = _sibling(target, "new")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        yield temporary
        temporary.replace(target)
    except OSError as error:
        _forget(temporary)
        raise _cannot_write(target, error) from error
    except BaseException:
        _forget(temporary)
        raise


@contextmanager
def atomic_folder(path: str | Path) -> Iterator[Path]:
    """Give a temporary folder; it becomes ``path`` when the body succeeds, else it is removed.

    A folder that stood at ``path`` is replaced as a whole: at no time does a mixture of old and
    new files carry the name.

    Raises
    ------
    OutputError
        when the place cannot be written, or the body fails with an ``OSError``
    """
    target = Path(path)
    temporary = _sibling(target, "new")
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise _cannot_write(target, error) from error
    try:
        yield temporary
        _replace_folder(temporary, target)
    except OSError as error:
        _forget(temporary)
        raise _cannot_write(target, error) from error
    except BaseException:
        _forget(temporary)
        raise


def _replace_folder(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``, moving what stood there out of the way first."""
    if not target.exists() and not target.is_symlink():
        temporary.rename(target)
        return
    old = _sibling(target, "old")
    target.rename(old)
    try:
        temporary.rename(target)
    except OSError:
        old.rename(target)
        raise
    _remove(old)
