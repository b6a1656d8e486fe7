"""Covariance of beta-hat that holds whatever the covariance of a group's rows: CR0, CR1, CR2, CR3.

Stands at "Robust covariance" in ``docs/algorithm.md``. The model's V is the working covariance. Groups
are adjusted in coordinates in which (X'V^-1X)^-1 is I, so that everything is p x p a group.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.denominators import ScaledF
from mixedflow.inference.hypotheses import FixedTests
from mixedflow.inference.independent_groups import GroupColumns, GroupProducts

RobustKind = Literal["CR0", "CR1", "CR2", "CR3"]
"""Adjustments of the groups' residuals."""

NOTHING = 1e-9
"""Share below which 1 - leverage, or a column of [Z X], is taken for zero."""


@dataclass(frozen=True, slots=True)
class AdjustedGroups:
    """Groups' scores with adjusted residuals, in coordinates in which (X'V^-1X)^-1 is I.

    Attributes
    ----------
    root : (p, p), the way to the user's coefficients
    score : (G, p), X_g'V^-1 A_g e_g
    spread : (G, p, p), X_g'V^-1 A_g V_g A_g'V^-1 X_g
    drift : (G, p, p), X_g'A_g'V^-1X_g
    """

    root: Float
    score: Float
    spread: Float
    drift: Float

    @property
    def vcov(self) -> Float:
        """(p, p), Phi sum_g X_g'V^-1A_g e_g e_g'A_g'V^-1X_g Phi in the user's units."""
        half = self.score @ self.root.T
        found: Float = half.T @ half
        return found


def adjusted(found: GroupProducts, kind: RobustKind) -> AdjustedGroups:
    """Return adjusted scores, the root being taken where V is I: h(1 - H), H the groups' leverage.

    h is 1 (CR0), sqrt(G / (G - 1)) (CR1), (1 - H)^-1/2 (CR2), (1 - H)^-1 (CR3), H = X~ Phi X~' of
    X~ = V^-1/2 X; with X_g'V^-1X_g = S it is a function of Phi^1/2 S Phi^1/2 alone. CR0, CR2 and CR3
    are mmrm's empirical, bias-reduced and jackknife covariances.

    Parameters
    ----------
    found : of the groups
    kind : which adjustment
    """
    share, P = np.linalg.eigh(found.gram)
    h = _adjustment(np.clip(share, 0.0, 1.0), kind)
    score = np.einsum("gab,gb->ga", P, h * np.einsum("gba,gb->ga", P, found.score))
    spread, drift = (
        (P * values[:, None, :]) @ P.transpose(0, 2, 1) for values in (h * h * share, h * share)
    )
    return AdjustedGroups(found.root, score, spread, drift)


def _adjustment(share: Float, kind: RobustKind) -> Float:
    if kind == "CR0":
        return np.ones_like(share)
    if kind == "CR1":
        return np.full_like(share, np.sqrt(len(share) / (len(share) - 1.0)))
    left = 1.0 - share
    power = -0.5 if kind == "CR2" else -1.0
    found: Float = np.where(left > NOTHING, np.maximum(left, NOTHING) ** power, 0.0)
    return found


def adjusted_symmetric(root: Float, parts: Sequence[GroupColumns]) -> AdjustedGroups:
    """Return CR2's scores with the symmetric A_g that has A_g (V_g - X_g Phi X_g') A_g = V_g.

    With independent residuals of equal weight, V_g / sigma2 = I + Z Z', A_g leaves the space of
    [Z X] where it is: all happens in a basis of it, had from the Gram matrix. Bell and McCaffrey
    (2002) as Pustejovsky and Tipton (2018, eq. 9) have it with V for a working covariance.

    Parameters
    ----------
    root : (p, p), the way to the user's coefficients
    parts : of all groups
    """
    G, p = sum(len(part.groups) for part in parts), len(root)
    score, spread, drift = np.empty((G, p)), np.empty((G, p, p)), np.empty((G, p, p))
    for part in parts:
        score[part.groups], spread[part.groups], drift[part.groups] = _symmetric(part)
    return AdjustedGroups(root, score, spread, drift)


