"""The shipped analysis by every route of Slurm ends with the numbers of one machine."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import routes
from snakes import copy_analysis

pytestmark = pytest.mark.timeout(1000)

KEPT = ("parameters", "loglik", "sigma", "fixef", "se", "vcov", "varcorr", "n_iter")
"""What a fit says besides times and versions."""

# passes over the rows are tasks of the workers that run the rules
CONNECT_BACK = "dask={kind: address, scheduler_file: .snakemake/mixedflow-dask/scheduler.json}"
ROUTES = {
    "slurm-noacct": routes.JOB_A_RULE,
    "slurm-multinode": routes.ON_SEVERAL_NODES,
    "slurm-allocation": [*routes.IN_ONE_JOB, "--config", CONNECT_BACK],
    "jobqueue": routes.WORKERS_AS_JOBS,
}


def numbers(place: Path) -> dict:
    """Return what a run found: estimates, effects, residuals, tests; no times."""
    found = {}
    for fit in sorted((place / "results/models").glob("*/fit/fit.json")):
        stored = json.loads(fit.read_text())
        found[fit.parts[-3]] = {key: stored[key] for key in KEPT}
    for table in sorted((place / "results/models").glob("*/*/*.parquet")):
        columns = pq.read_table(table)
        timed = [name for name in ("seconds",) if name in columns.column_names]
        found[str(table.relative_to(place))] = columns.drop_columns(timed).to_pydict()
    for table in sorted((place / "results/models").glob("*/inference/*.csv")):
        found[str(table.relative_to(place))] = table.read_text()
    return found


@pytest.fixture(scope="module")
def on_one_machine(tmp_path_factory):
    place = copy_analysis(tmp_path_factory.mktemp("one") / "analysis")
    routes.run(place, routes.ONE_MACHINE)
    return numbers(place)


@pytest.fixture(scope="module")
def begun(on_one_machine, tmp_path_factory):
    """All routes at once: most of the time of each is waiting."""
    folder, found = tmp_path_factory.mktemp("routes"), {}
    try:
        for name, arguments in ROUTES.items():
            found[name] = routes.begin(copy_analysis(folder / name), arguments)
        yield found
    finally:
        for running in found.values():
            running.stop()


@pytest.mark.shared_queue
@pytest.mark.parametrize("route", ROUTES)
def test_the_shipped_analysis(route, begun, on_one_machine):
    begun[route].finish()
    found = numbers(begun[route].place)
    assert found.keys() == on_one_machine.keys()
    assert [key for key in found if repr(found[key]) != repr(on_one_machine[key])] == []


def test_no_route_leaves_a_job(begun):
    for running in begun.values():
        running.stop()
