"""Likelihood-ratio tests beside the criteria of a comparison, where they mean something.

Stands at "Likelihood ratios" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from mixedflow.diagnostics.compare import Comparison, RatioTest, compare_models
from mixedflow.errors import DataError, UnsupportedError
from mixedflow.results.comparison import Refit, compare
from mixedflow.results.fit_result import FitResult


def compare_by_ratio(
    models: Sequence[tuple[str, FitResult]], refit: Refit | None = None
) -> Comparison:
    """Compare fits by AIC and BIC, and each with the next smaller one by its likelihood.

    Parameters
    ----------
    models : name and fit of each; fits that did not converge are not tested
    refit : ``"ml"`` fits those by REML again by ML for the tests, on their sums

    Returns
    -------
    Comparison
        without tests, and with a note of the reason, where the likelihoods cannot be compared.
    """
    found = compare_models(models)
    chosen = [(name, fit) for name, fit in models if fit.converged]
    if len(chosen) < 2:
        return found
    try:
        table = compare(*(fit for _, fit in chosen), refit=refit, names=[n for n, _ in chosen])
    except (DataError, UnsupportedError) as fault:
        return replace(found, notes=(*found.notes, f"No likelihood-ratio tests: {fault}."))
    columns = [table[c] for c in ("npar", "logLik", "chisq", "df", "p", "p_mixture", "note")]
    rows = zip(table.index, *columns, strict=True)
    tests = tuple(RatioTest(str(row[0]), int(row[1]), *row[2:]) for row in rows)
    return replace(found, tests=tests, by_ml=refit == "ml")
