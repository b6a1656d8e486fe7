"""Tests of fixed effects that a fit cannot give, or that were asked for in wrong words."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from bad_inputs.cases import Case, frame

import mixedflow as mf
from mixedflow.errors import DataError, MixedflowError, UnsupportedError


def asked(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    of: Callable[[mf.FitResult], object],
    formula: str = "y ~ x + (1 | g)",
    **options: Any,
) -> Case:
    """Return a case of a question to a fit."""
    return Case(name, shown, error, says, call=lambda: of(mf.fit(formula, frame(), **options)))


INFERENCE = [
    asked(
        "degrees of freedom misspelt",
        "fit.infer('satterthwait')",
        UnsupportedError,
        "'satterthwait'",
        "did you mean 'satterthwaite'",
        "'kenward-roger'",
        of=lambda fit: fit.infer("satterthwait"),
    ),
    asked(
        "level in per cent",
        "fit.infer(level=95)",
        DataError,
        "level=95",
        "between 0 and 1",
        of=lambda fit: fit.infer(level=95),
    ),
    asked(
        "Kenward-Roger of an ML fit",
        "reml=False, fit.infer('kenward-roger')",
        UnsupportedError,
        "reml=True",
        "'satterthwaite'",
        of=lambda fit: fit.infer("kenward-roger"),
        reml=False,
    ),
    asked(
        "Kenward-Roger of autoregressive residuals without the rows",
        "residual='ar1(1 | g)', mf.load(folder).infer('kenward-roger')",
        UnsupportedError,
        "residual='ar1(1 | g)'",
        "'satterthwaite'",
        of=lambda fit: replace(fit, source=None).infer("kenward-roger"),
        formula="y ~ x",
        residual="ar1(1 | g)",
    ),
    asked(
        "Kenward-Roger's second derivatives on a boundary",
        "y ~ x + csh(1 + x | g), fit.infer('kenward-roger')",
        UnsupportedError,
        "'csh' stands on its boundary",
        "'kenward-roger-linear'",
        of=lambda fit: fit.infer("kenward-roger"),
        formula="y ~ x + csh(1 + x | g)",
    ),
    asked(
        "Kenward-Roger of a known G",
        "y ~ x + fixed(1 | g, [[1.0]]), fit.infer('kenward-roger')",
        UnsupportedError,
        "fixed",
        "'satterthwaite'",
        of=lambda fit: fit.infer("kenward-roger"),
        formula="y ~ x + fixed(1 | g, [[1.0]])",
    ),
    asked(
        "between-within of slopes alone",
        "y ~ x + (0 + x | g), fit.infer('between-within')",
        UnsupportedError,
        "rows by 'g'",
        "no intercept",
        "'satterthwaite'",
        of=lambda fit: fit.infer("between-within"),
        formula="y ~ x + (0 + x | g)",
    ),
    asked(
        "effects of tidy misspelt",
        "fit.tidy('random')",
        UnsupportedError,
        "'random'",
        "'ran_pars'",
        of=lambda fit: fit.tidy("random"),
    ),
    asked(
        "type of hypotheses",
        "fit.infer().anova(type=4)",
        UnsupportedError,
        "anova(type=4)",
        "type=1, 2 and 3",
        "contrast(L)",
        of=lambda fit: fit.infer("residual").anova(type=4),
    ),
    asked(
        "contrast of another length",
        "fit.infer().contrast([1, 0, 0])",
        DataError,
        "2 finite numbers a row",
        "'x'",
        "(1, 3)",
        of=lambda fit: fit.infer("residual").contrast([1, 0, 0]),
    ),
    asked(
        "contrast that is no number",
        "fit.infer().contrast('x')",
        DataError,
        "must be numbers",
        of=lambda fit: fit.infer("residual").contrast("x"),
    ),
    asked(
        "contrast of zeros",
        "fit.infer().contrast([0, 0])",
        DataError,
        "row of zeros",
        of=lambda fit: fit.infer("residual").contrast([0, 0]),
    ),
    asked(
        "contrast of a misspelt coefficient",
        "fit.infer().contrast({'intercept': 1})",
        DataError,
        "'intercept'",
        "did you mean '(Intercept)'",
        of=lambda fit: fit.infer("residual").contrast({"intercept": 1}),
    ),
]
INFERENCES = {"Tests of fixed effects": INFERENCE}
