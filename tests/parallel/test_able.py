"""A running scheduler is asked before long work: has it workers, of this version, that see the files."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

import mixedflow
from mixedflow.config import DaskConfig
from mixedflow.parallel import Runner, WorkerError, able, map_reduce, open_runner
from mixedflow.parallel.sent import Sent, _arrived
from mixedflow.steps.opening import runner_of


def double(index: int) -> int:
    return 2 * index


@pytest.fixture
def no_workers():
    """A scheduler on the loopback without a worker."""
    from distributed import LocalCluster

    from mixedflow.parallel.connecting import ONLY_HERE

    with LocalCluster(
        n_workers=0,
        processes=False,
        host="127.0.0.1",
        protocol="tcp",
        dashboard_address=None,
        worker_dashboard_address=None,
        memory_limit=0,
        scheduler_kwargs=ONLY_HERE,
    ) as cluster:
        yield cluster


def test_a_scheduler_without_workers_is_one_sentence(no_workers):
    address = no_workers.scheduler_address
    with (
        pytest.raises(
            WorkerError, match=rf"'{address}' has no worker after 0.5 s; start some with"
        ),
        open_runner("address", address=address, patience=0.5),
    ):
        pass
    assert not no_workers.scheduler.tasks


def test_a_worker_that_comes_in_time_is_waited_for(no_workers, caplog):
    caplog.set_level("INFO", "mixedflow")
    timer = threading.Timer(1.0, no_workers.scale, [1])
    timer.start()
    with open_runner("address", address=no_workers.scheduler_address, patience=60) as runner:
        total = map_reduce(double, 5, int.__add__, runner=runner)
    timer.join()
    assert total == 20
    assert any("Dask workers (address): 1 with" in m for m in caplog.messages)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("0.0", f"it has mixedflow 0.0, and {mixedflow.__version__} is here"),
        (ImportError("no"), "it has no mixedflow that answers"),
    ],
)
def test_other_versions_are_refused(answer, why):
    class Answers:
        def run(self, *_, **__):
            return {"tcp://a": mixedflow.__version__, "tcp://b": answer, "tcp://c": answer}

    with pytest.raises(WorkerError) as refused:
        able.require_same_version(Answers())
    assert str(refused.value).startswith(f"the Dask worker tcp://b cannot run jobs: {why}")
    assert str(refused.value).endswith("(and so for 1 more)")


def test_a_worker_of_another_version_that_comes_later_says_so():
    _, (_, body, buffers) = Sent(double).__reduce__()
    with pytest.raises(WorkerError, match=r"a Dask worker has mixedflow .*, and 0\.0 is here"):
        _arrived("0.0", body, buffers).opened()


@pytest.mark.slow
def test_workers_that_do_not_see_the_files_are_refused(tmp_path, monkeypatch):
    """Workers whose folders are others: in the tests, by looking in another place."""
    scheduler = tmp_path / "scheduler.json"
    here, there = tmp_path / "here", tmp_path / "there"
    here.mkdir()
    there.mkdir()
    monkeypatch.chdir(here)
    monkeypatch.setattr(able, "SEEN_SECONDS", 0.5)
    blind = there / "blind.py"
    blind.write_text(BLIND)
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    host = subprocess.Popen(
        [sys.executable, blind, scheduler, here], cwd=there, env=env, stdin=subprocess.PIPE,
        stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert host.stdout.readline().strip() == "ready"
        asked = DaskConfig(kind="address", scheduler_file=str(scheduler))
        with (
            pytest.raises(
                WorkerError, match=r"does not see '.*', and jobs need a shared file system"
            ),
            runner_of(asked),
        ):
            pass
        assert list(here.iterdir()) == []
    finally:
        host.stdin.close()
        host.stdout.close()
        host.wait(60)


BLIND = """
import json, pathlib, sys
from distributed import LocalCluster
if __name__ == "__main__":
    scheduler, hidden = sys.argv[1:]
    real = pathlib.Path.exists
    pathlib.Path.exists = lambda self, **k: not str(self).startswith(hidden) and real(self, **k)
    with LocalCluster(n_workers=1, processes=False, host="127.0.0.1", protocol="tcp", dashboard_address=None,
                      worker_dashboard_address=None, memory_limit=0,
                      scheduler_kwargs={"dashboard": False, "dashboard_address": "127.0.0.1:0"}) as made:
        pathlib.Path(scheduler).write_text(json.dumps({"address": made.scheduler_address}))
        print("ready", flush=True)
        sys.stdin.read()
"""


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    with pytest.raises(mixedflow.errors.OutputError, match="cannot be written"):
        able.require_shared_folder(Runner("address"), tmp_path / "nowhere")
    able.require_shared_folder(Runner("threads", 2), Path("nowhere"))
