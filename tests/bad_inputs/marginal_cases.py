"""Marginal means and contrasts that a fit cannot give, or that were asked for in wrong words."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from bad_inputs.cases import Case, frame

import mixedflow as mf
from mixedflow.errors import ConfigError, DataError, MixedflowError, UnsupportedError
from mixedflow.results.inferring import Inference


def asked(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    of: Callable[[Inference], object],
    formula: str = "y ~ a + x + (1 | g)",
) -> Case:
    """Return a case of a question about means."""

    def call() -> object:
        data = frame()
        data["a"] = np.resize(["low", "mid", "high"], len(data))
        data["b"] = np.resize(["p", "p", "q", "q"], len(data))
        data["c"] = np.resize(["u", "v", "w", "u", "w"], len(data))
        return of(mf.fit(formula, data).infer("residual"))

    return Case(name, shown, error, says, call=call)


MARGINAL = [
    asked(
        "means over a misspelt variable",
        "emmeans('aa')",
        DataError,
        "'aa'",
        "did you mean 'a'",
        of=lambda fit: fit.emmeans("aa"),
    ),
    asked(
        "pairs asked for in the formula",
        "emmeans('pairwise ~ a')",
        ConfigError,
        "left of '~'",
        ".pairs()",
        of=lambda fit: fit.emmeans("pairwise ~ a"),
    ),
    asked(
        "variables that are no names",
        "emmeans(3)",
        ConfigError,
        "by name",
        "found 3",
        of=lambda fit: fit.emmeans(3),
    ),
    asked(
        "values of what is not in the model",
        "emmeans('a', at={'z': 1})",
        DataError,
        "'z'",
        "'a', 'x'",
        of=lambda fit: fit.emmeans("a", at={"z": 1}),
    ),
    asked(
        "a level that is none",
        "emmeans('a', at={'a': 'hihg'})",
        DataError,
        "'hihg'",
        "did you mean 'high'",
        of=lambda fit: fit.emmeans("a", at={"a": "hihg"}),
    ),
    asked(
        "a covariate at no number",
        "emmeans('a', at={'x': 'much'})",
        DataError,
        "'x'",
        "finite number",
        "'much'",
        of=lambda fit: fit.emmeans("a", at={"x": "much"}),
    ),
    asked(
        "a covariate where its function has no value",
        "y ~ a + log(x + 9), emmeans('a', at={'x': -9})",
        DataError,
        "no finite value",
        "at={...}",
        of=lambda fit: fit.emmeans("a", at={"x": -9}),
        formula="y ~ a + log(x + 9) + (1 | g)",
    ),
    asked(
        "a covariate beyond the ends of a spline",
        "y ~ a + bs(x, df=4), emmeans('a', at={'x': 99})",
        DataError,
        "a spline",
        "extrapolation='extend'",
        of=lambda fit: fit.emmeans("a", at={"x": 99}),
        formula="y ~ a + bs(x, df=4) + (1 | g)",
    ),
    asked(
        "level of means in per cent",
        "emmeans('a', level=95)",
        DataError,
        "level=95",
        "between 0 and 1",
        of=lambda fit: fit.emmeans("a", level=95),
    ),
    asked(
        "weights of means misspelt",
        "emmeans('a', weights='cell')",
        ConfigError,
        "'cell'",
        "did you mean 'cells'",
        of=lambda fit: fit.emmeans("a", weights="cell"),
    ),
    asked(
        "weights that the sums do not tell",
        "y ~ a + b + c, emmeans('a', weights='cells')",
        UnsupportedError,
        "'a', 'b', 'c'",
        "weights='equal'",
        of=lambda fit: fit.emmeans("a", weights="cells"),
        formula="y ~ a + b + c + (1 | g)",
    ),
    asked(
        "slopes of a factor",
        "emtrends('x', 'a')",
        DataError,
        "'a' is none",
        "'x'",
        of=lambda fit: fit.emtrends("x", "a"),
    ),
    asked(
        "contrasts that are not offered",
        "emmeans('a').contrast('pairwse')",
        ConfigError,
        "'pairwse'",
        "did you mean 'pairwise'",
        of=lambda fit: fit.emmeans("a").contrast("pairwse"),
    ),
    asked(
        "adjustment that is not offered",
        "emmeans('a').pairs(adjust='tuckey')",
        ConfigError,
        "'tuckey'",
        "did you mean 'tukey'",
        of=lambda fit: fit.emmeans("a").pairs("tuckey"),
    ),
    asked(
        "weights of another length",
        "emmeans('a').contrast([1, -1])",
        DataError,
        "3 finite weights",
        "'high', 'low', 'mid'",
        "(1, 2)",
        of=lambda fit: fit.emmeans("a").contrast([1, -1]),
    ),
    asked(
        "comparisons within a variable that the means are not over",
        "emmeans('a').pairs(by='x')",
        DataError,
        "by names 'x'",
        "'a'",
        of=lambda fit: fit.emmeans("a").pairs(by="x"),
    ),
    asked(
        "a reference that is no level",
        "emmeans('a').contrast('trt.vs.ctrl', reference='none')",
        DataError,
        "reference='none'",
        "'high', 'low', 'mid'",
        of=lambda fit: fit.emmeans("a").contrast("trt.vs.ctrl", reference="none"),
    ),
]
MARGINALS = {"Marginal means": MARGINAL}
