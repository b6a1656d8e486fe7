"""What a configuration asks of a fit, as questions that are answered one by one.

Stands at "Degrees of freedom" and after in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import pandas as pd

from mixedflow.config.inference import EmmeansConfig, InferConfig
from mixedflow.config.resampling import BootstrapConfig, VarianceTestConfig
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferred import InferredTable, TableKind
from mixedflow.results.inferring import Inference

if TYPE_CHECKING:
    from mixedflow.results.marginal_means import MarginalMeans

DDF_WORDS = {
    "satterthwaite": "Satterthwaite's degrees of freedom",
    "kenward-roger": "Kenward and Roger's degrees of freedom and adjusted covariance",
    "kenward-roger-linear": (
        "Kenward and Roger's degrees of freedom and adjusted covariance, without second derivatives"
    ),
    "between-within": "degrees of freedom between and within groups",
    "residual": "residual degrees of freedom, n − p",
    "asymptotic": "the normal distribution (degrees of freedom without bound)",
}
INTERVAL_WORDS = {
    "percentile": "Quantiles",
    "basic": "Twice the estimate less the quantiles",
    "normal": "Estimate less bias ± z standard deviations",
    "bca": "Quantiles, corrected for bias and acceleration,",
}
ROBUST_DDF = ("satterthwaite", "residual", "asymptotic")
ADJUSTMENTS = {
    "none": "not adjusted",
    "tukey": "adjusted by Tukey's method",
    "sidak": "adjusted by Šidák's method",
    "bonferroni": "adjusted by Bonferroni's method",
    "holm": "adjusted by Holm's method",
    "BH": "adjusted by Benjamini and Hochberg's method",
    "fdr": "adjusted by Benjamini and Hochberg's method",
    "mvt": "adjusted by the multivariate t distribution",
    "dunnett": "adjusted by Dunnett's method (multivariate t)",
}


@dataclass(frozen=True, slots=True)
class Question:
    """A table that is asked for.

    Attributes
    ----------
    key, kind, title, method : as in :class:`mixedflow.results.inferred.InferredTable`
    part : makes the table
    details : what else its reader needs
    """

    key: str
    kind: TableKind
    title: str
    method: str
    part: Callable[[], pd.DataFrame]
    details: Mapping[str, Any] = field(default_factory=dict)

    def answer(self) -> InferredTable:
        """Return the table; the reason in its place where this fit cannot have it."""
        try:
            table, note = self.part(), ""
        except (UnsupportedError, FitError) as fault:
            table, note = pd.DataFrame({"reason": []}, dtype=str), str(fault)
        return InferredTable(
            self.key, self.kind, self.title, self.method, table, note, self.details
        )


def questions(fit: FitResult, settings: InferConfig) -> list[Question]:
    """Return all that is asked; what is asked in wrong words raises before any is answered."""
    inference = fit.infer(settings.ddf, level=settings.level)
    by = DDF_WORDS[settings.ddf]
    asked = [*_coefficients(inference, settings, by), *_means(inference, settings, by)]
    if settings.robust is not None:
        asked += _robust(fit, settings)
    asked += [*_of_variances(fit, settings), *_again(fit, settings)]
    return [*asked, *_influence(fit, settings)]


def _named(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table with its index as the first column."""
    return table.rename_axis(index=name).reset_index()


def _coefficients(inference: Inference, settings: InferConfig, by: str) -> Iterator[Question]:
    method = f"t tests and {_percent(settings)} intervals by {by}."
    yield Question(
        "coefficients",
        "coefficients",
        "Fixed effects",
        method,
        lambda: _named(inference.coef_table, "coefficient"),
    )
    kind = settings.anova
    if kind != "none":
        yield Question(
            "anova",
            "anova",
            f"Tests of the terms, type {'I' * kind}",
            f"F tests by {by}.",
            lambda: _named(inference.anova(kind), "term"),
        )
    yield from _contrasts(inference, settings, by)


def _percent(settings: InferConfig) -> str:
    return f"{100 * settings.level:g} %"


