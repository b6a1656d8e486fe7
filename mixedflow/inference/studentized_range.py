"""The studentized range: P(max_i Z_i - min_i Z_i <= q S) of k means, S^2 ~ chi2_nu / nu.

Stands at "Marginal means" in ``docs/algorithm.md``. Both integrals,

    P(Q <= q) = int f(log s) W(q s) dlog s,   W(w) = k int phi(z) [Phi(z) - Phi(z - w)]^(k-1) dz,

are of smooth functions that vanish at both ends, where the trapezoidal rule converges as fast as
Gauss's. All q and nu are computed at once; SciPy's distribution takes one at a time.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float
from mixedflow.inference.roots import increasing_root
from mixedflow.linalg.late import special

TAIL = 9.0
"""Standard deviations beyond which the normal density is zero in double precision."""

NEGLIGIBLE = 40.0
"""-log of a density that adds nothing."""

NODES_Z = 96
NODES_S = 384


def range_above(q: Float, k: int, df: Float) -> Float:
    """Return P(Q > q), (m,); R's ``ptukey(q, k, df, lower.tail = FALSE)``.

    Parameters
    ----------
    q : (m,) not negative
    k : number of means
    df : (m,) degrees of freedom, inf allowed
    """
    s, weight = _scale_nodes(df)
    out: Float = np.einsum("ms,ms->m", weight, _normal_range_above(q[:, None] * s, k))
    return np.clip(out, 0.0, 1.0)


def range_quantile(level: float, k: int, df: Float) -> Float:
    """Return q with P(Q <= q) = level, (m,); R's ``qtukey(level, k, df)``."""
    low = np.zeros(len(df))
    pairs = k * (k - 1) // 2
    finite = np.where(np.isinf(df), 1.0, df)
    tail = (1.0 - level) / 2.0 / pairs
    t = np.where(np.isinf(df), -special.ndtri(tail), -special.stdtrit(finite, tail))
    return increasing_root(lambda q: 1.0 - level - range_above(q, k, df), low, np.sqrt(2.0) * t)


def _normal_range_above(w: Float, k: int) -> Float:
    """Return P(range of k standard normal variables > w), the shape of w."""
    z = np.linspace(-TAIL, TAIL, NODES_Z)
    step = z[1] - z[0]
    density = np.exp(-0.5 * z**2) / np.sqrt(2.0 * np.pi)
    below = special.ndtr(z)
    flat = w.ravel()
    out = np.empty_like(flat)
    for start in range(0, len(flat), 8192):
        part = flat[start : start + 8192, None]
        # Phi(z)^(k-1) - [Phi(z) - Phi(z - w)]^(k-1), which keeps the digits of a small tail
        share = special.ndtr(z - part) / below
        lost = -np.expm1((k - 1) * np.log1p(-np.minimum(share, 1.0 - 1e-16)))
        out[start : start + 8192] = lost @ (k * step * density * below ** (k - 1))
    return out.reshape(w.shape)


def _scale_nodes(df: Float) -> tuple[Float, Float]:
    """Return nodes of s and weights of its density in log s, (m, nodes); of inf s = 1."""
    nu = np.where(np.isinf(df), 1.0, df)[:, None]
    low = -(NEGLIGIBLE / nu + TAIL / np.sqrt(2.0 * nu))
    high = 0.5 * np.log1p(2.0 * NEGLIGIBLE / nu + 2.0 * TAIL / np.sqrt(nu))
    x = low + (high - low) * np.linspace(0.0, 1.0, NODES_S)
    log_density = nu * (x + 0.5 * -np.expm1(2.0 * x))
    weight = np.exp(log_density)
    weight /= weight.sum(axis=1, keepdims=True)
    s = np.exp(x)
    known = np.isinf(df)
    s[known], weight[known] = 1.0, 1.0 / NODES_S
    return s, weight
