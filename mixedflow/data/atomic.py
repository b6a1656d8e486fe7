"""Nothing half-written: files and folders get their name only when they are complete.

Stands outside the equations of ``docs/algorithm.md``; every room that writes uses it.
"""

from __future__ import annotations

import errno
import os
import re
import secrets
import shutil
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from fnmatch import fnmatch
from pathlib import Path

from mixedflow.claims import check_claims
from mixedflow.errors import OutputError

ATTEMPTS = 20
"""Times that a folder is tried to be put in place while others do the same."""
TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.EISDIR, errno.ENOTDIR)
SHORT = re.compile(r"\d+ requested and \d+ written")
LEFT_BEHIND = (".*.new-*", ".*.old-*", ".snakemake_timestamp")
"""What a killed run leaves beside its results, and Snakemake's own mark: ours to replace."""


def _sibling(path: Path, role: str) -> Path:
    """Return a free hidden name next to ``path``, so that a rename never crosses file systems."""
    return path.with_name(f".{path.name}.{role}-{os.getpid()}-{secrets.token_hex(4)}")


def cannot_write(path: Path, error: OSError) -> OutputError:
    """Return the sentence for what the system said when a path was written."""
    reason = (error.strerror or str(error)).rpartition("] ")[2]  # Arrow: "... [errno 28] No space"
    if SHORT.fullmatch(reason):  # NumPy: "1094 requested and 737 written"
        reason = "no space left on device"
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
        check_claims()
        temporary.replace(target)
    except OSError as error:
        _forget(temporary)
        raise cannot_write(target, error) from error
    except BaseException:
        _forget(temporary)
        raise


def atomic_write_text(path: str | Path, text: str) -> None:
    """Write UTF-8 text under a temporary name beside ``path`` and rename it."""
    atomic_write_bytes(path, text.encode("utf-8"))


def _forget(path: Path, *parents: Path) -> None:
    """Delete what was begun, and those of its parents that were made for it."""
    try:
        _remove(path)
        for parent in parents:
            parent.rmdir()
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
        check_claims()
        temporary.replace(target)
    except OSError as error:
        _forget(temporary)
        raise cannot_write(target, error) from error
    except BaseException:
        _forget(temporary)
        raise


def check_folder(path: str | Path, own: Sequence[str]) -> None:
    """Raise, before any work, where a folder of results cannot be written or would destroy others.

    Parameters
    ----------
    path : the folder to write
    own : patterns of the names that such a folder holds; one that holds anything else is not ours

    Raises
    ------
    OutputError
        when the place is a file, holds other files, or no folder can be made there
    """
    target = Path(path)
    if target.is_dir():
        names = _names_in(target)
        others = [n for n in names if not any(fnmatch(n, o) for o in (*own, *LEFT_BEHIND))]
        if others:
            raise OutputError(
                f"'{target}' cannot be written: the folder holds '{others[0]}', which is no part of "
                "what is to be written and would be lost; name an empty or a new folder"
            )
    check_place(target)
    if _is_other(target):
        raise OutputError(f"'{target}' cannot be written: a file of that name is there")


def _names_in(folder: Path) -> list[str]:
    """Return the names in a folder, none where it has just been replaced."""
    try:
        return sorted(path.name for path in folder.iterdir())
    except FileNotFoundError:
        return []


def _is_other(path: Path) -> bool:
    """Return whether something stands at a path that is no folder, by one look at it."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except OSError:
        return False


def check_place(path: str | Path) -> None:
    """Raise, before any work, where no file can be made at a path."""
    target = Path(path)
    there = next(place for place in (target, *target.absolute().parents) if os.path.lexists(place))
    if there.is_symlink() and not there.exists():
        raise OutputError(f"'{target}' cannot be written: '{there.name}' is a link to nothing")
    if there != target and not there.is_dir():
        raise OutputError(f"'{target}' cannot be written: '{there.name}' is a file, not a folder")
    folder = there if there.is_dir() else there.parent
    if not os.access(folder, os.W_OK) and folder.exists():
        raise OutputError(f"'{target}' cannot be written: permission denied")


@contextmanager
def atomic_folder(path: str | Path, own: Sequence[str] = ("*",)) -> Iterator[Path]:
    """Give a temporary folder; it becomes ``path`` when the body succeeds, else it is removed.

    A folder that stood at ``path`` is replaced as a whole: at no time does a mixture of old and
    new files carry the name. It must be one of ours: empty, or with names like ``own`` alone.

    Raises
    ------
    OutputError
        when the place cannot be written, or the body fails with an ``OSError``
    """
    target = Path(path)
    check_folder(target, own)
    temporary = _sibling(target, "new")
    made = [place for place in target.parents if not place.exists()]
    try:
        temporary.mkdir(parents=True)
    except OSError as error:
        raise cannot_write(target, error) from error
    try:
        yield temporary
        check_claims()
        _replace_folder(temporary, target)
    except OutputError as error:
        _forget(temporary, *made)
        inner = error.__cause__ or error.__context__
        if not isinstance(inner, OSError):
            raise
        raise cannot_write(target, inner) from inner  # the name that was asked for, not ours
    except OSError as error:
        _forget(temporary, *made)
        raise cannot_write(target, error) from error
    except BaseException:
        _forget(temporary, *made)
        raise


def _replace_folder(temporary: Path, target: Path) -> None:
    """Rename ``temporary`` to ``target``, moving what stands there out of the way.

    Another process may do the same at this moment, such as a step that outlived its workflow.
    """
    moved: list[Path] = []
    try:
        for last in (False,) * ATTEMPTS + (True,):
            moved += _moved_away(target)
            try:
                temporary.rename(target)
            except OSError as error:
                if last or error.errno not in TAKEN:
                    raise
            else:
                break
    except BaseException:
        if moved and not target.exists():
            moved.pop().rename(target)
        raise
    finally:
        for old in moved:
            _remove(old)


def _moved_away(target: Path) -> list[Path]:
    """Give what stands at a path another name, and return it."""
    old = _sibling(target, "old")
    try:
        target.rename(old)
    except FileNotFoundError:
        return []
    return [old]
