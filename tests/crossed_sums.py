"""Sums of simulated crossed data, some thousand levels, without the design room."""

from __future__ import annotations

from functools import cache

import numpy as np

from mixedflow.crossproducts.condense import condense_block
from mixedflow.design.types import DesignBlock, DesignInfo, FactorDesign, Pilots, TermDesign

ONE = "(Intercept)"


@cache
def crossed(users=900, items=300, n=6000, *, seed=0, sd=(0.6, 0.4), slope=False, third=0):
    """Return (sums, terms) of y = 5 + x/2 + u[user] + v[item] + e, items by a Zipf law.

    ``slope`` adds a random slope of users; ``third`` a factor of so many levels that items lie in.
    """
    rng = np.random.default_rng([seed, users])
    share = np.arange(1.0, items + 1) ** -0.7
    u = np.concatenate([np.arange(users), rng.integers(0, users, n - users)])
    i = np.concatenate(
        [rng.permutation(items), rng.choice(items, n - items, p=share / share.sum())]
    )
    x = 3.0 + rng.normal(size=n)
    y = 5.0 + 0.5 * x + sd[0] * rng.normal(size=users)[u] + sd[1] * rng.normal(size=items)[i]
    y = y + rng.normal(size=n)
    one = np.ones((n, 1))
    names = [(ONE, "x") if slope else (ONE,), (ONE,)]
    codes, Z = [u, i], [np.column_stack([one, x]) if slope else one, one]
    if slope:
        y = y + 0.3 * rng.normal(size=users)[u] * x
    if third:
        y = y + 0.3 * rng.normal(size=third)[i % third]
        codes, Z, names = [*codes, i % third], [*Z, one], [*names, (ONE,)]
    return sums_of(y, x, codes, Z, names)


def sums_of(y, x, codes, Z, names):
    n = len(y)
    levels = [int(code.max()) + 1 for code in codes]
    block = DesignBlock(
        X=np.column_stack([np.ones(n), x]), y=y[:, None], Z=tuple(Z), codes=tuple(codes),
        weights=None, offset=None, rows_in=n, kept=np.ones(n, dtype=bool), missing={},
    )  # fmt: skip
    shift, scale = np.array([0.0, 2.5]), np.array([1.0, 1.5])
    info = DesignInfo(
        traits=("y",), x_columns=(ONE, "x"), intercept=0,
        factors=tuple(
            FactorDesign(f"f{f}", (f"f{f}",), names[f], levels[f]) for f in range(len(codes))
        ),
        z_intercept=(0,) * len(codes),
        pilots=Pilots(
            x_shift=shift, x_scale=scale, y_shift=np.array([5.0]), y_scale=np.array([1.2]),
            z_shift=tuple(shift[: z.shape[1]] for z in Z),
            z_scale=tuple(scale[: z.shape[1]] for z in Z),
        ),
        weighted=False,
    )  # fmt: skip
    terms = tuple(
        TermDesign(f"f{f}", f, tuple(range(len(names[f]))), "us") for f in range(len(codes))
    )
    return condense_block(block, info), terms
