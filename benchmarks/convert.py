"""Bring benchmark data into other forms.

    python benchmarks/convert.py parquet tests/references/data/InstEval.csv.gz insteval.parquet
    python benchmarks/convert.py raw grouped.parquet grouped.raw

``raw`` writes a folder with one file a column, ``NAME.f64`` or ``NAME.i32``: what R reads fastest.
Text is written as the places of its values among all of them, sorted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq


def to_parquet(source: Path, out: Path) -> None:
    """Write a CSV file as Parquet."""
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f".{out.name}.new")
    pq.write_table(pv.read_csv(source), temporary, compression="zstd")
    temporary.replace(out)


def traits_to_raw(source: Path, out: Path, columns: Sequence[str], traits: Sequence[str]) -> None:
    """Write some columns, and many responses one after the other in ``y.f64``."""
    to_raw(source, out, columns)
    table = pq.read_table(source, columns=list(traits))
    with (out / "y.f64").open("wb") as file:
        for name in traits:
            file.write(table[name].to_numpy(zero_copy_only=False).astype(np.float64).tobytes())


def to_raw(source: Path, out: Path, columns: Sequence[str] | None = None) -> None:
    """Write the columns of a Parquet file, one row group at a time."""
    out.mkdir(parents=True, exist_ok=True)
    parquet = pq.ParquetFile(source)
    wanted = parquet.schema_arrow.names if columns is None else columns
    kinds = {name: parquet.schema_arrow.field(name).type for name in wanted}
    for name, kind in kinds.items():
        if pa.types.is_string(kind):
            words = parquet.read(columns=[name])[name].to_numpy()
            places = np.unique(words.astype(str), return_inverse=True)[1]
            (out / f"{name}.i32").write_bytes(places.astype(np.int32).tobytes())
            continue
        suffix, dtype = ("f64", np.float64) if "double" in str(kind) else ("i32", np.int32)
        with (out / f"{name}.{suffix}").open("wb") as file:
            for number in range(parquet.num_row_groups):
                column = parquet.read_row_group(number, columns=[name])[name]
                file.write(np.ascontiguousarray(column.to_numpy(), dtype=dtype).tobytes())


if __name__ == "__main__":
    form, source, out = sys.argv[1:]
    {"parquet": to_parquet, "raw": to_raw}[form](Path(source), Path(out))
