"""A job that is lost costs its work and no digit: cancelled, out of memory, refused, orphaned."""

from __future__ import annotations

import subprocess

import pytest
from slurm_faults import (
    FIT,
    NEED_MEMORY,
    WAIT_ONCE,
    Controller,
    Faults,
    cancel,
    digits,
    finished_analysis,
    job,
    jobs,
    of_rule,
    until,
    without,
)
from snakes import snakemake

pytestmark = pytest.mark.timeout(600)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished_analysis(tmp_path_factory.mktemp("done") / "analysis")


@pytest.fixture
def faults(tmp_path, monkeypatch):
    return Faults(tmp_path / "faults", monkeypatch)


@pytest.mark.slow
def test_a_cancelled_job_runs_again(done, faults, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_ONCE)
    run = Controller(place, FIT)
    _, number = until(lambda: faults.started("fit"), "the fit has started")
    cancel(number)
    assert run.ended() == 0, run.text
    assert job(number)["state"] == "CANCELLED"
    assert faults.started("fit", 2)[1] != number
    assert "SLURM status is: 'CANCELLED'" in run.text
    assert digits(place) == digits(done)


@pytest.mark.slow
def test_a_job_cancelled_while_it_waits_runs_later(done, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    command = ["sbatch", "--parsable", "--nodes=2", "--exclusive", "--mem=0", "--output=/dev/null"]
    blocking = subprocess.run(
        [*command, "--wrap", "sleep 600"], capture_output=True, text=True, check=True
    ).stdout.strip()
    try:
        until(lambda: job(blocking)["state"] == "RUNNING", "all nodes are taken")
        run = Controller(place, FIT)
        (waiting,) = until(lambda: of_rule("fit", "PENDING"), "the fit waits")
        cancel(waiting["id"])
        (other,) = until(lambda: of_rule("fit", "PENDING"), "the fit waits again")
    finally:
        cancel(blocking)
    assert run.ended() == 0, run.text
    assert other["id"] != waiting["id"]
    assert digits(place) == digits(done)


@pytest.mark.slow
def test_more_memory_after_too_little(done, faults, tmp_path):
    place = without(done, tmp_path / "analysis", "sleepstudy/designs", "models")
    faults.in_step("condense", NEED_MEMORY.format(mb=700))
    run = Controller(place, "--until=condense", FIT)
    assert run.ended(240) == 0, run.text
    rest = snakemake(FIT, cwd=place)
    assert rest.code == 0, rest.text
    first, second = (job(faults.started("condense", attempt)[1]) for attempt in (1, 2))
    assert (first["state"], second["state"]) == ("FAILED", "COMPLETED")
    assert int(second["memory"].rstrip("M")) == 2 * int(first["memory"].rstrip("M"))
    assert digits(place) == digits(done)


@pytest.mark.parametrize(
    ("asked", "answer"),
    [
        ("fit:mem_mb=999999", "node configuration is not available"),
        ("fit:runtime=9999", "time limit is invalid"),
        ("fit:slurm_partition=nowhere", "invalid partition specified: nowhere"),
    ],
)
def test_what_no_node_can_give_is_refused_at_once(asked, answer, done, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    run = Controller(place, FIT, "--set-resources", asked)
    assert run.ended() == 1
    assert answer in run.text
    assert jobs("pending", "running") == []


@pytest.mark.slow
def test_the_controller_is_killed(done, faults, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_ONCE)
    run = Controller(place, FIT)
    _, number = until(lambda: faults.started("fit"), "the fit has started")
    run.kill()
    again = Controller(place, FIT)
    assert again.ended() == 1
    assert "Directory cannot be locked" in again.text
    assert job(number)["state"] == "RUNNING"
    assert len(of_rule("fit", "PENDING", "RUNNING")) == 1
    assert Controller(place, "--unlock").ended() == 0
    beside = Controller(place, FIT)
    assert beside.ended() == 0, beside.text
    assert digits(place) == digits(done)
    written = (place / FIT).stat().st_ino
    faults.let_go()
    until(lambda: job(number)["state"] not in {"RUNNING", "COMPLETING"}, "the orphan has ended")
    assert (place / FIT).stat().st_ino == written
    assert faults.waits("fit")
    assert digits(place) == digits(done)
