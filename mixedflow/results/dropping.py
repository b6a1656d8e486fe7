"""Is each random term needed: the likelihood ratio of the model without it, on the same sums.

Stands at "Likelihood ratios" in ``docs/algorithm.md``. A term of one product, ``(1 | g)``, is dropped
whole. Of ``(1 + x | g)`` the product x is dropped, with its variance and covariances: what is left must
be a model in which no lower product is missing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np

from mixedflow.crossproducts.condensed import Condensed
from mixedflow.design.formula import LinearPart, ParsedFormula, RandomTerm, Term
from mixedflow.errors import FormulaError, UnsupportedError
from mixedflow.inference.ratio import FREE_STRUCTURES
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.comparison import check_exact, check_sums, ratio_row
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd


@dataclass(frozen=True, slots=True)
class Smaller:
    """A model with less of a random term.

    Attributes
    ----------
    dropped : what it lacks
    formula : of the smaller model
    """

    dropped: str
    formula: str


def drop_random(fit: FitResult) -> pd.DataFrame:
    """Return the likelihood-ratio tests of all that can be dropped of the random terms.

    Each smaller model is fitted by the fit's own likelihood (REML or ML; the fixed part is the same)
    on its sums.

    Parameters
    ----------
    fit : any fit whose sums are at hand

    Returns
    -------
    DataFrame
        a row for what is dropped, the first for the fit itself: ``npar``, ``logLik``, ``AIC``,
        ``chisq``, ``df``, ``p``, ``p_mixture`` (by the mixture of chi2 for variances tested at zero),
        ``note``
    """
    check_exact(fit)
    check_sums(fit, "fitted again without its terms")
    smaller = list(smaller_models(fit.spec.parsed))
    if not smaller:
        raise UnsupportedError(f"'{fit.spec.formula}' has no random term to drop")
    none = {"chisq": np.nan, "df": np.nan, "p": np.nan, "p_mixture": np.nan, "note": ""}
    rows = [{**_size(fit), **none}, *(_row(fit, one) for one in smaller)]
    index = pd.Index(["<none>", *(one.dropped for one in smaller)], name="dropped", dtype=object)
    return pd.DataFrame(rows, index=index)


def smaller_models(parsed: ParsedFormula) -> Iterator[Smaller]:
    """Yield the models that lack one product of a random term, or a whole one."""
    for k, term in enumerate(parsed.random):
        for dropped, rest in _reduced(term):
            random = (*parsed.random[:k], *rest, *parsed.random[k + 1 :])
            offsets = [f"offset({e.text})" for e in parsed.offsets]
            right = " + ".join([str(parsed.fixed), *offsets, *map(str, random)])
            yield Smaller(dropped, f"{parsed.response.text} ~ {right}")


def _reduced(term: RandomTerm) -> Iterator[tuple[str, tuple[RandomTerm, ...]]]:
    """Yield what is dropped of a term, and the term that is left."""
    products = term.lhs.terms
    droppable = [one for one in products if one and not _contained(one, products)]
    if len(products) < 2 or not droppable or term.structure not in FREE_STRUCTURES:
        yield str(term), ()
        return
    for product in droppable:
        left = LinearPart(tuple(one for one in products if one is not product))
        name = ":".join(e.text for e in product)
        yield f"{name} in {term}", (replace(term, lhs=left),)


def _contained(product: Term, products: tuple[Term, ...]) -> bool:
    """Whether a product is part of a higher one."""
    mine = {e.text for e in product}
    return any(mine < {e.text for e in other} for other in products)


def _row(fit: FitResult, smaller: Smaller) -> dict[str, float | int | str]:
    try:
        found = fit_smaller(fit, smaller.formula)
    except FormulaError as error:
        return {
            **dict.fromkeys(("npar", "logLik", "AIC", "chisq", "df", "p", "p_mixture"), np.nan),
            "note": f"columns of the smaller model are not among these sums: {error}",
        }
    return {**_size(found), **ratio_row(found, fit)}


def fit_smaller(fit: FitResult, formula: str) -> FitResult:
    """Return the smaller model, fitted as the larger one was."""
    whole = Condensed(fit.spec, fit.schema, fit.crossproducts)
    part = whole.submodel(formula, fit.spec.residual)
    request = FitRequest(reml=fit.reml, method=fit.method)
    rows = RowSource(str(fit.data_summary.get("source", "")))
    return fit_condensed(part.spec, part.schema, part.sums, request, rows)


def _size(fit: FitResult) -> dict[str, float | int]:
    return {"npar": fit.df_model, "logLik": fit.loglik, "AIC": fit.aic}
