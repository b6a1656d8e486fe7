"""Checksums of footers and page headers: what Parquet's own checksums leave open."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mixedflow.data import open_source
from mixedflow.data.compact import compressed_size
from mixedflow.data.part_checks import columns_hold, footer_holds, part_checksums
from mixedflow.errors import SourceError, StoredFileError
from mixedflow.parallel import prepare

N = 60


@pytest.fixture
def prepared(tmp_path: Path) -> Path:
    """Return rows prepared in a folder."""
    rng = np.random.default_rng(1)
    frame = pd.DataFrame(
        {
            "y": rng.normal(size=N),
            "g": [f"a{i % 7}" for i in range(N)],
            "k": rng.integers(0, 5, N),
        }
    )
    prepare(open_source(frame), tmp_path / "rows")
    return tmp_path / "rows"


@pytest.mark.parametrize("file", ["part-00000.parquet", "manifest.json"])
def test_a_bit_changed_anywhere_changes_no_number(prepared: Path, file: str) -> None:
    def read() -> pa.Table:
        return open_source(str(prepared)).read(0, ["y", "g", "k"])

    wanted, path = read(), prepared / file
    content, refused = path.read_bytes(), 0
    places = range(0, len(content), 11)
    for place in places:
        damaged = bytearray(content)
        damaged[place] ^= 1 << place % 8
        path.write_bytes(damaged)
        try:
            changed = not read().equals(wanted)
        except StoredFileError:
            refused, changed = refused + 1, False
        assert not changed, place
    assert refused >= 0.9 * len(places)


def test_the_headers_of_every_page_and_row_group_count(tmp_path: Path) -> None:
    values = np.random.default_rng(2).normal(size=4_000)
    labels = [f"{'long' * 60}{k % 9}" for k in range(4_000)]
    table = pa.table({"x": values, "s": labels})
    path = tmp_path / "a.parquet"
    pq.write_table(table, path, row_group_size=1_500, data_page_size=2_000, use_dictionary=["s"])
    checks = part_checksums(path)
    assert len(checks) == 3
    assert footer_holds(path, checks)
    assert columns_hold(path, checks, ["x", "s"])
    assert not columns_hold(path, (checks[0], checks[2], checks[1]), ["x"])
    assert not columns_hold(path, checks[:2], ["x"])
    metadata = pq.read_metadata(path)
    for group in range(3):
        content = bytearray(path.read_bytes())
        content[metadata.row_group(group).column(1).data_page_offset + 3] ^= 4
        other = tmp_path / f"{group}.parquet"
        other.write_bytes(content)
        assert footer_holds(other, checks)
        assert columns_hold(other, checks, ["x"])
        assert not columns_hold(other, checks, ["s"])


def test_what_is_no_parquet_does_not_hold(tmp_path: Path) -> None:
    for name, content in (("empty", b""), ("short", b"PAR"), ("text", b"x" * 100)):
        (tmp_path / name).write_bytes(content)
        assert not footer_holds(tmp_path / name, (1,))
        assert not columns_hold(tmp_path / name, (1, 2), ["x"])
    with pytest.raises(SourceError, match="no longer there"):
        columns_hold(tmp_path / "none", (1, 2), ["x"])


def test_headers_of_pages() -> None:
    header = bytes.fromhex("150015c80115641500") + b"\0"
    assert compressed_size(header + b"rest") == (len(header), 50)
    with pytest.raises(IndexError):
        compressed_size(header[:-1])
    with pytest.raises(ValueError, match="no size"):
        compressed_size(b"\0")
    with pytest.raises(ValueError, match="type 9"):
        compressed_size(b"\x19\x00")
