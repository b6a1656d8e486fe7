"""Traces of the inverse from random signs, all that can be had exactly taken out beforehand.

Stands at "E-step" in ``docs/algorithm.md``. With the largest factor eliminated every trace is one of
S^-1, S = Ds + O with Ds its diagonal parts. In ::

    S^-1 = Ds^-1 - Ds^-1 O Ds^-1 + S^-1 O Ds^-1 O Ds^-1

the first two terms have known diagonal parts (Ds^-1 and zero), so signs z only estimate the third: its
solution S^-1 O Ds^-1 O Ds^-1 z is what conjugate gradients are asked for. Nothing cancels when a
variance runs to zero. Directions Q that would make most of the noise are taken exactly, and signs are
projected on the rest: tr A = tr Q'AQ + E z'(I - QQ')A(I - QQ')z. They are the unit vectors of factors
with few levels and the constant over all levels of a factor, which S can hardly tell from the mean.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.equations.iterative import IterativeEngine, constant_columns
from mixedflow.equations.mme import MmeSolution

EXACT_LEVELS = 64
"""Levels of a factor up to which unit vectors are taken instead of signs."""


@dataclass(frozen=True, slots=True)
class ProbedMoments:
    """What an E-step needs; see :class:`mixedflow.equations.moments.Moments`.

    Attributes
    ----------
    reml : which likelihood
    n_levels : L_f of every factor
    bb : sum_l b b' a factor
    T : mean of ``T_by_probe``
    T_by_probe : (probes, q_f, q_f) a factor, one estimate of T a probe
    residual, residual_trace : e'R^-1e and tr(C W'R^-1W)
    """

    reml: bool
    n_levels: tuple[int, ...]
    bb: Parts
    T: Parts
    T_by_probe: Parts
    residual: float
    residual_trace: float

    def second_moments(self) -> Parts:
        """Return S_f = sum_l E[b b'] a factor."""
        return tuple(
            bb + L * np.eye(len(T)) - T
            for bb, L, T in zip(self.bb, self.n_levels, self.T, strict=True)
        )


def probed_moments(solution: MmeSolution, *, reml: bool) -> ProbedMoments:
    """Return the moments of an E-step, T_f = sum_l (F'Z'R^-1W C)_ll by probes.

    The correction of REML, - sum_l H_l (X'V^-1X)^-1 H_l' with H = M_zz^-1 Z'R^-1X, is exact.
    """
    by_probe = _traces(solution)
    if reml:
        by_probe = tuple(
            T - np.einsum("lap,pr,lbr->ab", H, solution.S_inverse, H, optimize=True)
            for T, H in zip(by_probe, solution.absorbed, strict=True)
        )
    T = tuple(part.mean(axis=0) for part in by_probe)
    bb = tuple(b.T @ b for b in solution.b)
    trace = sum(float(np.trace(part)) for part in T) + (solution.mme.system.p if reml else 0)
    return ProbedMoments(
        reml=reml,
        n_levels=tuple(b.shape[0] for b in solution.b),
        bb=bb,
        T=T,
        T_by_probe=by_probe,
        residual=solution.ypy - sum(float(np.trace(part)) for part in bb),
        residual_trace=trace,
    )


def _traces(solution: MmeSolution) -> Parts:
    """Return sum_l (I - M_zz^-1)_ll by probe and factor, (probes, q_f, q_f), without cancellation."""
    engine = solution.engine
    assert isinstance(engine, IterativeEngine)  # noqa: S101 - the route that makes evaluations
    structure, schur = engine.structure, engine.schur
    ZtRZ = solution.mme.ZtRZ
    known: list[Float] = [np.empty((0, 0))] * len(ZtRZ)
    head = np.einsum("lab,lbc->ac", schur.head_inverse, ZtRZ[structure.first])
    known[structure.first] = head - schur.head_parts(schur.jacobi_inverse)
    for f, inverse, removed in zip(
        structure.others, schur.jacobi_inverse, schur.removed, strict=True
    ):
        known[f] = np.einsum("lab,lbc->ac", inverse, ZtRZ[f] - removed)
    exact = _Exact(engine)
    signs = _signs_part(engine, exact)
    for f, part in enumerate(_exact_part(engine, exact)):
        known[f] = known[f] - part
    return tuple(_symmetric(base - part) for base, part in zip(known, signs, strict=True))


def _symmetric(T: Float) -> Float:
    return 0.5 * (T + T.transpose(0, 2, 1))


class _Exact:
    """Q by its columns: unit vectors of factors with few levels, then constants of the others.

    Attributes
    ----------
    units : the rows of S that the unit vectors stand for
    constants : (n, m), orthonormal, zero in those rows
    """

    def __init__(self, engine: IterativeEngine) -> None:
        structure, order = engine.structure, engine.schur.order
        few = [L <= EXACT_LEVELS for L, _ in structure.rest]
        spans = [np.arange(*structure.starts[at : at + 2]) for at, exact in enumerate(few) if exact]
        self.units = np.concatenate([np.arange(0), *spans])
        self.constants = constant_columns(engine)
        self.constants[self.units] = 0.0
        self.constants = self.constants[:, self.constants.any(axis=0)]
        self.constants /= np.sqrt((self.constants**2).sum(axis=0))
        self.count = len(self.units) + self.constants.shape[1]
        self.complete = len(self.units) == order

    def columns(self, numbers: range) -> Float:
        """Return columns of Q, (n, k)."""
        out = np.zeros((len(self.constants), len(numbers)))
        for t, number in enumerate(numbers):
            if number < len(self.units):
                out[self.units[number], t] = 1.0
            else:
                out[:, t] = self.constants[:, number - len(self.units)]
        return out

    def project(self, signs: Float) -> None:
        """Take Q's part out of the signs, in place."""
        signs[self.units] = 0.0
        signs -= self.constants @ (self.constants.T @ signs)


def _exact_part(engine: IterativeEngine, exact: _Exact) -> list[Float]:
    """Return what the directions Q contribute, (q_f, q_f) a factor."""

    def batch(numbers: range) -> list[Float]:
        return [part.sum(axis=0) for part in _second_order(engine, exact.columns(numbers))]

    total = [np.zeros((q, q)) for _, q in engine.matrix.shapes]
    for parts in engine.in_batches(exact.count, batch):
        total = [a + b for a, b in zip(total, parts, strict=True)]
    return total


def _signs_part(engine: IterativeEngine, exact: _Exact) -> list[Float]:
    """Return what signs make of the rest, (probes, q_f, q_f) a factor."""
    probes, shapes = engine.settings.probes, engine.matrix.shapes
    if exact.complete:
        return [np.zeros((probes, q, q)) for _, q in shapes]

    def batch(numbers: range) -> list[Float]:
        signs = engine.signs(numbers)
        exact.project(signs)
        return _second_order(engine, signs)

    parts = engine.in_batches(probes, batch)
    return [np.concatenate([part[f] for part in parts]) for f in range(len(shapes))]


def _second_order(engine: IterativeEngine, z: Float) -> list[Float]:
    """Return z'(.)z of every column, (k, q_f, q_f) a factor, where (.) is what has to be estimated.

    For a factor of S: sum_l z_l d_l', d = S^-1 O Ds^-1 O Ds^-1 z. For the eliminated one:
    sum_l (N^-1Bz)_l (N^-1B(S^-1 - Ds^-1)z)_l'.
    """
    schur, structure = engine.schur, engine.structure
    first_order = schur.precondition(schur.off_diagonal(schur.precondition(z)))
    right = schur.off_diagonal(first_order)
    d = engine.conjugate(right, engine.settings.probe_tolerance).X
    out: list[Float] = [np.empty(0)] * len(engine.matrix.shapes)
    out[structure.first] = schur.head_products(z, d - first_order)
    for at, f in enumerate(structure.others):
        rows = slice(structure.starts[at], structure.starts[at + 1])
        shape = (*structure.rest[at], z.shape[1])
        out[f] = np.einsum("lak,lbk->kab", z[rows].reshape(shape), d[rows].reshape(shape))
    return out
