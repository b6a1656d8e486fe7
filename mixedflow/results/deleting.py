"""What leaving out levels of a grouping factor does, as a table.

Stands at "Deletion" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.design.types import Int
from mixedflow.errors import DataError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.deletion import Deletion, group_deletion
from mixedflow.inference.independent_groups import outermost
from mixedflow.results.comparison import check_exact, check_sums
from mixedflow.results.group_sums import fit_groups
from mixedflow.results.jackknifing import changes, named, refitted, sums_without
from mixedflow.results.level_rows import level_deletion, level_rows
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


def influence(
    fit: FitResult, factor: str | None, levels: Sequence[object] | None, *, refit: bool
) -> pd.DataFrame:
    """Return what leaving out levels does; see :meth:`Influence.influence`."""
    check_exact(fit)
    check_sums(fit, "measured for influence")
    if refit:
        return _refitted(fit, *factor_of(fit, factor), levels)
    labels, found = _deletion(fit, factor, levels)
    values = {
        "leverage": found.leverage,
        "max_leverage": found.largest,
        "cook": found.cook,
        "mdffits": found.mdffits,
        "covratio": found.covratio,
        "covtrace": found.covtrace,
    }
    scaled = found.shifts / found.errors
    for k, name in enumerate(fit.coefficient_names):
        values[f"dfbetas_{name}"] = scaled[:, k]
    return pd.DataFrame(values, index=labels)


def _refitted(
    fit: FitResult, factor: str, independent: bool, levels: Sequence[object] | None
) -> pd.DataFrame:
    without = sums_without(fit, factor, independent=independent)
    f = [one.name for one in fit.crossproducts.info.factors].index(factor)
    labels = pd.Index(fit.schema.level_labels(f), name=factor, dtype=object)
    at = np.arange(len(labels)) if levels is None else codes_of(labels, levels)
    whole = named(fit, fit.estimates)
    rows = [changes(fit, whole, refitted(fit, without(int(level)))) for level in at]
    return pd.DataFrame(rows, index=labels[at])


def _deletion(
    fit: FitResult, factor: str | None, levels: Sequence[object] | None
) -> tuple[pd.Index, Deletion]:
    """Return the levels and what leaving them out does."""
    name, independent = factor_of(fit, factor)
    if independent:
        groups = fit_groups(fit, "measured for influence")
        labels = pd.Index(groups.labels, name=groups.name, dtype=object)
        found = group_deletion(groups.products())
        if levels is None:
            return labels, found
        at = codes_of(labels, levels)
        part = Deletion(found.root, found.change[at], found.share[at], found.axes[at])
        return labels[at], part
    if fit.crossproducts.info.residual is not None:
        raise UnsupportedError(
            f"influence of levels of '{name}' beside residual='{fit.spec.residual}' is not offered; "
            "offered is that of the outermost factor"
        )
    f = [factor.name for factor in fit.crossproducts.info.factors].index(name)
    labels = pd.Index(fit.schema.level_labels(f), name=name, dtype=object)
    at = np.arange(len(labels)) if levels is None else codes_of(labels, levels)
    codes, back = np.unique(at, return_inverse=True)
    evaluation = fit._evaluation()
    found = level_deletion(evaluation, level_rows(fit, evaluation, f, codes))
    part = Deletion(found.root, found.change[back], found.share[back], found.axes[back])
    return labels[at], part


def factor_of(fit: FitResult, factor: str | None) -> tuple[str, bool]:
    """Return a factor by its name, the outermost without one, and whether its levels are independent."""
    info = fit.crossproducts.info
    used = sorted({term.factor for term in fit.encoder.terms})
    names = [info.factors[f].name for f in used]
    if not used:
        group = ":".join(info.residual.group) if info.residual is not None else ""
        if factor not in (None, group):
            raise DataError(f"'{factor}' is not a grouping factor of this fit; it has '{group}'")
        return group, True
    found = outermost(fit._problem().system)
    if factor is None:
        if found is None:
            raise DataError(
                f"name the factor whose levels are to be left out: {listing(names)} are crossed"
            )
        return names[found[0]], True
    if factor not in names:
        raise DataError(
            f"'{factor}' is not a grouping factor of this fit; it has {listing(names)}"
            f"{did_you_mean(factor, names)}"
        )
    return factor, found is not None and names[found[0]] == factor


def codes_of(labels: pd.Index, levels: Sequence[object]) -> Int:
    """Return the numbers of levels."""
    if isinstance(levels, str) or not isinstance(levels, Sequence | np.ndarray | pd.Index):
        raise DataError(f"levels must be a list of levels; '{levels}' was given")
    wanted = pd.Index([str(level) for level in levels], dtype=object)
    at = labels.get_indexer(wanted)
    if (at < 0).any():
        unknown = str(levels[int(np.flatnonzero(at < 0)[0])])
        known = [str(label) for label in labels[:10_000]]
        raise DataError(
            f"'{unknown}' is not a level of '{labels.name}', which has {len(labels):,} levels in this "
            f"fit{did_you_mean(unknown, known)}"
        )
    if not len(at):
        raise DataError("no level was named; at least one must be")
    return np.asarray(at, dtype=np.int64)
