"""Every question that a fit can be asked is answered or refused in one sentence, whatever the model."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.errors import MixedflowError


def _data() -> pd.DataFrame:
    rng = np.random.default_rng(0)
    n = 240
    data = pd.DataFrame(
        {
            "x": rng.normal(5, 1, n),
            "z": rng.normal(size=n),
            "a": rng.choice(list("pqr"), n),
            "b": rng.choice(["u", "v"], n),
            "g": rng.integers(0, 20, n),
            "h": rng.integers(0, 12, n),
            "w": rng.uniform(0.5, 2, n),
        }
    )
    data["t"] = data.groupby("g").cumcount()
    data["y"] = 1 + 0.4 * data.x + (data.a == "q") + rng.normal(size=20)[data.g]
    data["y"] += 0.5 * rng.normal(size=12)[data.h] + rng.normal(size=n)
    data.loc[5, "x"] = np.nan
    return data


DATA = _data()
EMPTY_CELL = DATA[~((DATA.a == "r") & (DATA.b == "v"))]

MODELS: dict[str, Callable[[], Any]] = {
    "intercepts": lambda: mf.fit("y ~ x + a + (1 | g)", DATA),
    "slopes": lambda: mf.fit("y ~ x * a + (x | g)", DATA),
    "ml, empty cell": lambda: mf.fit("y ~ x + a * b + (1 | g)", EMPTY_CELL, reml=False),
    "crossed": lambda: mf.fit("y ~ x + a + (1 | g) + (1 | h)", DATA),
    "weights": lambda: mf.fit("y ~ log(x) + a + (x || g)", DATA, weights="w"),
    "singular": lambda: mf.fit("z ~ x + a + (1 | g)", DATA),
    "us": lambda: mf.fit("y ~ x + a", DATA[DATA.t < 3], residual="us(t | g)"),
    "ar1": lambda: mf.fit("y ~ x + a + (1 | g)", DATA, residual="ar1(t | g)"),
    "points": lambda: mf.fit("y ~ x + a", DATA[DATA.t < 4], residual="sp_exp(t, z | g)"),
    "strata": lambda: mf.fit("y ~ x + a + (1 | g)", DATA, residual="strata(b)"),
    "strata alone": lambda: mf.fit("y ~ x + a", DATA, residual="strata(b)"),
    "nested": lambda: mf.fit("y ~ poly(x, 2) + a + (1 | h/b)", DATA.dropna()),
    "no intercept": lambda: mf.fit("y ~ 0 + a + x + (1 | g)", DATA),
    "offset": lambda: mf.fit("y ~ offset(z) + x + a + (1 | g)", DATA),
    "cs": lambda: mf.fit("y ~ x + a + cs(0 + b | g)", DATA),
    "pcg": lambda: mf.fit(
        "y ~ x + a + (1 | g) + (1 | h)", DATA, control=mf.FitControl(solver="pcg")
    ),
    "sharded": lambda: mf.fit("y ~ x + a + (1 | g)", DATA.sort_values("g"), sharded=True),
}

DDF = (
    "satterthwaite",
    "kenward-roger",
    "kenward-roger-linear",
    "between-within",
    "residual",
    "asymptotic",
)

QUESTIONS: dict[str, Callable[[Any], object]] = {
    **{f"infer {ddf}": lambda fit, ddf=ddf: fit.infer(ddf).anova() for ddf in DDF},
    **{f"anova {kind}": lambda fit, kind=kind: fit.anova(kind, "residual") for kind in (1, 2, 3)},
    **{k: lambda fit, k=k: fit.infer(vcov=k).anova() for k in ("CR0", "CR1", "CR2", "CR3")},
    "coef_table": lambda fit: fit.coef_table,
    "emmeans": lambda fit: fit.infer("asymptotic").emmeans("a").pairs(),
    "emtrends": lambda fit: fit.infer("asymptotic").emtrends("a", "x").table,
    "wald": lambda fit: fit.confint(method="wald"),
    "profile": lambda fit: fit.profile(["x"]),
    "profile by REML": lambda fit: fit.confint(parm=["sigma"], likelihood="reml"),
    "drop_random": lambda fit: fit.drop_random(),
    "variance_test": lambda fit: fit.variance_test(),
    "bootstrap": lambda fit: fit.bootstrap(3, seed=1).confint(),
    "bootstrap of groups": lambda fit: fit.bootstrap(3, kind="group", seed=1).se,
    "simulate": lambda fit: fit.simulate(2, seed=3),
    "refit": lambda fit: fit.refit(fit.simulate(1, seed=1).iloc[:, 0]).fixef,
    "pev": lambda fit: fit.pev,
    "reliability": lambda fit: fit.reliability,
    "ranef_table": lambda fit: fit.ranef_table(),
    "confidence": lambda fit: fit.predict(DATA.head(4), interval="confidence"),
    "prediction": lambda fit: fit.predict(
        DATA.head(4).assign(g=99), interval="prediction", allow_new_levels=True
    ),
    "mean's confidence": lambda fit: fit.predict(DATA.head(4), interval="confidence", random=False),
    "influence": lambda fit: fit.influence(),
    "influence by refits": lambda fit: fit.influence(levels=[1, 2], refit=True),
    "jackknife": lambda fit: fit.jackknife(refit=False).table,
    "outlying_groups": lambda fit: fit.outlying_groups(),
    "ranef_tests": lambda fit: fit.ranef_tests(),
    "r2": lambda fit: fit.r2,
    "icc": lambda fit: fit.icc,
    "icc_table": lambda fit: fit.icc_table(),
    "caic": lambda fit: fit.caic,
    "tidy": lambda fit: fit.tidy(),
    "glance": lambda fit: fit.glance(),
    "augment": lambda fit: fit.augment(),
    "summary": lambda fit: fit.summary(),
    "varcorr_se": lambda fit: fit.varcorr_se,
    "pool": lambda fit: mf.pool([fit, fit]).table,
    "compare": lambda fit: mf.compare(fit, fit),
}


SHORT = ("caic", "icc", "pev", "r2", "reliability")
"""Answers that may be a few characters."""


@pytest.fixture(scope="module")
def fits() -> dict[str, Any]:
    return {}


@pytest.mark.parametrize("question", QUESTIONS)
@pytest.mark.parametrize("model", MODELS)
def test_a_question_is_answered_or_refused_in_a_sentence(fits, model, question):
    if model not in fits:
        fits[model] = MODELS[model]()
    text, exit_code = _outcome(fits[model], question)
    assert len(text) > 20 or question in SHORT
    assert exit_code in (0, 2)
    assert exit_code == 0 or "\n" not in text


def _outcome(fit: Any, question: str) -> tuple[str, int]:
    try:
        return str(QUESTIONS[question](fit)), 0
    except MixedflowError as refusal:
        return str(refusal), refusal.exit_code
