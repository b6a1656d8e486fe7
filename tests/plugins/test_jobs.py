"""One ticket, one start; and which workers may have jobs at all."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import Any

import pytest

import mixedflow
from mixedflow.plugins.logs import drop_log, drop_old_logs
from mixedflow.plugins.pool import Pool, PoolError, check_settings, complaints, require_able
from mixedflow.plugins.settings import ExecutorSettings
from mixedflow.plugins.task import Order, Outcome, run_command
from mixedflow.plugins.task import _keep as keep


@pytest.fixture
def order(tmp_path):
    found = Order("one-1", "true", str(tmp_path), str(tmp_path / "log"), str(tmp_path))
    found.issue()
    return found


def test_a_job_that_dask_starts_again_does_not_run(order):
    order.ticket.rename(order.claim)  # the worker that did this died
    outcome = run_command(order)
    assert outcome.code is None
    assert outcome.why == "the Dask worker that ran it died"


def test_a_result_that_was_lost_with_its_worker_is_told_again(order):
    order.ticket.rename(order.claim)
    told = Outcome(0, "node1", 2.5, "")
    keep(order, told)
    assert run_command(order) == told


def test_a_withdrawn_job_does_not_start_and_leaves_no_file(order, tmp_path):
    order.withdraw()
    assert run_command(order).why == "it was cancelled before it started"
    keep(order, Outcome(0, "node1", 2.5, ""))
    assert not list(tmp_path.iterdir())


class Answers:
    """A client whose workers answer as told."""

    def __init__(self, **answers: Any) -> None:
        self.answers = answers

    def run(self, *_: Any, **__: Any) -> dict[str, Any]:
        return self.answers


def pool_of(**answers: Any) -> Pool:
    return Pool(Answers(**answers), "tcp://127.0.0.1:1", None, Path("nowhere"))


def test_workers_that_see_the_folder_may_have_jobs():
    able = pool_of(a=mixedflow.__version__)
    assert complaints(able, Path("probe"), 0) == {}
    require_able(able, Path("probe"), 0)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        ("", "it does not see 'probe', and jobs need a shared file system"),
        ("0.0", f"it has mixedflow 0.0, and {mixedflow.__version__} is here"),
        (ImportError("no"), "it has no mixedflow that answers"),
    ],
)
def test_others_may_not(answer, why):
    pool = pool_of(a=mixedflow.__version__, b=answer, c=answer)
    with pytest.raises(PoolError) as refused:
        require_able(pool, Path("probe"), 0)
    assert str(refused.value).startswith(f"the Dask worker b cannot run jobs: {why}")
    assert str(refused.value).endswith(" (and so for 1 more)")


@pytest.mark.parametrize(
    ("given", "sentence"),
    [
        (
            {"address": "tcp://127.0.0.1:1", "local_workers": 2},
            "--mixedflow-dask-address and --mixedflow-dask-local-workers say two places to run",
        ),
        ({"local_workers": 0}, "--mixedflow-dask-local-workers must be 1 or more, not 0"),
        ({"worker_threads": -1}, "--mixedflow-dask-worker-threads must be 1 or more, not -1"),
    ],
)
def test_options_that_cannot_be(given, sentence):
    with pytest.raises(PoolError) as refused:
        check_settings(ExecutorSettings(**given))
    assert str(refused.value).split(";")[0] == sentence


def test_old_logs_go_and_nothing_else_does(tmp_path):
    now = time.time()
    names = ["one/one-1-1-0123abcd-0.log", "one/one-2-1-0123abcd-1-1.log", "one/notes.log"]
    for name, days in zip(names, (11, 9, 11), strict=True):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.touch()
        os.utime(path, (now - days * 86_400,) * 2)
    drop_old_logs(tmp_path, 0)
    assert len(list(tmp_path.rglob("*.log"))) == 3
    drop_old_logs(tmp_path, 10)
    assert sorted(path.name for path in tmp_path.rglob("*.log")) == [
        "notes.log",
        "one-2-1-0123abcd-1-1.log",
    ]


def test_a_folder_goes_with_its_last_log(tmp_path):
    for name in ("one/a.log", "one/b.log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
        drop_log(tmp_path / name)
        assert not (tmp_path / "one").exists()
        drop_log(tmp_path / name)  # nothing is there, and that is well
