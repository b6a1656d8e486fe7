"""What a scan keeps of the null model: its rows multiplied by V0^-1, and how covariates meet it.

Stands at "Scans" in ``docs/algorithm.md``. V = sigma2 V0, V0 = B^-1 + Z G0 Z' with weights B and G0 the
null fit's G / sigma2, so V0^-1 = B - BZ H Z'B with H = Lambda (I + Lambda'Z'BZ Lambda)^-1 Lambda' and
G0 = Lambda Lambda': one block a level where there is one grouping factor.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.data.source import Source
from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.encode import Encoder
from mixedflow.design.types import DesignBlock, DesignInfo, Float, Int
from mixedflow.equations.system import (
    SPAN_TOLERANCE,
    FactorSystem,
    ModelSystem,
    model_system,
)
from mixedflow.errors import UnsupportedError
from mixedflow.sweeps.rows import all_columns

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

MOST_CROSSED = 4_000
"""Random effects of several grouping factors up to which their equations are solved densely."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelParts:
    """One grouping factor: rows by level, and H of every level.

    Attributes
    ----------
    Z : (n, q) in the equations' columns; codes : (n,)
    order : (n,) rows by level; starts : (L + 1,) where each level begins among them
    H : (L, q, q)
    """

    Z: Float
    codes: Int
    order: Int
    starts: Int
    H: Float


@dataclass(frozen=True, slots=True, eq=False)
class CrossedParts:
    """Several grouping factors: H = Lambda M^-1 Lambda', M = L L'.

    Attributes
    ----------
    BZ : (n, r) sparse, B Z Lambda of all factors
    root : (r, r) L
    """

    BZ: Any
    root: Float


@dataclass(frozen=True, slots=True, eq=False)
class NullRows:
    """The null model's rows, n of them, p fixed effects.

    Attributes
    ----------
    X : (n, p) in the equations' columns, y : (n,) shifted and scaled; weights : (n,)
    W : (n, p + 1), V0^-1 [X, e], e what the null model's fixed effects leave of y
    half : (p, p), L^-1 with X'V0^-1X = L L'
    square : e'V0^-1e = y'P0y
    sigma2 : of the null fit, in y's scale; y_scale : of the response
    kept : (rows of the source,) which of them are here
    constant : whether X spans the constant, so that covariates may be centred
    parts : of the random effects
    """

    X: Float
    y: Float
    weights: Float
    W: Float
    half: Float
    square: float
    sigma2: float
    y_scale: float
    kept: NDArray[np.bool_]
    constant: bool
    parts: LevelParts | CrossedParts

    @property
    def n(self) -> int:
        """Rows."""
        return len(self.y)

    @property
    def p(self) -> int:
        """Fixed effects of the null model."""
        return int(self.X.shape[1])


def null_rows(fit: FitResult, source: Source) -> NullRows:
    """Return what a scan keeps of a null model."""
    encoder = Encoder(fit.spec, fit.schema)
    system = model_system(fit.crossproducts, encoder.terms)
    blocks = []
    for index in range(source.n_partitions):
        place = PartitionPlace(source.name, index, source.row_offset(index))
        blocks.append(encoder.encode(source.read(index, fit.spec.variables), where=place))
    weights = np.concatenate(
        [np.ones(len(b.y)) if b.weights is None else b.weights for b in blocks]
    )
    X = _fixed_part(encoder.info, system, blocks)
    constant = _spans_constant(X, weights)
    y, y_scale = _response(encoder.info, blocks, constant)
    factors = _random_part(encoder, system, blocks)
    roots = [_relative_root(fit, factor) for factor in system.factors]
    parts = _parts(factors, roots, weights)
    W = _whitened(np.column_stack([X, y]), weights, parts)
    half, beta = _generalised(X, W)
    e = y - X @ beta
    W = np.column_stack([W[:, :-1], W[:, -1] - W[:, :-1] @ beta])
    return NullRows(
        X=X,
        y=y,
        weights=weights,
        W=W,
        half=half,
        square=float(e @ W[:, -1]),
        sigma2=float(fit.estimates.sigma2 / y_scale**2),
        y_scale=y_scale,
        kept=np.concatenate([block.kept for block in blocks]),
        constant=constant,
        parts=parts,
    )


def _generalised(X: Float, W: Float) -> tuple[Float, Float]:
    """Return L^-1 of X'V0^-1X = L L', and the coefficients; twice, for their last digits."""
    gram = X.T @ W[:, :-1]
    half = np.linalg.inv(np.linalg.cholesky(0.5 * (gram + gram.T)))
    beta = half.T @ (half @ (X.T @ W[:, -1]))
    beta += half.T @ (half @ (X.T @ (W[:, -1] - W[:, :-1] @ beta)))
    return half, beta


def _fixed_part(info: DesignInfo, system: ModelSystem, blocks: Sequence[DesignBlock]) -> Float:
    """Return X in the equations' columns, (n, p)."""
    kept, pilots = system.kept, info.pilots
    X = np.concatenate([all_columns(block, len(info.x_columns))[:, kept] for block in blocks])
    return np.ascontiguousarray((X - pilots.x_shift[kept]) / pilots.x_scale[kept])


