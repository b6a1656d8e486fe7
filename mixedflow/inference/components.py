"""Variance components as lme4's ``as.data.frame(VarCorr(.))`` lists them.

Stands at "Variance components" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mixedflow.covariance.registry import get_structure
from mixedflow.design.types import DesignInfo, Float, TermDesign
from mixedflow.inference.residual import residual_rows


class VarianceComponent(NamedTuple):
    """One row: a variance (``term2`` empty, ``sdcor`` its root) or a covariance and correlation."""

    group: str
    term1: str
    term2: str
    vcov: float
    sdcor: float


def variance_components(
    info: DesignInfo,
    terms: Sequence[TermDesign],
    G: Sequence[Float],
    sigma2: float,
    psi: Float | None = None,
) -> list[VarianceComponent]:
    """Return variances, then covariances of every term, the residuals last.

    Of residuals with a structure come variances by stratum and position, then what determines
    their correlations; a row of a correlation that has no name of two positions has it in
    ``term2``: "rho", or "rho(2)" at the second lag. Without one covariance its ``vcov`` is NaN.

    Parameters
    ----------
    info, terms : names
    G : (q_j, q_j) a term
    sigma2 : residual variance, at the first position of the first stratum
    psi : parameters of R0, where residuals have a structure
    """
    rows = []
    for term, matrix in zip(terms, G, strict=True):
        names = [info.factors[term.factor].columns[c] for c in term.columns]
        rows += _of_term(
            term.label, names, matrix, correlated=get_structure(term.structure).correlated
        )
    if info.residual is None or psi is None:
        return [*rows, VarianceComponent("Residual", "", "", sigma2, float(np.sqrt(sigma2)))]
    found = residual_rows(info.residual, psi, sigma2)
    return [*rows, *(VarianceComponent("Residual", *row) for row in found)]


def _of_term(
    label: str, names: list[str], G: Float, *, correlated: bool
) -> list[VarianceComponent]:
    sd = np.sqrt(np.diag(G))
    rows = [
        VarianceComponent(label, name, "", float(G[i, i]), float(sd[i]))
        for i, name in enumerate(names)
    ]
    if not correlated:
        return rows
    for i in range(len(names)):
        for j in range(i + 1, len(names)):
            product = sd[i] * sd[j]
            r = float(G[i, j] / product) if product > 0 else float("nan")
            rows.append(VarianceComponent(label, names[i], names[j], float(G[i, j]), r))
    return rows
