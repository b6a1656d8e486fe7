"""What a scan found: a row a covariate, beside the null model's fit; in memory and on disk.

Stands at "Scans" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from mixedflow.data.atomic import atomic_folder
from mixedflow.data.manifest import FILES, ManifestKind, check_digests, digests_of, read_manifest
from mixedflow.errors import StoredFileError
from mixedflow.inference.outlying import benjamini_hochberg
from mixedflow.results.build import versions
from mixedflow.results.fit_result import FitResult
from mixedflow.results.store import load_fit
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.scan import Tested

KIND = ManifestKind("a scan", "scan.json", 1, "mixedflow-scan")
TABLE, NULL = "scan.parquet", "null"
PARTS = (TABLE, f"{NULL}/fit.json")
OWN_FILES = (KIND.file, TABLE, NULL)
"""Names in the folder of a scan."""

COLUMNS = (
    "covariate", "n", "missing", "estimate", "se", "df", "statistic", "p", "q", "variances", "error",
)  # fmt: skip
"""Columns of a scan's table."""

MEDIAN_CHI2 = 0.4549364231195724
"""Median of the chi-squared distribution with one degree of freedom."""


@dataclass(frozen=True, eq=False, repr=False)
class ScanResult:
    """Covariates added one at a time to a null model.

    Attributes
    ----------
    table : a row a covariate: covariate, n, missing, estimate, se, df, statistic, p, q (Benjamini and
        Hochberg), variances ("null", or "reestimate" where they were estimated with the covariate),
        error (why there is no estimate, or empty)
    null : the fit of the model without covariates
    spec : what was asked
    versions : of mixedflow and what it computed with
    """

    table: pd.DataFrame
    null: FitResult
    spec: Mapping[str, Any]
    versions: Mapping[str, str] = field(default_factory=versions)

    @property
    def lambda_gc(self) -> float:
        """Median of the tests, as chi-squared of one degree of freedom, over its expectation."""
        return genomic_control(self.table["p"].to_numpy())

    @property
    def failures(self) -> pd.DataFrame:
        """Covariates without an estimate, with the reason."""
        return self.table[self.table["error"] != ""]

    def __repr__(self) -> str:
        """Say how many covariates there are, and the smallest p."""
        failed = len(self.failures)
        return (
            f"<ScanResult: {len(self.table)} covariates, {failed} without an estimate; "
            f"null model {self.null.spec.formula}; smallest p {self.table['p'].min():.3g}, "
            f"lambda {self.lambda_gc:.3f}>"
        )

    def save(self, path: str | Path) -> None:
        """Write a folder of ``scan.json``, ``scan.parquet`` and the null fit, whole or not at all."""
        with atomic_folder(Path(path), OWN_FILES) as place:
            self.null.save(place / NULL)
            self.table.to_parquet(place / TABLE, index=False)
            record = {
                "spec": dict(self.spec),
                "covariates": len(self.table),
                "lambda_gc": None if np.isnan(self.lambda_gc) else self.lambda_gc,
                "versions": dict(self.versions),
                FILES: digests_of(place, PARTS),
            }
            (place / KIND.file).write_text(KIND.text(record), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> ScanResult:
        """Read what :meth:`save` wrote; the null fit is verified.

        Raises
        ------
        StoredFileError
            if a file is missing, damaged or does not agree with the others.
        """
        folder = Path(path)
        record = read_manifest(folder, KIND)
        table = _read_table(folder / TABLE)
        if tuple(table.columns) != COLUMNS or len(table) != record.get("covariates"):
            raise StoredFileError(f"'{folder / TABLE}' is not the table that {KIND.file} describes")
        null = load_fit(folder / NULL)
        check_digests(folder, record.get(FILES, {}), KIND)
        return ScanResult(table, null, record["spec"], record["versions"])


def _read_table(path: Path) -> pd.DataFrame:
    try:
        return pd.read_parquet(path)
    except (OSError, ValueError) as error:
        raise StoredFileError(f"'{path}' cannot be read: {error}") from error


def genomic_control(p: np.ndarray) -> float:
    """Return the median of chi-squared quantiles of p over 0.4549, NaN where there is no p."""
    from scipy.special import ndtri

    known = p[np.isfinite(p)]
    return float(ndtri(0.5 * np.median(known)) ** 2 / MEDIAN_CHI2) if len(known) else np.nan


def scan_table(names: tuple[str, ...], n: int, found: Tested) -> pd.DataFrame:
    """Return the table of a scan."""
    with np.errstate(all="ignore"):
        statistic = found.estimate / found.se
    columns = {
        "covariate": np.array(names, dtype=object),
        "n": np.full(len(names), n),
        "missing": found.missing,
        "estimate": found.estimate,
        "se": found.se,
        "df": found.df,
        "statistic": statistic,
        "p": found.p,
        "q": benjamini_hochberg(found.p),
        "variances": np.where(found.exact, "reestimate", "null"),
        "error": found.reason,
    }
    return pd.DataFrame({name: columns[name] for name in COLUMNS})
