"""How far a predicted value may be off: Var(x'b + z'u-hat - x'beta - z'u), and of a new observation.

Stands at "Prediction" in ``docs/algorithm.md``. In scaled effects, z~ = F'T'z spread over the levels of
the row and S = X'V^-1X, the inverse of Henderson's equations gives ::

    w'C w = (x - H'z~)' S^-1 (x - H'z~) + z~' M_zz^-1 z~,   H = M_zz^-1 Z'R^-1 X

Entries of M_zz^-1 between levels of two factors that met in the data are on its pattern; those of other
pairs are solved for, a batch of levels at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.design.coded import contrast_matrix, multiplier
from mixedflow.design.types import DesignBlock, Float, Int, TermDesign
from mixedflow.equations.engines import Engine
from mixedflow.equations.iterative import IterativeEngine
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.estimation.likelihood import Evaluation
from mixedflow.estimation.observed import STEP, observed_information, parameter_sizes
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem
from mixedflow.inference.decorrelate import ResidualPlaces, row_sds

NUMBERS = 10_000_000
"""Numbers that are laid out at a time."""

FixedRows = Callable[[slice], Float]
"""Gives the rows of X, (m, p), of a slice: a category of many levels is written out in pieces."""


@dataclass(frozen=True, slots=True)
class ResidualRows:
    """What a new observation adds to each row's variance: sigma2 r^2 / w.

    Attributes
    ----------
    weights : (n,), or None
    design, places : of residuals with a structure, for the relative SD r; None where it is 1
    """

    weights: Float | None
    design: ResidualDesign | None = None
    places: ResidualPlaces | None = None

    def variance(self, sigma2: float, psi: Float) -> Float:
        """Return the variance of the rows, (n,) or ()."""
        r = np.ones(())
        if self.design is not None and self.places is not None:
            r = row_sds(self.design, psi, self.places)
        variance: Float = sigma2 * r**2
        return variance if self.weights is None else variance / self.weights


@dataclass(frozen=True, slots=True)
class PredictionRows:
    """Rows whose prediction errors are wanted.

    Attributes
    ----------
    n : rows
    X : (n, p), in pieces
    Z : (n, q_f) a factor, its terms' columns side by side, in the user's units
    codes : (n,) a factor; -1 is a level that the fit has not seen, whose effect varies as G
    residual : of a new observation, or None for its mean
    """

    n: int
    X: FixedRows
    Z: tuple[Float, ...]
    codes: tuple[Int, ...]
    residual: ResidualRows | None = None

    def variance(self, evaluation: AnyEvaluation) -> Float:
        """Return the variance of every row's prediction error at some variances, (n,).

        Levels that the fit has seen need an evaluation by arrays
        (:class:`mixedflow.estimation.likelihood.Evaluation`).
        """
        system = evaluation.system
        scaled = tuple(
            Z @ (factor.units @ F)
            for Z, factor, F in zip(self.Z, system.factors, evaluation.factors, strict=True)
        )
        total = _fixed_variance(evaluation, self, scaled)
        for codes, z in zip(self.codes, scaled, strict=True):
            total += np.where(codes < 0, np.einsum("na,na->n", z, z), 0.0)
        if any((codes >= 0).any() for codes in self.codes):
            assert isinstance(evaluation, Evaluation)  # noqa: S101 - the caller's choice
            total += _known_variance(evaluation.solution.engine, self.codes, scaled)
        if self.residual is not None:
            params = evaluation.params
            total += self.residual.variance(params.sigma2, params.psi)
        found: Float = system.fixed_scale.y_scale**2 * total
        return found


def fixed_rows(block: DesignBlock, kept: Sequence[int]) -> FixedRows:
    """Return what writes out rows of X, aliased columns left out."""
    if not block.coded:
        return lambda at: block.X[at][:, list(kept)]
    taken = np.concatenate([one.places for one in block.coded])
    plain = np.delete(np.arange(block.X.shape[1] + len(taken)), taken)
    coded = [(one, contrast_matrix(one), multiplier(one)) for one in block.coded]

    def written(at: slice) -> Float:
        X = np.empty((len(block.X[at]), len(plain) + len(taken)))
        X[:, plain] = block.X[at]
        for one, C, numbers in coded:
            X[:, one.places] = C[one.codes[at]] * numbers[at, None]
        return X[:, list(kept)]

    return written


def random_columns(block: DesignBlock, terms: Sequence[TermDesign]) -> tuple[Float, ...]:
    """Return Z of every factor of the model, its terms' columns side by side."""
    return tuple(
        block.Z[f][:, [c for term in terms if term.factor == f for c in term.columns]]
        for f in sorted({term.factor for term in terms})
    )


