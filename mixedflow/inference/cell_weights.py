"""How many rows every combination of levels has, from the sums.

Stands at "Marginal means" in ``docs/algorithm.md``. With V the columns of X that are made of levels
alone, at all combinations, X'BX has V' diag(N) V in it, which is linear in the numbers N.
"""

from __future__ import annotations

from collections.abc import Sequence
from math import prod
from typing import Literal

import numpy as np

from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.columns import plan_columns
from mixedflow.design.types import Float
from mixedflow.errors import UnsupportedError, listing
from mixedflow.inference.reference_grid import GridMaker, ReferenceGrid

FOUND = 1e-9
"""Share of the largest singular value from which the numbers are determined."""

MAX_NUMBERS = 1 << 24


def cell_weights(
    sums: CrossProducts,
    maker: GridMaker,
    grid: ReferenceGrid,
    names: Sequence[str],
    kind: Literal["proportional", "cells"],
) -> Float:
    """Return weights of the combinations of a grid, (G,); sums of weights where rows have them.

    Parameters
    ----------
    sums : of the fit
    maker, grid : with the first variables first
    names : the first variables, whose means are taken
    kind : ``"cells"``, rows in the combination; ``"proportional"``, rows with its levels of the others
    """
    categories = [name for name in grid.values if name in maker.categories]
    totals = _totals(sums, maker, categories)
    sizes = [len(values) for values in grid.values.values()]
    codes = np.unravel_index(np.arange(prod(sizes)), sizes, order="F") if sizes else ()
    place = dict(zip(grid.values, codes, strict=True))
    whole = maker.values({})
    own = [
        np.array([whole[n].index(value) for value in grid.values[n]])[place[n]] for n in categories
    ]
    found: Float = totals[tuple(own)] if own else np.ones(prod(sizes))
    if kind == "cells":
        return found
    cells = prod(len(grid.values[name]) for name in names)
    return np.repeat(found.reshape(-1, cells).sum(axis=1), cells)


def _totals(sums: CrossProducts, maker: GridMaker, categories: Sequence[str]) -> Float:
    """Return the number of rows of every combination of levels, an axis a variable."""
    if set(sums.keyed) != {ONLY_KEY}:
        raise UnsupportedError(
            "weights of means by numbers of rows are for independent or weighted residuals; offered is "
            "weights='equal'"
        )
    learned = maker.schema.learned
    columns = plan_columns(maker.spec.parsed.fixed, learned)
    pure = [
        k for k, c in enumerate(columns) if all(learned.is_category(p.expression) for p in c.pieces)
    ]
    values = {**maker.values({n: [0.0] for n in maker.variables if n not in categories})}
    values = {n: values[n] for n in (*categories, *(n for n in values if n not in categories))}
    sizes = [len(values[n]) for n in categories]
    pairs = [(i, j) for i in range(len(pure) + 1) for j in range(i + 1)]
    if len(pairs) * prod(sizes) > MAX_NUMBERS:
        raise UnsupportedError(_undetermined(categories))
    part, lead, pilots = sums.keyed[ONLY_KEY], int(sums.constant), sums.info.pilots
    V = (maker.category_rows(values, columns, pure) - pilots.x_shift[pure]) / pilots.x_scale[pure]
    constant = 0 if lead else sums.info.intercept
    at = [constant, *(k + lead for k in pure)]
    V = np.column_stack([np.ones(len(V)), V])
    products = np.array([V[:, i] * V[:, j] for i, j in pairs])
    wanted = np.array([part.XtBX[at[i], at[j]] for i, j in pairs])
    found, _, rank, _ = np.linalg.lstsq(products, wanted, rcond=FOUND)
    if rank < prod(sizes):
        raise UnsupportedError(_undetermined(categories))
    whole = np.where(found > FOUND * found.max(), found, 0.0)
    return np.asarray(whole.reshape(sizes, order="F"))


def _undetermined(categories: Sequence[str]) -> str:
    return (
        f"the sums do not tell how many rows each combination of {listing(categories)} has; offered "
        "are weights='equal', and a model with the interactions of these"
    )
