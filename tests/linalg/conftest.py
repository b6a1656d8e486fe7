"""Small systems with the patterns of the trade."""

import os
from types import SimpleNamespace

os.environ.setdefault(
    "OPENBLAS_NUM_THREADS", "1"
)  # before numpy: threads only slow small work down

import numpy as np
import pytest
import scipy.sparse as sp


def dominant(pattern):
    """A symmetric positive definite matrix with the off-diagonal entries of a square one."""
    both = pattern + pattern.T
    weights = np.asarray(abs(both).sum(axis=1)).ravel() + 0.5
    return sorted_csc(both + sp.diags_array(weights))


def sorted_csc(matrix):
    compressed = sp.csc_matrix(matrix)
    compressed.sum_duplicates()
    return compressed


def random_system(rng):
    """Random density, now and then a crowded row, isolated nodes, no off-diagonal entry at all."""
    n = int(rng.integers(1, 140))
    density = 10.0 ** rng.uniform(-3.5, -0.3)
    matrix = sp.random_array((n, n), density=density, rng=rng, format="lil")
    if rng.random() < 0.25 and n > 5:
        matrix[int(rng.integers(n)), :] = 0.1
    if rng.random() < 0.2:
        matrix = sp.block_diag([matrix, sp.csr_array((4, 4))], format="csc")
    return dominant(sp.csc_matrix(matrix))


def nested(n_outer=30, n_inner=12):
    """Levels within levels within one mean."""
    outer = np.repeat(np.arange(n_outer), n_inner)
    rows = np.arange(n_outer * n_inner)
    return normal_equations([(rows, len(rows)), (outer, n_outer)], len(rows))


def crossed(n_rows=4000, sizes=(300, 90, 5), seed=1):
    """Crossed factors and a mean."""
    rng = np.random.default_rng(seed)
    return normal_equations([(rng.integers(0, size, n_rows), size) for size in sizes], n_rows)


def normal_equations(factors, n_rows):
    """W'W with one added on the diagonal of the levels; W = [Z1 Z2 ... 1 x]."""
    rows = np.arange(n_rows)
    ones = np.ones(n_rows)
    columns = [sp.csr_matrix((ones, (rows, code)), shape=(n_rows, m)) for code, m in factors]
    fixed = np.column_stack([ones, np.linspace(-1.0, 1.0, n_rows)])
    W = sp.hstack([*columns, sp.csr_matrix(fixed)], format="csr")
    levels = sum(m for _, m in factors)
    return sorted_csc(W.T @ W + sp.diags_array(np.r_[np.ones(levels), np.zeros(2)]))


def pedigree(n=500, seed=1):
    """Inverse relationship (without inbreeding) plus one record an animal."""
    rng = np.random.default_rng(seed)
    animal = np.arange(n)
    young = animal >= n // 10
    parent = [np.where(young, (rng.random(n) * animal * 0.9).astype(int), -1) for _ in range(2)]
    parent[0] = parent[0] // 20  # few sires
    entries = [(animal, animal, np.ones(n))]
    known = np.zeros(n)
    for of in parent:
        has = of >= 0
        known += has
        entries.append((animal[has], of[has], np.full(has.sum(), -0.5)))
    i, j, v = (np.concatenate(part) for part in zip(*entries, strict=True))
    T = sp.csr_matrix((v, (i, j)), shape=(n, n))
    return sorted_csc(T.T @ sp.diags_array(1.0 / (1.0 - 0.25 * known)) @ T + sp.eye_array(n))


def grid(side=20):
    """Neighbours on a square."""
    line = sp.diags_array([np.ones(side - 1)], offsets=[1], shape=(side, side))
    return dominant(
        sp.csc_matrix(sp.kron(line, sp.eye_array(side)) + sp.kron(sp.eye_array(side), line))
    )


@pytest.fixture(scope="session")
def systems():
    return SimpleNamespace(
        random=random_system,
        dominant=dominant,
        nested=nested,
        crossed=crossed,
        pedigree=pedigree,
        grid=grid,
    )
