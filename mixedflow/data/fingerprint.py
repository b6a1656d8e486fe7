"""SHA-256 of files and of the logical content of Arrow data.

Two tables with the same values have the same fingerprint, however they are chunked, sliced or
padded. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.errors import SourceError

PIECE = 1 << 22


def sha256_of_text(text: str) -> str:
    """Return the SHA-256 of UTF-8 text, in hexadecimal."""
    return hashlib.sha256(text.encode("utf-8")).hexdigest()


def sha256_of_file(path: Path, start: int = 0, stop: int | None = None) -> str:
    """Return the SHA-256 of a file, or of its bytes ``start`` to ``stop``, in hexadecimal."""
    digest = hashlib.sha256()
    try:
        with path.open("rb") as handle:
            handle.seek(start)
            left = (path.stat().st_size if stop is None else stop) - start
            while left > 0 and (piece := handle.read(min(PIECE, left))):
                digest.update(piece)
                left -= len(piece)
    except OSError as error:
        raise SourceError(f"'{path}' cannot be read: {error.strerror}") from error
    return digest.hexdigest()


def sha256_of_files(paths: Iterable[Path]) -> str:
    """Return a file's SHA-256, or one over the names and SHA-256 of several."""
    listed = list(paths)
    if len(listed) == 1:
        return sha256_of_file(listed[0])
    return sha256_of_text("".join(f"{p.name}\0{sha256_of_file(p)}\n" for p in listed))


def sha256_of_table(table: pa.Table) -> str:
    """Return the SHA-256 of a table's names, types and values, in hexadecimal."""
    parts = [f"{f.name}\0{_column_digest(table[f.name])}\n" for f in table.schema]
    return sha256_of_text(f"{table.num_rows}\n{''.join(parts)}")


def _column_digest(column: pa.ChunkedArray) -> str:
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    hashes = hashlib.sha256(str(column.type).encode()), hashlib.sha256(), hashlib.sha256()
    values, lengths, valid = hashes
    for chunk in column.chunks:
        for start in range(0, len(chunk), PIECE):
            part = chunk.slice(start, PIECE)
            valid.update(pc.is_valid(part).cast(pa.uint8()).to_numpy())
            data, sizes = _canonical(part)
            values.update(data)
            lengths.update(sizes)
    return " ".join(h.hexdigest() for h in hashes)


def _canonical(part: pa.Array) -> tuple[bytes | memoryview, bytes]:
    """Return the bytes of the values (nulls as zero or empty) and of their lengths."""
    if pa.types.is_boolean(part.type):
        part = part.cast(pa.uint8())
    if pa.types.is_integer(part.type) or pa.types.is_floating(part.type):
        filled = part.fill_null(pa.scalar(0).cast(part.type)) if part.null_count else part
        return np.ascontiguousarray(filled.to_numpy()).tobytes(), b""
    texts = (
        [
            b"" if value is None else str(value).encode("utf-8", "surrogateescape")
            for value in part.to_pylist()
        ]
        if not _is_text(part.type)
        else None
    )
    if texts is not None:
        sizes = np.array([len(text) for text in texts], dtype=np.int64)
        return b"".join(texts), sizes.tobytes()
    whole = part.cast(pa.large_string()).fill_null("")
    offsets = np.frombuffer(whole.buffers()[1], dtype=np.int64)
    offsets = offsets[whole.offset : whole.offset + len(whole) + 1]
    if not len(whole):
        return b"", b""
    data = whole.buffers()[2]
    body = memoryview(data)[offsets[0] : offsets[-1]] if data is not None else b""
    return body, np.diff(offsets).tobytes()


def _is_text(held: pa.DataType) -> bool:
    text = pa.types.is_string(held) or pa.types.is_large_string(held)
    return bool(text or pa.types.is_string_view(held))
