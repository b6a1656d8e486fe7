"""200 traits by each route: one table, and the times side by side."""

from __future__ import annotations

import json

import numpy as np
import pandas as pd
import pytest
import routes
from snakes import copy_analysis

import mixedflow as mf

pytestmark = pytest.mark.timeout(1000)

TRAITS, ROWS, GROUPS = 200, 4000, 100
WHAT = f"A sweep of {TRAITS} traits by two models, {ROWS} rows"
FOLDER = "results/sweeps/genes"
CONFIG = """\
data:
  wide: {path: wide.csv}
sweep:
  genes:
    data: wide
    traits: gene*
    models:
      base: ~ 1 + (1 | g)
      full: ~ x + (1 | g)
    tests: {x: [base, full]}
"""


@pytest.fixture(scope="module")
def rows(tmp_path_factory):
    rng = np.random.default_rng(7)
    g, x = rng.integers(GROUPS, size=ROWS), rng.normal(size=ROWS)
    found = {"g": [f"g{level:02d}" for level in g], "x": x}
    for t in range(TRAITS):
        shared = rng.normal(size=GROUPS)[g] * (t % 4) / 3
        found[f"gene{t:03d}"] = 0.1 * (t % 3) * x + shared + rng.normal(size=ROWS)
    path = tmp_path_factory.mktemp("rows") / "wide.csv"
    pd.DataFrame(found).to_csv(path, index=False)
    return path


def analysis(place, rows):
    copy_analysis(place)
    (place / "config/config.yaml").write_text(CONFIG, encoding="utf-8")
    (place / "wide.csv").symlink_to(rows)
    return place


def table(place):
    """Return what a run found, without its times."""
    found = mf.load_sweep(place / FOLDER)
    return found.table.drop(columns="seconds"), found.tests


def same(found, wanted):
    for one, other in zip(found, wanted, strict=True):
        pd.testing.assert_frame_equal(one, other, check_exact=True)


@pytest.fixture(scope="module")
def on_one_machine(rows, tmp_path_factory, timed):
    # loops that are compiled at their first use are nobody's time
    frame = pd.read_csv(rows, usecols=["g", "x", "gene000", "gene001"])
    mf.sweep({"base": "~ 1 + (1 | g)", "full": "~ x + (1 | g)"}, frame, "gene*")
    place = analysis(tmp_path_factory.mktemp("sweep") / "one", rows)
    with timed(WHAT, "one machine, --cores 2"):
        routes.run(place, routes.ONE_MACHINE)
    return table(place)


def test_every_trait_is_fitted(on_one_machine):
    found, tests = on_one_machine
    assert set(found["trait"]) == {f"gene{t:03d}" for t in range(TRAITS)}
    assert set(found["model"]) == {"base", "full"}
    assert len(tests) == TRAITS


ROUTES = {
    "--executor slurm, a job a rule": routes.JOB_A_RULE,
    "--executor mixedflow-dask in one allocation": routes.IN_ONE_JOB,
    "SLURMCluster, dask: {kind: jobqueue}": routes.WORKERS_AS_JOBS,
}


@pytest.mark.parametrize("route", ROUTES, ids=["slurm", "allocation", "jobqueue"])
def test_a_sweep(route, on_one_machine, rows, tmp_path, timed):
    place = analysis(tmp_path / "analysis", rows)
    with timed(WHAT, route):
        said = routes.run(place, ROUTES[route])
    # so many traits are worth one job, not one a trait
    plan = json.loads((place / FOLDER / "plan.json").read_text(encoding="utf-8"))
    assert len(plan["jobs"]) == 1
    same(table(place), on_one_machine)
    # encrypted, also where nothing else than the loopback is there; certificates go with the run
    if ROUTES[route] is routes.IN_ONE_JOB:
        assert "Dask scheduler tls://127.0.0.1:" in said
    assert list(place.glob(".mixedflow*")) == []
