"""Configuration files with a scan that is wrong."""

from __future__ import annotations

from bad_inputs.config_cases import config

from mixedflow.errors import ConfigError, DataError, FormulaError

SCANNED = """\
data:
  trial:
    path: data.csv
scan:
  many:
    data: trial
    formula: y ~ 1 + (1 | g)
    covariates: x
"""


def scanned(found: str, instead: str) -> str:
    """Return the good configuration of a scan with a piece of it replaced."""
    assert found in SCANNED
    return SCANNED.replace(found, instead)


CASES = [
    config(
        "unknown data set of a scan",
        "data: trail",
        ConfigError,
        "scan.many.data is 'trail'",
        "did you mean 'trial'?",
        text=scanned("data: trial", "data: trail"),
    ),
    config(
        "no covariates of a scan",
        "no covariates",
        ConfigError,
        "scan.many",
        "at least one covariate",
        text=scanned("    covariates: x\n", ""),
    ),
    config(
        "regular expression of covariates that is none",
        "covariates: 're:['",
        ConfigError,
        "scan.many.covariates",
        "no regular expression",
        until="regular expression",
        text=scanned("covariates: x", "covariates: 're:['"),
    ),
    config(
        "covariates in two places",
        "covariates and matrix",
        ConfigError,
        "scan.many",
        "leave one out",
        text=SCANNED + "    matrix: {path: c.npy, names: c.txt}\n",
    ),
    config(
        "threshold of exact fits that are not asked",
        "reestimate_below without variances",
        ConfigError,
        "scan.many",
        "needs variances: reestimate",
        text=SCANNED + "    reestimate_below: 0.1\n",
    ),
    config(
        "null without quotes",
        "sigma: null",
        ConfigError,
        "scan.many",
        "write 'null' in quotes",
        text=SCANNED + "    sigma: null\n",
    ),
    config(
        "formula of a scan that cannot be read",
        "formula: y ~ 1 + (1 | g",
        FormulaError,
        "scan.many.formula",
        text=scanned("y ~ 1 + (1 | g)", '"y ~ 1 + (1 | g"'),
        read=False,
    ),
    config(
        "covariate of a scan that is not there",
        "covariates: xx",
        DataError,
        "scan.many.covariates",
        "'xx'",
        text=scanned("covariates: x", "covariates: xx"),
        read=False,
        verb="run",
    ),
    config(
        "column of a scan's formula that is not there",
        "formula: y ~ z1 + (1 | g)",
        DataError,
        "scan.many.formula",
        "has no column 'z1'",
        text=scanned("y ~ 1", "y ~ z1"),
        read=False,
        verb="run",
    ),
]
SCAN_CONFIGS = {"Configuration of a scan": CASES}
