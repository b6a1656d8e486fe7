"""The law of simulated sums: its covariance exactly, and the signal, against the rows."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.inference.sum_law import (
    ErrorLaw,
    ResponseSums,
    add_signal,
    feasible,
    roots,
    rows_of_system,
)
from mixedflow.inference.sum_law_parts import residual_parts


class Unit:
    """A generator whose normals are the k-th unit vector, and whose chi2 is zero."""

    def __init__(self, k: int) -> None:
        self.left = k

    def standard_normal(self, shape):
        out = np.zeros(shape)
        if 0 <= self.left < out.size:
            out.flat[self.left] = 1.0
        self.left -= out.size
        return out

    def chisquare(self, df):
        return 0.0


def crossed(n: int = 60, seed: int = 0) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    frame = pd.DataFrame(
        {
            "g": rng.integers(0, 9, n),
            "h": rng.integers(0, 5, n),
            "k": rng.integers(0, 3, n),
            "x": rng.standard_normal(n),
            "t": rng.integers(0, 2, n),
            "w": rng.uniform(0.5, 3.0, n),
        }
    )
    frame["y"] = rng.standard_normal(n) + frame["x"] + frame["g"] % 3
    return frame


def dense(fit: mf.FitResult, frame: pd.DataFrame) -> tuple[np.ndarray, list[tuple[int, ...]]]:
    """Return W = [Z_1 ... X] in stored columns, weighted, and the shapes of its parts."""
    system = fit._problem().system
    block = fit.encoder.encode(fit.source.read(0, fit.encoder.variables()))
    info = fit.crossproducts.info
    root = np.sqrt(frame["w"].to_numpy()) if info.weighted else np.ones(len(frame))
    parts, shapes = [], []
    for f, factor in enumerate(info.factors):
        Z = (block.Z[f] - info.pilots.z_shift[f]) / info.pilots.z_scale[f]
        wide = np.zeros((len(Z), factor.n_levels, Z.shape[1]))
        wide[np.arange(len(Z)), block.codes[f]] = Z
        parts.append(wide.reshape(len(Z), -1))
        shapes.append((factor.n_levels, Z.shape[1]))
    X = (block.X - info.pilots.x_shift) / info.pilots.x_scale
    parts.append(X[:, system.kept])
    return root[:, None] * np.hstack(parts), shapes


def flat(sums: ResponseSums) -> np.ndarray:
    return np.concatenate([*(Z.ravel() for Z in sums.ZtBy), sums.XtBy])


CASES = [
    ("y ~ x + (1 | g)", {}),
    ("y ~ x + t + (1 + x + t | g)", {}),
    ("y ~ x + (x | g)", {"weights": "w"}),
    ("y ~ C(g) + x + (1 + t | g)", {}),
    ("y ~ x + (1 | g) + (1 | h)", {}),
    ("y ~ x + (1 + t | g) + (x | h) + (1 | k)", {"weights": "w"}),
    ("y ~ 0 + x + (1 | k) + (1 | g)", {}),
]


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_covariance_is_exactly_that_of_the_columns(formula: str, options: dict):
    frame = crossed()
    fit = mf.fit(formula, frame, **options)
    system = fit._problem().system
    law = ErrorLaw(rows_of_system(system))
    W, _ = dense(fit, frame)
    assert feasible(system)
    assert law.rank == np.linalg.matrix_rank(W)
    assert law.left == len(frame) - law.rank
    drawn = [law.draw(Unit(k)) for k in range(W.shape[1] + 1)]
    M = np.column_stack([flat(one) for one in drawn])
    gram = W.T @ W
    np.testing.assert_allclose(M @ M.T, gram, atol=1e-11 * np.abs(gram).max())
    squared = np.array([one.ytBy for one in drawn])
    projected = np.einsum("ak,ab,bk->k", M, np.linalg.pinv(gram, rcond=1e-11), M)
    np.testing.assert_allclose(squared, projected, atol=1e-9)


@pytest.mark.parametrize(("formula", "options"), CASES)
def test_sums_of_signal_and_error_are_those_of_the_rows(formula: str, options: dict):
    frame = crossed(seed=4)
    fit = mf.fit(formula, frame, **options)
    law = ErrorLaw(rows_of_system(fit._problem().system))
    W, shapes = dense(fit, frame)
    rng = np.random.default_rng(1)
    beta = rng.standard_normal(law.rows.XtBX.shape[0])
    effects = [rng.standard_normal(shape) for shape in shapes]
    e = rng.standard_normal(len(frame))
    right, parts, start = W.T @ e, [], 0
    for L, q in shapes:
        parts.append(right[start : start + L * q].reshape(L, q))
        start += L * q
    error = ResponseSums(tuple(parts), right[start:], float(e @ e))
    found = add_signal(law, error, beta, effects, 0.7)
    y = W @ np.concatenate([*(a.ravel() for a in effects), beta]) + 0.7 * e
    np.testing.assert_allclose(flat(found), W.T @ y, atol=1e-10)
    assert found.ytBy == pytest.approx(float(y @ y))


def test_roots_of_matrices_without_full_rank():
    rng = np.random.default_rng(2)
    A = rng.standard_normal((20, 4, 4)) * np.array([1e-6, 1.0, 1e4, 1.0])[:, None]
    A[3, :, 2:], A[5, 2], A[7] = 0.0, 0.0, 0.0
    grams = A @ A.transpose(0, 2, 1)
    squares = np.einsum("gaa->ga", grams)
    R, H, rank = roots(grams, squares)
    size = np.sqrt(squares)
    wanted = np.where(size > 0, size, 1.0)
    np.testing.assert_allclose(
        (R @ R.transpose(0, 2, 1)) / (wanted[:, :, None] * wanted[:, None]),
        grams / (wanted[:, :, None] * wanted[:, None]),
        atol=1e-12,
    )
    on_range = H @ grams @ H.transpose(0, 2, 1)
    np.testing.assert_allclose(np.einsum("gaa->g", on_range), rank, atol=1e-6)
    assert list(rank[[0, 3, 5, 7]]) == [4, 2, 3, 0]


def test_too_many_columns_beside_the_largest_factor(monkeypatch):
    import mixedflow.inference.sum_law as law

    system = mf.fit("y ~ x + (1 | g) + (1 | h)", crossed())._problem().system
    one = mf.fit("y ~ x + (1 | g)", crossed())._problem().system
    monkeypatch.setattr(law, "LARGEST_REST", 3)
    assert not feasible(system)
    assert feasible(one)


@pytest.mark.parametrize("residual", ["cs(1 | g)", "strata(t)"])
def test_parts_of_a_residual_structure_have_exactly_its_covariance(residual: str):
    frame = crossed(40).sort_values("g", ignore_index=True)
    fit = mf.fit(
        "y ~ x + (1 + t | g)" if "strata" in residual else "y ~ x + (1 | g)",
        frame,
        residual=residual,
    )
    problem, params = fit._problem(), fit.estimates.params
    sums = problem.residual
    laws, sds, back = residual_parts(sums, fit.crossproducts, params)
    W, _ = dense(fit, frame)
    keys = sorted(fit.crossproducts.keyed)
    g, t = frame["g"].to_numpy(), frame["t"].to_numpy()
    size = np.bincount(g)[g]
    if "strata" in residual:
        B = [np.diag((t == k).astype(float)) for k in range(2)]
    else:
        same = np.equal.outer(g, g).astype(float)
        own = [(same if e else np.eye(40), size == (n & 0xFFFFFFFF)) for n, e in keys]
        B = [M * np.outer(at, at) for M, at in own]
    f = sums.plan.values(params.psi)[0] / params.sigma2
    R = np.linalg.inv(sum(w * M for w, M in zip(f, B, strict=True)))
    whole = np.zeros((len(keys) * W.shape[1],) * 2)
    for j, (law, sd) in enumerate(zip(laws, sds, strict=True)):
        for k in range(W.shape[1] + 1):
            one = law.draw(Unit(k))
            parts = []
            for key in range(len(keys)):
                Z = np.zeros((len(np.unique(g)), law.rows.ZtBZ[0].shape[1]))
                Z[law.rows.levels[0]] = one.ZtBy[0]
                parts += [back[key, j] * sd * Z.ravel(), back[key, j] * sd * one.XtBy]
            drawn = np.concatenate(parts)
            whole += np.outer(drawn, drawn)
    right = np.hstack([M @ W for M in B])
    wanted = right.T @ R @ right
    np.testing.assert_allclose(whole, wanted, atol=1e-9 * np.abs(wanted).max())
    assert sum(law.rows.n_obs for law in laws) == 40
