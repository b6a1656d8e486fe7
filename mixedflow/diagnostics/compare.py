"""AIC = -2l + 2k, BIC = -2l + k log n, and whether two models may be compared by them at all.

Stands at "A second pass" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, slots=True)
class ComparedModel:
    """One line of the comparison.

    Attributes
    ----------
    name, formula, criterion : the model; ``"REML"`` or ``"ML"``
    nobs, npar, loglik, aic, bic : as the fit reports them
    delta_aic, delta_bic : distance from the best of the models it may be compared with, else NaN
    comparable_with : number of its set; models with the same number may be compared
    usable : False for a fit that did not converge; it takes no part
    """

    name: str
    formula: str
    criterion: str
    nobs: int
    npar: int
    loglik: float
    aic: float
    bic: float
    delta_aic: float
    delta_bic: float
    comparable_with: int
    usable: bool


@dataclass(frozen=True, slots=True)
class RatioTest:
    """A model against the one before it, which has fewer parameters.

    Attributes
    ----------
    name, npar, loglik : the model
    chisq, df, p : the likelihood-ratio test, NaN for the first model
    p_mixture : p by the 50:50 mixture where exactly one variance is tested at zero, else NaN
    note : what a reader of the test should know
    """

    name: str
    npar: int
    loglik: float
    chisq: float
    df: float
    p: float
    p_mixture: float
    note: str


@dataclass(frozen=True, slots=True)
class Comparison:
    """The models side by side, and in ``notes`` why some must not be compared.

    Attributes
    ----------
    rows : one model each, in the order that was asked for
    notes : what must not be compared, and why
    tests : likelihood-ratio tests in the order of the numbers of parameters, if they were made
    by_ml : whether models were fitted again by ML for the tests
    """

    rows: tuple[ComparedModel, ...]
    notes: tuple[str, ...]
    tests: tuple[RatioTest, ...] = ()
    by_ml: bool = False


_Key = tuple[str, str, int, str, tuple[str, ...]]


def _key(fit: FitResult) -> _Key:
    data = fit.data_summary
    return (
        str(data.get("fingerprint", data.get("source", ""))),
        str(fit.spec.formula).split("~", 1)[0].strip(),
        fit.nobs,
        "REML" if fit.reml else "ML",
        tuple(sorted(map(str, fit.fixef.index))) if fit.reml else (),
    )


def _notes(models: Sequence[tuple[str, FitResult]], keys: Sequence[_Key]) -> list[str]:
    def differ(position: int) -> bool:
        return len({key[position] for key in keys}) > 1

    notes = []
    if differ(0):
        notes.append("Models fitted to different data sets cannot be compared.")
    if differ(1):
        notes.append("Models of different responses cannot be compared.")
    if differ(2) and not differ(0):
        counts = ", ".join(f"{name}: {fit.nobs:,}" for name, fit in models)
        notes.append(
            f"Models that used different rows cannot be compared ({counts} rows): a column that "
            "only one of them uses has missing values."
        )
    if differ(3):
        notes.append("REML and ML likelihoods cannot be compared with each other.")
    if len({key[4] for key in keys if key[3] == "REML"}) > 1:
        notes.append(
            "REML likelihoods of models with different fixed parts cannot be compared; "
            "refit these models with ML (reml: false) to compare them."
        )
    failed = [name for name, fit in models if not fit.converged]
    if failed:
        notes.append(f"Not converged, and therefore left out of the differences: {listed(failed)}.")
    return notes


def listed(names: Sequence[str]) -> str:
    """Return ``a, b and c``."""
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def compare_models(models: Sequence[tuple[str, FitResult]]) -> Comparison:
    """Compare fits by AIC and BIC within sets of equal data, response, rows and criterion."""
    keys = [_key(fit) for _, fit in models]
    sets = list(dict.fromkeys(keys))
    best: dict[_Key, tuple[float, float, int]] = {}
    for (_, fit), key in zip(models, keys, strict=True):
        if fit.converged:
            aic, bic, count = best.get(key, (math.inf, math.inf, 0))
            best[key] = (min(aic, fit.aic), min(bic, fit.bic), count + 1)
    rows = []
    for (name, fit), key in zip(models, keys, strict=True):
        aic, bic, count = best.get(key, (math.nan, math.nan, 0))
        compared = fit.converged and count > 1
        rows.append(
            ComparedModel(
                name=name,
                formula=str(fit.spec.formula),
                criterion=key[3],
                nobs=fit.nobs,
                npar=fit.df_model,
                loglik=fit.loglik,
                aic=fit.aic,
                bic=fit.bic,
                delta_aic=fit.aic - aic if compared else math.nan,
                delta_bic=fit.bic - bic if compared else math.nan,
                comparable_with=sets.index(key) + 1,
                usable=fit.converged,
            )
        )
    return Comparison(tuple(rows), tuple(_notes(models, keys)))