def _contrasts(inference: Inference, settings: InferConfig, by: str) -> Iterator[Question]:
    single = {name: rows for name, rows in settings.contrasts.items() if len(rows) == 1}
    joint = {name: rows for name, rows in settings.contrasts.items() if len(rows) > 1}
    if single:
        method = f"t tests and {_percent(settings)} intervals by {by}."
        yield Question(
            "contrasts", "contrasts", "Contrasts", method, lambda: _tested(inference, single)
        )
    if joint:
        yield Question(
            "joint_contrasts",
            "joint",
            "Joint tests of contrasts",
            f"F tests by {by}.",
            lambda: _tested(inference, joint),
        )


def _tested(
    inference: Inference, asked: Mapping[str, tuple[dict[str, float], ...]]
) -> pd.DataFrame:
    """Return one row a contrast."""
    rows = [inference.contrast(pd.DataFrame(list(L)).fillna(0.0)) for L in asked.values()]
    return _named(pd.concat(rows).set_axis(list(asked)), "contrast")


def _means(inference: Inference, settings: InferConfig, by: str) -> Iterator[Question]:
    for place, asked in enumerate(settings.emmeans, 1):
        yield from _mean(inference, asked, f"emmeans_{place}", by)


def _mean(inference: Inference, asked: EmmeansConfig, key: str, by: str) -> Iterator[Question]:
    over = " | ".join(filter(None, [", ".join(asked.specs), ", ".join(asked.by)]))
    what = "Marginal means" if asked.trend is None else f"Marginal slopes of {asked.trend}"
    title, percent = f"{what}: {over}", f"{100 * inference.level:g} %"
    try:
        means = _asked_means(inference, asked)
    except UnsupportedError as fault:
        yield Question(key, "emmeans", title, "", _raising(fault))
        return
    details = {"specs": list(means.specs), "by": list(means.by), "trend": means.trend}
    method = f"{percent} intervals by {by}; weights of what is averaged over: {asked.weights}."
    yield Question(key, "emmeans", title, method, lambda: means.table, details)
    if asked.contrast is not None:
        contrast = asked.contrast
        adjust = _adjustment(asked)
        yield Question(
            f"{key}_contrasts",
            "contrasts",
            f"Contrasts ({contrast}): {over}",
            f"t tests and {percent} intervals by {by}, {ADJUSTMENTS[adjust]}.",
            lambda: means.contrast(contrast, adjust=adjust),
            details,
        )


def _adjustment(asked: EmmeansConfig) -> str:
    from mixedflow.results.marginal_words import checked_adjustment

    return checked_adjustment(asked.adjust, asked.contrast)


def _asked_means(inference: Inference, asked: EmmeansConfig) -> MarginalMeans:
    specs: Any = asked.specs[0] if len(asked.specs) == 1 else list(asked.specs)
    at = {name: list(values) for name, values in asked.at.items()} or None
    options: dict[str, Any] = {"by": list(asked.by) or None, "at": at, "weights": asked.weights}
    if asked.trend is not None:
        return inference.emtrends(specs, asked.trend, **options)
    return inference.emmeans(specs, **options)


def _raising(fault: Exception) -> Callable[[], pd.DataFrame]:
    def part() -> pd.DataFrame:
        raise fault

    return part


def _robust(fit: FitResult, settings: InferConfig) -> Iterator[Question]:
    """Yield coefficients and contrasts by a robust covariance."""
    kind = settings.robust or "CR2"
    ddf = settings.ddf if settings.ddf in ROBUST_DDF else ROBUST_DDF[0]
    words = {**DDF_WORDS, "satterthwaite": "Bell and McCaffrey's degrees of freedom"}
    by, title = f"the robust covariance {kind} and {words[ddf]}", f"robust ({kind})"
    method = f"t tests and {_percent(settings)} intervals by {by}."
    try:
        inference = fit.infer(ddf, level=settings.level, vcov=kind)
    except (UnsupportedError, FitError) as fault:
        yield Question("robust", "robust", f"Fixed effects, {title}", method, _raising(fault))
        return
    yield Question(
        "robust",
        "robust",
        f"Fixed effects, {title}",
        method,
        lambda: _named(inference.coef_table, "coefficient"),
    )
    for question in _contrasts(inference, settings, by):
        yield replace(question, key=f"robust_{question.key}", title=f"{question.title}, {title}")


