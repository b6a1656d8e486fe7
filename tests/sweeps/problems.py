"""Sums of many responses over one design, made from rows."""

import numpy as np

from mixedflow.sweeps.types import Designs, Entries, Responses


def entries_of(q: int, kind: str = "us") -> Entries:
    rows, cols = np.tril_indices(q) if kind == "us" else np.diag_indices(q)
    places = np.zeros(q) if kind == "id" else np.arange(len(rows))
    return Entries(*(np.asarray(part, dtype=np.int64) for part in (rows, cols, places)))


def random_sums(
    seed: int, *, n: int = 300, L: int = 15, p: int = 3, q: int = 2, T: int = 6, D: int = 1
) -> tuple[Designs, Responses]:
    """Sums of T responses; with D designs each has rows of its own."""
    rng = np.random.default_rng(seed)
    which = np.arange(T) % D
    codes = rng.integers(0, L, n)
    X = np.column_stack([np.ones(n), rng.normal(size=(n, p - 1))])
    Z = X[:, :q]
    spread = rng.choice([0.0, 0.4, 1.0], size=T)
    Y = X @ rng.normal(size=(p, T)) + rng.normal(size=(n, T))
    Y += np.einsum("nq,nqt->nt", Z, rng.normal(size=(L, q, T))[codes]) * spread
    here = rng.random((D, n)) < (0.7 if D > 1 else 2.0)
    ZtZ, ZtX, XtX = np.zeros((D, L, q, q)), np.zeros((D, L, q, p)), np.zeros((D, p, p))
    Zty, Xty, yty = np.zeros((T, L, q)), np.zeros((T, p)), np.zeros(T)
    for d in range(D):
        x, z, at = X[here[d]], Z[here[d]], codes[here[d]]
        XtX[d] = x.T @ x
        np.add.at(ZtZ[d], at, z[:, :, None] * z[:, None, :])
        np.add.at(ZtX[d], at, z[:, :, None] * x[:, None, :])
    for t in range(T):
        rows = here[which[t]]
        y = (Y[rows, t] - Y[rows, t].mean()) / Y[rows, t].std()
        Xty[t], yty[t] = X[rows].T @ y, y @ y
        np.add.at(Zty[t], codes[rows], Z[rows] * y[:, None])
    designs = Designs(here.sum(axis=1), ZtZ, ZtX, XtX, np.zeros(D))
    return designs, Responses(which.astype(np.int64), Zty, Xty, yty)
