"""How long the header of a Parquet page is, and the page after it.

Headers are structs of Thrift's compact protocol
(https://github.com/apache/thrift/blob/master/doc/specs/thrift-compact-protocol.md): fields with their
number and type, and a zero byte at the end. Stands before "Rows become columns" in
``docs/algorithm.md``.
"""

from __future__ import annotations

COMPRESSED_PAGE_SIZE = 3
"""Number of the field in ``PageHeader`` of parquet.thrift."""
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT, UUID = range(1, 14)
FIXED = {BYTE: 1, DOUBLE: 8, UUID: 16}
DEEPEST = 8


def compressed_size(data: bytes) -> tuple[int, int]:
    """Return the length of the page header that ``data`` begins with, and that of its page.

    Raises
    ------
    IndexError
        if the header goes on after the data.
    ValueError
        if this is no page header.
    """
    at, field, size = 0, 0, -1
    while kind := data[at] & 15:
        field, at = _field(data, at, field)
        if field == COMPRESSED_PAGE_SIZE and kind == I32:
            value, at = _varint(data, at)
            size = (value >> 1) ^ -(value & 1)
        else:
            at = _skipped(data, at, kind, 0)
    if size < 0:
        raise ValueError("the header of a page tells no size")
    return at + 1, size


def _field(data: bytes, at: int, before: int) -> tuple[int, int]:
    """Return the number of a field, and where its value begins."""
    delta = data[at] >> 4
    if delta:
        return before + delta, at + 1
    value, at = _varint(data, at + 1)
    return (value >> 1) ^ -(value & 1), at


def _varint(data: bytes, at: int) -> tuple[int, int]:
    value = shift = 0
    while (byte := data[at]) & 128:
        value |= (byte & 127) << shift
        shift, at = shift + 7, at + 1
    return value | byte << shift, at + 1


def _skipped(data: bytes, at: int, kind: int, depth: int) -> int:
    """Return where a value ends."""
    if kind in (TRUE, FALSE):
        return at
    if kind in FIXED:
        return at + FIXED[kind]
    if kind in (I16, I32, I64):
        return _varint(data, at)[1]
    if kind == BINARY:
        length, at = _varint(data, at)
        return at + length
    if kind == STRUCT and depth < DEEPEST:
        while inner := data[at] & 15:
            at = _skipped(data, _field(data, at, 0)[1], inner, depth + 1)
        return at + 1
    raise ValueError(f"the header of a page holds a value of type {kind}")