def _spans_constant(X: Float, weights: Float) -> bool:
    """Tell whether 1 = X c for some c."""
    BX = weights[:, None] * X
    c = np.linalg.solve(X.T @ BX, BX.sum(axis=0))
    return bool(weights @ (1.0 - X @ c) ** 2 <= SPAN_TOLERANCE * weights.sum())


def _response(
    info: DesignInfo, blocks: Sequence[DesignBlock], constant: bool
) -> tuple[Float, float]:
    """Return the response, shifted where X takes the shift up, and scaled; and its scale."""
    y = np.concatenate([block.y[:, 0] for block in blocks])
    scale = float(info.pilots.y_scale[0])
    shift = float(info.pilots.y_shift[0]) if constant else 0.0
    return (y - shift) / scale, scale


def _random_part(
    encoder: Encoder, system: ModelSystem, blocks: Sequence[DesignBlock]
) -> list[tuple[Float, Int, FactorSystem]]:
    """Return Z in the equations' columns and the levels, for every grouping factor."""
    pilots = encoder.info.pilots
    out = []
    used = sorted({term.factor for term in encoder.terms})
    for f, factor in zip(used, system.factors, strict=True):
        Z = np.concatenate([block.Z[f] for block in blocks])
        Z = ((Z - pilots.z_shift[f]) / pilots.z_scale[f]) @ factor.basis
        codes = np.concatenate([block.codes[f] for block in blocks]).astype(np.int64)
        out.append((np.ascontiguousarray(Z), codes, factor))
    return out


def _relative_root(fit: FitResult, factor: FactorSystem) -> Float:
    """Return Lambda with G = sigma2 Lambda Lambda' in the equations' columns of a factor, (q, q)."""
    G = np.zeros((factor.dim, factor.dim))
    for term, where in zip(factor.terms, factor.slices, strict=True):
        G[where, where] = fit.estimates.G[term]
    back = np.linalg.inv(factor.units)
    values, vectors = np.linalg.eigh(back @ G @ back.T / fit.estimates.sigma2)
    root: Float = vectors * np.sqrt(np.maximum(values, 0.0))
    return root


def _parts(
    factors: Sequence[tuple[Float, Int, FactorSystem]], roots: Sequence[Float], weights: Float
) -> LevelParts | CrossedParts:
    if len(factors) > 1:
        return _crossed_parts(factors, roots, weights)
    ((Z, codes, factor),) = factors
    (root,) = roots
    L, q = factor.n_levels, factor.dim
    gram = np.zeros((L, q, q))
    np.add.at(gram, codes, Z[:, :, None] * (weights[:, None] * Z)[:, None, :])
    M = np.eye(q) + root.T @ gram @ root
    H = root @ np.linalg.solve(M, np.broadcast_to(root.T, M.shape))
    order = np.argsort(codes, kind="stable")
    starts = np.searchsorted(codes[order], np.arange(L + 1))
    return LevelParts(Z, codes, order, starts, 0.5 * (H + H.swapaxes(1, 2)))


def _crossed_parts(
    factors: Sequence[tuple[Float, Int, FactorSystem]], roots: Sequence[Float], weights: Float
) -> CrossedParts:
    from scipy import sparse

    size = sum(factor.n_levels * factor.dim for _, _, factor in factors)
    if size > MOST_CROSSED:
        raise UnsupportedError(
            f"a scan over several grouping factors is offered up to {MOST_CROSSED} random effects; "
            f"here are {size} (with one grouping factor there is no limit)"
        )
    n, columns = len(weights), []
    for (Z, codes, factor), root in zip(factors, roots, strict=True):
        q = factor.dim
        at = codes[:, None] * q + np.arange(q)
        rows = np.repeat(np.arange(n), q)
        shape = (n, factor.n_levels * q)
        columns.append(sparse.csr_matrix(((Z @ root).ravel(), (rows, at.ravel())), shape=shape))
    Z_all = sparse.hstack(columns, format="csr")
    BZ = Z_all.multiply(weights[:, None]).tocsr()
    M = (Z_all.T @ BZ).toarray() + np.eye(size)
    return CrossedParts(BZ, np.linalg.cholesky(M))


def _whitened(R: Float, weights: Float, parts: LevelParts | CrossedParts) -> Float:
    """Return V0^-1 R."""
    BR = weights[:, None] * R
    if isinstance(parts, CrossedParts):
        from scipy.linalg import cho_solve

        out: Float = BR - parts.BZ @ cho_solve((parts.root, True), parts.BZ.T @ R)
        return out
    Z, codes = parts.Z, parts.codes
    sums = np.zeros((len(parts.H), Z.shape[1], R.shape[1]))
    np.add.at(sums, codes, Z[:, :, None] * BR[:, None, :])
    fitted = np.einsum("nq,nqk->nk", Z, (parts.H @ sums)[codes])
    return np.asarray(BR - weights[:, None] * fitted)
