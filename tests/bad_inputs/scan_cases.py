"""Scans of covariates that cannot be, or that were asked for in wrong words."""

from __future__ import annotations

from typing import Any

import numpy as np
from bad_inputs.cases import FORMULA, Case, frame

import mixedflow as mf
from mixedflow.errors import (
    ConfigError,
    DataError,
    FormulaError,
    MixedflowError,
    OutputError,
    SourceError,
    StoredFileError,
    UnsupportedError,
)

ROWS = 24


def scanned(
    name: str,
    shown: str,
    error: type[MixedflowError],
    *says: str,
    covariates: Any = "z",
    formula: str = FORMULA,
    files: dict[str, str | bytes] | None = None,
    until: str = "",
    **options: Any,
) -> Case:
    """Return a case of a scan of the good data."""
    return Case(
        name, shown, error, says, files=files or {}, until=until,
        call=lambda: mf.scan(formula, frame(), covariates, **options),
    )  # fmt: skip


SCAN = [
    scanned("way to take variances misspelt", "mf.scan(..., variances='reestimated')", ConfigError,
            "variances='reestimated'", "did you mean 'reestimate'", variances="reestimated"),
    scanned("policy for missing values of a fit", "mf.scan(..., missing='drop')", ConfigError,
            "missing='drop'", "'error', 'mean'", missing="drop"),
    scanned("residual variance misspelt", "mf.scan(..., sigma='nul')", ConfigError,
            "sigma='nul'", "did you mean 'null'", sigma="nul"),
    scanned("threshold without exact fits", "mf.scan(..., reestimate_below=1e-4)", ConfigError,
            "reestimate_below needs variances='reestimate'", reestimate_below=1e-4),
    scanned("threshold of zero", "mf.scan(..., variances='reestimate', reestimate_below=0)",
            ConfigError, "above 0 and at most 1", "not 0", variances="reestimate",
            reestimate_below=0),
    scanned("covariate misspelt", "mf.scan(..., covariates='zz')", DataError,
            "'zz'", "did you mean 'z'", covariates="zz"),
    scanned("pattern of no column", "mf.scan(..., covariates='snp*')", DataError,
            "'snp*'", "'z'", covariates="snp*"),
    scanned("broken expression", "mf.scan(..., covariates='re:[')", DataError,
            "'re:[' is no regular expression", covariates="re:[",
            until="no regular expression:"),
    scanned("covariate of the null model", "mf.scan(..., covariates=['z', 'x'])", DataError,
            "'x' cannot be a covariate", covariates=["z", "x"]),
    scanned("no covariate", "mf.scan(..., covariates=[])", DataError,
            "at least one covariate", covariates=[]),
    scanned("covariates that are a number", "mf.scan(..., covariates=7)", ConfigError,
            "not int", covariates=7),
    scanned("covariates on their side", "mf.scan(..., covariates=matrix of 2 x 24)", DataError,
            "24 rows", "found 2 rows", covariates=np.zeros((2, ROWS))),
    scanned("covariates of three dimensions", "mf.scan(..., covariates=matrix of 24 x 2 x 2)",
            DataError, "rows by covariates", covariates=np.zeros((ROWS, 2, 2))),
    scanned("fewer names than covariates", "mf.scan(..., covariates=(matrix, ['a']))", DataError,
            "a name for each of 2 columns", "found 1", covariates=(np.zeros((ROWS, 2)), ["a"])),
    scanned("two covariates of one name", "mf.scan(..., covariates=(matrix, ['a', 'a']))",
            DataError, "'a' twice", covariates=(np.zeros((ROWS, 2)), ["a", "a"])),
    scanned("matrix that is not there", "mf.scan(..., covariates='nowhere.npy')", SourceError,
            "'nowhere.npy'", covariates="nowhere.npy", until="that can be read:"),
    scanned("matrix that is no matrix", "mf.scan(..., covariates='text.npy')", SourceError,
            "'text.npy' is no .npy file", covariates="text.npy", files={"text.npy": "1,2,3"},
            until="that can be read:"),
    scanned("names that are not there", "mf.scan(..., covariates=(matrix, 'names.txt'))",
            SourceError, "'names.txt'", covariates=(np.zeros((ROWS, 2)), "names.txt")),
    scanned("exact fits of crossed factors",
            "y ~ x + (1 | g) + (1 | h), mf.scan(..., variances='reestimate')", UnsupportedError,
            "one grouping factor", "variances='null'", variances="reestimate",
            formula="y ~ x + (1 | g) + (1 | h)"),
    scanned("no random term", "y ~ x", FormulaError, "no random term", formula="y ~ x"),
    scanned("result in the place of others", "mf.scan(..., path='here')", OutputError,
            "'notes.txt'", "would be lost", path="here", files={"here/notes.txt": "mine"}),
    Case("no scan to read", "mf.load_scan('nowhere')", StoredFileError,
         ("no scan at 'nowhere'", "scan.json is missing"), call=lambda: mf.load_scan("nowhere")),
    Case("scan of condensed data", "mf.scan(..., data=condensed)", UnsupportedError,
         ("reads the rows again",),
         call=lambda: mf.scan(FORMULA, mf.condense(FORMULA, frame()), "z")),
]  # fmt: skip

SCANS = {"Scans": SCAN}
