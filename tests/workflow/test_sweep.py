"""A sweep from raw file to its page: killed and resumed, with traits added, as a module, in processes."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest
from snakes import ROOT, copy_analysis, edit, python_module, snakemake

import mixedflow as mf

pytestmark = pytest.mark.workflow

CONFIG = """\
data:
  wide:
    path: wide.csv
sweep:
  genes:
    title: All the genes
    data: wide
    traits: gene*
    models:
      base: ~ 1 + (1 | g)
      full: ~ x + (1 | g)
    tests: {x: [base, full]}
    subsets:
      all:
      women: {sex: [f]}
    q: storey
    traits_per_job: 5
"""
TRAITS = 20
FOLDER = "results/sweeps/genes"


def rows(n_traits: int) -> pd.DataFrame:
    """Return traits of which one is constant and one lacks values."""
    rng = np.random.default_rng(5)
    n, levels = 240, 20
    g, x = rng.integers(levels, size=n), rng.normal(size=n)
    columns: dict[str, object] = {
        "g": [f"g{level:02d}" for level in g],
        "x": x,
        "sex": np.where(rng.random(n) < 0.5, "f", "m"),
    }
    for t in range(n_traits):
        own = 0.4 * (t % 3) * x + rng.normal(size=levels)[g] + rng.normal(size=n)
        columns[f"gene{t:02d}"] = np.round(own, 6)
    frame = pd.DataFrame(columns)
    frame["gene03"] = 1.0
    frame.loc[frame.index % 7 == 0, "gene04"] = np.nan
    return frame


def analysis(place, text: str = CONFIG):
    """Return a folder with the workflow and a sweep."""
    copy_analysis(place)
    (place / "config/config.yaml").write_text(text, encoding="utf-8")
    rows(TRAITS).to_csv(place / "wide.csv", index=False)
    return place


def parts(place) -> dict[str, tuple[int, bytes]]:
    """Return when each part was written, and what it holds."""
    found = sorted((place / FOLDER / "parts").glob("*.parquet"))
    return {path.name: (path.stat().st_mtime_ns, path.read_bytes()) for path in found}


def fitted(place) -> pd.DataFrame:
    """Return trait and model of every row in all parts."""
    folder = place / FOLDER / "parts"
    names = ["trait", "model", "subset", "_digest", "_model"]
    return pd.concat(
        [
            pq.read_table(path, columns=names).to_pandas()
            for path in sorted(folder.glob("*.parquet"))
        ],
        ignore_index=True,
    )


def tables(place) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the tables of a sweep without times."""
    found = mf.load_sweep(place / FOLDER)
    return found.table.drop(columns="seconds"), found.tests


def same(found, wanted) -> None:
    for one, other in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


def close(found, wanted) -> None:
    """Compare tables whose traits were fitted in other company, which may move a last bit."""
    for one, other in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(one, other, rtol=1e-9, atol=1e-12)


def planned(place) -> list[str]:
    """Return the traits that the last plan left to fit."""
    plan = json.loads((place / FOLDER / "plan.json").read_text(encoding="utf-8"))
    return [name for job in plan["jobs"] for name in job["traits"]]


@pytest.fixture(scope="module")
def swept(tmp_path_factory):
    place = analysis(tmp_path_factory.mktemp("sweep") / "analysis")
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    return place, run


def test_a_sweep_ends_in_a_table_and_a_page(swept):
    place, run = swept
    assert len([job for job in run.jobs if job.startswith("Fitting the job")]) == 4
    assert planned(place) == [f"gene{t:02d}" for t in range(TRAITS)]
    found = mf.load_sweep(place / FOLDER)
    assert len(found.table) == TRAITS * 2 * 2
    assert set(found.failures["trait"]) == {"gene03"}
    assert set(found.tests["test"]) == {"x"}
    assert not fitted(place).duplicated().any()
    assert "sweep-genes.html" in (place / "results/report.html").read_text(encoding="utf-8")
    page = (place / "results/sweep-genes.html").read_text(encoding="utf-8")
    assert "All the genes" in page
    for step in ("sweep_plan", "sweep_run", "sweep_gather"):
        assert list((place / "results/logs" / step).glob("*.log"))
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text


def test_the_table_is_that_of_a_sweep_without_workflow(swept):
    place, _ = swept
    wanted = mf.sweep(
        {"base": "~ 1 + (1 | g)", "full": "~ x + (1 | g)"},
        rows(TRAITS),
        "gene*",
        tests={"x": ["base", "full"]},
        subsets={"all": None, "women": {"sex": ["f"]}},
        q="storey",
    )
    close(tables(place), (wanted.table.drop(columns="seconds"), wanted.tests))


