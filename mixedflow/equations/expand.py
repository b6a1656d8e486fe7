"""Small matrices at (row, column) positions as one sparse matrix.

Stands at "Solving" in ``docs/algorithm.md``: the one place that spells out where the q_f x q_h
products of two levels stand among all effects.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.linalg.compressed import CompressedRows, compressed_rows
from mixedflow.linalg.late import sparse

if TYPE_CHECKING:
    from scipy.sparse import csr_array


def positions(rows: Int, cols: Int, shape: tuple[int, int]) -> tuple[Int, Int]:
    """Return where the entries of m matrices of a shape stand: two (m, q_f, q_h) index arrays."""
    qf, qh = shape
    at_row = (rows[:, None] * qf + np.arange(qf))[:, :, None]
    at_col = (cols[:, None] * qh + np.arange(qh))[:, None, :]
    row, col = np.broadcast_arrays(at_row, at_col)
    return row, col


def expanded(rows: Int, cols: Int, values: Float, n_levels: tuple[int, int]) -> csr_array:
    """Return (L_f q_f, L_h q_h) from m matrices ``values`` (m, q_f, q_h) at pairs of levels."""
    _, qf, qh = values.shape
    row, col = positions(rows, cols, (qf, qh))
    shape = (n_levels[0] * qf, n_levels[1] * qh)
    return sparse.csr_array((values.ravel(), (row.ravel(), col.ravel())), shape=shape)


def expanded_rows(rows: Int, cols: Int, values: Float, n_levels: tuple[int, int]) -> CompressedRows:
    """Return :func:`expanded` of different pairs, for products."""
    _, qf, qh = values.shape
    row, col = positions(rows, cols, (qf, qh))
    shape = (n_levels[0] * qf, n_levels[1] * qh)
    return compressed_rows(row.ravel(), col.ravel(), values.ravel(), shape)


def by_levels(parts: Float, B: CompressedRows) -> CompressedRows:
    """Return blockdiag(parts) B, of parts (L, q, q) and B whose q rows of a level have one pattern."""
    q = parts.shape[1]
    level, a = np.divmod(B.rows, q)
    offset = np.arange(len(B.data)) - B.indptr[B.rows]
    data = np.zeros_like(B.data)
    for b in range(q):
        data += parts[level, a, b] * B.data[B.indptr[level * q + b] + offset]
    return replace(B, data=data)


def expanded_diagonal(values: Float) -> csr_array:
    """Return blockdiag(values_1, ..., values_L) from (L, q, q)."""
    L = values.shape[0]
    at = np.arange(L)
    return expanded(at, at, values, (L, L))
