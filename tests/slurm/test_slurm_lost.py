"""A node that is lost costs no digit, and what lives on there writes nothing."""

from __future__ import annotations

import pytest
from slurm_faults import (
    FIT,
    WAIT_EACH,
    WAIT_ONCE,
    Controller,
    Daemon,
    Faults,
    control,
    digits,
    finished_analysis,
    gone,
    job,
    node_states,
    run_now,
    until,
    without,
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished_analysis(tmp_path_factory.mktemp("done") / "analysis")


@pytest.fixture
def faults(tmp_path, monkeypatch):
    return Faults(tmp_path / "faults", monkeypatch)


@pytest.fixture
def nodes():
    """Give the daemons of the nodes, and start again what a test stopped."""
    stopped = []

    def stop(name: str) -> None:
        daemon = Daemon(f"slurmd.{name}")
        daemon.stop()
        stopped.append(daemon)

    yield stop
    for daemon in stopped:
        if not daemon.runs():
            daemon.start()
    until(lambda: set(node_states().values()) == {"idle"}, f"the nodes are back: {node_states()}")


def lost(place, faults, nodes) -> tuple[Controller, int]:
    """Lose the node of a fit that lives on there, and wait for its second start elsewhere."""
    run = Controller(place, FIT)
    pid, number = until(lambda: faults.started("fit"), "the fit has started")
    node = job(number)["node"]
    nodes(node)
    control("update", f"nodename={node}", "state=down", "reason=test")
    until(lambda: job(number)["state"] != "RUNNING", "Slurm has given the job up")
    if job(number)["state"] == "PENDING":
        run_now(number)
    _, second = until(lambda: faults.started("fit", 2), f"a second start: {job(number)}")
    assert job(second)["node"] != node
    assert not gone(pid)
    return run, pid


@pytest.mark.slow
def test_a_node_is_lost_and_its_job_lives_on(done, faults, nodes, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_ONCE)
    run, pid = lost(place, faults, nodes)
    assert run.ended() == 0, run.text
    assert digits(place) == digits(done)
    written = (place / FIT).stat().st_ino
    faults.let_go()
    until(lambda: gone(pid), "the first fit has ended")
    assert faults.waits("fit")
    assert (place / FIT).stat().st_ino == written
    assert digits(place) == digits(done)


@pytest.mark.slow
def test_a_job_on_a_lost_node_ends_before_the_one_in_its_place(done, faults, nodes, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_EACH)
    run, pid = lost(place, faults, nodes)
    faults.let_go(1)
    until(lambda: faults.waits("fit"), "the first fit knows of the second")
    assert not (place / FIT).exists()
    assert not gone(pid)
    faults.let_go(2)
    assert run.ended() == 0, run.text
    until(lambda: gone(pid), "the first fit has ended")
    assert digits(place) == digits(done)
