"""The JSON file that says what a folder of ours holds, read with the same checks everywhere.

It carries a checksum of what it says, so that a number changed on the disk is an error and never
another result; of the files beside it, it may name theirs. Stands
outside the equations of ``docs/algorithm.md``; every room that reads a folder uses it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedflow.data.fingerprint import sha256_of_file, sha256_of_text
from mixedflow.errors import StoredFileError

CHECKSUM = "checksum"
"""Key of the SHA-256 over everything else in the file."""
FILES = "files"
"""Key of the SHA-256 of files beside it."""


@dataclass(frozen=True, slots=True)
class ManifestKind:
    """What a folder's manifest must say of itself.

    Attributes
    ----------
    what : what such a folder holds, "a fit" or "condensed data"
    file : name of the JSON file
    version : the format version that this mixedflow reads
    format : the name of the format; empty for files that carry none
    again : how a folder that cannot be read comes to be again, "condense the data again"
    """

    what: str
    file: str
    version: int
    format: str = ""
    again: str = ""

    def head(self) -> dict[str, Any]:
        """Return the entries that a manifest of this kind begins with."""
        named = {"format": self.format} if self.format else {}
        return {**named, "format_version": self.version}

    def text(
        self, content: Mapping[str, Any], *, indent: int | None = 1, allow_nan: bool = True
    ) -> str:
        """Return what is written: head and content as JSON, and their checksum."""
        whole = {**self.head(), **content}
        plain = json.loads(json.dumps(whole, allow_nan=allow_nan))
        sealed = {**plain, CHECKSUM: checksum(plain)}
        return json.dumps(sealed, indent=indent, ensure_ascii=False) + "\n"


def read_manifest(folder: Path, kind: ManifestKind) -> dict[str, Any]:
    """Return the manifest of a folder.

    Raises
    ------
    StoredFileError
        if folder or file is missing, the file is no JSON object or describes something else, or
        the format version is another one.
    """
    path, again = folder / kind.file, f"; {kind.again}" if kind.again else ""
    none = f"no {kind.what.removeprefix('a ')} at '{folder}': {kind.file} is missing{again}"
    content = read_json(path, none)
    if not isinstance(content, dict) or content.get("format", "") != kind.format:
        raise StoredFileError(f"'{path}' does not describe {kind.what} of mixedflow")
    version = content.get("format_version")
    if version != kind.version:
        raise StoredFileError(
            f"'{path}' has format version {version!r}; this version of mixedflow reads version "
            f"{kind.version}{again}"
        )
    return _unsealed(content, path, again)


def checksum(content: Mapping[str, Any]) -> str:
    """Return the SHA-256 of plain JSON values, whatever their order and layout in the file."""
    return sha256_of_text(json.dumps(content, sort_keys=True))


def _unsealed(content: dict[str, Any], path: Path, again: str) -> dict[str, Any]:
    """Return the content without its checksum, which must be that of the rest."""
    found = content.pop(CHECKSUM, None)
    if found is None:
        raise StoredFileError(f"'{path}' is damaged or of an earlier mixedflow: no checksum{again}")
    if found != checksum(content):
        raise StoredFileError(
            f"'{path}' is damaged or was changed after it was written: its checksum is that of other "
            f"content{again}"
        )
    return content


def digests_of(folder: Path, names: Iterable[str]) -> dict[str, str]:
    """Return the SHA-256 of files in a folder by their paths in it."""
    return {name: sha256_of_file(folder / name) for name in names}


def check_digests(folder: Path, digests: Any, kind: ManifestKind) -> None:
    """Raise unless the files beside a manifest are those that it was written with.

    Raises
    ------
    StoredFileError
        if one is missing, was changed, or is that of another folder.
    """
    for name, digest in digests.items():
        path, again = folder / name, f"; {kind.again}" if kind.again else ""
        if not path.is_file():
            raise StoredFileError(f"'{path}' is missing, which '{kind.file}' lists{again}")
        if sha256_of_file(path) != digest:
            raise StoredFileError(
                f"'{path}' is damaged, or is not the file that '{folder / kind.file}' was written "
                f"with{again}"
            )


def read_json(path: Path, missing: str) -> Any:
    """Return what a JSON file holds; ``missing`` is the sentence for a file that is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoredFileError(missing) from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoredFileError(f"'{path}' is damaged: it cannot be read as JSON: {error}") from error
