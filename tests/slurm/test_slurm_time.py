"""What takes minutes because Slurm does: a job's time is over, a node does not answer any more."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from slurm_faults import (
    FIT,
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
    until,
    without,
)

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1200)]


@pytest.fixture(scope="module")
def done(tmp_path_factory):
    return finished_analysis(tmp_path_factory.mktemp("done") / "analysis")


@pytest.fixture
def faults(tmp_path, monkeypatch):
    return Faults(tmp_path / "faults", monkeypatch)


def test_more_time_after_too_little(done, faults, tmp_path):
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_ONCE)
    run = Controller(place, FIT)
    _, number = until(lambda: faults.started("fit"), "the fit has started")
    asked = job(number)["time"]
    control("update", f"jobid={number}", "timelimit=1")
    until(lambda: job(number)["state"] == "TIMEOUT", "the job's time is over", 300)
    assert run.ended(300) == 0, run.text
    _, second = faults.started("fit", 2)
    assert (asked, job(second)["time"]) == ("10:00", "20:00")
    assert "SLURM status is: 'TIMEOUT'" in run.text
    assert digits(place) == digits(done)


@pytest.fixture
def quick_to_notice():
    """Have Slurm give up a node that has not answered for a minute; the default is five."""
    configuration = Path(os.environ["SLURM_CONF"])
    text = configuration.read_text()
    configuration.write_text(text + "SlurmdTimeout=60\n")
    control("reconfigure")
    yield
    configuration.write_text(text)
    control("reconfigure")


def test_a_node_does_not_answer(done, faults, quick_to_notice, tmp_path):
    """Slurm notices by itself, waits for its own two minutes, and the job that lives on writes nothing."""
    place = without(done, tmp_path / "analysis", "models")
    faults.in_step("fit", WAIT_ONCE)
    run = Controller(place, FIT)
    pid, number = until(lambda: faults.started("fit"), "the fit has started")
    node = job(number)["node"]
    daemon = Daemon(f"slurmd.{node}")
    daemon.stop()
    try:
        until(lambda: node_states()[node].startswith("down"), f"{node} is given up", 400)
        assert run.ended(600) == 0, run.text
        assert not gone(pid)
        _, second = faults.started("fit", 2)
        assert job(second)["node"] != node
        assert digits(place) == digits(done)
        written = (place / FIT).stat().st_ino
        faults.let_go()
        until(lambda: gone(pid), "the first fit has ended")
        assert faults.waits("fit")
        assert (place / FIT).stat().st_ino == written
    finally:
        daemon.start()
    until(lambda: set(node_states().values()) == {"idle"}, f"the nodes are back: {node_states()}")
    assert digits(place) == digits(done)
