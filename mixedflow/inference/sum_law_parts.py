"""Residual structures whose rows fall into independent parts, each with one variance.

Stands at "Bootstrap" in ``docs/algorithm.md``. Strata are rows apart. With I and J over groups of n rows,
J / n takes their means and I - J / n what is left of each row: under compound symmetry the two are
independent, with variances sigma2 (1 + (n - 1) rho) and sigma2 (1 - rho).
"""

from __future__ import annotations

import numpy as np

from mixedflow.crossproducts.ordering import SIZE_BITS
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import Float
from mixedflow.equations.residual_system import ResidualSums
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.inference.sum_law import ErrorLaw, rows_of_keys

Parts = tuple[tuple[ErrorLaw, ...], tuple[float, ...], Float]
"""The law of every part, the SD of a row of weight 1 in it, and what makes keys of parts."""


def residual_parts(
    residual: ResidualSums, sums: CrossProducts, params: VarianceParameters
) -> Parts | None:
    """Return the parts of a residual structure; None where residuals have none.

    Parameters
    ----------
    residual : sums of the model by key
    sums : the same as they are stored
    params : at which the variances of the parts are wanted
    """
    if residual.design.basis not in ("strata", "sizes") or len(residual.factors) > 1:
        return None
    f = residual.plan.values(params.psi)[0] / params.sigma2
    keys = sorted(sums.keyed)
    counts = [sums.keyed[key].n_obs for key in keys]
    if residual.design.basis == "strata":
        laws = [ErrorLaw(rows_of_keys(residual, {k: 1.0}, n, k)) for k, n in enumerate(counts)]
        return tuple(laws), tuple((1.0 / np.sqrt(f)).tolist()), np.eye(len(keys))
    parts, sds, back = [], [], np.zeros((len(keys), len(keys)))
    for k in range(0, len(keys), 2):
        if not _same_levels(residual, k):
            return None
        n = keys[k][0] & ((1 << SIZE_BITS) - 1)
        groups = counts[k] // n
        within = rows_of_keys(residual, {k: 1.0, k + 1: -1.0 / n}, counts[k] - groups, k)
        means = rows_of_keys(residual, {k + 1: 1.0 / n}, groups, k)
        parts += [ErrorLaw(within), ErrorLaw(means)]
        sds += [float(1.0 / np.sqrt(f[k])), float(1.0 / np.sqrt(f[k] + n * f[k + 1]))]
        back[k, k : k + 2], back[k + 1, k + 1] = 1.0, n
    return tuple(parts), tuple(sds), back


def _same_levels(residual: ResidualSums, k: int) -> bool:
    """Whether I and J of a size have the same levels of the factors."""
    for factor in residual.factors:
        one, other = (factor.meeting.target[factor.meeting.key == key] for key in (k, k + 1))
        if not np.array_equal(one, other):
            return False
    return True