def _of_variances(fit: FitResult, settings: InferConfig) -> Iterator[Question]:
    asked, level = settings.intervals, settings.level
    if asked is not None:
        parm = None if asked.parameters is None else list(asked.parameters)
        likelihood = asked.likelihood
        words = {
            "profile": f"By the profile of the {likelihood.upper()} likelihood",
            "wald": "Estimate ± z standard errors",
        }
        yield Question(
            "intervals",
            "intervals",
            f"{_percent(settings)} intervals",
            f"{words[asked.method]}.",
            lambda: _named(
                fit.confint(level, asked.method, parm=parm, likelihood=likelihood), "parameter"
            ),
        )
        if asked.method == "profile" and asked.plot:
            yield Question(
                "profiles",
                "profiles",
                "Profiles",
                f"{words['profile']}.",
                lambda: fit.profile(parm, likelihood=likelihood),
            )
    if settings.random_tests:
        yield Question(
            "random_tests",
            "random",
            "Tests of the random terms",
            "Likelihood-ratio tests of the model without the term, fitted on the same sums.",
            lambda: _named(fit.drop_random(), "dropped"),
        )


def _again(fit: FitResult, settings: InferConfig) -> Iterator[Question]:
    """Yield what takes fits of smaller models, of drawn data, or once more of this one."""
    tested, drawn = settings.variance_test, settings.bootstrap
    if tested is not None:
        yield Question(
            "variance_test",
            "variances",
            "Tests of variances",
            "Likelihood-ratio tests that variances are zero, each smaller model fitted on the same"
            " sums, by the distribution that is named; p, χ² is too large there.",
            partial(_tested_variances, fit, tested),
        )
    if drawn is not None:
        what = "responses simulated from the fit" if drawn.kind == "parametric" else "groups drawn"
        yield Question(
            "bootstrap",
            "bootstrap",
            f"Bootstrap: {_percent(settings)} intervals",
            f"{INTERVAL_WORDS[drawn.interval]} of {drawn.draws:,} fits of {what} (seed {drawn.seed}).",
            partial(_drawn, fit, drawn, settings.level),
        )
    if settings.caic:
        yield Question(
            "caic",
            "caic",
            "Conditional AIC",
            "Of predictions for these groups: −2 log f(y | u) + 2 df (Greven and Kneib 2010).",
            lambda: _named(fit.caic.to_frame("value"), "measure"),
        )


def _tested_variances(fit: FitResult, asked: VarianceTestConfig) -> pd.DataFrame:
    terms = None if asked.terms is None else list(asked.terms)
    table = fit.variance_test(terms, method=asked.method).rename(columns={"statistic": "chisq"})
    table["weights"] = [", ".join(f"{w:.3g}" for w in weights) for weights in table["weights"]]
    return _named(table, "dropped")


def _drawn(fit: FitResult, asked: BootstrapConfig, level: float) -> pd.DataFrame:
    found = fit.bootstrap(
        asked.draws,
        kind=asked.kind,
        factor=asked.factor,
        seed=asked.seed,
        jackknife=asked.interval == "bca",
        workers=1,
    )
    table = found.confint(level, asked.interval)
    table.insert(1, "se", found.se)
    table.insert(2, "bias", found.bias)
    table["draws"] = found.draws[list(table.index)].notna().sum()
    return _named(table, "parameter")


def _influence(fit: FitResult, settings: InferConfig) -> Iterator[Question]:
    for place, factor in enumerate(settings.influence, 1):
        yield Question(
            f"influence_{place}",
            "influence",
            f"Influence: {factor}",
            "Each level's rows left out in turn, at the variances of the fit.",
            partial(_influential, fit, factor),
        )


def _influential(fit: FitResult, factor: str) -> pd.DataFrame:
    return _named(fit.influence(factor), factor)
