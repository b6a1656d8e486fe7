"""A CSV file as batches of text columns, and what is wrong with it in one sentence.

Stands before "Rows become columns" in ``docs/algorithm.md``. Every value stays text here: what a
column is gets decided over the whole file (:mod:`mixedflow.data.csv_types`).
"""

from __future__ import annotations

import csv
import gzip
import io
import re
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

import pyarrow as pa
import pyarrow.csv as pv

from mixedflow.data.columns import check_unique
from mixedflow.errors import SourceError

MISSING = ("", "NA", "NaN", "nan", "null", "NULL")
BLOCK_BYTES = 1 << 24
TAIL_BYTES = 1000
"""End of the file in which the closing mark of its last value must stand."""
_BOMS = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}


@dataclass(frozen=True, slots=True)
class CsvLayout:
    """How a text file is cut into values.

    Attributes
    ----------
    path : the file
    delimiter : between values
    quoted : whether a quotation mark occurs, so that a value may hold a line end
    compressed : whether the file is gzip
    names : the header
    """

    path: Path
    delimiter: str
    quoted: bool
    compressed: bool
    names: tuple[str, ...]


def read_layout(path: Path) -> CsvLayout:
    """Look at the header and find out how the file is cut.

    Raises
    ------
    SourceError
        when the file is empty, not text in UTF-8, or not the gzip that its name says
    DataError
        when two columns carry the same name
    """
    compressed = path.suffix == ".gz"
    names, delimiter = read_header(path)
    check_unique(names, str(path))
    return CsvLayout(path, delimiter, _has_quotes(path, compressed), compressed, names)


def read_header(path: Path) -> tuple[tuple[str, ...], str]:
    """Return the names of the columns, and what stands between values."""
    header = _first_line(path, path.suffix == ".gz")
    tabs = path.name.removesuffix(".gz").endswith((".tsv", ".tab"))
    delimiter = "\t" if tabs else _delimiter(header)
    return tuple(next(csv.reader([header], delimiter=delimiter))), delimiter


def _first_line(path: Path, compressed: bool) -> str:
    try:
        with _open_bytes(path, compressed) as handle:
            line = handle.readline()
            while line and not line.strip():
                line = handle.readline()
            while line.count(b'"') % 2 and (more := handle.readline()):
                line += more
    except gzip.BadGzipFile as error:
        raise SourceError(f"'{path}' is named .gz but is not a gzip file") from error
    except EOFError as error:
        raise SourceError(f"'{path}' is cut off: the gzip file ends too early") from error
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}") from error
    if not line:
        raise SourceError(f"'{path}' is empty: it has neither header nor rows")
    if line[:2] in _BOMS or b"\0" in line:
        found = _BOMS.get(line[:2], "not text")
        raise SourceError(f"'{path}' is not UTF-8 text (it looks like {found}); save it as UTF-8")
    try:
        return line.decode("utf-8-sig").rstrip("\r\n")
    except UnicodeDecodeError as error:
        raise _not_utf8(path, 1) from error


def _open_bytes(path: Path, compressed: bool) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path, "rb")) if compressed else path.open("rb")


def _delimiter(header: str) -> str:
    bare = re.sub(r'"[^"]*"', "", header)
    return next((mark for mark in ",;\t" if mark in bare), ",")


def _has_quotes(path: Path, compressed: bool) -> bool:
    """Return whether a quotation mark occurs; a compressed file is taken to have some."""
    if compressed:
        return True
    with path.open("rb") as handle:
        while piece := handle.read(BLOCK_BYTES):
            if b'"' in piece:
                return True
    return False


def text_batches(layout: CsvLayout) -> Iterator[pa.RecordBatch]:
    """Yield the rows as batches of text columns, in the order of the file.

    Raises
    ------
    SourceError
        naming the line that has too few or too many values, or is not UTF-8
    """
    convert = pv.ConvertOptions(
        column_types={name: pa.string() for name in layout.names},
        null_values=list(MISSING),
        strings_can_be_null=True,
    )
    parse = pv.ParseOptions(delimiter=layout.delimiter, newlines_in_values=layout.quoted)
    try:
        with ExitStack() as stack:
            handle = stack.enter_context(pa.OSFile(str(layout.path)))
            if layout.compressed:
                handle = stack.enter_context(pa.CompressedInputStream(handle, "gzip"))
            read = pv.ReadOptions(block_size=BLOCK_BYTES)
            reader = stack.enter_context(pv.open_csv(handle, read, parse, convert))
            last = None
            for batch in reader:
                if batch.num_rows:
                    yield (last := batch)
            if last is not None:
                _check_end(layout, last)
    except (OSError, pa.ArrowException, UnicodeDecodeError) as error:
        raise _explain(layout, error) from error


def _check_end(layout: CsvLayout, last: pa.RecordBatch) -> None:
    """Raise where a quotation mark that is never closed has made one value of the rest of the file."""
    value = last.column(last.num_columns - 1)[-1].as_py()
    if value is None or "\n" not in value.replace("\r", "\n"):
        return
    tail = b""
    with _open_bytes(layout.path, layout.compressed) as handle:
        while piece := handle.read(BLOCK_BYTES):
            tail = (tail + piece)[-TAIL_BYTES:]
    if not tail.rstrip().endswith(b'"'):
        raise _ragged(layout, "a quotation mark is never closed")


def _explain(layout: CsvLayout, error: Exception) -> SourceError:
    """Return the sentence for what Arrow could not read, with its line."""
    text = str(error).splitlines()[0]
    if isinstance(error, UnicodeDecodeError) or "UTF8" in text or "UTF-8" in text:
        return _not_utf8(layout.path, _first_line_not_utf8(layout))
    if "Expected" in text and "columns" in text:
        return _ragged(layout, text)
    if layout.compressed and ("zlib" in text or "runcated" in text or "compressed" in text):
        return SourceError(f"'{layout.path}' is cut off or damaged: its gzip data end in an error")
    if "straddl" in text:
        return SourceError(
            f"'{layout.path}' has a line longer than {BLOCK_BYTES:,} bytes; "
            "is a quotation mark missing?"
        )
    return SourceError(f"'{layout.path}' cannot be read as CSV: {text}")


def _not_utf8(path: Path, line: int | None) -> SourceError:
    where = "" if line is None else f" in line {line:,}"
    return SourceError(f"'{path}' is not UTF-8 text{where}; save it as UTF-8")


def _first_line_not_utf8(layout: CsvLayout) -> int | None:
    with _open_bytes(layout.path, layout.compressed) as handle:
        for number, line in enumerate(handle, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError:
                return number
    return None


def _ragged(layout: CsvLayout, text: str) -> SourceError:
    wanted = len(layout.names)
    with _open_bytes(layout.path, layout.compressed) as raw:
        lines = io.TextIOWrapper(raw, "utf-8-sig", errors="replace", newline="")
        reader = csv.reader(lines, delimiter=layout.delimiter, strict=True)
        first = 1
        try:
            for values in reader:
                if values and len(values) != wanted:
                    plural = "value" if len(values) == 1 else "values"
                    return SourceError(
                        f"'{layout.path}', line {first:,} has {len(values)} {plural} where the "
                        f"header has {wanted}"
                    )
                first = reader.line_num + 1
        except csv.Error:
            return SourceError(
                f"'{layout.path}', line {first:,}: a quotation mark is out of place or never closed"
            )
    return SourceError(f"'{layout.path}' has a line of another length: {text}")
