"""The jackknife: a fit without each group, on the sums less the group's own.

Stands at "Deletion" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.crossproducts.groups import drawn
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.types import Float
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.fit import Estimates, estimate
from mixedflow.inference.components import variance_components
from mixedflow.inference.deletion import group_deletion
from mixedflow.results.comparison import check_exact, check_sums
from mixedflow.results.group_sums import fit_groups, groups_of_rows
from mixedflow.results.level_rows import own_sums
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

Without = Callable[[int], CrossProducts]
"""The sums without a level of a factor, by its number."""


@dataclass(frozen=True, eq=False, repr=False)
class Jackknife:
    """Estimates without each group in turn.

    Attributes
    ----------
    factor : whose levels were left out
    estimate : of all groups: coefficients, then SDs and correlations (``sd_x|g``), ``sigma``
    replicates : the same without each level; NaN where one cannot be estimated without it
    """

    factor: str
    estimate: pd.Series
    replicates: pd.DataFrame

    @property
    def vcov(self) -> pd.DataFrame:
        """(G - 1) / G sum_g (t_g - mean)(t_g - mean)', over the G replicates that are known of a pair."""
        known = self.replicates.notna().to_numpy(dtype=float)
        count = known.T @ known
        with np.errstate(divide="ignore", invalid="ignore"):
            scale = (count - 1.0) ** 2 / count
        found: pd.DataFrame = self.replicates.cov() * scale
        return found

    @property
    def table(self) -> pd.DataFrame:
        """Estimate, ``bias`` (G - 1)(mean of the replicates - estimate), and ``se``."""
        bias = (self.replicates.count() - 1.0) * (self.replicates.mean() - self.estimate)
        se = np.sqrt(np.diag(self.vcov.to_numpy()))
        return pd.DataFrame({"estimate": self.estimate, "bias": bias, "se": se})

    def __repr__(self) -> str:
        """Return one line."""
        return f"<Jackknife over {len(self.replicates)} levels of {self.factor!r}>"


def jackknife(fit: FitResult, *, refit: bool) -> Jackknife:
    """Return the estimates without each independent group; see :meth:`Influence.jackknife`."""
    check_exact(fit)
    check_sums(fit, "jackknifed")
    groups = fit_groups(fit, "jackknifed")
    labels = pd.Index(groups.labels, name=groups.name, dtype=object)
    if not refit:
        found = group_deletion(groups.products())
        estimate = fit.fixef
        values = estimate.to_numpy() - found.shifts
    else:
        without = sums_without(fit, groups.name, independent=True)
        estimate = named(fit, fit.estimates)
        rows = [_row(fit, lambda level=level: without(level)) for level in range(len(labels))]  # type: ignore[misc]  # bound now
        values = np.array(rows)
    frame = pd.DataFrame(values, index=labels, columns=estimate.index)
    return Jackknife(groups.name, estimate, frame)


def sums_without(fit: FitResult, factor: str, *, independent: bool) -> Without:
    """Return what gives the sums without a level: by group where groups are independent, else by rows.

    Raises
    ------
    UnsupportedError
        for the groups of a residual structure beside which there are no random effects.
    """
    sums = fit.crossproducts
    names = [one.name for one in sums.info.factors]
    if factor not in names:
        raise UnsupportedError(
            f"refits without groups of residual='{fit.spec.residual}' are not offered; offered is "
            "refit=False, at the variances of the fit"
        )
    f = names.index(factor)
    if not independent or sums.info.residual is not None:
        return lambda level: sums - own_sums(fit, f, level)
    known = _with_groups(fit, f)
    levels = known.keyed[ONLY_KEY].factors[f].levels
    return lambda level: drawn(known, f, levels[levels != level])[0]


def _with_groups(fit: FitResult, f: int) -> CrossProducts:
    """Return the sums with what every level of a factor adds to them."""
    sums = fit.crossproducts
    part = sums.keyed[ONLY_KEY]
    if part.factors[f].groups is not None:
        return sums
    groups = groups_of_rows(fit, f)[1]
    factors = [
        replace(one, groups=groups if h == f else None) for h, one in enumerate(part.factors)
    ]
    return replace(sums, keyed={ONLY_KEY: replace(part, factors=tuple(factors))})


def refitted(fit: FitResult, sums: CrossProducts) -> Estimates:
    """Return the fit of some sums, begun at the estimates of a fit of all."""
    found = fit.estimates
    return estimate(
        sums, fit.encoder.terms, reml=found.reml, method=found.method, start=found.params
    )


def named(fit: FitResult, found: Estimates) -> pd.Series:
    """Return coefficients, SDs and correlations by name.

    Coefficients are NaN where columns are aliased that the fit kept: the others then mean something else.
    """
    same = np.array_equal(found.kept, fit.estimates.kept)
    beta = found.beta if same else np.full(len(fit.estimates.kept), np.nan)
    out = dict(zip(fit.coefficient_names, beta, strict=True))
    info = fit.crossproducts.info
    rows = variance_components(info, fit.encoder.terms, found.G, found.sigma2, found.params.psi)
    for row in rows:
        out[_component(row.group, row.term1, row.term2)] = row.sdcor
    return pd.Series(out, name="estimate")


def _component(group: str, first: str, second: str) -> str:
    if group == "Residual" and not first and not second:
        return "sigma"
    return f"cor_{second}.{first}|{group}" if second else f"sd_{first}|{group}"


def _row(fit: FitResult, sums: Callable[[], CrossProducts]) -> Float:
    return named(fit, refitted(fit, sums())).to_numpy()


def changes(fit: FitResult, whole: pd.Series, left: Estimates) -> dict[str, float]:
    """Return how a refit without a level differs."""
    names, p = fit.coefficient_names, len(fit.coefficient_names)
    found = named(fit, left)
    change = (whole - found).to_numpy()[:p]
    components = [name for name in whole.index if name not in names]
    with np.errstate(divide="ignore", invalid="ignore"):
        moved = (found / whole - 1.0)[components]
    out = {f"rvc_{name}": float(value) for name, value in moved.items()}
    measures = ("cook", "mdffits", "covratio", "covtrace", *(f"dfbetas_{n}" for n in names))
    if not np.isfinite(change).all():
        return {**dict.fromkeys(measures, np.nan), **out}
    Phi, vcov = fit.estimates.vcov, left.vcov
    ratio = np.linalg.solve(Phi, vcov)
    values = (
        change @ np.linalg.solve(Phi, change) / p,
        change @ np.linalg.solve(vcov, change) / p,
        np.linalg.det(ratio),
        np.trace(ratio) - p,
        *(change / np.sqrt(np.diag(vcov))),
    )
    return {**{n: float(v) for n, v in zip(measures, values, strict=True)}, **out}
