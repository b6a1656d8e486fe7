"""Prediction error variance Var(u-hat - u), and what share of G it leaves: reliability.

Stands at "Prediction error" in ``docs/algorithm.md``. With C the inverse of Henderson's equations and
H = M_zz^-1 Z'R^-1X, ``C^uu = M_zz^-1 + H (X'V^-1X)^-1 H'``: the first part is the variance of u given y
and beta (lme4's condVar), the second what beta-hat adds (as ASReml and BLUPF90 report it).
"""

from __future__ import annotations

from typing import Literal

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import Parts
from mixedflow.estimation.fit import (
    conditional_covariances,
    conditional_covariances_at,
    user_factors,
)
from mixedflow.estimation.likelihood import Evaluation

ErrorKind = Literal["full", "known_beta"]
"""Whether the uncertainty of beta-hat is part of the prediction error."""


def error_covariances(evaluation: Evaluation, kind: ErrorKind) -> Parts:
    """Return Var(u-hat_l - u_l) of every level, (L_f, q_f, q_f) a factor, in the user's units.

    Parameters
    ----------
    evaluation : at the estimates, by an exact solver
    kind : "full", y_scale^2 T F (C^uu)_ll F'T'; "known_beta", the same of M_zz^-1
    """
    known = conditional_covariances(evaluation)
    if kind == "known_beta":
        return known
    return tuple(
        part + _from_beta(evaluation, f, evaluation.solution.absorbed[f])
        for f, part in enumerate(known)
    )


def error_covariances_at(
    evaluation: Evaluation, factor: int, levels: Int, kind: ErrorKind
) -> Float:
    """Return Var(u-hat_l - u_l) of a few levels of a factor, (m, q, q), exactly for every solver."""
    known = conditional_covariances_at(evaluation, factor, levels)
    if kind == "known_beta":
        return known
    absorbed = evaluation.solution.absorbed[factor][levels]
    total: Float = known + _from_beta(evaluation, factor, absorbed)
    return total


def _from_beta(evaluation: Evaluation, factor: int, absorbed: Float) -> Float:
    """Return T F H S^-1 H'F'T' with S = X'V^-1X, (m, q, q)."""
    root = np.linalg.cholesky(evaluation.S_inverse)
    m, q, p = absorbed.shape
    half = (absorbed.reshape(m * q, p) @ root).reshape(m, q, p)
    moved = user_factors(evaluation)[factor] @ half
    added: Float = moved @ moved.transpose(0, 2, 1)
    return added


def reliability(pev: Float, variance: Float) -> Float:
    """Return r2 = 1 - PEV / G_jj, the squared correlation of u and u-hat; NaN where G_jj is zero.

    Parameters
    ----------
    pev : (L, q); variance : (q,)
    """
    some = np.where(variance > 0.0, variance, np.nan)
    share: Float = np.clip(1.0 - pev / some, 0.0, 1.0)
    return share
