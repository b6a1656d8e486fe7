"""Fits side by side: information criteria and likelihood-ratio tests.

Stands at "Likelihood ratios" in ``docs/algorithm.md``. Fits may be compared if they are of the same
rows; by REML only if their fixed parts are the same, since REML likelihoods of different X are
likelihoods of different contrasts of y.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Literal, get_args

import numpy as np

from mixedflow.crossproducts.types import ONLY_KEY
from mixedflow.errors import ConfigError, DataError, FitError, UnsupportedError
from mixedflow.inference.ratio import (
    aicc,
    chi2_p,
    extra_variances,
    nested,
    one_variance_p,
    random_part,
    same_residuals,
)
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.sharded import ShardedFit
from mixedflow.results.tabulating import pd

Refit = Literal["ml"]

SAME = 1e-8
"""Relative difference of sums of the response above which the responses are not the same."""

FALL = 1e-5
"""Twice the log-likelihood that a larger model may lose by rounding and by where its fit stopped."""

NOTHING = 1e-12
"""Ratio, relative to twice the log-likelihood, that is rounding: two fits at the same optimum."""

NO_NOTE = ""


def compare(
    *fits: FitResult, refit: Refit | None = None, names: Sequence[str] | None = None
) -> pd.DataFrame:
    """Return criteria and tests of several fits, in the order of their numbers of parameters.

    Each fit is tested against the row above it. The two should be nested; where their columns do not
    show that they are, ``note`` says so.

    Parameters
    ----------
    fits : two or more, of the same rows
    refit : ``"ml"`` fits those by REML again by ML, on their sums
    names : one a fit, for the index; their formulas otherwise

    Returns
    -------
    DataFrame
        ``npar``, ``logLik``, ``AIC``, ``AICc``, ``BIC``, ``deviance`` (-2 log-likelihood), ``chisq``,
        ``df``, ``p``; ``p_mixture`` where variances are tested at zero, by a mixture of chi2: 50:50 of
        chi2_(df-1) and chi2_df for one, :func:`mixedflow.variance_test`'s for several; ``note``

    Raises
    ------
    DataError
        if the fits are of different rows.
    UnsupportedError
        if some are by REML and others by ML, or by REML with different fixed parts.
    """
    if len(fits) < 2:
        raise ConfigError(f"compare() needs two fits or more; {len(fits)} was given")
    if refit is not None and refit not in get_args(Refit):
        raise ConfigError(f"refit='{refit}' is not known; allowed are 'ml' and None")
    if names is not None and len(names) != len(fits):
        raise ConfigError(f"names has {len(names)} entries for {len(fits)} fits; name each")
    chosen = [by_ml(fit) if refit == "ml" else fit for fit in fits]
    for fit in chosen:
        check_exact(fit)
        check_rows(chosen[0], fit)
    check_likelihoods(chosen)
    labels = [_label(fit) for fit in fits] if names is None else list(names)
    order = sorted(range(len(chosen)), key=lambda k: chosen[k].df_model)
    ordered = [chosen[k] for k in order]
    index = pd.Index([labels[k] for k in order], name="model", dtype=object)
    rows = [_criteria(fit) for fit in ordered]
    tests = [_untested(), *(ratio_row(a, b) for a, b in pairwise(ordered))]
    return pd.DataFrame(
        [{**row, **test} for row, test in zip(rows, tests, strict=True)], index=index
    )


def by_ml(fit: FitResult) -> FitResult:
    """Return the fit by ML, on the same sums; the fit itself if that is what it is.

    Raises
    ------
    UnsupportedError
        for a sharded fit, whose sums are elsewhere.
    """
    if not fit.reml:
        return fit
    check_sums(fit, "refitted")
    rows = RowSource(str(fit.data_summary.get("source", "")), fit.source, fit.row_index)
    request = FitRequest(reml=False, method=fit.method)
    return fit_condensed(fit.spec, fit.schema, fit.crossproducts, request, rows)


def check_sums(fit: FitResult, what: str) -> None:
    """Raise where the sums that a fit was made from are not at hand."""
    if isinstance(fit, ShardedFit):
        raise UnsupportedError(
            f"a sharded fit keeps no sums of its groups in one place, so it cannot be {what}; offered "
            "is a fit from the rows without sharded=True"
        )


def ratio_row(
    small: FitResult, large: FitResult, *, mixture: bool = True
) -> dict[str, float | int | str]:
    """Return chisq, df, p, p_mixture (if it is wanted) and note of the larger model."""
    df = large.df_model - small.df_model
    gain = small.deviance - large.deviance
    statistic = gain if gain > NOTHING * max(1.0, abs(large.deviance)) else 0.0
    parts = [random_part(fit.crossproducts.info, fit.encoder.terms) for fit in (small, large)]
    alike = same_residuals(small.spec, large.spec)
    fixed = _fixed(small) == _fixed(large)
    zeros = extra_variances(*parts)
    p_mixture = np.nan
    if mixture and df > 0 and alike and fixed and zeros:
        p_mixture = (
            one_variance_p(statistic, df) if zeros == 1 else _several(small, large, statistic)
        )
    known = _fixed(small) <= _fixed(large) and nested(*parts) and alike
    return {
        "chisq": statistic,
        "df": df,
        "p": chi2_p(statistic, df) if df > 0 else np.nan,
        "p_mixture": p_mixture,
        "note": _note(
            small,
            large,
            gain=gain,
            known=known,
            zeros=zeros if mixture and np.isnan(p_mixture) else 0,
        ),
    }


def _several(small: FitResult, large: FitResult, statistic: float) -> float:
    """Return p of several variances tested at zero; NaN where their weights are not to be had."""
    from mixedflow.inference.mixture import mixture_p
    from mixedflow.results.variance_testing import null_mixture

    try:
        weights, free, _ = null_mixture(small, large)
    except (UnsupportedError, FitError, np.linalg.LinAlgError):
        return np.nan
    return mixture_p(statistic, weights, free)


def _note(
    small: FitResult, large: FitResult, *, gain: float, known: bool, zeros: int | None
) -> str:
    """Return what a reader of the test should know."""
    said = []
    if large.df_model == small.df_model:
        said.append("no parameter more")
    if not known:
        said.append("not seen to be nested")
    elif zeros:
        said.append("a variance is tested at zero besides other parameters: p is too large")
    if gain < -FALL * max(1.0, 1e-6 * abs(large.deviance)):
        said.append("the larger model has the lower likelihood")
    if small.singular:
        said.append("the smaller model is on the boundary")
    said += [f"the {w} did not converge" for w, f in _both(small, large) if not f.converged]
    return "; ".join(said)


def _both(small: FitResult, large: FitResult) -> list[tuple[str, FitResult]]:
    return [("smaller", small), ("larger", large)]


def _untested() -> dict[str, float | str]:
    return {"chisq": np.nan, "df": np.nan, "p": np.nan, "p_mixture": np.nan, "note": NO_NOTE}


def _criteria(fit: FitResult) -> dict[str, float | int]:
    return {
        "npar": fit.df_model,
        "logLik": fit.loglik,
        "AIC": fit.aic,
        "AICc": aicc(fit.deviance, fit.df_model, fit.nobs),
        "BIC": fit.bic,
        "deviance": fit.deviance,
    }


def _label(fit: FitResult) -> str:
    residual = "" if fit.spec.residual == "iid" else f", residual = {fit.spec.residual}"
    return f"{fit.spec.formula}{residual}"


def _fixed(fit: FitResult) -> frozenset[str]:
    """Return the columns of the fixed part, with the offsets."""
    return frozenset((*fit.coefficient_names, *(e.text for e in fit.spec.parsed.offsets)))


def check_exact(fit: FitResult) -> None:
    """Raise for a fit whose likelihood is only an estimate."""
    if fit.monte_carlo is not None:
        raise UnsupportedError(
            f"the log-likelihood of '{fit.spec.formula}' is a Monte-Carlo estimate of the solver "
            "'pcg', too noisy to compare, and the inverse of its equations is never formed; use a "
            "solver that factorises: solver='auto', 'sparse', 'schur' or 'dense'"
        )


def check_likelihoods(fits: Sequence[FitResult]) -> None:
    """Raise where the likelihoods are of different things."""
    if len({fit.reml for fit in fits}) > 1:
        raise UnsupportedError(
            "some of the fits are by REML and others by ML, whose likelihoods cannot be compared; "
            "use refit='ml' to fit all by ML"
        )
    first = fits[0]
    for fit in fits[1:]:
        if fit.reml and _fixed(fit) != _fixed(first):
            differ = ", ".join(f"'{name}'" for name in sorted(_fixed(fit) ^ _fixed(first)))
            raise UnsupportedError(
                "REML likelihoods of models with different fixed parts cannot be compared (they "
                f"differ in {differ}); use refit='ml' to fit all by ML"
            )


def check_rows(first: FitResult, fit: FitResult) -> None:
    """Raise where two fits are of different rows or responses."""
    a, b = first.spec.parsed.response.text, fit.spec.parsed.response.text
    if a != b:
        raise DataError(f"fits of different responses cannot be compared: '{a}' and '{b}'")
    if first.nobs != fit.nobs:
        raise DataError(
            f"fits of different data cannot be compared: '{first.spec.formula}' has "
            f"{first.nobs:,} rows, '{fit.spec.formula}' {fit.nobs:,}; drop the rows that are "
            "incomplete in any of the models first"
        )
    sums = [_response_sums(one) for one in (first, fit)]
    if sums[0] is None or sums[1] is None or not _comparable(first, fit):
        return
    spread = np.sqrt(sums[0][1])
    off = abs(sums[0][0] - sums[1][0]) / (spread + abs(sums[0][0]))
    if off > SAME or abs(sums[0][1] - sums[1][1]) > SAME * sums[0][1]:
        raise DataError(
            f"fits of different data cannot be compared: '{a}' has mean {sums[0][0]:.6g} and sum of "
            f"squares {sums[0][1]:.6g} about it in '{first.spec.formula}', {sums[1][0]:.6g} and "
            f"{sums[1][1]:.6g} in '{fit.spec.formula}'"
        )


def _comparable(a: FitResult, b: FitResult) -> bool:
    """Whether the sums of the response are the same for the same rows."""
    offsets = [[e.text for e in fit.spec.parsed.offsets] for fit in (a, b)]
    return a.spec.weights == b.spec.weights and offsets[0] == offsets[1]


def _response_sums(fit: FitResult) -> tuple[float, float] | None:
    """Return mean of y and sum of squares about it, weighted; None where the sums do not say."""
    if isinstance(fit, ShardedFit) or set(fit.crossproducts.keyed) != {ONLY_KEY}:
        return None
    info, part = fit.crossproducts.info, fit.crossproducts.keyed[ONLY_KEY]
    constant = 0 if info.intercept is None else info.intercept
    shift, scale = float(info.pilots.y_shift[0]), float(info.pilots.y_scale[0])
    mean = float(part.XtBy[constant, 0] / part.XtBX[constant, constant])
    left = float(part.ytBy[0, 0]) - mean * float(part.XtBy[constant, 0])
    return shift + scale * mean, scale**2 * left
