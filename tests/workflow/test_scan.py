"""A scan from raw file to its page, beside a model and as columns of a matrix."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from snakes import copy_analysis, edit, snakemake

import mixedflow as mf

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

CONFIG = """\
data:
  people:
    path: people.csv
models:
  without:
    data: people
    formula: y ~ age + (1 | family)
scan:
  snps:
    title: All the snps
    data: people
    formula: y ~ age + (1 | family)
    covariates: '@listed.txt'
    missing: mean
  beside:
    data: people
    formula: y ~ age + (1 | family)
    matrix: {path: snps.npy, names: listed.txt}
    missing: mean
"""


def test_a_scan_ends_in_a_table_and_a_page(tmp_path):
    place = tmp_path / "analysis"
    copy_analysis(place)
    (place / "config/config.yaml").write_text(CONFIG, encoding="utf-8")
    rng = np.random.default_rng(8)
    family = np.repeat(np.arange(50), 4)
    C = rng.integers(0, 3, (200, 12)).astype(float)
    C[4, 2] = np.nan
    names = [f"snp{j:02d}" for j in range(12)]
    y = rng.normal(size=50)[family] + rng.normal(size=200) + C[:, 5]
    people = pd.DataFrame(
        {"y": y, "age": rng.normal(size=200), "family": [f"f{i}" for i in family]}
    )
    people = pd.concat([people, pd.DataFrame(C, columns=names)], axis=1)
    people.to_csv(place / "people.csv", index=False)
    np.save(place / "snps.npy", C)
    (place / "listed.txt").write_text("\n".join(names) + "\n", encoding="utf-8")

    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    wanted = mf.scan("y ~ age + (1 | family)", people, "snp*", missing="mean").table
    for scan in ("snps", "beside"):
        found = mf.load_scan(place / f"results/scans/{scan}")
        pd.testing.assert_frame_equal(found.table, wanted, rtol=1e-10)
    assert "All the snps" in (place / "results/scan-snps.html").read_text(encoding="utf-8")
    assert "scan-beside.html" in (place / "results/report.html").read_text(encoding="utf-8")
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text

    (place / "listed.txt").write_text("\n".join(reversed(names)) + "\n", encoding="utf-8")
    edit(place / "config/config.yaml", "    matrix: {path: snps.npy, names: listed.txt}\n", "")
    edit(
        place / "config/config.yaml", "    missing: mean\n  beside", "    missing: error\n  beside"
    )
    run = snakemake("--dry-run", cwd=place)
    assert run.code != 0
    assert "scan.beside: it needs at least one covariate" in run.text
    edit(place / "config/config.yaml", "  beside:\n", "  beside:\n    covariates: snp05\n")
    run = snakemake("--dry-run", cwd=place)
    assert {"Scanning the covariates of snps", "Scanning the covariates of beside"} <= run.jobs
    assert not any(job.startswith(("Preparing", "Fitting")) for job in run.jobs)
