"""Estimated marginal means and slopes of a fit, and contrasts among them, as tables.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from mixedflow.design.types import Int
from mixedflow.errors import DataError, did_you_mean, listing
from mixedflow.inference.adjustments import Adjustment
from mixedflow.inference.contrasts import (
    ContrastMethod,
    ContrastWeights,
    contrast_weights,
    crossed,
)
from mixedflow.inference.linear_functions import FunctionBasis, LinearFunctions
from mixedflow.results.marginal_words import (
    check_names,
    checked_adjustment,
    checked_contrast,
    level_label,
    methods_by_variable,
    named,
)
from mixedflow.results.tabulating import pd

TESTED = ("estimate", "se", "df", "statistic", "p", "lower", "upper", "note")
ESTIMATED = ("estimate", "se", "df", "lower", "upper", "note")


@dataclass(frozen=True, eq=False, repr=False)
class MarginalMeans:
    """Estimated marginal means, or marginal slopes, by the levels of some variables.

    Attributes
    ----------
    specs : variables of the means
    by : variables within whose levels means are compared
    levels : values of specs and by, a row a mean
    level : of the confidence intervals
    adjust : of the intervals in ``table``
    trend : the covariate whose slopes these are; None for means
    """

    specs: tuple[str, ...]
    by: tuple[str, ...]
    levels: pd.DataFrame
    level: float
    adjust: Adjustment
    trend: str | None
    _functions: LinearFunctions
    _basis: FunctionBasis

    @cached_property
    def table(self) -> pd.DataFrame:
        """One row a mean: its levels, estimate, se, df, lower, upper, note.

        NaN where a mean is not estimable: it takes cells that have no rows.
        """
        tables = []
        for where, _ in self._groups(self.by):
            found = self._basis.tested(self._functions.take(where), self.adjust, self.level)
            values = {name: getattr(found, name) for name in ESTIMATED}
            tables.append(pd.DataFrame(values, index=where))
        whole = pd.concat([self.levels, pd.concat(tables).sort_index()], axis=1)
        return whole.reset_index(drop=True)

    def pairs(self, adjust: str = "tukey", *, by: object = None) -> pd.DataFrame:
        """Return all differences between two means; see :meth:`contrast`."""
        return self.contrast("pairwise", adjust=adjust, by=by)

    def contrast(
        self,
        method: object = "eff",
        *,
        adjust: str | None = None,
        by: object = None,
        reference: object = None,
    ) -> pd.DataFrame:
        """Return contrasts among the means with their tests, within the levels of ``by``.

        Parameters
        ----------
        method : ``"pairwise"``; ``"trt.vs.ctrl"``, each minus the reference; ``"consecutive"``, each
            minus the one before; ``"eff"``, each minus the mean of all; ``"poly"``; ``"identity"``,
            the means themselves; weights by name, ``{"a - b": [1, -1, 0]}``; weights, (c, m); or a
            method for each of several variables, ``{"a": "pairwise", "b": "poly"}``, for contrasts
            of contrasts
        adjust : ``"tukey"``, ``"sidak"``, ``"bonferroni"``, ``"holm"``, ``"BH"`` (``"fdr"``), ``"mvt"``,
            ``"dunnett"`` (the same, by the multivariate t) or ``"none"``, within the levels of ``by``.
            By default tukey for pairs, dunnett for ``trt.vs.ctrl``, mvt for ``consecutive``, BH for
            ``eff``, none for all others. Tukey falls back to Sidak where they are not all pairs;
            intervals of Holm and BH are Bonferroni's
        by : variables to compare within; those of the means if left out, ``[]`` for none
        reference : level of the control, the first if left out

        Returns
        -------
        DataFrame
            ``contrast``, the variables of ``by``, ``estimate``, ``se``, ``df``, ``statistic``, ``p``,
            ``lower``, ``upper``, ``note``
        """
        within = self._within(by)
        interaction = methods_by_variable(method)
        if interaction is not None:
            check_names([*interaction], self._names, "contrast()", "of these means")
            within = tuple(n for n in self._names if n not in interaction)
        chosen = checked_adjustment(adjust, method)
        tables = []
        for where, labels in self._groups(within):
            found = self._weights(method, interaction, where, labels, reference)
            functions = self._functions.take(where).combined(found.weights)
            means = len(labels) if method == "pairwise" else 0
            tested = self._basis.tested(functions, chosen, self.level, means=means)
            head = {"contrast": list(found.names)}
            head |= {n: self.levels[n].iloc[where[0]] for n in within}
            tables.append(pd.DataFrame({**head, **{n: getattr(tested, n) for n in TESTED}}))
        return pd.concat(tables, ignore_index=True)

    def joint(self, *, by: object = None) -> pd.DataFrame:
        """Return F tests that the means are equal, one for every combination of ``by``.

        Returns
        -------
        DataFrame
            the variables of ``by``, ``num_df``, ``den_df``, ``F``, ``p``, ``note``
        """
        within = self._within(by)
        rows = []
        for where, labels in self._groups(within):
            weights = contrast_weights("pairwise", labels).weights
            test, note = self._basis.joint(self._functions.take(where).combined(weights))
            head = {n: self.levels[n].iloc[where[0]] for n in within}
            figures = {n: getattr(test, n) for n in ("num_df", "den_df", "F", "p")}
            rows.append({**head, **figures, "note": note})
        return pd.DataFrame(rows)

    def _groups(self, by: Sequence[str]) -> Iterator[tuple[Int, list[str]]]:
        """Yield the places of the means that are compared with each other, and their labels."""
        others = [n for n in self._names if n not in by]
        text = {n: [level_label(n, v) for v in self.levels[n]] for n in others}
        codes: Any = np.zeros(len(self.levels), dtype=np.int64)
        if by:
            codes = self.levels.groupby(list(by), sort=False, observed=True).ngroup().to_numpy()
        for k in range(int(codes.max()) + 1):
            where = np.flatnonzero(codes == k)
            yield where, [" ".join(text[n][i] for n in others) or "overall" for i in where]

    def _weights(
        self,
        method: Any,
        interaction: Mapping[str, ContrastMethod] | None,
        where: Int,
        labels: list[str],
        reference: object,
    ) -> ContrastWeights:
        if interaction is not None:
            own = {n: self.levels[n].unique() for n in self._names if n in interaction}
            return crossed(
                [
                    contrast_weights(interaction[n], [level_label(n, v) for v in values])
                    for n, values in own.items()
                ]
            )
        if isinstance(method, str):
            chosen = checked_contrast(method)
            return contrast_weights(chosen, labels, self._control(where, labels, reference))
        return _custom(method, labels)

    def _control(self, where: Int, labels: list[str], reference: object) -> int:
        """Return the place of the control among the means of a group."""
        if reference is None:
            return 0
        wanted = str(reference)
        for k, i in enumerate(where):
            own = [str(self.levels[n].iloc[i]) for n in self.specs]
            if wanted in (labels[k], " ".join(own)):
                return k
        raise DataError(
            f"reference={reference!r} is none of the means; they are {listing(labels)}"
            f"{did_you_mean(wanted, labels)}"
        )

    @property
    def _names(self) -> tuple[str, ...]:
        return self.specs + self.by

    def _within(self, by: object) -> tuple[str, ...]:
        """Return the variables to compare within."""
        within = self.by if by is None else named(by)
        check_names(within, self._names, "by", "of these means")
        return within

    def __str__(self) -> str:
        """Return the table as text."""
        return str(self.table.to_string(index=False))

    def __repr__(self) -> str:
        """Return one line."""
        what = "means" if self.trend is None else f"slopes of {self.trend}"
        within = f" by {', '.join(self.by)}" if self.by else ""
        over = ", ".join(self.specs) or "everything"
        return f"<MarginalMeans: {len(self.levels)} {what} over {over}{within}>"


def _custom(method: Any, labels: Sequence[str]) -> ContrastWeights:
    """Return weights that were given as numbers."""
    if isinstance(method, Mapping):
        method = pd.DataFrame(dict(method)).T
    names = [f"contrast {k + 1}" for k in range(len(np.atleast_2d(method)))]
    if isinstance(method, pd.DataFrame):
        names = [str(name) for name in method.index]
    try:
        weights = np.atleast_2d(np.asarray(method, dtype=float))
    except (TypeError, ValueError):
        weights = np.empty((0, 0))
    if weights.shape[1:] != (len(labels),) or not np.isfinite(weights).all() or not len(weights):
        raise DataError(
            f"a contrast must have {len(labels)} finite weights, one for each of {listing(labels)}; "
            f"found an array of shape {weights.shape}"
        )
    return ContrastWeights(tuple(names), weights)
