"""Prepared data: a folder of Parquet parts with a manifest that says what is in them.

Stands before "Rows become columns" in ``docs/algorithm.md``; the files are those of DESIGN 4. What
the manifest says is verified on reading, of every column that is read: a part that is missing, cut off
or changed is an error, never other numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from mixedflow.data.atomic import atomic_write_text
from mixedflow.data.columns import ColumnRule, Declarations
from mixedflow.data.fingerprint import sha256_of_file, sha256_of_text
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.data.parquet import ParquetSource
from mixedflow.data.part_checks import columns_hold, footer_holds
from mixedflow.errors import SourceError, StoredFileError, listing

MANIFEST = "manifest.json"
KIND = ManifestKind(
    "prepared data", MANIFEST, 1, again="delete the folder and prepare the data again"
)


@dataclass(frozen=True, slots=True)
class PartRecord:
    """One part of prepared data.

    Attributes
    ----------
    file, rows, bytes, sha256 : the file's name, its rows, size and content
    crc32 : of the file's footer, then of each of its columns
    first_group, last_group : the range of the group's values, None without a group
    """

    file: str
    rows: int
    bytes: int
    sha256: str
    crc32: tuple[int, ...]
    first_group: str | int | float | None = None
    last_group: str | int | float | None = None


@dataclass(frozen=True, slots=True)
class PreparedManifest:
    """What ``manifest.json`` of a prepared folder says.

    Attributes
    ----------
    source, source_sha256 : where the rows came from and the content there
    columns : column -> kind
    coded : columns that were declared, or held, as categories
    skipped : columns left out because a model cannot use them -> what they hold
    levels : column -> its levels in order, where they were declared or are a category's
    rows_in, rows_kept : rows of the source and of the parts
    dropped : column -> rows dropped in which it was missing (a row may count in several)
    missing : the policy, "drop" or "error"
    group, order : the columns that the parts are divided and sorted by, or None
    parts : the parts in their order
    """

    source: str
    source_sha256: str
    columns: dict[str, str]
    coded: list[str]
    skipped: dict[str, str]
    levels: dict[str, list[Any]]
    rows_in: int
    rows_kept: int
    dropped: dict[str, int]
    missing: str
    group: str | None
    order: str | None
    parts: tuple[PartRecord, ...] = field(default_factory=tuple)

    def as_dict(self) -> dict[str, Any]:
        """Return what is written as JSON."""
        plain = {name: getattr(self, name) for name in self.__slots__ if name != "parts"}
        listed = [{k: getattr(p, k) for k in PartRecord.__slots__} for p in self.parts]
        return {**plain, "parts": listed}

    def save(self, folder: Path) -> None:
        """Write ``manifest.json``."""
        atomic_write_text(folder / MANIFEST, KIND.text(self.as_dict(), indent=2, allow_nan=False))

    @classmethod
    def load(cls, folder: Path) -> PreparedManifest:
        """Read ``manifest.json``; a damaged one, or one of another version, is an error."""
        stored = read_manifest(folder, KIND)
        del stored["format_version"]
        _check_keys(stored, cls.__slots__, folder)
        parts = stored.pop("parts")
        return cls(parts=tuple(_part_of(part, folder) for part in parts), **stored)


def _part_of(stored: dict[str, Any], folder: Path) -> PartRecord:
    _check_keys(stored, PartRecord.__slots__, folder)
    return PartRecord(**{**stored, "crc32": tuple(stored["crc32"])})


def _check_keys(stored: Any, names: Sequence[str], folder: Path) -> None:
    """Raise unless a mapping of the manifest has exactly these keys, and its file lies beside it."""
    place = f"'{folder / MANIFEST}' is not a manifest of prepared data"
    if not isinstance(stored, dict):
        raise StoredFileError(f"{place}: it holds {stored!r} in place of a part")
    lacking = [name for name in names if name not in stored]
    strange = [name for name in stored if name not in names]
    if lacking or strange:
        found = f"it lacks {listing(lacking)}" if lacking else f"it holds {listing(strange)}"
        raise StoredFileError(f"{place}: {found}; prepare the data again")
    file = stored.get("file")
    if file is not None and Path(file).name != file:
        raise StoredFileError(f"{place}: the part '{file}' does not lie beside it")


class PreparedData(ParquetSource):
    """A prepared folder as a source: a partition is a part.

    Parameters
    ----------
    folder : the folder with ``manifest.json``
    declarations : types and levels declared beyond those in the manifest
    """

    def __init__(self, folder: Path, declarations: Declarations | None = None) -> None:
        self.folder = folder
        self.manifest = PreparedManifest.load(folder)
        paths = [_verified(folder, part) for part in self.manifest.parts]
        merged = _merge(self.manifest, declarations or Declarations())
        try:
            super().__init__(paths, merged, name=str(folder), partition_rows=1 << 62)
        except SourceError as error:
            raise StoredFileError(str(error)) from error
        self._name_skipped()
        rows = [part.rows for part in self._parts]
        if rows != [part.rows for part in self.manifest.parts if part.rows]:
            raise StoredFileError(
                f"'{folder}' does not hold the rows that its {MANIFEST} says; prepare it again"
            )

    def _name_skipped(self) -> None:
        """Know the columns that were left out, so that a message can say why."""
        for column, found in self.manifest.skipped.items():
            self.rules.setdefault(column, ColumnRule(column, "other", pa.null(), found))

    def fingerprint(self) -> str:
        """Return one SHA-256 over those that the manifest holds."""
        return sha256_of_text("".join(f"{p.rows} {p.sha256}\n" for p in self.manifest.parts))

    def partition_fingerprint(self, index: int) -> str:
        """Return the part's SHA-256 as the manifest holds it."""
        return self.manifest.parts[index].sha256

    def _read_raw(self, index: int, columns: Sequence[str]) -> pa.Table:
        part = self.manifest.parts[index]
        path = self.folder / part.file
        try:
            if not columns_hold(path, part.crc32, columns):
                raise _changed(path)
            return super()._read_raw(index, columns)
        except SourceError as error:
            raise StoredFileError(str(error)) from error

    def verify(self) -> None:
        """Compare every part's SHA-256 with the manifest's."""
        for part in self.manifest.parts:
            if sha256_of_file(self.folder / part.file) != part.sha256:
                raise _changed(self.folder / part.file)


def _changed(path: Path) -> StoredFileError:
    return StoredFileError(
        f"'{path}' is damaged or was changed after it was written: its checksum is that of other "
        f"content; {KIND.again}"
    )


def _verified(folder: Path, part: PartRecord) -> Path:
    path = folder / part.file
    if not path.exists():
        raise StoredFileError(
            f"'{path}' is missing, which '{folder / MANIFEST}' lists; prepare the data again"
        )
    size = path.stat().st_size
    if size != part.bytes:
        raise StoredFileError(
            f"'{path}' has {size:,} bytes where '{folder / MANIFEST}' says {part.bytes:,}; "
            "prepare the data again"
        )
    if not footer_holds(path, part.crc32):
        raise _changed(path)
    return path


def _merge(manifest: PreparedManifest, declarations: Declarations) -> Declarations:
    """Return the manifest's declarations, overridden by those given now."""
    levels: Mapping[str, tuple[object, ...]] = {
        column: tuple(values)
        for column, values in manifest.levels.items()
        if column not in declarations.types
    }
    given = {*declarations.types, *declarations.levels, *levels}
    types = {column: "category" for column in manifest.coded if column not in given}
    return Declarations({**types, **declarations.types}, {**levels, **declarations.levels})
