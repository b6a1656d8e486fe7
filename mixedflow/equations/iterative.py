"""Crossed systems too large to factorise: conjugate gradients, and traces by probing.

Stands at "Solving" in ``docs/algorithm.md``. The largest factor is eliminated level by level and the
equations of the others, S, are solved by conjugate gradients with S's own diagonal parts as
preconditioner; S is never written down. Solutions are exact up to a tolerance. What would need the
inverse itself is estimated from random signs (Hutchinson 1990), see :mod:`.probing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.equations.engines import (
    NOT_DEFINITE,
    Engine,
    Parts,
    RandomMatrix,
    RandomPattern,
    stack,
    unstack,
)
from mixedflow.equations.expand import positions
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.linalg.compressed import CompressedRows, compressed_rows
from mixedflow.linalg.eliminated import EliminatedMatrix, SchurComplement
from mixedflow.linalg.errors import NotPositiveDefinite
from mixedflow.linalg.pcg import PcgSolution, quadrature, solve_pcg

BATCH = 8
"""Right-hand sides that are solved side by side; one thread takes one batch."""

QUADRATURE_TOLERANCE = 1e-5
"""Residual at which Lanczos stops for the log-determinant; its error is the square of that."""

Key = tuple[int, int]


@dataclass(frozen=True, slots=True)
class IterativeSettings:
    """How systems are solved and probed.

    Attributes
    ----------
    probes : random vectors, the same at all variances
    seed : of their signs; a probe's signs depend on seed and number alone
    threads : that share the batches of right-hand sides; any number gives the same bits
    tolerance : relative residual of solutions
    probe_tolerance : relative residual of the probes' solutions
    max_steps : steps after which conjugate gradients give up
    determinant : whether the log-determinant is estimated; else it is NaN
    """

    probes: int = 16
    seed: int = 1
    threads: int = 1
    tolerance: float = 1e-10
    probe_tolerance: float = 1e-8
    max_steps: int = 5_000
    determinant: bool = True


class IterativePattern:
    """Which factor is eliminated, and where each pair's values stand in the lists.

    Attributes
    ----------
    first : the eliminated factor, the largest; others : the rest, in order
    rest : (levels, columns) of the others
    """

    def __init__(self, pattern: RandomPattern) -> None:
        sizes = [L * q for L, q in pattern.shapes]
        self.first = int(np.argmax(sizes))
        self.others = [f for f in range(len(sizes)) if f != self.first]
        self.shapes = pattern.shapes
        self.rest = tuple(pattern.shapes[f] for f in self.others)
        self.starts = [0, *np.cumsum([L * q for L, q in self.rest]).tolist()]
        self._coupled(pattern)
        self._among_others(pattern)

    def _coupled(self, pattern: RandomPattern) -> None:
        rows, columns = [], []
        self._met: list[int] = []
        for h, start, (_, r) in zip(self.others, self.starts, self.rest, strict=False):
            at, met = self._meeting(pattern.pairs, h)
            self._met.append(len(at))
            rows.append(np.repeat(at, r))
            columns.append((start + met[:, None] * r + np.arange(r)).ravel())
        row = np.concatenate(rows)
        sorted_already = len(row) < 2 or bool((row[1:] >= row[:-1]).all())
        self.order = None if sorted_already else np.argsort(row, kind="stable")
        column = np.concatenate(columns)
        if self.order is not None:
            column = column[self.order]
        self.columns = np.ascontiguousarray(column, dtype=np.int32)
        counts = np.bincount(row, minlength=self.shapes[self.first][0])
        self.pointers = np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)

    def _meeting(self, pairs: Any, h: int) -> tuple[Int, Int]:
        rows, cols = pairs[self._key(h)][:2]
        return (rows, cols) if self.first < h else (cols, rows)

    def _key(self, h: int) -> Key:
        return (self.first, h) if self.first < h else (h, self.first)

    def _among_others(self, pattern: RandomPattern) -> None:
        self._inner = [key for key in pattern.pairs if self.first not in key]
        self._inner_at: CompressedRows | None = None
        if not self._inner:
            return
        rows, cols = [], []
        for f, h in self._inner:
            shape = (self.shapes[f][1], self.shapes[h][1])
            row, col = positions(*pattern.pairs[f, h], shape)
            row = self.starts[self.others.index(f)] + row.ravel()
            col = self.starts[self.others.index(h)] + col.ravel()
            rows += [row, col]
            cols += [col, row]
        row, col = np.concatenate(rows), np.concatenate(cols)
        order = self.starts[-1]
        self._inner_at = compressed_rows(row, col, np.arange(float(len(row))), (order, order))

    def matrix(self, values: RandomMatrix) -> EliminatedMatrix:
        """Return M_zz with its values in the lists."""
        q = self.shapes[self.first][1]
        coupling = []
        for h in self.others:
            value = values.pairs[self._key(h)][2]
            if self.first < h:
                value = value.transpose(0, 2, 1)
            coupling.append(value.reshape(-1, q))
        joined = coupling[0] if len(coupling) == 1 else np.concatenate(coupling)
        return EliminatedMatrix(
            head=values.diagonal[self.first],
            parts=tuple(values.diagonal[f] for f in self.others),
            pointers=self.pointers,
            columns=self.columns,
            coupling=np.ascontiguousarray(joined if self.order is None else joined[self.order]),
            others=self._inner_matrix(values),
        )

    def pair_values(self, met: Float) -> dict[int, Float]:
        """Return values at the entries of B, (nnz, q), as (m, q, r) a factor: :meth:`matrix` undone."""
        plain = met
        if self.order is not None:
            plain = np.empty_like(met)
            plain[self.order] = met
        out, start = {}, 0
        for h, count, (_, r) in zip(self.others, self._met, self.rest, strict=True):
            piece = plain[start : start + count * r].reshape(count, r, -1)
            out[h] = piece.transpose(0, 2, 1)
            start += count * r
        return out

    def _inner_matrix(self, values: RandomMatrix) -> CompressedRows | None:
        if self._inner_at is None:
            return None
        found = np.concatenate([np.tile(values.pairs[key][2].ravel(), 2) for key in self._inner])
        at = self._inner_at
        return replace(at, data=found[at.data.astype(np.int64)])

    def split(self, parts: Parts) -> tuple[Float, Float]:
        """Return (L q, k) of the eliminated factor and (n, k) of the others."""
        head = parts[self.first]
        return head.reshape(-1, head.shape[2]), stack(tuple(parts[f] for f in self.others))

    def joined(self, first: Float, rest: Float) -> Parts:
        """Return one (L_f, q_f, k) array a factor; the inverse of :meth:`split`."""
        parts = list(unstack(rest, self.rest))
        L, q = self.shapes[self.first]
        parts.insert(self.first, first.reshape(L, q, -1))
        return tuple(parts)


class IterativeEngine(Engine):
    """M_zz^-1 times anything by conjugate gradients; its log-determinant by probes.

    Attributes
    ----------
    structure : of the pattern, shared
    settings : tolerances and probes
    schur : the equations of the factors that are not eliminated
    """

    name = "pcg"
    exact = False

    def __init__(
        self,
        matrix: RandomMatrix,
        structure: IterativePattern | None = None,
        settings: IterativeSettings | None = None,
    ) -> None:
        super().__init__(matrix)
        self.structure = IterativePattern(matrix.pattern) if structure is None else structure
        self.settings = IterativeSettings() if settings is None else settings
        try:
            self.schur = SchurComplement(
                self.structure.matrix(matrix), threads=self.settings.threads
            )
        except NotPositiveDefinite as error:
            raise FitError(NOT_DEFINITE) from error
        self._logdets: Float | None = None

    @classmethod
    def factory(cls, pattern: RandomPattern) -> IterativeRoute:
        """Return a maker of engines that share the lists, with the default settings."""
        return IterativeRoute(IterativePattern(pattern), IterativeSettings())

    @property
    def logdet(self) -> float:
        """log|N| + log|blockdiag S| + the mean of the probes' quadratures."""
        return float(self.logdet_by_probe().mean()) if self.settings.determinant else float("nan")

    def logdet_by_probe(self) -> Float:
        """Return one estimate of log|M_zz| a probe, (probes,).

        tr(log P) = tr(log P - P + I) because P, S between the roots of its diagonal parts, has
        them equal to I: what is left to chance is of the second order. The directions that make
        most of the noise, constants over a factor's levels, are taken exactly.
        """
        if self._logdets is None:
            schur = self.schur
            transposed = tuple(root.transpose(0, 2, 1) for root in schur.jacobi_root)
            Q = np.linalg.qr(schur.by_parts(transposed, constant_columns(self)))[0]

            def batch(numbers: range) -> Float:
                signs = self.signs(numbers)
                return self._log_quadrature(signs - Q @ (Q.T @ signs))

            exact = schur.head_logdet + schur.jacobi_logdet + self._log_quadrature(Q).sum()
            self._logdets = exact + np.concatenate(self.in_batches(self.settings.probes, batch))
        return self._logdets

    def _log_quadrature(self, z: Float) -> Float:
        """Return z'(log P - P + I)z of every column."""
        right = self.schur.by_parts(self.schur.jacobi_root, z)
        found = self.conjugate(right, QUADRATURE_TOLERANCE)
        return quadrature(found, lambda nodes: np.log(nodes) - nodes + 1.0)

    def signs(self, numbers: range) -> Float:
        """Return random signs of the probes of these numbers, (n, k)."""
        order = self.schur.order
        out = np.empty((order, len(numbers)))
        for t, number in enumerate(numbers):
            rng = np.random.default_rng([self.settings.seed, number])
            out[:, t] = 2.0 * rng.integers(0, 2, order, dtype=np.int8) - 1.0
        return out

    def conjugate(self, right: Float, tolerance: float) -> PcgSolution:
        """Return S^-1 right.

        Raises
        ------
        FitError
            if a column is not solved to the tolerance.
        """
        found = solve_pcg(self.schur, right, tolerance=tolerance, max_steps=self.settings.max_steps)
        if not found.converged.all():
            raise FitError(
                f"conjugate gradients left a residual of {found.residuals.max():.1e} after "
                f"{self.settings.max_steps:,} steps, {tolerance:.0e} is wanted; the levels hang "
                "together too loosely for the solver 'pcg'"
            )
        return found

    def solve(self, right: Parts) -> Parts:
        """Return M_zz^-1 right by elimination, conjugate gradients and back substitution."""
        first, rest = self.structure.split(right)
        out_first, out_rest = np.empty(first.shape), np.empty(rest.shape)

        def batch(numbers: range) -> None:
            at = slice(numbers.start, numbers.stop)
            head = np.ascontiguousarray(first[:, at])
            reduced = self.schur.reduced(head, rest[:, at])
            x = self.conjugate(reduced, self.settings.tolerance).X
            out_rest[:, at] = x
            out_first[:, at] = self.schur.back(head, x)

        self.in_batches(first.shape[1], batch)
        return self.structure.joined(out_first, out_rest)

    def in_batches(self, count: int, task: Callable[[range], Any]) -> list[Any]:
        """Return a task's results for batches of columns, in order."""
        batches = list(_batches(count))
        if self.settings.threads == 1 or len(batches) < 2:
            return [task(numbers) for numbers in batches]
        with ThreadPoolExecutor(self.settings.threads) as pool:
            return list(pool.map(task, batches))

    def inverse_at(self, factor: int, levels: Int) -> Float:
        """Return the diagonal parts of M_zz^-1 at a few levels, exactly, (m, q, q).

        One solution a level and column: meant for levels chosen by hand.
        """
        q = self.matrix.shapes[factor][1]
        out = np.empty((len(levels), q, q))
        for at, level in enumerate(levels):
            right = tuple(np.zeros((L, r, q)) for L, r in self.matrix.shapes)
            right[factor][level] = np.eye(q)
            out[at] = self.solve(right)[factor][level]
        return 0.5 * (out + out.transpose(0, 2, 1))

    def inverse_diagonal(self) -> Parts:
        """Refuse: the whole diagonal would need one solution a level.

        Raises
        ------
        UnsupportedError
            always.
        """
        raise UnsupportedError(NO_INVERSE)

    def inverse_pairs(self, key: tuple[int, int]) -> Float:  # noqa: ARG002 - as every engine
        """Refuse, as :meth:`inverse_diagonal` does."""
        raise UnsupportedError(NO_INVERSE)


