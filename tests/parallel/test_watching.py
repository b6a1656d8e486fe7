"""What is recorded of Dask workers, and Dask's own report on request."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from mixedflow import recording
from mixedflow.cli import invoke
from mixedflow.parallel import Runner, open_runner, require_performance_report, watched
from mixedflow.recording import gather

FORMULA = "y ~ x + (1 | g)"


@pytest.fixture
def recorded(tmp_path):
    """Record into a folder of results, until the test ends."""
    recording.begin(tmp_path / "logs/condense/d.log")
    yield tmp_path
    recording.end(0)


@pytest.fixture
def table(tmp_path):
    path = tmp_path / "d.csv"
    rows = "".join(f"{i % 5}.{i % 7},{i % 3},{'abcd'[i % 4]}\n" for i in range(60))
    path.write_text(f"y,x,g\n{rows}", encoding="utf-8")
    return path


def test_workers_are_asked_once_after_the_work(recorded, workers):
    with watched(workers):
        assert workers.client.submit(abs, -3, pure=False).result() == 3
        assert not gather(recorded).attempts[0].workers
    (one,) = gather(recorded).attempts
    assert len(one.workers) == 2
    assert all(worker.peak_bytes > 10**7 and worker.host for worker in one.workers)
    assert (one.lost_workers, one.tasks_again) == (0, 0)


def test_workers_are_asked_when_the_work_failed(recorded, workers):
    with pytest.raises(ValueError, match="mine"), watched(workers):
        raise ValueError("mine")
    assert len(gather(recorded).attempts[0].workers) == 2


def test_a_scheduler_that_is_gone_is_not_asked(recorded):
    client = SimpleNamespace(status="closed")
    client.run_on_scheduler = lambda *_, **__: (_ for _ in ()).throw(OSError("gone"))
    with watched(Runner(client=client)):
        pass
    assert not gather(recorded).attempts[0].workers


def test_nothing_is_asked_without_a_record():
    with watched(Runner(client=object())), watched(Runner()):
        pass


def end_once(mark: str) -> int:
    if not Path(mark).exists():
        Path(mark).touch()
        os._exit(1)
    return 7


@pytest.mark.slow
def test_a_worker_that_died_is_counted(recorded):
    with (
        open_runner("processes", workers=1, memory_limit=1 << 30) as runner,
        watched(runner),
    ):
        assert runner.client.submit(end_once, str(recorded / "mark")).result() == 7
        runner.client.wait_for_workers(1)
    (one,) = gather(recorded).attempts
    assert (one.lost_workers, one.tasks_again) == (1, 1)
    assert len(one.workers) == 1


@pytest.mark.slow
def test_the_performance_report_stands_beside_the_log(tmp_path, table):
    pytest.importorskip("bokeh")
    log, out = tmp_path / "results/logs/condense/d.x.log", tmp_path / "design"
    place = ["--dask", "local", "--workers", "1", "--performance-report"]
    step = ["condense", str(table), FORMULA, "--out", str(out), *place]
    assert invoke(["--record", str(log), *step]) == 0
    page = (log.parent / "d.x.dask.html").read_text("utf-8")
    assert "Dask Performance Report" in page
    assert "cdn.bokeh.org" not in page  # it works offline
    (one,) = gather(tmp_path / "results").attempts
    assert (one.outcome, len(one.workers)) == ("done", 1)


def test_without_its_package_the_performance_report_is_refused(
    tmp_path, table, monkeypatch, capsys
):
    known = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util,
        "find_spec",
        lambda name, *more: None if name == "bokeh" else known(name, *more),
    )
    place = ["--dask", "local", "--performance-report"]
    out = tmp_path / "design"
    assert invoke(["condense", str(table), FORMULA, "--out", str(out), *place]) == 2
    said = capsys.readouterr().err
    assert "needs the package 'bokeh' here: pip install 'mixedflow[dashboard]'" in said
    assert not out.exists()


def test_the_scheduler_elsewhere_is_asked_for_its_package(workers):
    client = SimpleNamespace(run_on_scheduler=lambda *_, **__: False)
    runner = Runner(kind="address", address="tcp://10.0.0.1:8786", client=client)
    with pytest.raises(Exception, match=r"where the scheduler at 'tcp://10\.0\.0\.1:8786' runs"):
        require_performance_report(runner)
    if importlib.util.find_spec("bokeh") is not None:
        require_performance_report(workers)


def test_a_report_that_dask_cannot_make_ends_nothing(workers, tmp_path, monkeypatch, caplog):
    class Scheduler:
        async def performance_report(self, **_):
            raise ModuleNotFoundError("No module named 'bokeh'")

    monkeypatch.setattr(workers.client, "scheduler", Scheduler())
    with watched(workers, tmp_path / "page.html"):
        pass
    assert not (tmp_path / "page.html").exists()
    assert "performance report was not made" in caplog.text
