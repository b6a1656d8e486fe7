"""Simulations, bootstraps and poolings that a fit cannot give, or that were asked for in wrong words."""

from __future__ import annotations

from bad_inputs.cases import Case, frame
from bad_inputs.inference_cases import asked

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, UnsupportedError


def _from_sums(formula: str) -> mf.FitResult:
    return mf.fit(formula, mf.condense(formula, frame()))


SIMULATION = [
    asked(
        "no simulations",
        "fit.simulate(0)",
        ConfigError,
        "nsim",
        "1 or more",
        "0",
        of=lambda fit: fit.simulate(0),
    ),
    asked(
        "effects of a simulation misspelt",
        "fit.simulate(random='fited')",
        ConfigError,
        "'fited'",
        "did you mean 'fitted'",
        of=lambda fit: fit.simulate(random="fited"),
    ),
    Case(
        "simulation without rows",
        "fit of sums, fit.simulate()",
        DataError,
        ("no rows at hand", "fit the model from rows"),
        call=lambda: _from_sums("y ~ x + (1 | g)").simulate(),
    ),
    asked(
        "new response of another length",
        "fit.refit([1, 2])",
        DataError,
        "one for every row",
        "(2,)",
        of=lambda fit: fit.refit([1.0, 2.0]),
    ),
    asked(
        "new response with a missing value",
        "fit.refit(y with NaN)",
        DataError,
        "lacks a finite value in 1 of",
        of=lambda fit: fit.refit(frame()["y"].where(frame().index != 1)),
    ),
    asked(
        "kind of bootstrap misspelt",
        "fit.bootstrap(kind='grup')",
        ConfigError,
        "'grup'",
        "did you mean 'group'",
        of=lambda fit: fit.bootstrap(2, kind="grup"),
    ),
    asked(
        "groups drawn of a misspelt factor",
        "fit.bootstrap(kind='group', factor='gg')",
        DataError,
        "'gg'",
        "it has 'g'",
        of=lambda fit: fit.bootstrap(2, kind="group", factor="gg"),
    ),
    asked(
        "strata that do not name every group",
        "fit.bootstrap(kind='group', strata={'no level': 1})",
        DataError,
        "strata says nothing of the level",
        of=lambda fit: fit.bootstrap(2, kind="group", strata={"no level": 1}),
    ),
    asked(
        "groups drawn under a residual structure",
        "residual='cs(1 | g)', fit.bootstrap(kind='group')",
        UnsupportedError,
        "residual='cs(1 | g)'",
        "kind='parametric'",
        of=lambda fit: fit.bootstrap(2, kind="group"),
        formula="y ~ x",
        residual="cs(1 | g)",
    ),
    Case(
        "groups drawn from sums that do not know them",
        "fit of sums, fit.bootstrap(kind='group')",
        UnsupportedError,
        ("by_group='g'", "kind='parametric'"),
        call=lambda: _from_sums("y ~ x + (1 | g)").bootstrap(2, kind="group"),
    ),
    asked(
        "statistic that returns no number",
        "fit.bootstrap(statistic=lambda one: 'a')",
        DataError,
        "statistic must return a number",
        "str",
        of=lambda fit: fit.bootstrap(2, statistic=lambda one: "a"),
    ),
    asked(
        "BCa interval without the jackknife",
        "fit.bootstrap().confint(method='bca')",
        UnsupportedError,
        "'bca'",
        "'percentile'",
        of=lambda fit: fit.bootstrap(4).confint(method="bca"),
    ),
]
POOLING = [
    asked(
        "one fit pooled",
        "mf.pool([fit])",
        ConfigError,
        "two or more fits",
        "1 was given",
        of=lambda fit: mf.pool([fit]),
    ),
    asked(
        "fits of different models pooled",
        "mf.pool([fit, other])",
        DataError,
        "fit 2",
        "'x'",
        of=lambda fit: mf.pool([fit, mf.fit("y ~ 1 + (1 | g)", frame())]),
    ),
    asked(
        "fits by REML and ML pooled",
        "mf.pool([fit, by_ml])",
        UnsupportedError,
        "fit 2 is by ML",
        of=lambda fit: mf.pool([fit, mf.fit("y ~ x + (1 | g)", frame(), reml=False)]),
    ),
]
BOOTSTRAPS = {"Simulation and bootstrap": SIMULATION, "Multiple imputation": POOLING}