def _symmetric(part: GroupColumns) -> tuple[Float, Float, Float]:
    """Return score, spread and drift of some groups; W = [Z X] = Q B with Q'Q = 1."""
    size = np.sqrt(np.maximum(np.diagonal(part.gram, axis1=1, axis2=2), np.finfo(float).tiny))
    values, U = np.linalg.eigh(part.gram / (size[:, :, None] * size[:, None, :]))
    there = values > NOTHING
    half = np.sqrt(np.where(there, values, 1.0))
    B = (there * half)[:, :, None] * U.transpose(0, 2, 1) * size[:, None, :]
    e = (there / half) * np.einsum("gda,gd->ga", U, part.right / size)
    Z, X = B[:, :, : part.width], B[:, :, part.width :]
    V = np.eye(B.shape[1]) + Z @ Z.transpose(0, 2, 1)
    V_half = _power(V, 0.5)
    left = V_half @ (V - X @ X.transpose(0, 2, 1)) @ V_half
    A = V_half @ _power(left, -0.5) @ V_half
    WX = np.linalg.solve(V, X)
    AWX = A @ WX
    return (
        np.einsum("gap,ga->gp", AWX, e),
        AWX.transpose(0, 2, 1) @ V @ AWX,
        AWX.transpose(0, 2, 1) @ X,
    )


def _power(matrix: Float, power: float) -> Float:
    """Return powers of symmetric matrices; what is zero stays zero."""
    values, U = np.linalg.eigh(matrix)
    there = values > NOTHING * values[:, -1:]
    raised = np.where(there, np.where(there, values, 1.0) ** power, 0.0)
    found: Float = (U * raised[:, None, :]) @ U.transpose(0, 2, 1)
    return found


def bell_mccaffrey_df(L: Float, groups: AdjustedGroups) -> Float:
    """Return 2 E[v]^2 / Var[v] of v = l'V_robust l under the model, for every row of L, (m, p).

    v = sum_g (p_g'e)^2 with p_g'V p_h = delta_gh l'N_g l - l'K_g'K_h l, N spread and K drift: a
    quotient of traces, for which no matrix over groups is needed (Bell and McCaffrey 2002).
    """
    out = []
    for row in L @ groups.root:
        c = np.einsum("a,gab,b->g", row, groups.spread, row)
        b = groups.drift.transpose(0, 2, 1) @ row
        own = np.einsum("ga,ga->g", b, b)
        square = float(c @ c - 2.0 * c @ own + np.sum((b.T @ b) ** 2))
        out.append(float(c.sum() - own.sum()) ** 2 / square if square > 0 else np.inf)
    return np.array(out)


def hotelling_f(L: Float, groups: AdjustedGroups) -> ScaledF:
    """Return scale and df of the approximate Hotelling T2 test of the rows of L (q, p).

    The robust covariance of L b, over its mean under the model, is matched to a Wishart matrix with
    eta = q (q + 1) / sum_st Var(d_st); then (eta - q + 1) / eta * Wald / q is F with q and
    eta - q + 1 degrees of freedom (Tipton and Pustejovsky 2015).
    """
    rows = L @ groups.root
    C = np.einsum("sa,gab,tb->gst", rows, groups.spread, rows)
    b = np.einsum("gba,sb->gsa", groups.drift, rows)
    own = np.einsum("gsa,gta->gst", b, b)
    standard = _power((C - own).sum(axis=0)[None], -0.5)[0]
    C, own = (standard @ part @ standard for part in (C, own))
    b = standard @ b
    q = len(rows)
    U4 = np.einsum("gsa,gtb->stab", b, b, optimize=True)
    total = 0.0
    for s in range(q):
        for t in range(q):
            alike = np.einsum("ab,ba->", U4[t, s], U4[s, t])
            crossed = np.einsum("ab,ba->", U4[t, s], U4[t, s])
            direct = C[:, s, s] * C[:, t, t] + C[:, s, t] ** 2
            mixed = C[:, s, s] * own[:, t, t] + C[:, t, t] * own[:, s, s]
            mixed = mixed + 2.0 * C[:, s, t] * own[:, s, t]
            total += float(np.sum(direct - mixed)) + float(alike + crossed)
    eta = q * (q + 1) / total
    df = eta - q + 1.0
    return ScaledF(df / eta, df) if df > 0 else ScaledF(float("nan"), float("nan"))


@dataclass(frozen=True, slots=True)
class RobustTests(FixedTests):
    """Tests by a robust covariance, with Bell and McCaffrey's degrees of freedom.

    Attributes
    ----------
    groups : what they rest on
    """

    groups: AdjustedGroups | None = None

    def _row_df(self, L: Float) -> Float:
        assert self.groups is not None  # noqa: S101 - given where it is made
        return bell_mccaffrey_df(L, self.groups)

    def _denominator(self, L: Float) -> ScaledF:
        assert self.groups is not None  # noqa: S101 - given where it is made
        if len(L) == 1:
            return ScaledF(1.0, float(self._row_df(L)[0]))
        return hotelling_f(L, self.groups)
