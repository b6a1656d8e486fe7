"""``mixedflow resume`` after the controller of a run was killed."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from runs import (
    ON_THE_LOOPBACK,
    alive,
    jobs,
    kill_controller,
    make_place,
    outputs,
    resume,
    started,
    wait_for,
)

pytestmark = [pytest.mark.slow, pytest.mark.workflow, pytest.mark.timeout(900)]

LOCAL_WORKERS = (
    "--executor=mixedflow-dask",
    "--jobs=4",
    "--mixedflow-dask-local-workers=1",
    "--mixedflow-dask-worker-threads=2",
)


@pytest.fixture
def place(tmp_path):
    return make_place(tmp_path / "run")


def test_jobs_of_a_killed_controller_are_ended_before_they_run_again(place):
    with started(place, "mixedflow", "run", "--cores", "2") as process:
        pids = jobs(place)
        code, text = resume(place, "--yes")
        assert (code, "a run is at work" in text) == (2, True), text
        kill_controller(process)
        assert all(alive(pid) for pid in pids)
        code, text = resume(place)
        assert (code, "add --yes" in text) == (2, True), text
        assert all(f"process {pid}: " in text for pid in pids)
        code, text = resume(place, "--dry-run")
        assert (code, "the folder is locked" in text) == (0, True), text
        assert all(alive(pid) for pid in pids)
        assert outputs(place) == ["half\n"] * 2
        ended = subprocess.Popen([sys.executable, "-c", ""])
        ended.wait()
        half = place / f"results/models/.fit.new-{ended.pid}-00000000"
        half.mkdir(parents=True)
        (place / f"results/.x.old-{ended.pid}-0123abcd").write_text("old\n")
        with started(place, "mixedflow", "resume", "--yes") as again:
            wait_for(lambda: not any(alive(pid) for pid in pids))
            wait_for(lambda: set(jobs(place)).isdisjoint(pids))
            (place / "go").touch()
            assert again.wait(250) == 0, (place / "said.txt").read_text()
    assert outputs(place) == ["done\n"] * 2
    assert not (place / "twice").exists()
    assert not list((place / ".snakemake/mixedflow-runs").iterdir())
    assert not half.exists()
    assert (place / "results/x").read_text() == "old\n"
    code, text = resume(place, "--yes")
    assert (code, "nothing to resume" in text) == (0, True)


def test_a_run_that_snakemake_started_is_described(place):
    with started(place, "snakemake", "--cores", "2") as process:
        pids = jobs(place)
        assert resume(place, "--yes")[0] == 2
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        code, text = resume(place, "--yes")
        assert (code, "OPTIONS OF SNAKEMAKE" in text) == (2, True), text
        assert all(alive(pid) for pid in pids)
        with started(place, "mixedflow", "resume", "--yes", "--", "--cores=2") as again:
            wait_for(lambda: not any(alive(pid) for pid in pids))
            (place / "go").touch()
            assert again.wait(250) == 0, (place / "said.txt").read_text()
    assert outputs(place) == ["done\n"] * 2
    assert not (place / "twice").exists()


def test_local_dask_workers_of_a_killed_controller(place):
    with started(place, "mixedflow", "run", "--", *LOCAL_WORKERS) as process:
        pids = jobs(place)
        kill_controller(process)
        with started(place, "mixedflow", "resume", "--yes") as again:
            wait_for(lambda: not any(alive(pid) for pid in pids))
            wait_for(lambda: set(jobs(place)).isdisjoint(pids))
            (place / "go").touch()
            assert again.wait(250) == 0, (place / "said.txt").read_text()
    assert outputs(place) == ["done\n"] * 2
    assert not (place / "twice").exists()
    assert not list(place.glob(".snakemake/tmp.*"))


def test_jobs_on_workers_that_stay(place):
    from distributed import LocalCluster

    with LocalCluster(n_workers=1, threads_per_worker=2, **ON_THE_LOOPBACK) as cluster:
        where = f"--mixedflow-dask-address={cluster.scheduler_address}"
        call = ("mixedflow", "run", "--", "--executor=mixedflow-dask", "--jobs=4", where)
        with started(place, *call) as process:
            pids = jobs(place)
            kill_controller(process)
            with started(place, "mixedflow", "resume", "--yes") as again:
                wait_for(lambda: not any(alive(pid) for pid in pids))
                wait_for(lambda: set(jobs(place)).isdisjoint(pids))
                (place / "go").touch()
                assert again.wait(250) == 0, (place / "said.txt").read_text()
    assert outputs(place) == ["done\n"] * 2
    assert not (place / "twice").exists()
