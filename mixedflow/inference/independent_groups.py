"""What every group adds to X'V^-1X, X'V^-1e and e'V^-1e where V is block-diagonal by group.

Stands at "Robust covariance" in ``docs/algorithm.md``. With one grouping factor, or others nested in
it, V^-1e = R^-1(e - Z F b) group by group: all that is needed are products of the equations' own parts
and the groups' [X y]'R^-1[X y].
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.mme import MmeSolution
from mixedflow.equations.system import ModelSystem

Owners = tuple[Int, ...]
"""The group of every level, (L_f,) a factor."""


@dataclass(frozen=True, slots=True)
class GroupProducts:
    """Sums of G groups in coordinates in which Var(beta-hat) is I: beta = root c + constant.

    Attributes
    ----------
    root : (p, p), root root' = (X'V^-1X)^-1 in the user's units
    n_obs : (G,) rows
    gram : (G, p, p), X_g'V_g^-1X_g; they add up to I
    score : (G, p), X_g'V_g^-1e_g, e = y - X beta-hat; they add up to zero
    squares : (G,), e_g'V_g^-1e_g
    """

    root: Float
    n_obs: Int
    gram: Float
    score: Float
    squares: Float


def outermost(system: ModelSystem) -> tuple[int, Owners] | None:
    """Return the factor in whose levels those of all others are nested, with the level that owns each.

    None where factors are crossed.
    """
    for f, factor in enumerate(system.factors):
        owners: list[Int] = []
        for h in range(len(system.factors)):
            own = np.arange(factor.n_levels) if h == f else _owner(system, f, h)
            if own is None:
                break
            owners.append(own)
        else:
            return f, tuple(owners)
    return None


def _owner(system: ModelSystem, f: int, h: int) -> Int | None:
    """Return the level of f that every level of h is in, or None if one is in several."""
    pair = system.pairs[min(f, h), max(f, h)]
    outer, inner = (pair.rows, pair.cols) if f < h else (pair.cols, pair.rows)
    if len(np.unique(inner)) != len(inner) or len(inner) != system.factors[h].n_levels:
        return None
    owner = np.empty(len(inner), dtype=np.int64)
    owner[inner] = outer
    return owner


def group_products(
    solution: MmeSolution, owners: Owners, grams: Float, n_obs: Int
) -> GroupProducts:
    """Return the groups' products at the solution.

    Parameters
    ----------
    solution : of the equations
    owners : from :func:`outermost`; () without random effects
    grams : (G, p + 1, p + 1), [X y]'R0^-1[X y] of every group in the columns of the equations
    n_obs : (G,)
    """
    mme, beta = solution.mme, solution.beta
    p = len(beta)
    XtRX = mme.precision * grams[:, :p, :p]
    XtRy = mme.precision * grams[:, :p, p]
    XtRe = XtRy - XtRX @ beta
    etRe = mme.precision * grams[:, p, p] - (XtRy + XtRe) @ beta
    for f, owner in enumerate(owners):
        X, H, b = mme.ZtRX[f], solution.absorbed[f], solution.b[f]
        ZtRe = mme.ZtRy[f] - X @ beta
        np.subtract.at(XtRX, owner, X.transpose(0, 2, 1) @ H)
        np.subtract.at(XtRe, owner, np.einsum("lap,la->lp", X, b))
        np.subtract.at(etRe, owner, np.einsum("la,la->l", ZtRe, b))
    C = np.linalg.cholesky(solution.S_inverse)
    gram = C.T @ XtRX @ C
    scale = mme.system.fixed_scale
    return GroupProducts(
        root=scale.y_scale * (scale.transform @ C),
        n_obs=n_obs,
        gram=0.5 * (gram + gram.transpose(0, 2, 1)),
        score=XtRe @ C,
        squares=np.maximum(etRe, 0.0),
    )


@dataclass(frozen=True, slots=True)
class GroupColumns:
    """[Z X]'R^-1[Z X e] of some groups with as many columns of Z each, scaled so that Var(u) = I.

    Attributes
    ----------
    groups : (n,) which
    gram : (n, d, d), d = columns of Z, then p of X in coordinates in which Var(beta-hat) is I
    right : (n, d), [Z X]'R^-1e
    width : columns of Z
    """

    groups: Int
    gram: Float
    right: Float
    width: int


def group_columns(solution: MmeSolution, owners: Owners, grams: Float) -> list[GroupColumns]:
    """Return the groups' products of Z and X, groups of as many levels together.

    Parameters
    ----------
    solution, owners, grams : as for :func:`group_products`
    """
    mme, beta = solution.mme, solution.beta
    p, G = len(beta), len(grams)
    C: Float = np.asarray(np.linalg.cholesky(solution.S_inverse), dtype=np.float64)
    XtRX = mme.precision * grams[:, :p, :p]
    XtRe = mme.precision * grams[:, :p, p] - XtRX @ beta
    counts = np.stack([np.bincount(owner, minlength=G) for owner in owners], axis=1)
    kinds, kind = np.unique(counts, axis=0, return_inverse=True)
    places = _places(mme.random.shapes, owners)
    out = []
    for k, own in enumerate(kinds):
        groups = np.flatnonzero(kind.ravel() == k)
        widths = [n * q for n, (_, q) in zip(own, mme.random.shapes, strict=True)]
        starts: Int = np.cumsum([0, *widths])
        d = int(starts[-1]) + p
        gram, right = np.zeros((len(groups), d, d)), np.zeros((len(groups), d))
        at: Int = np.full(G, -1)
        at[groups] = np.arange(len(groups))
        last = slice(d - p, d)
        gram[:, last, last] = C.T @ XtRX[groups] @ C
        right[:, last] = XtRe[groups] @ C
        _add_levels(solution, (owners, places), (at, starts, C), (gram, right))
        out.append(GroupColumns(groups, gram, right, d - p))
    return out


def _places(shapes: Sequence[tuple[int, int]], owners: Owners) -> list[Int]:
    """Return which of its factor's levels in the group a level is, (L_f,) a factor."""
    out = []
    for (_, q), owner in zip(shapes, owners, strict=True):
        order = np.argsort(owner, kind="stable")
        ordered = owner[order]
        first = np.flatnonzero(np.r_[True, ordered[1:] != ordered[:-1]])
        number = np.empty(len(owner), dtype=np.int64)
        number[order] = np.arange(len(owner)) - np.repeat(first, np.diff(np.r_[first, len(owner)]))
        out.append(number * q)
    return out


