"""Profiles and tests of variances that a fit cannot give, or that were asked for in wrong words."""

from __future__ import annotations

from bad_inputs.cases import Case
from bad_inputs.inference_cases import asked

import mixedflow as mf
from mixedflow.errors import ConfigError, UnsupportedError

VARIANCE: list[Case] = [
    asked(
        "profile of a misspelt parameter",
        "fit.confint(parm='Sigma')",
        ConfigError,
        "parm='Sigma'",
        "did you mean 'sigma'",
        "'theta_'",
        of=lambda fit: fit.confint(parm="Sigma"),
    ),
    asked(
        "profile of a coefficient by REML",
        "fit.confint(parm='x', likelihood='reml')",
        UnsupportedError,
        "'x' has no profile under REML",
        "likelihood='ml'",
        of=lambda fit: fit.confint(parm="x", likelihood="reml"),
    ),
    asked(
        "likelihood misspelt",
        "fit.profile(likelihood='REML')",
        ConfigError,
        "likelihood='REML'",
        "'ml' and 'reml'",
        of=lambda fit: fit.profile(likelihood="REML"),
    ),
    asked(
        "intraclass correlation by an unknown method",
        "fit.icc_table(method='boot')",
        ConfigError,
        "method='boot'",
        "'delta' and 'profile'",
        of=lambda fit: fit.icc_table(method="boot"),
    ),
    asked(
        "test of a term that is not there",
        "fit.variance_test('(1 | h)')",
        ConfigError,
        "terms='(1 | h)'",
        "'(1 | g)'",
        of=lambda fit: fit.variance_test("(1 | h)"),
    ),
    asked(
        "exact test of a slope",
        "(1 + x | g), fit.variance_test(method='exact')",
        UnsupportedError,
        "one random term of one column",
        "method='mixture'",
        of=lambda fit: fit.variance_test(method="exact"),
        formula="y ~ x + (1 + x | g)",
    ),
    asked(
        "test of a larger model against itself",
        "mf.variance_test(fit, fit)",
        UnsupportedError,
        "with fewer variances",
        "compare()",
        of=lambda fit: mf.variance_test(fit, fit),
    ),
]
VARIANCES = {"Profiles and tests of variances": VARIANCE}
