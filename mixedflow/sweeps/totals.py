"""Rows of many responses are added up partition by partition; equal missing values share a design.

Stands at "Sweeps" in ``docs/algorithm.md``. Which responses lack the same rows shows as the
partitions come: a class of responses divides where they first differ, and only then are its sums of
the columns copied.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.sweeps.rows import RowColumns
from mixedflow.sweeps.types import Designs, Responses

COMPILE_ABOVE = 1_000_000
"""Rows times responses from which the compiled passes pay for their start."""


@dataclass(slots=True)
class Totals:
    """Sums of T responses so far.

    Attributes
    ----------
    shift, scale : (T,) pilots of the responses; the shift stays zero unless X spans the constant
    which : (T,) class of every response
    n_obs, logs, ZtZ, ZtX, XtX : of every class; see :class:`mixedflow.sweeps.types.Designs`
    Zty, Xty, yty : of every response
    low, high : (T,) smallest and largest value
    """

    shifted: bool
    shift: Float
    scale: Float
    which: Int
    n_obs: Int
    logs: Float
    ZtZ: Float
    ZtX: Float
    XtX: Float
    Zty: Float
    Xty: Float
    yty: Float
    low: Float
    high: Float
    seen: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(0, dtype=bool))

    @classmethod
    def empty(cls, shape: tuple[int, int, int, int], *, shifted: bool) -> Totals:
        """Return sums over no rows, for (T, L, q, p); ``shifted`` says whether X spans the constant."""
        T, L, q, p = shape
        return cls(
            shifted, np.zeros(T), np.ones(T), np.zeros(T, dtype=np.int64),
            np.zeros(1, dtype=np.int64), np.zeros(1), np.zeros((1, L, q, q)),
            np.zeros((1, L, q, p)), np.zeros((1, p, p)), np.zeros((T, L, q)), np.zeros((T, p)),
            np.zeros(T), np.full(T, np.inf), np.full(T, -np.inf), np.zeros(T, dtype=bool),
        )  # fmt: skip

    def add(self, V: Float, columns: RowColumns) -> None:
        """Add a partition: V is (T, n), C-contiguous, NaN where a response is missing."""
        lacking = np.isnan(V)
        self._pilots(V, lacking, columns)
        self._divide(lacking)
        first = np.unique(self.which, return_index=True)[1]
        here = np.ascontiguousarray(~lacking[first])
        args = columns.X, columns.Z, columns.codes, columns.weights
        if V.size < COMPILE_ABOVE:
            _add_with_numpy(self, V, here, columns)
            return
        from mixedflow.sweeps.total_kernels import add_designs, add_responses

        add_designs(here, *args, self.n_obs, self.logs, self.ZtZ, self.ZtX, self.XtX)
        add_responses(V, *args, columns.base, self.shift, self.scale, self.Xty, self.Zty, self.yty)

    def sums(self) -> tuple[Designs, Responses]:
        """Return the sums."""
        designs = Designs(self.n_obs, self.ZtZ, self.ZtX, self.XtX, self.logs)
        return designs, Responses(self.which, self.Zty, self.Xty, self.yty)

    def _pilots(self, V: Float, lacking: NDArray[np.bool_], columns: RowColumns) -> None:
        """Give a shift and a scale to every response that is here for the first time."""
        if not V.shape[1]:
            return
        with np.errstate(all="ignore"):
            mean, square, low, high = _surveyed(V, lacking, columns.base, shifted=self.shifted)
            size = np.exp2(np.round(0.5 * np.log2(square)))
        new = ~self.seen & ~np.isnan(mean)
        if self.shifted:
            self.shift[new] = mean[new]
        self.scale[new] = np.where(np.isfinite(size) & (size > 0), size, 1.0)[new]
        self.seen |= new
        self.low, self.high = np.fmin(self.low, low), np.fmax(self.high, high)

    def _divide(self, lacking: NDArray[np.bool_]) -> None:
        """Divide classes whose responses lack different rows of a partition."""
        packed = np.packbits(lacking, axis=1)
        both = np.concatenate([self.which[:, None].view(np.uint8), packed], axis=1)
        rows = np.ascontiguousarray(both).view([("", np.void, both.shape[1])]).ravel()
        _, first, which = np.unique(rows, return_index=True, return_inverse=True)
        which = which.ravel()
        parent = self.which[first]
        if len(parent) != len(self.n_obs) or (parent != np.arange(len(parent))).any():
            for name in ("n_obs", "logs", "ZtZ", "ZtX", "XtX"):
                setattr(self, name, getattr(self, name)[parent])
        self.which = which.astype(np.int64)


def _surveyed(
    V: Float, lacking: NDArray[np.bool_], base: Float, *, shifted: bool
) -> tuple[Float, Float, Float, Float]:
    """Return mean and mean square about the shift of V + base, smallest and largest V, (T,) each."""
    if V.size >= COMPILE_ABOVE:
        from mixedflow.sweeps.total_kernels import survey

        mean, square, low, high = np.empty((4, len(V)))
        survey(V, base, shifted, mean, square, low, high)
        return mean, square, low, high
    values, count = np.where(lacking, 0.0, V + base), (~lacking).sum(axis=1)
    mean = values.sum(axis=1) / count
    centre = mean if shifted else np.zeros(len(V))
    square = np.where(lacking, 0.0, (values - centre[:, None]) ** 2).sum(axis=1) / count
    low, high = np.where(lacking, np.inf, V).min(axis=1), np.where(lacking, -np.inf, V).max(axis=1)
    return mean, square, low, high


def _add_with_numpy(total: Totals, V: Float, here: NDArray[np.bool_], columns: RowColumns) -> None:
    """Add a partition by NumPy: the twin of the compiled passes."""
    X, Z, codes, w = columns.X, columns.Z, columns.codes, columns.weights
    Y = (V + columns.base - total.shift[:, None]) / total.scale[:, None]
    Y = np.where(np.isnan(V), 0.0, Y)
    total.Xty += Y @ (X * w[:, None])
    total.yty += np.einsum("tn,tn,n->t", Y, Y, w)
    for k in range(Z.shape[1]):
        np.add.at(total.Zty[:, :, k].T, codes, (Y * (Z[:, k] * w)).T)
    for d, rows in enumerate(here):
        x, z, at, own = X[rows], Z[rows], codes[rows], w[rows, None]
        total.n_obs[d] += int(rows.sum())
        total.logs[d] += float(np.log(own).sum())
        total.XtX[d] += x.T @ (x * own)
        np.add.at(total.ZtX[d], at, z[:, :, None] * (x * own)[:, None, :])
        np.add.at(total.ZtZ[d], at, z[:, :, None] * (z * own)[:, None, :])
