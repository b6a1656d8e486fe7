"""One grouping factor, many responses, by NumPy: the twin of the compiled passes.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.sweeps.types import Designs, Entries, Look, Responses


def look_with_numpy(
    theta: Float, designs: Designs, responses: Responses, entries: Entries, *, reml: bool
) -> Look:
    """Return the likelihood's parts of every response at its theta, (T, k), one after another."""
    looks = [
        _one(theta[t], t, designs, responses, entries, reml=reml) for t in range(len(responses.yty))
    ]
    return Look(*(np.array([getattr(one, name) for one in looks]) for name in Look.__slots__))


def _one(
    theta: Float, t: int, designs: Designs, responses: Responses, entries: Entries, *, reml: bool
) -> Look:
    d = responses.which[t]
    K, B = designs.ZtZ[d], designs.ZtX[d]
    q, p = B.shape[1:]
    Lam = np.zeros((q, q))
    Lam[entries.rows, entries.cols] = theta[entries.places]
    both = np.concatenate([B, responses.Zty[t][:, :, None]], axis=2)
    M = np.eye(q) + Lam.T @ K @ Lam
    E = np.linalg.solve(M, Lam.T @ both)
    after = both - K @ Lam @ E  # Z'V^-1[X y]
    LtB = Lam.T @ both
    drop = np.einsum("lqi,lqj->ij", LtB, E)
    S = designs.XtX[d] - drop[:p, :p]
    inverse, beta, fixed = _fixed(S, responses.Xty[t] - drop[:p, p])
    square = responses.yty[t] - drop[p, p] - beta @ (responses.Xty[t] - drop[:p, p])
    a = after[:, :, p] - after[:, :, :p] @ beta
    A = after[:, :, :p]
    of_square = -2.0 * np.einsum("li,lj->ij", a, a @ Lam)
    of_log = 2.0 * np.einsum("lij->ij", K @ Lam @ np.linalg.inv(M))
    if reml:
        of_log -= 2.0 * np.einsum("lic,cd,ljd->ij", A, inverse, Lam.T @ A)
    logdet = float(np.linalg.slogdet(M)[1].sum()) + (fixed if reml else 0.0 * fixed)
    return Look(
        logdet,  # type: ignore[arg-type]  # one response's, stacked by the caller
        square,
        _gathered(of_log, entries, len(theta)),
        _gathered(of_square, entries, len(theta)),
        beta,
        inverse,
    )


def _fixed(S: Float, Sy: Float) -> tuple[Float, Float, float]:
    """Return S^-1, S^-1 Sy, log|S|; NaN where a column is a sum of others to rounding."""
    size = np.sqrt(np.abs(np.diag(S)))
    lost = np.full_like(S, np.nan), np.full_like(Sy, np.nan), float("nan")
    if not (size > 0).all():
        return lost
    try:
        root = np.linalg.cholesky(S / np.outer(size, size))
    except np.linalg.LinAlgError:
        return lost
    if not (np.diag(root) ** 2 > 1e-12).all():
        return lost
    inverse = np.linalg.inv(S)
    fixed = 2.0 * float(np.log(np.diag(root)).sum() + np.log(size).sum())
    return 0.5 * (inverse + inverse.T), inverse @ Sy, fixed


def _gathered(slope: Float, entries: Entries, k: int) -> Float:
    out = np.zeros(k)
    np.add.at(out, entries.places, slope[entries.rows, entries.cols])
    return out
