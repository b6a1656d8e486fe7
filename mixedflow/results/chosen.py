"""Levels that a person asks for by name, found among a fit's.

Stands at "Results" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixedflow.design.types import Int
from mixedflow.errors import DataError, did_you_mean, listing
from mixedflow.results.tabulating import pd


def chosen_levels(
    ranef: Mapping[str, pd.DataFrame], group: str, levels: Sequence[object]
) -> tuple[int, Int]:
    """Return which factor it is, and where its levels stand.

    Raises
    ------
    DataError
        if there is no such factor or level.
    """
    if group not in ranef:
        raise DataError(
            f"'{group}' is not a grouping factor of this fit; there are {listing(ranef)}"
            f"{did_you_mean(group, ranef)}"
        )
    labels = ranef[group].index
    wanted = pd.Index(list(levels), dtype=object)
    at = np.asarray(labels.get_indexer(wanted), dtype=np.int64)
    if (at < 0).any():
        wrong = wanted[int(np.argmin(at))]
        raise DataError(
            f"'{wrong}' is not a level of '{group}', which has {len(labels):,} levels in this fit"
        )
    return list(ranef).index(group), at