def _add_levels(
    solution: MmeSolution,
    levels: tuple[Owners, Sequence[Int]],
    where: tuple[Int, Int, Float],
    into: tuple[Float, Float],
) -> None:
    """Put Z'R^-1[Z X e] of the levels into the groups' matrices."""
    mme, (owners, places), (at, starts, C) = solution.mme, levels, where
    gram, right = into
    X = np.arange(gram.shape[1] - len(C), gram.shape[1])
    for f, (owner, place) in enumerate(zip(owners, places, strict=True)):
        mine = np.flatnonzero(at[owner] >= 0)
        group = at[owner[mine]][:, None]
        own = starts[f] + place[mine][:, None] + np.arange(mme.ZtRX[f].shape[1])
        right[group, own] = mme.ZtRy[f][mine] - mme.ZtRX[f][mine] @ solution.beta
        gram[group[:, :, None], own[:, :, None], own[:, None, :]] = mme.ZtRZ[f][mine]
        _put(gram, group, own, np.broadcast_to(X, (len(mine), len(X))), mme.ZtRX[f][mine] @ C)
    pairs: Mapping[tuple[int, int], tuple[Int, Int, Float]] = mme.random.pairs
    for (f, h), (rows, cols, values) in pairs.items():
        mine = np.flatnonzero(at[owners[f][rows]] >= 0)
        a = starts[f] + places[f][rows[mine]][:, None] + np.arange(values.shape[1])
        b = starts[h] + places[h][cols[mine]][:, None] + np.arange(values.shape[2])
        _put(gram, at[owners[f][rows[mine]]][:, None], a, b, values[mine])


def _put(gram: Float, group: Int, rows: Int, cols: Int, values: Float) -> None:
    """Put (m, a, b) matrices at rows and columns of the groups' matrices, and their transposes."""
    at = group[:, :, None], rows[:, :, None], cols[:, None, :]
    gram[at] = values
    gram[at[0], cols[:, :, None], rows[:, None, :]] = values.transpose(0, 2, 1)
