"""Prediction errors and intervals of predictions that a fit cannot give, or asked for in wrong words."""

from __future__ import annotations

from bad_inputs.cases import frame
from bad_inputs.inference_cases import asked

from mixedflow.errors import DataError, UnsupportedError

PREDICTION = [
    asked(
        "kind of prediction error misspelt",
        "fit.ranef_table(pev='known_betas')",
        UnsupportedError,
        "'known_betas'",
        "did you mean 'known_beta'",
        of=lambda fit: fit.ranef_table(pev="known_betas"),
    ),
    asked(
        "levels without their factor",
        "fit.ranef_table(levels=['a'])",
        DataError,
        "group=...",
        of=lambda fit: fit.ranef_table(levels=["a"]),
    ),
    asked(
        "factor misspelt",
        "fit.ranef_cov('gg')",
        DataError,
        "'gg' is not a grouping factor",
        "'g'",
        of=lambda fit: fit.ranef_cov("gg"),
    ),
    asked(
        "interval misspelt",
        "fit.predict(new, interval='predict')",
        UnsupportedError,
        "'predict'",
        "did you mean 'prediction'",
        of=lambda fit: fit.predict(frame(), interval="predict"),
    ),
    asked(
        "level of an interval in per cent",
        "fit.predict(new, interval='prediction', level=95)",
        DataError,
        "level=95",
        "between 0 and 1",
        of=lambda fit: fit.predict(frame(), interval="prediction", level=95),
    ),
    asked(
        "Kenward-Roger of random effects",
        "fit.predict(new, se=True, ddf='kenward-roger')",
        UnsupportedError,
        "'kenward-roger'",
        "random=False",
        "'satterthwaite'",
        of=lambda fit: fit.predict(frame(), se=True, ddf="kenward-roger"),
    ),
    asked(
        "new observation without its weight",
        "weights='w', fit.predict(new without w, interval='prediction')",
        DataError,
        "no column 'w'",
        of=lambda fit: fit.predict(frame().drop(columns="w"), interval="prediction"),
        weights="w",
    ),
    asked(
        "new observation at a place of no name",
        "residual='ar1h(1 | g)', fit.predict(new, interval='prediction')",
        UnsupportedError,
        "ar1h(1 | g)",
        "interval='confidence'",
        of=lambda fit: fit.predict(frame(), random=False, interval="prediction"),
        formula="y ~ x",
        residual="ar1h(1 | g)",
    ),
]
PREDICTIONS = {"Prediction errors and intervals": PREDICTION}
