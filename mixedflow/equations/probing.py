"""Traces of the inverse from random signs, all that can be had exactly taken out beforehand.

Stands at "E-step" in ``docs/algorithm.md``. With the largest factor eliminated every trace is one of
S^-1, S = Ds + O with Ds its diagonal parts. In ::

    S^-1 = Ds^-1 - Ds^-1 O Ds^-1 + S^-1 O Ds^-1 O Ds^-1

the first two terms have known diagonal parts (Ds^-1 and zero), so signs z only estimate the third: its
solution S^-1 O Ds^-1 O Ds^-1 z is what conjugate gradients are asked for. Nothing cancels when a
variance runs to zero. Factors with few levels are probed by unit vectors, which is exact.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.engines import Parts
from mixedflow.equations.iterative import IterativeEngine
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
    few = [f for f in structure.others if engine.matrix.shapes[f][0] <= EXACT_LEVELS]
    signs = _signs_part(engine, few)
    for f, part in enumerate(_unit_part(engine, few)):
        known[f] = known[f] - part
    return tuple(_symmetric(base - part) for base, part in zip(known, signs, strict=True))


def _symmetric(T: Float) -> Float:
    return 0.5 * (T + T.transpose(0, 2, 1))


def _unit_part(engine: IterativeEngine, few: list[int]) -> list[Float]:
    """Return what the factors with few levels contribute, by unit vectors, (q_f, q_f) a factor."""
    at = _rows_of(engine, few)

    def batch(numbers: range) -> list[Float]:
        units = np.zeros((engine.schur.order, len(numbers)))
        units[at[numbers.start : numbers.stop], np.arange(len(numbers))] = 1.0
        return [part.sum(axis=0) for part in _second_order(engine, units)]

    total = [np.zeros((q, q)) for _, q in engine.matrix.shapes]
    for parts in engine.in_batches(len(at), batch):
        total = [a + b for a, b in zip(total, parts, strict=True)]
    return total


def _signs_part(engine: IterativeEngine, few: list[int]) -> list[Float]:
    """Return what the other factors contribute, by signs, (probes, q_f, q_f) a factor."""
    probes, shapes = engine.settings.probes, engine.matrix.shapes
    exact = _rows_of(engine, few)
    if len(exact) == engine.schur.order:
        return [np.zeros((probes, q, q)) for _, q in shapes]

    def batch(numbers: range) -> list[Float]:
        signs = engine.signs(numbers)
        signs[exact] = 0.0
        return _second_order(engine, signs)

    parts = engine.in_batches(probes, batch)
    return [np.concatenate([part[f] for part in parts]) for f in range(len(shapes))]


def _rows_of(engine: IterativeEngine, factors: list[int]) -> Float:
    """Return the rows of S that belong to these factors."""
    structure = engine.structure
    spans = [
        np.arange(structure.starts[at], structure.starts[at + 1])
        for at, f in enumerate(structure.others)
        if f in factors
    ]
    return np.concatenate([np.arange(0), *spans])


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
