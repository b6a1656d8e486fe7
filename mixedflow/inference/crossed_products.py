"""Products of Z'V^-1Z and Z'V^-1X of several factors, the largest eliminated level by level.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. With V = V1 + Z2 G2 Z2', V1 = R + Z1 G1 Z1', 1 the
factor with most effects, 2 all others, and A_ab = Z_a'V1^-1Z_b ::

    Z1'V^-1Z1 = A11 - A12 S A21,   Z1'V^-1Z2 = A12 T,   Z2'V^-1Z2 = A22 T,
    S = F2 (I + F2'A22 F2)^-1 F2',   T = I - S A22

A11 is block-diagonal and A12 sparse; what is dense has the order of the other factors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.evaluation import AnyEvaluation
from mixedflow.inference.dense_products import random_part, times_factors
from mixedflow.inference.variance_products import Direction, VarianceProducts, block_squares
from mixedflow.linalg.late import sparse

DENSE_LIMIT = 4_000
"""Random effects beside those of the largest factor up to which a matrix over them is laid out."""

NUMBERS = 1 << 23
"""Numbers of the rows of A12 that are laid out at a time."""


def crossed_products(
    evaluation: AnyEvaluation, directions: Sequence[Direction]
) -> VarianceProducts:  # fmt: skip
    """Return the products of a model with several factors.

    Raises
    ------
    UnsupportedError
        where the factors beside the largest have too many random effects.
    """
    work = _Crossed(evaluation)
    moved = [(one.E @ work.B[one.factor]).reshape(-1, work.p) for one in directions]
    r = len(directions)
    Q = np.zeros((r, r, work.p, work.p))
    for i, one in enumerate(directions):
        AY = work.times(one.factor, moved[i])
        for j, other in enumerate(directions):
            Q[j, i] = moved[j].T @ AY[other.factor]
    squared = tuple(np.einsum("lap,lbq->abpq", B, B, optimize=True) for B in work.B)
    return VarianceProducts(squared, Q, *work.traces(directions))


class _Crossed:
    """A11 (L, q, q), A12, A22, S, T and B of every factor."""

    def __init__(self, evaluation: AnyEvaluation) -> None:
        system, F = evaluation.system, evaluation.factors
        sizes = [factor.n_levels * factor.dim for factor in system.factors]
        self.first = int(np.argmax(sizes))
        self.others = [f for f in range(len(sizes)) if f != self.first]
        _check_room(sum(sizes) - max(sizes))
        stops = np.cumsum([sizes[f] for f in self.others])
        self.at = {
            f: slice(int(b) - sizes[f], int(b)) for f, b in zip(self.others, stops, strict=True)
        }
        self.system, self.p, self.precision = system, system.p, evaluation.precision
        self.factor = system.factors[self.first]
        self._eliminate(F[self.first], [F[f] for f in self.others])

    def _eliminate(self, F1: Float, F2: Sequence[Float]) -> None:
        factor, basis, precision = self.factor, self.factor.basis, self.precision
        K = precision * (basis.T @ factor.ZtBZ @ basis)
        Kx = precision * (basis.T @ factor.ZtBX)
        H = F1 @ np.linalg.solve(np.eye(len(F1)) + F1.T @ K @ F1, np.broadcast_to(F1.T, K.shape))
        KH = K @ H
        A11 = K - KH @ K
        self.A11 = 0.5 * (A11 + A11.transpose(0, 2, 1))
        left = np.eye(len(F1)) - KH
        K12, HK12 = self._meeting(np.broadcast_to(np.eye(len(F1)), K.shape)), self._meeting(H)
        self.A12 = self._meeting(left)
        K22, K2x = (precision * part for part in random_part(self._reduced()))
        A22 = K22 - (K12.T @ HK12).toarray()
        A2x = K2x - HK12.T @ Kx.reshape(-1, self.p)
        counts = [self.system.factors[f].n_levels for f in self.others]
        root = times_factors(np.eye(len(A22)), F2, counts)
        M = root.T @ A22 @ root
        M[np.diag_indices(len(M))] += 1.0
        self.S = root @ np.linalg.solve(M, root.T)
        self.T = np.eye(len(A22)) - self.S @ A22
        whole = A22 @ self.T
        self.A22 = 0.5 * (whole + whole.T)
        B1 = left @ Kx - (self.A12 @ (self.S @ A2x)).reshape(Kx.shape)
        B2 = self.T.T @ A2x
        self.B = [B1] * len(self.system.factors)
        for f in self.others:
            self.B[f] = B2[self.at[f]].reshape(-1, self.system.factors[f].dim, self.p)

    def _meeting(self, left: Float) -> Any:
        """Return left_l Z1'R^-1Z2, (L q, N), compressed rows, for left (L, q, q)."""
        rows, cols, entries = [], [], []
        for f in self.others:
            pair, turned = self._pair(f)
            own = self.system.factors[f]
            values = self.factor.basis.T @ (pair.ZtBZ.swapaxes(1, 2) if turned else pair.ZtBZ)
            level, column = (pair.cols, pair.rows) if turned else (pair.rows, pair.cols)
            values = self.precision * (left[level] @ (values @ own.basis))
            q, width = values.shape[1:]
            at = level[:, None, None] * q + np.arange(q)[:, None]
            to = self.at[f].start + column[:, None, None] * width + np.arange(width)
            rows.append(np.broadcast_to(at, values.shape).ravel())
            cols.append(np.broadcast_to(to, values.shape).ravel())
            entries.append(values.ravel())
        shape = (self.factor.n_levels * self.factor.dim, max(s.stop for s in self.at.values()))
        places = np.concatenate(rows), np.concatenate(cols)
        return sparse.csr_array((np.concatenate(entries), places), shape=shape)

    def _pair(self, f: int) -> tuple[Any, bool]:
        pairs = self.system.pairs
        turned = (self.first, f) not in pairs
        return pairs[(f, self.first) if turned else (self.first, f)], turned

    def _reduced(self) -> ModelSystem:
        """Return the sums without the largest factor."""
        number = {f: k for k, f in enumerate(self.others)}
        pairs = {
            (number[f], number[g]): pair
            for (f, g), pair in self.system.pairs.items()
            if self.first not in (f, g)
        }
        factors = tuple(self.system.factors[f] for f in self.others)
        return replace(self.system, factors=factors, pairs=pairs)

    def times(self, f: int, Y: Float) -> dict[int, Float]:
        """Return Z_g'V^-1Z_f Y, (L_g q_g, p), for every factor g."""
        if f == self.first:
            below = self.A12.T @ Y
            own = (self.A11 @ Y.reshape(*self.A11.shape[:2], -1)).reshape(Y.shape)
            out = {f: own - self.A12 @ (self.S @ below)}
            rest = self.T.T @ below
        else:
            out = {self.first: self.A12 @ (self.T[:, self.at[f]] @ Y)}
            rest = self.A22[:, self.at[f]] @ Y
        return out | {g: rest[where] for g, where in self.at.items()}

    def traces(self, directions: Sequence[Direction]) -> tuple[Float, Float]:
        """Return tr(V^-1 D_i V^-1 D_j), (r, r), and tr(V^-1 D_i), (r,)."""
        out, own = np.zeros((len(directions),) * 2), np.zeros(len(directions))
        inner = [i for i, one in enumerate(directions) if one.factor == self.first]
        outer = [i for i, one in enumerate(directions) if one.factor != self.first]
        D, squeezed = self._corrections(), [self._squeezed(directions[i].E) for i in inner]
        total = self.A11.sum(axis=0) - D.sum(axis=0)
        mixed = block_squares(self.A11, D)
        pair = block_squares(self.A11, self.A11) - mixed - mixed.transpose(2, 3, 0, 1)
        products = [self.S @ U for U in squeezed]
        for i, U, SU in zip(inner, squeezed, products, strict=True):
            own[i] = np.sum(directions[i].E * total)
            for j, SW in zip(inner, products, strict=True):
                trace = np.einsum("da,abdc,bc->", directions[i].E, pair, directions[j].E)
                out[i, j] = trace + np.sum(SU * SW.T)
            for j in outer:
                within = self._within(U, directions[j].factor)
                out[i, j] = out[j, i] = np.sum(directions[j].E * within)
        for i in outer:
            own[i], out[i, outer] = self._dense_traces(directions, i, outer)
        return out, own

    def _dense_traces(
        self, directions: Sequence[Direction], i: int, outer: Sequence[int]
    ) -> tuple[float, Float]:
        """Return tr(V^-1 D_i) and tr(V^-1 D_i V^-1 D_j) for directions of the other factors."""
        one, found = directions[i], []
        own = float(np.sum(one.E * np.einsum("lalb->ab", self._block(one.factor, one.factor))))
        for j in outer:
            flat = self._block(one.factor, directions[j].factor).transpose(0, 2, 1, 3)
            flat = flat.reshape(-1, *flat.shape[2:])
            pair = block_squares(flat, flat)
            found.append(np.einsum("da,abdc,bc->", one.E, pair, directions[j].E, optimize=True))
        return own, np.array(found)

    def _block(self, f: int, g: int) -> Float:
        dims = [self.system.factors[k].dim for k in (f, g)]
        part = self.A22[self.at[f], self.at[g]]
        out: Float = part.reshape(-1, dims[0], part.shape[1] // dims[1], dims[1])
        return out

    def _squeezed(self, E: Float) -> Float:
        """Return A21 (I x E) A12."""
        weights = sparse.kron(sparse.eye_array(self.factor.n_levels), E, format="csr")
        out: Float = (self.A12.T @ (weights @ self.A12)).toarray()
        return out

    def _within(self, U: Float, f: int) -> Float:
        """Return the sum over levels of the diagonal parts of (T'U T)_ff, (q, q)."""
        own, q = self.T[:, self.at[f]], self.system.factors[f].dim
        out: Float = own.reshape(-1, q).T @ (U @ own).reshape(-1, q)
        return out

    def _corrections(self) -> Float:
        """Return the diagonal parts of A12 S A21, (L, q, q), some levels at a time."""
        levels, q = self.A11.shape[:2]
        step = max(1, NUMBERS // (q * len(self.S)))
        out = np.empty_like(self.A11)
        for start in range(0, levels, step):
            few = self.A12[start * q : min(levels, start + step) * q]
            part = (few @ self.S).reshape(-1, q, len(self.S))
            out[start : start + step] = part @ few.toarray().reshape(part.shape).transpose(0, 2, 1)
        return 0.5 * (out + out.transpose(0, 2, 1))


def _check_room(effects: int) -> None:
    if effects > DENSE_LIMIT:
        raise UnsupportedError(
            f"ddf='kenward-roger' with several grouping factors is for up to {DENSE_LIMIT:,} random "
            f"effects beside those of the largest factor, here are {effects:,}; offered is "
            "ddf='satterthwaite'"
        )
