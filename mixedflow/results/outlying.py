"""Groups that do not fit, and whether random effects look normal.

Stands at "Outlying groups" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.inference.independent_groups import outermost
from mixedflow.inference.outlying import (
    Distances,
    benjamini_hochberg,
    bonferroni,
    effect_distances,
    effect_variances,
    group_distances,
    normality,
)
from mixedflow.results.comparison import check_exact, check_sums
from mixedflow.results.group_sums import fit_groups, has_groups
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


def outlying_groups(fit: FitResult, factor: str | None) -> pd.DataFrame:
    """Return how far levels are from what is expected; see :meth:`Influence.outlying_groups`."""
    check_exact(fit)
    check_sums(fit, "searched for outlying groups")
    info = fit.crossproducts.info
    used = sorted({term.factor for term in fit.encoder.terms})
    names = [info.factors[f].name for f in used]
    if not used:
        raise UnsupportedError(
            f"'{fit.spec.formula}' has no random effects; residuals() has those of rows"
        )
    if factor is not None and factor not in names:
        raise DataError(
            f"'{factor}' is not a grouping factor of this fit; it has {listing(names)}"
            f"{did_you_mean(factor, names)}"
        )
    at = 0 if factor is None else names.index(factor)
    evaluation: Evaluation = fit._evaluation()
    found = outermost(evaluation.system)
    solution = evaluation.solution
    effects = effect_distances(solution.b[at], effect_variances(solution)[at])
    values = _columns(effects, "Q", "")
    if found is not None and found[0] == at and has_groups(fit, used[at]):
        groups = fit_groups(fit, "searched for outlying groups")
        values |= _columns(group_distances(groups.products()), "distance", "distance_")
    labels = pd.Index(fit.schema.level_labels(used[at]), name=names[at], dtype=object)
    return pd.DataFrame(values, index=labels).sort_values("p", kind="stable")


def _columns(found: Distances, name: str, prefix: str) -> dict[str, object]:
    p = found.p
    return {
        name: found.square,
        f"{prefix}df": found.df,
        f"{prefix}p": p,
        f"{prefix}p_bonferroni": bonferroni(p),
        f"{prefix}p_bh": benjamini_hochberg(p),
    }


def ranef_tests(fit: FitResult) -> pd.DataFrame:
    """Return whether random effects look normal; see :meth:`Influence.ranef_tests`."""
    check_exact(fit)
    check_sums(fit, "tested for normal random effects")
    info = fit.crossproducts.info
    used = sorted({term.factor for term in fit.encoder.terms})
    if not used:
        raise UnsupportedError(f"'{fit.spec.formula}' has no random effects to test")
    evaluation: Evaluation = fit._evaluation()
    solution, rows = evaluation.solution, []
    for f, variances, b, factor, F in zip(
        used,
        effect_variances(solution),
        solution.b,
        evaluation.system.factors,
        evaluation.factors,
        strict=True,
    ):
        user = factor.units @ F
        u, spread = b @ user.T, np.einsum("ab,lbc,ac->la", user, variances, user)
        columns = [c for term in fit.encoder.terms if term.factor == f for c in term.columns]
        for k, column in enumerate(columns):
            there = spread[:, k] > np.finfo(float).eps * max(1e-300, float(spread[:, k].max()))
            z = u[there, k] / np.sqrt(spread[there, k])
            found = normality(z)
            rows.append(
                {
                    "group": info.factors[f].name,
                    "term": info.factors[f].columns[column],
                    "levels": len(z),
                    "Q": float(z @ z),
                    "per_level": float(np.mean(z * z)) if len(z) else np.nan,
                    "skewness": found.skewness,
                    "kurtosis": found.kurtosis,
                    "jarque_bera": found.statistic,
                    "p": found.p,
                }
            )
    return pd.DataFrame(rows).set_index(["group", "term"])
