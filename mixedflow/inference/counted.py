"""Random normals that are known by their place: the k-th of a stream, whoever asks for it.

Stands at "Bootstrap" in ``docs/algorithm.md``. Philox (Salmon, Moraes, Dror and Shaw 2011) turns a
counter into random bits, so that a partition of the rows draws what it would draw among all rows.
"""

from __future__ import annotations

import numpy as np

from mixedflow.design.types import Float

A_TURN = 4
"""Numbers that Philox makes at a count."""


def counted_normals(stream: tuple[int, ...], start: int, count: int) -> Float:
    """Return standard normals ``start``, ..., ``start + count - 1`` of a stream, (count,).

    Parameters
    ----------
    stream : seed and what else tells streams apart, whole numbers of zero and more
    start : place of the first, counted from zero
    count : how many
    """
    from scipy.special import ndtri

    key = np.random.SeedSequence(list(stream)).generate_state(2, np.uint64)
    bits = np.random.Philox(key=key)
    turns, skipped = divmod(start, A_TURN)
    bits.advance(turns)
    raw = bits.random_raw(skipped + count)[skipped:]
    uniform = ((raw >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(ndtri(uniform))