def test_a_new_trait_and_nothing_else_is_fitted(swept, tmp_path):
    place = tmp_path / "analysis"
    shutil.copytree(swept[0], place, symlinks=True)
    before, table = parts(place), tables(place)[0]
    rows(TRAITS + 1).to_csv(place / "wide.csv", index=False)
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    assert planned(place) == [f"gene{TRAITS}"]
    after = parts(place)
    assert {name: after[name] for name in before} == before
    assert len(after) == len(before) + 1
    assert set(fitted(place)["trait"]) == set(table["trait"]) | {f"gene{TRAITS}"}
    assert not fitted(place).duplicated().any()
    kept = tables(place)[0]
    kept = kept[kept["trait"] != f"gene{TRAITS}"].reset_index(drop=True)
    own = [name for name in table.columns if not name.startswith("q:")]
    pd.testing.assert_frame_equal(kept[own], table[own], check_exact=True)


@pytest.mark.slow
def test_a_killed_sweep_resumes_and_fits_nothing_twice(swept, tmp_path):
    place = analysis(tmp_path / "analysis")
    process = subprocess.Popen(
        [sys.executable, "-m", "snakemake", "--cores", "1"],
        cwd=place,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    deadline = time.monotonic() + 200
    while len(parts(place)) < 2:
        assert process.poll() is None, "the run ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.02)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = parts(place)
    assert 2 <= len(before) < len(parts(swept[0]))
    assert not (place / FOLDER / "sweep.json").exists()
    assert snakemake("--unlock", cwd=place).code == 0
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    assert "Planning the sweep genes" not in run.jobs
    after = parts(place)
    assert {name: after[name] for name in before} == before
    assert not fitted(place).duplicated().any()
    same(tables(place), tables(swept[0]))
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text


@pytest.mark.slow
def test_parts_that_were_removed_are_fitted_again(swept, tmp_path):
    place = tmp_path / "analysis"
    shutil.copytree(swept[0], place, symlinks=True)
    first = sorted((place / FOLDER / "parts").glob("*.parquet"))[0]
    first.unlink()
    run = snakemake("--forcerun", "sweep_plan", cwd=place)
    assert run.code == 0, run.text
    assert 0 < len(planned(place)) < TRAITS
    close(tables(place), tables(swept[0]))


MODULE = """\
configfile: "analysis.yaml"


module mixedflow:
    snakefile:
        "{root}/workflow/Snakefile"
    config:
        config["mixed"]
    prefix:
        "sub"


use rule * from mixedflow as mixedflow_*


rule all:
    default_target: True
    input:
        rules.mixedflow_all.input,
"""


@pytest.mark.slow
def test_as_a_module_with_a_prefix_traits_of_a_matrix_are_swept(tmp_path):
    place = tmp_path / "other"
    place.mkdir()
    wide = rows(6)
    wide[["g", "x", "sex"]].to_csv(place / "samples.csv", index=False)
    genes = [name for name in wide.columns if name.startswith("gene")]
    np.save(place / "genes.npy", wide[genes].to_numpy())
    (place / "genes.txt").write_text("\n".join(genes) + "\n", encoding="utf-8")
    settings = {
        "data": {"samples": {"path": "samples.csv"}},
        "sweep": {
            "genes": {
                "data": "samples",
                "models": {"full": "~ x + (1 | g)"},
                "matrix": {"path": "genes.npy", "names": "genes.txt"},
            }
        },
        "dask": {"kind": "processes", "workers": 2},
    }
    (place / "analysis.yaml").write_text(json.dumps({"mixed": settings}), encoding="utf-8")
    (place / "Snakefile").write_text(MODULE.format(root=ROOT), encoding="utf-8")
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    wanted = mf.sweep({"full": "~ x + (1 | g)"}, wide, genes)
    close(tables(place / "sub")[:1], [wanted.table.drop(columns="seconds")])
    assert (place / "sub/results/sweep-genes.html").is_file()
    assert "Nothing to be done" in snakemake("--dry-run", cwd=place).text


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("[base, full]", "[base, ful]", "did you mean 'full'?"),
        ("data: wide", "data: wid", "sweep.genes.data is 'wid'"),
        ("gene*", "re:gene[", "'re:gene[' is no regular expression"),
        ("~ x + (1 | g)", "~ x + (1 | g", "sweep.genes.models.full"),
        ("~ x + (1 | g)", "y ~ x + (1 | g)", "must begin with '~'"),
        ("q: storey", "q: story", "did you mean 'storey'?"),
    ],
)
def test_a_wrong_sweep_stops_before_any_job(tmp_path, old, new, message):
    (tmp_path / "config.yaml").write_text(CONFIG, encoding="utf-8")
    edit(tmp_path / "config.yaml", old, new)
    run = python_module("mixedflow", "run", "-c", "config.yaml", cwd=tmp_path)
    assert run.code == 2
    (sentence,) = run.text.splitlines()
    assert message in sentence
    assert "config.yaml" in sentence
