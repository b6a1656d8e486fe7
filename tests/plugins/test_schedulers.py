"""``snakemake --executor mixedflow-dask`` on a scheduler that somebody else started."""

from __future__ import annotations

import os
import signal
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flows import Machines, alive, reasons, running, wait_for

pytestmark = [pytest.mark.workflow, pytest.mark.slow]


@pytest.fixture
def machines(tmp_path):
    found = Machines(tmp_path)
    yield found
    found.stop()


SLEEPERS = """
rule all:
    input: "a.txt", "b.txt"
rule one:
    output: "{name}.txt"
    shell:
        "echo $PPID >> {wildcards.name}.tries; (sleep 300 & echo $! > {wildcards.name}.pid; wait);"
        " touch {output}"
"""


def test_a_dead_worker_takes_its_own_job_only_and_dask_starts_none_again(tmp_path, machines):
    with running(tmp_path, SLEEPERS, "--keep-going", place=machines.place) as flow:
        sleepers = {name: flow.number(f"{name}.pid") for name in "ab"}
        machines.workers[0].kill()
        assert wait_for(lambda: [n for n, pid in sleepers.items() if not alive(pid)], 20)
        (dead,) = [name for name, pid in sleepers.items() if not alive(pid)]
        wait_for(lambda: reasons(flow.text), 30)
        (other,) = set("ab") - {dead}
        assert alive(sleepers[other])
        os.kill(sleepers[other], signal.SIGTERM)
        code, text = flow.finish()
        assert code == 1
        assert "died" in reasons(text)[0]
        assert (tmp_path / f"{other}.txt").exists()
        assert not (tmp_path / f"{dead}.txt").exists()
        assert len((tmp_path / f"{dead}.tries").read_text().split()) == 1


def test_a_scheduler_that_hangs_is_an_error(tmp_path, machines):
    with running(tmp_path, SLEEPERS, place=machines.place) as flow:
        sleepers = [flow.number(f"{name}.pid") for name in "ab"]
        os.kill(machines.scheduler.pid, signal.SIGSTOP)
        started = time.monotonic()
        code, text = flow.finish()
        assert code == 1
        assert time.monotonic() - started < 60
        assert "is gone" in reasons(text)[0]
        assert wait_for(lambda: not any(alive(pid) for pid in sleepers), 20)


def test_the_more_urgent_runs_first(tmp_path, machines):
    snakefile = """
rule all:
    input: "low.txt", "high.txt", "hold1.txt", "hold2.txt"
rule hold:
    output: "hold{n}.txt"
    priority: 9
    shell: "sleep 2; touch {output}"
rule low:
    output: "low.txt"
    shell: "echo low >> order; sleep 1; touch {output}"
rule high:
    output: "high.txt"
    priority: 5
    shell: "echo high >> order; sleep 1; touch {output}"
"""
    machines.workers[1].kill()
    machines.wait_for_workers(1)
    with running(tmp_path, snakefile, place=machines.place) as flow:
        code, text = flow.finish()
    assert code == 0, text
    assert (tmp_path / "order").read_text() == "high\nlow\n"
