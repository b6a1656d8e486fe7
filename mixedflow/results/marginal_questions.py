"""Marginal means and slopes as methods: of ``fit.infer(...)``, and of the fit by the default method.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.inferring import Inference
    from mixedflow.results.marginal_means import MarginalMeans


class MarginalInference:
    """Marginal means of :class:`mixedflow.results.inferring.Inference`, by its degrees of freedom."""

    def emmeans(
        self,
        specs: object,
        *,
        by: object = None,
        at: Mapping[str, Any] | None = None,
        weights: str = "equal",
        level: float | None = None,
        adjust: str = "none",
    ) -> MarginalMeans:
        """Return estimated marginal means, as R's emmeans.

        Means of the fitted X beta + offset over a grid of all levels of the factors, with covariates
        at their means over the rows that the model was set up from: ``log(x)`` is the logarithm of
        the mean. Of a transformed response they are means of the transformed one.

        Parameters
        ----------
        specs : variables of the means: ``"a"``, ``["a", "b"]``, ``"a | b"`` for a within b; ``"1"`` for
            one mean over everything
        by : variables within whose levels means are compared
        at : other values of variables, ``{"x": [1, 2], "a": ["low", "high"]}``
        weights : of the levels that are averaged over: ``"equal"``; ``"proportional"`` to the rows with
            these levels; ``"cells"``, to the rows in the cell
        level : of the intervals; that of the inference if left out
        adjust : of the intervals of the means, ``"none"``, ``"sidak"``, ``"bonferroni"`` or ``"mvt"``

        Returns
        -------
        MarginalMeans
            with ``table``, ``pairs()``, ``contrast()`` and ``joint()``

        Raises
        ------
        UnsupportedError
            for a grid that is too large, and for weights that the sums do not tell.
        """
        from mixedflow.results.marginal_asking import MeansRequest, marginal_means

        own = cast("Inference", self)
        asked = MeansRequest(specs, by, at, weights, own.level if level is None else level, adjust)
        return marginal_means(own._fit, own._tests, asked)

    def emtrends(
        self,
        specs: object,
        var: str,
        *,
        by: object = None,
        at: Mapping[str, Any] | None = None,
        weights: str = "equal",
        level: float | None = None,
    ) -> MarginalMeans:
        """Return marginal slopes, d(X beta) / d var, as R's emtrends; offsets count as no effect.

        Parameters
        ----------
        specs, by, at, weights, level : as for :meth:`emmeans`
        var : a covariate; its slope is at its mean, where it is not linear, or at ``at``
        """
        from mixedflow.results.marginal_asking import MeansRequest, marginal_slopes

        own = cast("Inference", self)
        asked = MeansRequest(specs, by, at, weights, own.level if level is None else level, "none")
        return marginal_slopes(own._fit, own._tests, asked, var)


class Marginal:
    """Marginal means of :class:`mixedflow.FitResult`, by its default degrees of freedom."""

    def emmeans(self, specs: object, **options: Any) -> MarginalMeans:
        """Return ``infer().emmeans(specs, ...)``: estimated marginal means."""
        return cast("FitResult", self).infer().emmeans(specs, **options)

    def emtrends(self, specs: object, var: str, **options: Any) -> MarginalMeans:
        """Return ``infer().emtrends(specs, var, ...)``: marginal slopes."""
        return cast("FitResult", self).infer().emtrends(specs, var, **options)
