"""Pieces of the log, written by one process each, and the one log that is made of them."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import textwrap
from pathlib import Path

import numpy as np
import pytest

from mixedflow import recording
from mixedflow.cli import invoke
from mixedflow.errors import StoredFileError
from mixedflow.recording import Recorder, gather, keep_log, log_text, read_log, runs
from mixedflow.recording.table import seconds_text, size_text


@pytest.fixture(autouse=True)
def nothing_inherited(monkeypatch):
    for name in (runs.RUN, runs.ATTEMPT, runs.SUBMITTED, runs.SLURM_JOB):
        monkeypatch.delenv(name, raising=False)


def job(results: Path, stage: str = "fit", target: str = "m") -> Path:
    return results / "logs" / stage / f"{target}.log"


def ticks(*values: float):
    left = list(values)
    return lambda: left.pop(0) if len(left) > 1 else left[0]


def attempt(results: Path, at: float = 1e9, code: int = 0, **where: str) -> Recorder:
    recorder = Recorder(job(results, **where), clock=lambda: at)
    recorder.end(code)
    return recorder


def test_an_attempt_is_read_as_it_was_written(tmp_path, monkeypatch):
    monkeypatch.setenv(runs.RUN, "r1")
    recorder = Recorder(job(tmp_path), clock=lambda: 1e9, timer=ticks(0.0, 3.5, 5.0))
    recorder.note(rows=np.int64(7), bytes_read=9, partitions=None)
    recorder.phase("read", 1.25)
    recorder.phase("read", 0.25)
    recorder.workers([{"address": "tcp://w", "host": "node", "peak_bytes": 5}], 1, 2)
    recorder.end(0)
    (one,) = gather(tmp_path).attempts
    assert (one.stage, one.target, one.run, one.number) == ("fit", "m", "r1", 1)
    assert (one.outcome, one.reason, one.rows, one.bytes_read) == ("done", None, 7, 9)
    assert (one.began, one.seconds, one.partitions) == (1e9, 5.0, None)
    assert [(part.name, part.seconds) for part in one.phases] == [("start", 2.25), ("read", 1.5)]
    assert (one.workers[0].peak_bytes, one.lost_workers, one.tasks_again) == (5, 1, 2)
    assert one.peak_bytes > 1_000_000
    assert one.queue_seconds is None


def test_an_attempt_that_is_killed_leaves_its_beginning(tmp_path):
    code = f"""
        import os
        from pathlib import Path
        from mixedflow import recording
        recording.begin(Path({str(job(tmp_path))!r}))
        with recording.phase("read"):
            pass
        os._exit(9)
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(code)], env=dict(os.environ))
    assert done.returncode == 9
    (one,) = gather(tmp_path).attempts
    assert (one.outcome, one.seconds) == ("no end", None)
    assert [part.name for part in one.phases] == ["start", "read"]


