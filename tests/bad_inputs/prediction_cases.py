"""Prediction errors and intervals of predictions that a fit cannot give, or asked for in wrong words."""

from __future__ import annotations

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
]
PREDICTIONS = {"Prediction errors and intervals": PREDICTION}