def constant_columns(engine: IterativeEngine) -> Float:
    """Return the constant over the levels of every factor of S and each of its columns, (n, m)."""
    structure = engine.structure
    parts = []
    for (L, q), start in zip(structure.rest, structure.starts, strict=False):
        part = np.zeros((engine.schur.order, q))
        part[start : start + L * q] = np.tile(np.eye(q), (L, 1))
        parts.append(part)
    return np.concatenate(parts, axis=1)


NO_INVERSE = (
    "the solver 'pcg' never forms the inverse of the equations, so conditional standard deviations "
    "of all random effects are not available; ask for chosen levels, "
    "fit.ranef_se_at(group, levels), or fit with the solver 'schur' or 'sparse'"
)


@dataclass(frozen=True, slots=True)
class IterativeRoute:
    """Makes engines of one pattern that share lists and probes.

    Attributes
    ----------
    structure, settings : see :class:`IterativeEngine`
    """

    structure: IterativePattern
    settings: IterativeSettings

    def __call__(self, matrix: RandomMatrix) -> IterativeEngine:
        """Return the engine of a matrix."""
        return IterativeEngine(matrix, self.structure, self.settings)

    def with_probes(self, probes: int) -> IterativeRoute:
        """Return the route with another number of probes; the first ones stay the same."""
        return replace(self, settings=replace(self.settings, probes=probes))


def _batches(count: int) -> Iterator[range]:
    for start in range(0, count, BATCH):
        yield range(start, min(count, start + BATCH))
