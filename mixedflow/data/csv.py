"""CSV files of any size as sources.

A small file is read at once. A large one is streamed once into a temporary folder of Parquet parts
(twice when a column turns out to be text after numbers were written), so that memory holds a part
at a time. Stands before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import shutil
import tempfile
import weakref
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.columns import ColumnRule, Declarations, Place, plan_columns
from mixedflow.data.csv_text import CsvLayout, read_layout, text_batches
from mixedflow.data.csv_types import (
    ColumnVotes,
    Guess,
    declared_number,
    declared_numbers,
    loses_text,
    nominal_schema,
)
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.frames import FrameSource
from mixedflow.data.parquet import ParquetSource
from mixedflow.data.source import default_partition_rows
from mixedflow.errors import OutputError, SourceError

SMALL_BYTES = 1 << 26
SMALL_GZIP_BYTES = 1 << 23


class CsvFrame(FrameSource):
    """A small CSV file, held in memory."""

    def __init__(
        self,
        layout: CsvLayout,
        table: pa.Table,
        schema: pa.Schema,
        declarations: Declarations,
        partition_rows: int | None,
    ) -> None:
        super().__init__(
            table,
            declarations,
            name=str(layout.path),
            partition_rows=partition_rows,
            header_lines=1,
            schema=schema,
        )
        self._path = layout.path

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of_file(self._path)


class CsvParts(ParquetSource):
    """A large CSV file, held as Parquet parts in a temporary folder until the source is gone."""

    def __init__(
        self,
        layout: CsvLayout,
        folder: Path,
        schema: pa.Schema,
        declarations: Declarations,
    ) -> None:
        self._path = layout.path
        self._finalizer: weakref.finalize[[str, bool], CsvParts] | None = weakref.finalize(
            self, shutil.rmtree, str(folder), True
        )
        super().__init__(
            sorted(folder.iterdir()),
            declarations,
            name=str(layout.path),
            header_lines=1,
            schema=schema,
        )

    def __getstate__(self) -> dict[str, object]:
        """Leave the parts to the process that wrote them."""
        return {**super().__getstate__(), "_finalizer": None}

    def fingerprint(self) -> str:
        """Return the SHA-256 of the file."""
        return sha256_of_file(self._path)


def open_csv_source(
    path: Path, declarations: Declarations, partition_rows: int | None = None
) -> CsvFrame | CsvParts:
    """Open a CSV or TSV file, compressed with gzip or not.

    Raises
    ------
    SourceError
        when the file is empty, ragged, not UTF-8, or not the gzip its name says
    DataError
        when two columns share a name, or a declared number is none at a row
    """
    layout = read_layout(path)
    plan_columns(pa.schema([(n, pa.string()) for n in layout.names]), declarations, str(path))
    if is_small(path):
        return _read_small(layout, list(text_batches(layout)), declarations, partition_rows)
    return _spool(layout, declarations, partition_rows)


def is_small(path: Path) -> bool:
    """Say whether a file is read at once."""
    return path.stat().st_size < (SMALL_GZIP_BYTES if path.suffix == ".gz" else SMALL_BYTES)


def open_csv_head(path: Path, declarations: Declarations) -> CsvFrame:
    """Open the first block of a file as if it were all of it."""
    layout = read_layout(path)
    return _read_small(layout, list(islice(text_batches(layout), 1)), declarations, None)


def _votes(layout: CsvLayout, declarations: Declarations) -> dict[str, ColumnVotes]:
    return {name: ColumnVotes(declarations.of(name)) for name in layout.names}


def _read_small(
    layout: CsvLayout,
    batches: list[pa.RecordBatch],
    declarations: Declarations,
    partition_rows: int | None,
) -> CsvFrame:
    _check_rows(layout, len(batches))
    text = pa.Table.from_batches(batches).combine_chunks()
    votes = _votes(layout, declarations)
    numbers = declared_numbers(layout.names, declarations)
    place = Place(str(layout.path), 0, 1)
    columns = _convert(text, votes, numbers, place)
    schema = nominal_schema({name: vote.guess for name, vote in votes.items()})
    table = pa.table(columns, names=list(layout.names))
    return CsvFrame(layout, table, schema, declarations, partition_rows)


def _convert(
    text: pa.Table, votes: dict[str, ColumnVotes], numbers: dict[str, ColumnRule], place: Place
) -> list[pa.Array]:
    """Return the columns of a table of text as what they are so far, narrowing ``votes``."""
    columns = []
    for name in text.column_names:
        whole = text[name].combine_chunks()
        rule = numbers.get(name)
        if rule is None:
            columns.append(votes[name].look(whole))
        else:
            columns.append(declared_number(whole, rule, place))
    return columns


def _check_rows(layout: CsvLayout, pieces: int) -> None:
    if not pieces:
        raise SourceError(f"'{layout.path}' has a header but no rows")


def _spool(layout: CsvLayout, declarations: Declarations, partition_rows: int | None) -> CsvParts:
    """Write the file as Parquet parts of equal numbers of rows and open these."""
    rows = partition_rows or default_partition_rows(len(layout.names))
    folder = Path(tempfile.mkdtemp(prefix="mixedflow-csv-"))
    try:
        votes = _votes(layout, declarations)
        stored = _write_parts(layout, declarations, votes, folder, rows)
        final = {name: vote.guess for name, vote in votes.items()}
        if any(loses_text(one[name], final[name]) for one in stored for name in final):
            _write_parts(layout, declarations, votes, folder, rows)
        _check_rows(layout, len(stored))
        return CsvParts(layout, folder, nominal_schema(final), declarations)
    except OSError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise OutputError(
            f"'{layout.path}' is too large for memory and its parts cannot be written to "
            f"'{folder.parent}': {error.strerror or error}"
        ) from error
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _write_parts(
    layout: CsvLayout,
    declarations: Declarations,
    votes: dict[str, ColumnVotes],
    folder: Path,
    rows: int,
) -> list[dict[str, Guess]]:
    """Write the parts, narrowing ``votes`` on the way; return what each part was stored as."""
    numbers = declared_numbers(layout.names, declarations)
    stored: list[dict[str, Guess]] = []
    first = 0
    for text in _tables_of(layout, rows):
        place = Place(str(layout.path), first, 1)
        columns = _convert(text, votes, numbers, place)
        part = pa.table(columns, names=list(layout.names))
        path = folder / f"part-{len(stored):06d}.parquet"
        pq.write_table(part, path, compression="lz4", use_dictionary=False)
        stored.append({name: vote.guess for name, vote in votes.items()})
        first += text.num_rows
    return stored


def _tables_of(layout: CsvLayout, rows: int) -> Iterator[pa.Table]:
    """Yield the text in tables of exactly ``rows`` rows (the last one may be shorter)."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in text_batches(layout):
        held.append(batch)
        count += batch.num_rows
        while count >= rows:
            whole = pa.Table.from_batches(held)
            yield whole.slice(0, rows)
            held, count = _rest(whole, rows)
    if count:
        yield pa.Table.from_batches(held)


def _rest(whole: pa.Table, rows: int) -> tuple[list[pa.RecordBatch], int]:
    rest = whole.slice(rows)
    return rest.to_batches(), rest.num_rows
