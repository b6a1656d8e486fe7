"""Rows of chosen levels of a grouping factor, read once more: for deletions where factors are crossed.

Stands at "Deletion" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedflow.crossproducts.coded import written_out
from mixedflow.crossproducts.condense import condense_columns
from mixedflow.crossproducts.keyed import stored_columns
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import unstack
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.inference.deletion import Deletion, deletions, rows_deletion
from mixedflow.results.group_sums import check_rows, choosing

if TYPE_CHECKING:
    import pyarrow as pa

    from mixedflow.results.fit_result import FitResult

MOST_NUMBERS = 1 << 25
"""Numbers of the inverse of M_zz that are held at a time."""


@dataclass(frozen=True, slots=True)
class LevelRows:
    """Rows of some levels, ordered by level, in the columns of the equations.

    Attributes
    ----------
    starts : (m + 1,) where the rows of each level begin
    X : (n, p), R^-1/2 X
    Z : (n, q_f) a factor, R^-1/2 Z F
    at : (n, q_f) a factor, where these effects stand among all random effects
    e : (n,), R^-1/2 (y - X beta - Z u)
    """

    starts: Int
    X: Float
    Z: tuple[Float, ...]
    at: tuple[Int, ...]
    e: Float


def chosen_tables(fit: FitResult, f: int, codes: Int) -> Iterator[pa.Table]:
    """Yield the complete rows of some levels of a factor, a partition at a time."""
    check_rows(fit)
    source: Any = fit.source
    names = fit.encoder.variables()
    for i in range(source.n_partitions):
        table = source.read(i, names)
        block = fit.encoder.encode(table)
        mine = np.isin(block.codes[f], codes)
        yield table.take(np.flatnonzero(block.kept)[mine])


def own_sums(fit: FitResult, f: int, code: int) -> CrossProducts:
    """Return the sums over the rows of one level."""
    total = None
    for table in chosen_tables(fit, f, np.array([code])):
        if table.num_rows:
            sums = condense_columns(fit.encoder.columns(table), fit.encoder.info)
            total = sums if total is None else total + sums
    assert total is not None  # noqa: S101 - every level has rows
    return total


def level_rows(fit: FitResult, evaluation: Evaluation, f: int, codes: Int) -> LevelRows:
    """Return the rows of some levels of factor f, (m,) codes."""
    mme, system = evaluation.solution.mme, evaluation.system
    used = sorted({term.factor for term in fit.encoder.terms})
    firsts = np.cumsum([0, *(factor.n_levels * factor.dim for factor in system.factors)])
    XY, Z, levels = [], [], []
    for table in chosen_tables(fit, f, codes):
        part = written_out(fit.encoder.columns(table))
        left, right, _ = stored_columns(part, fit.encoder.info, np.arange(part.n))
        XY.append(left)
        Z.append([right[h] for h in used])
        levels.append([part.codes[h] for h in used])
    root = np.sqrt(mme.precision)
    rows = root * np.concatenate(XY) @ choosing(system, fit.crossproducts.info, XY[0].shape[1])
    codes_of = [np.concatenate([one[h] for one in levels]) for h in range(len(used))]
    place = np.searchsorted(codes, codes_of[used.index(f)])
    order = np.argsort(place, kind="stable")
    scaled = [root * np.concatenate([z[h] for z in Z]) @ T for h, T in enumerate(mme.loadings)]
    b = evaluation.solution.b
    e = rows[:, -1] - rows[:, :-1] @ evaluation.beta
    for code, z, own in zip(codes_of, scaled, b, strict=True):
        e -= np.einsum("na,na->n", z, own[code])
    at = [
        first + code[:, None] * z.shape[1] + np.arange(z.shape[1])
        for first, code, z in zip(firsts, codes_of, scaled, strict=False)
    ]
    return LevelRows(
        np.searchsorted(place[order], np.arange(len(codes) + 1)),
        rows[order, :-1],
        tuple(z[order] for z in scaled),
        tuple(one[order] for one in at),
        e[order],
    )


def level_deletion(evaluation: Evaluation, rows: LevelRows) -> Deletion:
    """Return what leaving out each level's rows does, at the variances of the fit."""
    solution = evaluation.solution
    H = np.concatenate([part.reshape(-1, evaluation.system.p) for part in solution.absorbed])
    m, p = len(rows.starts) - 1, evaluation.system.p
    C = np.linalg.cholesky(solution.S_inverse)
    back = np.linalg.inv(C)
    changes, covariances = np.empty((m, p)), np.empty((m, p, p))
    for levels, columns, inverse in _inverse_columns(evaluation, rows):
        for level in levels:
            mine = slice(rows.starts[level], rows.starts[level + 1])
            effects = np.unique(np.concatenate([at[mine].ravel() for at in rows.at]))
            W = np.zeros((mine.stop - mine.start, p + len(effects)))
            W[:, :p] = rows.X[mine]
            for at, z in zip(rows.at, rows.Z, strict=True):
                here = np.arange(len(W))[:, None], p + np.searchsorted(effects, at[mine])
                W[here] = z[mine]
            M = inverse[np.ix_(effects, np.searchsorted(columns, effects))]
            cross = -solution.S_inverse @ H[effects].T
            own = np.block([[solution.S_inverse, cross], [cross.T, M - H[effects] @ cross]])
            change, covariance = rows_deletion(W, rows.e[mine], own, own[:p])
            changes[level] = back @ change
            covariances[level] = back @ covariance @ back.T
    scale = evaluation.system.fixed_scale
    return deletions(scale.y_scale * (scale.transform @ C), changes, covariances)


def _inverse_columns(evaluation: Evaluation, rows: LevelRows) -> Iterator[tuple[range, Int, Float]]:
    """Yield levels, the effects that their rows touch, and these columns of M_zz^-1."""
    engine = evaluation.solution.engine
    shapes = engine.matrix.shapes
    size = sum(L * q for L, q in shapes)
    room = max(1, MOST_NUMBERS // size)
    first, m = 0, len(rows.starts) - 1
    while first < m:
        last, touched = first, np.array([], dtype=np.int64)
        while last < m:
            mine = slice(rows.starts[last], rows.starts[last + 1])
            more = np.union1d(touched, np.concatenate([at[mine].ravel() for at in rows.at]))
            if len(more) > room and last > first:
                break
            touched, last = more, last + 1
        unit = np.zeros((size, len(touched)))
        unit[touched, np.arange(len(touched))] = 1.0
        solved = engine.solve(unstack(unit, shapes))
        yield (
            range(first, last),
            touched,
            np.concatenate([part.reshape(-1, len(touched)) for part in solved]),
        )
        first = last
