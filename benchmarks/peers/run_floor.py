"""No mixed model: read the columns with pyarrow, stack them, and multiply X'X with NumPy.

Row group after row group, so that it is a floor of memory too; and without ``to_numpy``, which
imports pandas.
"""

from __future__ import annotations

import numpy as np
import pyarrow.parquet as pq
from common import Case, columns_of, main


def load(case: Case) -> pq.ParquetFile:
    """Open the file."""
    return pq.ParquetFile(case["data"])


def fit(data: pq.ParquetFile, case: Case) -> dict[str, object]:
    """Add up [1 X y]'[1 X y]."""
    names = [*case["fixed"], case["response"]]
    total = np.zeros((len(names) + 1, len(names) + 1))
    for number in range(data.num_row_groups):
        table = data.read_row_group(number, columns=columns_of(case))
        X = np.ones((table.num_rows, len(names) + 1), order="F")
        for position, name in enumerate(names, start=1):
            X[:, position] = np.from_dlpack(table[name].combine_chunks())
        total += X.T @ X
    return {"minus2ll": None, "note": "no model"}


main(load, fit, "numpy", "pyarrow")
