"""Are variances zero: likelihood ratios with the distribution that they have on the boundary.

Stands at "Tests of variances" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, get_args

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import ConfigError, UnsupportedError, did_you_mean, listing
from mixedflow.inference.exact_ratio import QUICK_LEVELS, exact_p
from mixedflow.inference.mixture import cone_weights, mixture_p
from mixedflow.inference.null_information import Entry, null_covariance
from mixedflow.inference.ratio import chi2_p, nested, random_part, same_residuals
from mixedflow.results.comparison import (
    check_exact,
    check_likelihoods,
    check_rows,
    check_sums,
    ratio_row,
)
from mixedflow.results.dropping import fit_smaller, smaller_models
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd

TestMethod = Literal["auto", "mixture", "exact"]


def variance_test(
    small: FitResult | str, large: FitResult, *, method: TestMethod = "auto"
) -> pd.DataFrame:
    """Return the likelihood-ratio test of the variances that the larger model has more.

    Parameters
    ----------
    small, large : nested fits of the same rows, with the same fixed part, by the same likelihood;
        the smaller one may be a formula, also without random terms, and is fitted on the sums of
        the larger
    method : ``"mixture"``, the limit for many groups: chi2 of several degrees of freedom, weighted by
        the geometry of what may be estimated; ``"exact"``, for any number of groups, where the larger
        model has one random term of one column and the smaller none: 10,000 seeded draws; ``"auto"``
        takes the exact one where it is for up to 500 levels, else the mixture

    Returns
    -------
    DataFrame
        a row: ``statistic``, ``df`` (parameters more), ``p``, ``p_chi2`` (by chi2_df, too large),
        ``weights`` (of chi2_0, ..., chi2_df), ``method`` ("mixture", "mixture, drawn" where weights
        are from seeded draws, "exact", "exact, tail" where too few draws reach the statistic), ``note``

    Raises
    ------
    UnsupportedError
        for models that are not nested in variances and covariances of us and diag terms, or that
        the method is not for.
    """
    check_exact(large)
    check_sums(large, "tested")
    if isinstance(small, str):
        small = fit_smaller(large, small)
    check_exact(small)
    check_sums(small, "tested")
    check_rows(small, large)
    check_likelihoods([small, large])
    row = _row(small, large, _checked(method))
    index = pd.Index([small.spec.formula], name="smaller", dtype=object)
    return pd.DataFrame([row], index=index)


def variance_tests(
    fit: FitResult, terms: str | Sequence[str] | None = None, method: TestMethod = "auto"
) -> pd.DataFrame:
    """Return the tests of what can be dropped; see :meth:`mixedflow.FitResult.variance_test`."""
    check_exact(fit)
    check_sums(fit, "tested")
    smaller = {one.dropped: one.formula for one in smaller_models(fit.spec.parsed)}
    if not smaller:
        raise UnsupportedError(f"'{fit.spec.formula}' has no random term to test")
    wanted = list(smaller) if terms is None else [terms] if isinstance(terms, str) else list(terms)
    for one in wanted:
        if one not in smaller:
            raise ConfigError(
                f"terms='{one}' is nothing that can be dropped of '{fit.spec.formula}'; that is "
                f"{listing(list(smaller))}{did_you_mean(str(one), list(smaller))}"
            )
    chosen = _checked(method)
    rows = [_row(fit_smaller(fit, smaller[one]), fit, chosen) for one in wanted]
    return pd.DataFrame(rows, index=pd.Index(wanted, name="dropped", dtype=object))


def _checked(method: TestMethod) -> TestMethod:
    if method not in get_args(TestMethod):
        offered = get_args(TestMethod)
        raise ConfigError(
            f"method='{method}' is not known{did_you_mean(str(method), offered)}; allowed are "
            f"{listing(offered)}"
        )
    return method


def _row(small: FitResult, large: FitResult, method: TestMethod) -> dict[str, object]:
    basic = ratio_row(small, large, mixture=False)
    statistic, df = float(basic["chisq"]), int(basic["df"])
    found: dict[str, object] = {"statistic": statistic, "df": df}
    weights: tuple[float, ...] = ()
    if method == "exact" and not _has_exact_test(small, large):
        raise UnsupportedError(
            "method='exact' is for one random term of one column, such as (1 | g), tested against "
            "none, with independent or weighted residuals; method='mixture' is for the others"
        )
    if method == "exact" or (method == "auto" and _pays(small, large)):
        p, counted = exact_p(large._problem().system, statistic, reml=large.reml)
        said = "exact" if counted else "exact, tail"
    else:
        mixed, free, sure = null_mixture(small, large)
        p = mixture_p(statistic, mixed, free)
        weights = (*[0.0] * free, *(float(w) for w in mixed))
        said = "mixture" if sure else "mixture, drawn"
    return {
        **found,
        "p": p,
        "p_chi2": chi2_p(statistic, df),
        "weights": weights,
        "method": said,
        "note": basic["note"],
    }


def null_mixture(small: FitResult, large: FitResult) -> tuple[Float, int, bool]:
    """Return weights of chi2_0, ..., the parameters tested on no edge, and whether weights are exact.

    Raises
    ------
    UnsupportedError
        where the two models do not differ in variances and covariances alone.
    """
    parts = [random_part(fit.crossproducts.info, fit.encoder.terms) for fit in (small, large)]
    same = set(small.coefficient_names) == set(large.coefficient_names)
    if not (same and same_residuals(small.spec, large.spec)):
        raise UnsupportedError(
            "a test of variances is for models with the same fixed part and residuals; compare() "
            "has tests of the others"
        )
    if not (parts[0].plain and parts[1].plain and nested(*parts)) or parts[0] == parts[1]:
        raise UnsupportedError(
            f"'{small.spec.formula}' is not '{large.spec.formula}' with fewer variances or "
            "covariances of unstructured and diagonal terms; compare() tests other pairs by chi2"
        )
    extra = parts[1].variances - parts[0].variances
    blocks, tested, entries = _tested(large, extra)
    free = large.df_model - small.df_model - len(tested)
    if len(blocks) <= 1 and sum(blocks) <= 1:
        weights = np.array([0.5, 0.5]) if blocks else np.ones(1)
        return weights, free, True
    if large.spec.residual != "iid":
        raise UnsupportedError(
            "the weights of several variances are for independent or weighted residuals, not for "
            f"residual='{large.spec.residual}'; test one variance after the other"
        )
    covariance = null_covariance(large._problem(), _null_G(small, large), small.sigma**2, entries)
    at = [entries.index(one) for one in tested]
    weights, sure = cone_weights(covariance[np.ix_(at, at)], blocks)
    return weights, free, sure


def _tested(
    large: FitResult, extra: frozenset[tuple[str, str]]
) -> tuple[list[int], list[Entry], list[Entry]]:
    """Return sizes of the blocks at zero, their entries row by row, and all entries of the model."""
    blocks, tested, entries = [], [], []
    for j, term in enumerate(large.encoder.terms):
        factor = large.crossproducts.info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        whole = term.structure == "us"
        pairs = [(a, b) for a in range(len(names)) for b in (range(a + 1) if whole else [a])]
        entries += [Entry(j, a, b) for a, b in pairs]
        new = {a for a, name in enumerate(names) if (factor.name, name) in extra}
        tested += [Entry(j, a, b) for a, b in pairs if a in new and b in new]
        if new:
            blocks += [len(new)] if whole else [1] * len(new)
    return blocks, tested, entries


def _null_G(small: FitResult, large: FitResult) -> list[Float]:
    """Return the smaller model's G in the terms of the larger, zero where it has none."""
    known = {}
    for term, G in zip(small.encoder.terms, small.estimates.G, strict=True):
        factor = small.crossproducts.info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        for a, one in enumerate(names):
            for b, other in enumerate(names):
                known[factor.name, one, other] = float(G[a, b])
    out = []
    for term in large.encoder.terms:
        factor = large.crossproducts.info.factors[term.factor]
        names = [factor.columns[c] for c in term.columns]
        out.append(np.array([[known.get((factor.name, a, b), 0.0) for b in names] for a in names]))
    return out


def _has_exact_test(small: FitResult, large: FitResult) -> bool:
    terms = large.encoder.terms
    same = set(small.coefficient_names) == set(large.coefficient_names)
    alone = len(terms) == 1 and len(terms[0].columns) == 1 and not small.encoder.terms
    plain = alone and random_part(large.crossproducts.info, terms).plain
    return plain and same and large.spec.residual == "iid"


def _pays(small: FitResult, large: FitResult) -> bool:
    """Say whether the exact test is one of a second at most."""
    if not _has_exact_test(small, large):
        return False
    return large.crossproducts.info.factors[large.encoder.terms[0].factor].n_levels <= QUICK_LEVELS
