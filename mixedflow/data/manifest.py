"""The JSON file that says what a folder of ours holds, read with the same checks everywhere.

Stands outside the equations of ``docs/algorithm.md``; every room that reads a folder uses it.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mixedflow.errors import StoredFileError


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
    manifest: dict[str, Any] = content
    return manifest


def read_json(path: Path, missing: str) -> Any:
    """Return what a JSON file holds; ``missing`` is the sentence for a file that is not there."""
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        raise StoredFileError(missing) from None
    except (OSError, ValueError, RecursionError) as error:
        raise StoredFileError(f"'{path}' is damaged: it cannot be read as JSON: {error}") from error
