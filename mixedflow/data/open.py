"""One way in: whatever holds rows becomes a source.

Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import glob
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixedflow.data.columns import Declarations, make_declarations
from mixedflow.data.csv import is_small, open_csv_head, open_csv_source
from mixedflow.data.csv_text import read_header
from mixedflow.data.dask_frames import DaskFrameSource
from mixedflow.data.frames import FrameSource, frame_to_table, is_dask_frame, is_frame
from mixedflow.data.ipc import IpcSource
from mixedflow.data.parquet import ParquetSource
from mixedflow.data.prepared import MANIFEST, PreparedData
from mixedflow.data.source import Source
from mixedflow.errors import DataError, SourceError, did_you_mean

CSV_ENDINGS = (".csv", ".tsv", ".tab", ".txt", ".csv.gz", ".tsv.gz", ".tab.gz", ".txt.gz")
PARQUET_ENDINGS = (".parquet", ".pq", ".parq")
IPC_ENDINGS = (".feather", ".arrow", ".ipc")
READABLE = "CSV (.csv, .tsv, also .gz), Parquet (.parquet) and Arrow (.feather, .arrow)"


def open_source(
    data: Any,
    *,
    types: Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[object]] | None = None,
    partition_rows: int | None = None,
) -> Source:
    """Open whatever holds rows for reading by partition.

    Parameters
    ----------
    data : path of a CSV, Parquet or Arrow file, of a folder or glob of Parquet files, or of a
        prepared folder; a pandas, polars, pyarrow or Dask frame; a mapping of names to arrays; an
        open source
    types : column -> ``"category"``, ``"float"``, ``"int"`` or ``"string"``
    levels : column -> its levels in their order; a value outside is an error
    partition_rows : rows a partition, where the data leave the choice; about 128 MB by default

    Raises
    ------
    SourceError
        when a file cannot be found, opened or read
    DataError
        when columns are wrong: a repeated name, a type that does not fit, files that differ
    ConfigError
        when a declared type or list of levels is itself not valid
    """
    declarations = make_declarations(types, levels)
    if isinstance(data, str | os.PathLike):
        return _open_path(os.fspath(data), declarations, partition_rows)
    if is_dask_frame(data):
        return DaskFrameSource(data, declarations)
    if is_frame(data):
        table, categories = frame_to_table(data)
        if not table.num_columns:
            raise DataError("the data frame has no columns")
        if not table.num_rows:
            raise DataError("the data frame has no rows")
        return FrameSource(
            table, declarations, categories=categories, partition_rows=partition_rows
        )
    if isinstance(data, DaskFrameSource | FrameSource | IpcSource | ParquetSource | PreparedData):
        return data
    lazy = "; call .collect() first" if hasattr(data, "collect") else ""
    raise DataError(
        f"data of type '{type(data).__name__}' cannot be read{lazy} (allowed: a path, a pandas, "
        "polars, pyarrow or Dask frame, a mapping of names to arrays)"
    )


def column_names(path: str) -> list[str]:
    """Return the names of the columns at a path without reading its rows.

    Raises
    ------
    SourceError
        when there is nothing to read
    """
    text = os.path.expanduser(path)  # noqa: PTH111, a glob is no path
    if Path(text).is_file() and text.lower().endswith(CSV_ENDINGS):
        return list(read_header(Path(text))[0])
    return list(_open_path(path, Declarations(), None).columns())


def open_head(
    path: str,
    *,
    types: Mapping[str, str] | None = None,
    levels: Mapping[str, Sequence[object]] | None = None,
) -> tuple[Source, bool]:
    """Return the rows at a path as far as they are had at little cost, and whether these are all.

    Of a large CSV file that is its first block; of everything else the first partition costs little.
    """
    declarations = make_declarations(types, levels)
    file = Path(path).expanduser()
    if file.is_file() and path.lower().endswith(CSV_ENDINGS) and not is_small(file):
        return open_csv_head(file, declarations), False
    source = _open_path(path, declarations, None)
    return source, source.n_partitions == 1


def _open_path(text: str, declarations: Declarations, partition_rows: int | None) -> Source:
    path = Path(text).expanduser()
    if not path.exists() and glob.has_magic(text):
        matches = glob.glob(str(path), recursive=True)  # noqa: PTH207, absolute patterns
        files = sorted(Path(name) for name in matches)
        return _open_parquet_files(files, text, declarations, partition_rows)
    if path.is_dir():
        return _open_folder(path, declarations, partition_rows)
    if not path.exists():
        raise _not_found(path)
    if not os.access(path, os.R_OK):
        raise SourceError(f"'{path}' cannot be read: permission denied")
    if path.name == MANIFEST:
        return PreparedData(path.parent, declarations)
    return _open_file(path, declarations, partition_rows)


def _open_file(path: Path, declarations: Declarations, partition_rows: int | None) -> Source:
    ending = path.name.lower()
    if ending.endswith(CSV_ENDINGS):
        return open_csv_source(path, declarations, partition_rows)
    if ending.endswith(PARQUET_ENDINGS):
        source = ParquetSource([path], declarations, name=str(path), partition_rows=partition_rows)
        return _with_rows(source)
    if ending.endswith(IPC_ENDINGS):
        return _with_rows(IpcSource(path, declarations, partition_rows=partition_rows))
    raise SourceError(f"'{path}' is of a kind that cannot be read (allowed: {READABLE})")


def _open_folder(path: Path, declarations: Declarations, partition_rows: int | None) -> Source:
    if (path / MANIFEST).exists():
        return PreparedData(path, declarations)
    files = sorted(p for p in path.iterdir() if p.name.lower().endswith(PARQUET_ENDINGS))
    if not files:
        raise SourceError(f"the folder '{path}' holds no Parquet files (*.parquet)")
    return _open_parquet_files(files, str(path), declarations, partition_rows)


def _open_parquet_files(
    files: list[Path], name: str, declarations: Declarations, partition_rows: int | None
) -> Source:
    if not files:
        raise SourceError(f"no file matches '{name}'")
    if len(files) == 1:
        return _open_file(files[0], declarations, partition_rows)
    strange = [p for p in files if not p.name.lower().endswith(PARQUET_ENDINGS)]
    if strange:
        raise SourceError(
            f"'{name}' matches '{strange[0]}'; several files are read together only when all are "
            "Parquet (*.parquet)"
        )
    source = ParquetSource(files, declarations, name=name, partition_rows=partition_rows)
    return _with_rows(source)


def _with_rows(source: ParquetSource | IpcSource) -> Source:
    if source.n_rows == 0:
        raise SourceError(f"{source.name} has no rows")
    return source


def _not_found(path: Path) -> SourceError:
    folder = path.parent
    if not folder.is_dir():
        return SourceError(f"'{path}' does not exist: there is no folder '{folder}'")
    near = did_you_mean(path.name, (p.name for p in folder.iterdir()))
    return SourceError(f"'{path}' does not exist{near}")
