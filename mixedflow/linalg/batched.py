"""A_g = L_g L_g' for g = 1..G: Cholesky and what follows from it, for many small matrices at once.

Arrays are (G, q, q) with q of a handful, up to 16 or so. Each operation exists twice, in NumPy and
compiled; the size of the batch alone decides which runs, so that the same input gives the same bits
every time, and small work never waits for the compiler. Serves "one grouping factor" of
``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from numpy.typing import ArrayLike

from mixedflow.linalg.arrays import FloatArray
from mixedflow.linalg.errors import NotPositiveDefinite

COMPILED_FROM = 100_000  # numbers in a batch from which on the compiled kernels are used


def batched_cholesky(matrices: ArrayLike, *, threads: int = 1) -> FloatArray:
    """A_g = L_g L_g'; return L, (G, q, q), zero above the diagonals.

    Only the lower triangles are read.

    Raises
    ------
    NotPositiveDefinite
        With the first matrix (``item``) and the column of it that break down.
    """
    batch = _batch(matrices)
    if not _is_large(batch):
        return _numpy_cholesky(batch)
    from mixedflow.linalg import batched_kernels as kernels

    lower = np.empty_like(batch)
    failures = _in_slices(
        lambda first, last: kernels.cholesky(batch, lower, first, last), len(batch), threads
    )
    failure = next((found for found in failures if found >= 0), -1)
    if failure >= 0:
        item, column = divmod(int(failure), batch.shape[1])
        raise NotPositiveDefinite(column, item)
    return lower


def batched_logdet(lower: ArrayLike) -> FloatArray:
    """log|A_g| = 2 sum_j log (L_g)_jj, (G,)."""
    batch = _batch(lower)
    if not _is_large(batch):
        logs: FloatArray = 2.0 * np.log(np.diagonal(batch, axis1=1, axis2=2)).sum(axis=1)
        return logs
    from mixedflow.linalg import batched_kernels as kernels

    result = np.empty(len(batch))
    kernels.logdet(batch, result, 0, len(batch))
    return result


def batched_inverse(lower: ArrayLike, *, threads: int = 1) -> FloatArray:
    """A_g^-1 = L_g^-T L_g^-1, (G, q, q), from L."""
    batch = _batch(lower)
    if not _is_large(batch):
        root = _numpy_lower(batch, np.broadcast_to(np.eye(batch.shape[1]), batch.shape))
        product: FloatArray = np.matmul(root.transpose(0, 2, 1), root)
        return product
    from mixedflow.linalg import batched_kernels as kernels

    result = np.empty_like(batch)
    _in_slices(lambda first, last: kernels.inverse(batch, result, first, last), len(batch), threads)
    return result


def batched_solve_lower(lower: ArrayLike, right: ArrayLike, *, threads: int = 1) -> FloatArray:
    """L_g^-1 B_g for right-hand sides (G, q, r) or (G, q)."""
    batch, columns, shape = _with_right(lower, right)
    if not _is_large(columns):
        return _numpy_lower(batch, columns).reshape(shape)
    from mixedflow.linalg import batched_kernels as kernels

    result = columns.copy()
    _in_slices(
        lambda first, last: kernels.solve_lower(batch, result, first, last), len(batch), threads
    )
    return result.reshape(shape)


def batched_solve_upper(lower: ArrayLike, right: ArrayLike, *, threads: int = 1) -> FloatArray:
    """L_g^-T B_g for right-hand sides (G, q, r) or (G, q)."""
    batch, columns, shape = _with_right(lower, right)
    if not _is_large(columns):
        return _numpy_upper(batch, columns).reshape(shape)
    from mixedflow.linalg import batched_kernels as kernels

    result = columns.copy()
    _in_slices(
        lambda first, last: kernels.solve_upper(batch, result, first, last), len(batch), threads
    )
    return result.reshape(shape)


def batched_solve(lower: ArrayLike, right: ArrayLike, *, threads: int = 1) -> FloatArray:
    """A_g^-1 B_g for right-hand sides (G, q, r) or (G, q), from L."""
    half = batched_solve_lower(lower, right, threads=threads)
    return batched_solve_upper(lower, half, threads=threads)


def _batch(matrices: ArrayLike) -> FloatArray:
    batch = np.ascontiguousarray(matrices, dtype=np.float64)
    if batch.ndim != 3 or batch.shape[1] != batch.shape[2]:
        raise ValueError(f"a batch must have the shape (G, q, q), found {batch.shape}")
    return batch


def _with_right(
    lower: ArrayLike, right: ArrayLike
) -> tuple[FloatArray, FloatArray, tuple[int, ...]]:
    batch = _batch(lower)
    columns = np.ascontiguousarray(right, dtype=np.float64)
    if columns.ndim not in {2, 3} or columns.shape[:2] != batch.shape[:2]:
        raise ValueError(
            f"right-hand sides of a batch {batch.shape} must have the shape (G, q, r) or (G, q), "
            f"found {columns.shape}"
        )
    stacked = columns if columns.ndim == 3 else columns[:, :, None]
    return batch, stacked, columns.shape


def _is_large(batch: FloatArray) -> bool:
    return batch.size >= COMPILED_FROM


def _in_slices(run: Callable[[int, int], int | None], count: int, threads: int) -> list[int]:
    """Run over 0..count in as many slices as threads; what the slices return, in order."""
    bounds = np.linspace(0, count, max(1, threads) + 1).astype(np.int64).tolist()
    if threads <= 1:
        return [run(0, count) or 0]
    with ThreadPoolExecutor(threads) as pool:
        return [found or 0 for found in pool.map(run, bounds[:-1], bounds[1:])]


def _numpy_cholesky(batch: FloatArray) -> FloatArray:
    """NumPy twin of ``batched_kernels.cholesky``."""
    lower = np.zeros_like(batch)
    q = batch.shape[1]
    with np.errstate(invalid="ignore", divide="ignore", over="ignore"):
        for j in range(q):
            left = batch[:, j:, j] - np.einsum("gik,gk->gi", lower[:, j:, :j], lower[:, j, :j])
            lower[:, j, j] = np.sqrt(left[:, 0])
            lower[:, j + 1 :, j] = left[:, 1:] / lower[:, j, j, None]
    pivots = np.diagonal(lower, axis1=1, axis2=2)
    broken = ~((pivots > 0.0) & np.isfinite(pivots))
    if broken.any():
        item, column = np.argwhere(broken)[0]
        raise NotPositiveDefinite(int(column), int(item))
    return lower


def _numpy_lower(lower: FloatArray, right: FloatArray) -> FloatArray:
    """NumPy twin of ``batched_kernels.solve_lower``."""
    result = np.empty(right.shape)
    for i in range(lower.shape[1]):
        known = np.einsum("gk,gkt->gt", lower[:, i, :i], result[:, :i])
        result[:, i] = (right[:, i] - known) / lower[:, i, i, None]
    return result


def _numpy_upper(lower: FloatArray, right: FloatArray) -> FloatArray:
    """NumPy twin of ``batched_kernels.solve_upper``."""
    result = np.empty(right.shape)
    for i in range(lower.shape[1] - 1, -1, -1):
        known = np.einsum("gk,gkt->gt", lower[:, i + 1 :, i], result[:, i + 1 :])
        result[:, i] = (right[:, i] - known) / lower[:, i, i, None]
    return result