def test_processes_that_record_the_same_job_at_once_do_not_meet(tmp_path):
    code = f"""
        import sys
        from pathlib import Path
        from mixedflow import recording
        recording.begin(Path({str(job(tmp_path))!r}))
        for number in range(50):
            recording.current().phase(f"part {{number}}", 0.5)
        recording.end(int(sys.argv[1]))
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    processes = [subprocess.Popen([*command, str(code)]) for code in (0, 1)]
    while any(process.poll() is None for process in processes):
        if (tmp_path / "logs").is_dir():
            assert gather(tmp_path).unread == 0
    log = keep_log(tmp_path)
    assert sorted(one.outcome for one in log.attempts) == ["done", "failed"]
    assert all(len(one.phases) == 51 for one in log.attempts)
    assert not list((tmp_path / "logs").rglob("*.new"))


@pytest.mark.parametrize(
    "line",
    [
        b'{"schema": 1, "event": "phase", "id": ',
        b"null",
        b'"text"',
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"schema": 2, "event": "ended", "id": "ID"}',
        b'{"event": "ended", "id": "ID"}',
        b'{"schema": 1, "event": "ended"}',
        b'{"schema": 1, "event": "ended", "id": 7}',
    ],
)
def test_a_line_that_cannot_be_read_is_counted(tmp_path, line):
    recorder = attempt(tmp_path)
    with recorder.path.open("ab") as piece:
        piece.write(line.replace(b"ID", recorder.id.encode()))
    log = keep_log(tmp_path)
    assert log.unread == 1
    assert [one.outcome for one in log.attempts] == ["done"]
    assert read_log(tmp_path / "log.jsonl").unread == 0


@pytest.mark.parametrize(
    "value", ["1e999", "NaN", "-1", '"x"', "true", "[]", "1" + "0" * 400, "null"]
)
def test_a_value_that_cannot_be_meant_is_not_known(tmp_path, value):
    recorder = Recorder(job(tmp_path))
    with recorder.path.open("a", encoding="utf-8") as piece:
        piece.write(
            f'{{"schema": 1, "event": "ended", "id": "{recorder.id}", "outcome": {value},'
            f' "seconds": {value}, "peak_bytes": {value}, "rows": {value}}}\n'
        )
    (one,) = keep_log(tmp_path).attempts
    assert (one.outcome, one.seconds) == ("no end", None)
    assert one.rows is None or isinstance(one.rows, int)
    assert log_text([one])


def test_events_and_keys_of_later_versions_are_passed_over_and_kept(tmp_path):
    recorder = attempt(tmp_path)
    later = {"schema": 1, "event": "sang", "id": recorder.id, "song": "ode"}
    with recorder.path.open("a", encoding="utf-8") as piece:
        piece.write(json.dumps(later) + "\n")
    log = keep_log(tmp_path)
    assert (len(log.attempts), log.unread) == (1, 0)
    assert '"ode"' in (tmp_path / "log.jsonl").read_text("utf-8")


def test_a_piece_without_its_first_line_is_no_attempt(tmp_path):
    recorder = attempt(tmp_path)
    recorder.path.write_bytes(recorder.path.read_bytes().split(b"\n", 1)[1])
    log = gather(tmp_path)
    assert (log.attempts, log.unread) == ((), 1)


def test_a_clock_that_goes_back_makes_no_time_negative(tmp_path, monkeypatch):
    monkeypatch.setenv(runs.SUBMITTED, "1000.0")
    recorder = Recorder(job(tmp_path), clock=ticks(990.0, 500.0, 100.0), timer=ticks(5.0, 9.0))
    recorder.phase("read", 1.0)
    recorder.end(0)
    (one,) = gather(tmp_path).attempts
    assert (one.began, one.seconds, one.queue_seconds) == (990.0, 4.0, None)
    assert all(part.seconds >= 0 for part in one.phases)


def test_attempts_are_counted_in_their_run(tmp_path, monkeypatch):
    for run, times in {"r1": (10.0, 20.0), "r2": (30.0,)}.items():
        monkeypatch.setenv(runs.RUN, run)
        for at in times:
            attempt(tmp_path, at, code=1 if at == 10.0 else 0)
    log = gather(tmp_path)
    assert [(one.run, one.number) for one in log.attempts] == [("r1", 1), ("r1", 2), ("r2", 1)]
    assert [one.run for one in log.last_run] == ["r2"]
    assert [one.run for one in log.by_job()["fit", "m"]] == ["r2"]


def test_the_number_that_snakemake_gave_counts(tmp_path, monkeypatch):
    monkeypatch.setenv(runs.RUN, "r1")
    for number, at in (("1", 10.0), ("3", 5.0)):  # the second on a machine whose clock is late
        monkeypatch.setenv(runs.ATTEMPT, number)
        attempt(tmp_path, at)
    assert [one.number for one in gather(tmp_path).by_job()["fit", "m"]] == [1, 3]


def test_time_in_the_queue_of_dask_workers(tmp_path, monkeypatch):
    monkeypatch.setenv(runs.RUN, "r1")
    assert runs.job_variables(100.0) == {runs.RUN: "r1", runs.SUBMITTED: "100.0"}
    monkeypatch.setenv(runs.SUBMITTED, "100.0")
    attempt(tmp_path, 107.5)
    assert gather(tmp_path).attempts[0].queue_seconds == 7.5
    monkeypatch.setenv(runs.SUBMITTED, "soon")
    assert "queue_seconds" not in runs.inherited(107.5)
    monkeypatch.delenv(runs.RUN)
    assert runs.job_variables() == {}


SAID = (
    "JobId=7 JobName=x SubmitTime=2026-01-02T03:04:05 {}StartTime=2026-01-02T03:04:{} TimeLimit=1"
)


@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        (SAID.format("EligibleTime=2026-01-02T03:04:05 ", 17), 12.0),
        (SAID.format("", "04"), None),
        (SAID.replace("2026-01-02T03:04:{}", "Unknown").format(""), None),
        ("slurm_load_jobs error: Invalid job id specified", None),
        ("", None),
    ],
)
def test_time_in_the_queue_of_slurm(tmp_path, monkeypatch, said, seconds):
    command = tmp_path / "scontrol"
    command.write_text(f"#!/bin/sh\necho '{said}'\n", encoding="utf-8")
    command.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setenv(runs.SLURM_JOB, "7")
    assert runs.inherited(0.0).get("queue_seconds") is None  # a job of the run itself: no queue
    monkeypatch.setenv(runs.ATTEMPT, "1")
    assert runs.inherited(0.0).get("queue_seconds") == seconds
    command.unlink()
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "queue_seconds" not in runs.inherited(0.0)


def test_a_run_gets_a_name_that_its_jobs_keep(monkeypatch):
    runs.name_run(main=True, arguments=["snakemake", "--attempt", "3"])
    name = os.environ[runs.RUN]
    assert runs.ATTEMPT not in os.environ
    for given, number in ((["--attempt", "2", "--force"], "2"), (["--attempt"], ""), ([], "")):
        runs.name_run(main=False, arguments=["snakemake", *given])
        assert (os.environ[runs.RUN], os.environ[runs.ATTEMPT]) == (name, number)
    monkeypatch.delenv(runs.ATTEMPT)


def test_the_work_goes_on_where_the_log_cannot_be_written(tmp_path, capsys):
    (tmp_path / "logs").write_text("a file", encoding="utf-8")
    data = tmp_path / "d.csv"
    data.write_text("y,g\n1,a\n2,b\n", encoding="utf-8")
    out = tmp_path / "prepared"
    assert invoke(["--record", str(job(tmp_path)), "prepare", str(data), "--out", str(out)]) == 0
    assert (out / "manifest.json").is_file()
    assert "warning: the run log was not written" in capsys.readouterr().err


def test_a_step_records_its_reason(tmp_path, capsys):
    data = tmp_path / "d.csv"
    data.write_text("y,g\n1,a\n2,b\n", encoding="utf-8")
    log = job(tmp_path, "condense", "d")
    words = ["condense", str(data), "y ~ x + (1 | g)", "--out", str(tmp_path / "out")]
    assert invoke(["--record", str(log), *words]) == 2
    (one,) = gather(tmp_path).attempts
    assert one.outcome == "failed"
    assert "'x'" in one.reason
    assert recording.current() is None
    capsys.readouterr()
    assert invoke(["log", str(tmp_path)]) == 0
    shown = capsys.readouterr()
    assert "condense d" in shown.out
    assert one.reason in shown.out
    assert "1 attempts" in shown.err


def test_the_log_of_a_folder_that_is_not_there(tmp_path, capsys):
    with pytest.raises(StoredFileError):
        gather(tmp_path / "nowhere")
    assert invoke(["log", str(tmp_path / "nowhere")]) == 2
    assert "there is no folder" in capsys.readouterr().err


def test_results_without_a_record(tmp_path, capsys):
    assert invoke(["log", str(tmp_path)]) == 0
    assert (tmp_path / "log.jsonl").read_text("utf-8") == ""


def test_amounts_are_short_to_read():
    assert [seconds_text(s) for s in (None, 0.004, 42.4, 600, 7500)] == [
        "–", "0.00 s", "42 s", "10 min", "2 h 05 min",
    ]  # fmt: skip
    assert [size_text(s) for s in (None, 0, 999, 1500, 10**13)] == [
        "–", "0 B", "999 B", "1.5 kB", "10 TB",
    ]  # fmt: skip


def test_without_a_record_nothing_is_noted(tmp_path):
    with recording.phase("read"):
        recording.note(rows=3)
        recording.note_read(tmp_path)
        recording.note_written(tmp_path)
        recording.note_workers([], None, None)
        recording.note_reason("why")
    assert recording.end(0) is None
    assert not list(tmp_path.iterdir())
