"""Z'R^-1Z and Z'R^-1X of several factors as matrices over all random effects.

Stands at "Kenward and Roger" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.system import FactorSystem, ModelSystem


def times_factors(matrix: Float, F: Sequence[Float], counts: Sequence[int]) -> Float:
    """Return the matrix, (m, N), times the block-diagonal matrix of F over all levels."""
    stops = np.cumsum([count * len(own) for own, count in zip(F, counts, strict=True)])
    parts = [
        (part.reshape(len(matrix), -1, len(own)) @ own).reshape(len(matrix), -1)
        for own, part in zip(F, np.split(matrix, stops[:-1], axis=1), strict=True)
    ]
    return np.concatenate(parts, axis=1)


def random_part(system: ModelSystem) -> tuple[Float, Float]:
    """Return Z'BZ, (N, N), and Z'BX, (N, p), of all factors in the columns of the equations."""
    sizes = [factor.n_levels * factor.dim for factor in system.factors]
    stops = np.cumsum(sizes)
    at = [slice(int(b) - a, int(b)) for a, b in zip(sizes, stops, strict=True)]
    K = np.zeros((at[-1].stop, at[-1].stop))
    Kx = np.zeros((len(K), system.p))
    for f, factor in enumerate(system.factors):
        levels = np.arange(factor.n_levels)
        own = factor.basis.T @ factor.ZtBZ @ factor.basis
        K[at[f], at[f]] = _spread(levels, levels, own, (factor, factor))
        Kx[at[f]] = (factor.basis.T @ factor.ZtBX).reshape(-1, system.p)
    for (f, g), pair in system.pairs.items():
        both = system.factors[f], system.factors[g]
        values = both[0].basis.T @ pair.ZtBZ @ both[1].basis
        K[at[f], at[g]] = _spread(pair.rows, pair.cols, values, both)
        K[at[g], at[f]] = K[at[f], at[g]].T
    return K, Kx


def _spread(
    rows: Int, cols: Int, values: Float, factors: tuple[FactorSystem, FactorSystem]
) -> Float:
    """Return a dense matrix from its small parts at (row, col)."""
    first, second = factors
    out = np.zeros((first.n_levels, first.dim, second.n_levels, second.dim))
    out[rows, :, cols, :] = values
    return out.reshape(first.n_levels * first.dim, -1)