def in_slices(n: int, width: int) -> list[slice]:
    """Return slices of rows of a width, so that each holds at most so many numbers."""
    step = max(1, NUMBERS // max(1, width))
    return [slice(start, min(n, start + step)) for start in range(0, n, step)]


def _fixed_variance(
    evaluation: AnyEvaluation, rows: PredictionRows, scaled: tuple[Float, ...]
) -> Float:
    """Return a'S^-1 a with a = T'x - H'z~, (n,)."""
    T, S_inverse = evaluation.system.fixed_scale.transform, evaluation.S_inverse
    known = [codes >= 0 for codes in rows.codes]
    widest = max([1, *(z.shape[1] for z in scaled)])
    out = np.empty(rows.n)
    for at in in_slices(rows.n, widest * len(T)):
        a = rows.X(at) @ T
        for f, (codes, z) in enumerate(zip(rows.codes, scaled, strict=True)):
            some = np.flatnonzero(known[f][at])
            if len(some):
                assert isinstance(evaluation, Evaluation)  # noqa: S101 - as above
                H = evaluation.solution.absorbed[f][codes[at][some]]
                a[some] -= np.einsum("nqp,nq->np", H, z[at][some])
        out[at] = np.einsum("np,pr,nr->n", a, S_inverse, a, optimize=True)
    return out


def _known_variance(engine: Engine, codes: tuple[Int, ...], scaled: tuple[Float, ...]) -> Float:
    """Return z~'M_zz^-1 z~ over the levels that the fit has seen, (n,)."""
    total = np.zeros(len(codes[0]))
    for f, z in enumerate(scaled):
        some = np.flatnonzero(codes[f] >= 0)
        levels, at = np.unique(codes[f][some], return_inverse=True)
        parts = _diagonal(engine, f, levels)[at]
        total[some] += np.einsum("na,nab,nb->n", z[some], parts, z[some])
        for h in range(f + 1, len(scaled)):
            both = np.flatnonzero((codes[f] >= 0) & (codes[h] >= 0))
            met, at = np.unique(
                np.stack([codes[f][both], codes[h][both]]), axis=1, return_inverse=True
            )
            parts = inverse_entries(engine, (f, h), met[0], met[1])[at.ravel()]
            total[both] += 2.0 * np.einsum("na,nab,nb->n", z[both], parts, scaled[h][both])
    return total


def _diagonal(engine: Engine, factor: int, levels: Int) -> Float:
    if isinstance(engine, IterativeEngine):
        return engine.inverse_at(factor, levels)
    return engine.inverse_diagonal()[factor][levels]


def inverse_entries(engine: Engine, key: tuple[int, int], rows: Int, cols: Int) -> Float:
    """Return (m, q_f, q_h) parts of M_zz^-1 at pairs of levels of factors f < h, any pairs.

    Parameters
    ----------
    engine : the factorised M_zz
    key : (f, h)
    rows, cols : (m,) levels of f and of h
    """
    (_, q), (width, r) = (engine.matrix.shapes[f] for f in key)
    out = np.empty((len(rows), q, r))
    missing = np.ones(len(rows), dtype=bool)
    if not isinstance(engine, IterativeEngine):
        first, second, _ = engine.matrix.pairs[key]
        known, wanted = first * width + second, rows * width + cols
        order = np.argsort(known)
        at = np.searchsorted(known, wanted, sorter=order)
        at = order[np.minimum(at, len(known) - 1)]
        missing = known[at] != wanted
        if not missing.all():
            out[~missing] = engine.inverse_pairs(key)[at[~missing]]
    if missing.any():
        out[missing] = _solved_entries(engine, key, rows[missing], cols[missing])
    return out


def _solved_entries(engine: Engine, key: tuple[int, int], rows: Int, cols: Int) -> Float:
    """Return the same by solutions for the levels of that factor of which there are fewer."""
    f, h = key
    if (
        len(np.unique(rows)) * engine.matrix.shapes[f][1]
        < len(np.unique(cols)) * (engine.matrix.shapes[h][1])
    ):
        return _solved_entries(engine, (h, f), cols, rows).transpose(0, 2, 1)
    shapes = engine.matrix.shapes
    (_, q), (_, r) = shapes[f], shapes[h]
    levels, at = np.unique(cols, return_inverse=True)
    out = np.empty((len(rows), q, r))
    for batch in in_slices(len(levels), r * sum(L * k for L, k in shapes)):
        chosen = levels[batch]
        m = len(chosen)
        right = tuple(np.zeros((L, k, m * r)) for L, k in shapes)
        for b in range(r):
            right[h][chosen, b, np.arange(m) * r + b] = 1.0
        found = engine.solve(right)[f].reshape(shapes[f][0], q, m, r)
        mine = np.flatnonzero((at >= batch.start) & (at < batch.stop))
        out[mine] = found[rows[mine], :, at[mine] - batch.start, :]
    return out


def satterthwaite_df(problem: Problem, params: VarianceParameters, rows: PredictionRows) -> Float:
    """Return 2 v^2 / (g'A g) of every row, v its variance, g = dv/dx (as SAS of an estimate of b and u).

    A is the inverse of the observed information, g by central differences: two evaluations a parameter.
    """
    information = observed_information(problem, params)
    at = problem.evaluate(params)
    x, sizes = at.params.vector(), parameter_sizes(at)
    variance = rows.variance(problem.evaluate_at(params))
    slopes = np.zeros((len(x), len(variance)))
    for i in np.flatnonzero(information.free):
        step = np.zeros(len(x))
        step[i] = STEP * sizes[i]
        above, below = (
            rows.variance(problem.evaluate_at(at.params.with_vector(x + sign * step)))
            for sign in (1.0, -1.0)
        )
        slopes[i] = (above - below) / (2.0 * step[i])
    spread = np.einsum("in,ij,jn->n", slopes, information.covariance, slopes)
    with np.errstate(divide="ignore", invalid="ignore"):
        df: Float = 2.0 * variance**2 / spread
    return df
