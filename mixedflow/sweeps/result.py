"""What a sweep found, and its folder on disk.

Stands at "Sweeps" in ``docs/algorithm.md``. A folder holds ``sweep.json`` (what was asked, and the
SHA-256 of the tables), ``sweep.parquet`` and ``tests.parquet``; a sweep with a path keeps its parts in
``parts/`` beside them. ``sweep.json`` is written last, so that it never speaks of half a table.
"""

from __future__ import annotations

import io
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.atomic import atomic_write_bytes, atomic_write_text, check_folder
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.errors import StoredFileError
from mixedflow.results.tabulating import pd

MANIFEST = "sweep.json"
TABLE, TESTS = "sweep.parquet", "tests.parquet"
KIND = ManifestKind("a sweep", MANIFEST, 1, "mixedflow-sweep", again="run the sweep again")
PLAN, JOBS = "plan.json", "jobs"
"""What the workflow keeps beside them: the jobs of a sweep, and notes of those that are done."""

OWN_FILES = (MANIFEST, TABLE, TESTS, "parts", PLAN, JOBS)


@dataclass(frozen=True, eq=False, slots=True)
class SweepResult:
    """Fits of many traits by one model or several.

    Attributes
    ----------
    table : a row a trait, model and subset: ``trait, model, subset, n, converged, singular,
        iterations, logLik, deviance, AIC, BIC, npar, sigma``; ``sd:x|g`` and ``cor:a.b|g`` of random
        effects, ``icc`` of a lone random intercept, ``residual:rho`` of a residual structure;
        ``estimate:x``, ``se:x``, ``df:x``, ``statistic:x``, ``p:x``, ``q:x`` of coefficients;
        ``error``, empty where there is a fit, and ``seconds``
    tests : a row a trait, test and subset: ``chisq, df, p``; ``p_mixture`` where a variance is tested
        at zero, ``q`` of it or else of p, ``note``
    spec : what was asked, as plain values
    """

    table: pd.DataFrame
    tests: pd.DataFrame
    spec: Mapping[str, Any]

    @property
    def failures(self) -> pd.DataFrame:
        """Rows without a fit: ``trait, model, subset, n, error``."""
        failed = self.table[self.table["error"] != ""]
        return failed[["trait", "model", "subset", "n", "error"]].reset_index(drop=True)

    def save(self, folder: str | Path) -> None:
        """Write the sweep to a folder; an older sweep there is replaced, its parts stay."""
        place = Path(folder)
        check_folder(place, OWN_FILES)
        digests = {}
        for name, frame in ((TABLE, self.table), (TESTS, self.tests)):
            buffer = io.BytesIO()
            pq.write_table(_arrow(frame), buffer, write_page_checksum=True)
            atomic_write_bytes(place / name, buffer.getvalue())
            digests[name] = sha256_of_file(place / name)
        content = {"spec": dict(self.spec), "sha256": digests}
        atomic_write_text(place / MANIFEST, KIND.text(content, allow_nan=False))

    def __repr__(self) -> str:
        models = ", ".join(dict.fromkeys(self.table["model"]))
        failed = int((self.table["error"] != "").sum())
        traits = self.table["trait"].nunique()
        return f"<SweepResult: {traits:,} traits, models {models}, {failed:,} rows without a fit>"


def _arrow(frame: pd.DataFrame) -> pa.Table:
    table = pa.Table.from_pandas(frame, preserve_index=False)
    text = [
        pa.field(f.name, pa.string() if pa.types.is_null(f.type) else f.type) for f in table.schema
    ]
    return table.cast(pa.schema(text)).replace_schema_metadata(None)


def load_sweep(folder: str | Path) -> SweepResult:
    """Read a sweep that :meth:`SweepResult.save` or a sweep with a path wrote.

    Raises
    ------
    StoredFileError
        if it is missing, damaged, of another format, or its tables are not those it was written with.
    """
    place = Path(folder)
    manifest = read_manifest(place, KIND)
    spec, digests = manifest.get("spec"), manifest.get("sha256")
    if not isinstance(spec, dict) or not isinstance(digests, dict):
        raise StoredFileError(f"'{place / MANIFEST}' lacks what a sweep says; {KIND.again}")
    table, tests = (_stored(place / name, str(digests.get(name))) for name in (TABLE, TESTS))
    return SweepResult(table, tests, spec)


def _stored(path: Path, digest: str) -> pd.DataFrame:
    if not path.is_file():
        raise StoredFileError(f"'{path}' is missing from the sweep; {KIND.again}")
    if sha256_of_file(path) != digest:
        raise StoredFileError(
            f"'{path}' is not the table that the sweep was written with; {KIND.again}"
        )
    frame: pd.DataFrame = pq.read_table(path).to_pandas()
    return frame
