"""What interrupted runs leave, told from what belongs to others."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import said

from mixedflow.cli import invoke
from mixedflow.errors import StoredFileError
from mixedflow.operating import dask_jobs, processes, slurm_jobs
from mixedflow.operating.asking import Answer
from mixedflow.operating.leftovers import leftovers, remove
from mixedflow.operating.places import check_last_run
from mixedflow.operating.processes import StubbornError
from mixedflow.operating.record import FOLDER, begin, finish, note_controller, read_records
from mixedflow.operating.resuming import AtWorkError, look, require_dead
from mixedflow.operating.slurm_text import parse_jobs
from mixedflow.plugins.task import LEAVING, Order, Outcome, _keep

RUN = Path("/home/a/run")


@pytest.fixture
def dead() -> int:
    """The number of a process that is gone."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def begun(folder: Path, config: str = "c.yaml"):
    return begin(["python", "-m", "snakemake", "--cores", "2"], Path(config), folder)


def test_a_run_is_noted_until_it_ends_well(tmp_path):
    first, second = begun(tmp_path), begun(tmp_path)
    other = begun(tmp_path, "other.yaml")
    assert [r.run for r in read_records(tmp_path)] == [first.run, second.run, other.run]
    assert read_records(tmp_path)[0] == first
    assert first.alive() == [os.getpid()]
    finish(first, 1)
    assert read_records(tmp_path)[0].code == 1
    for record in (first, second, other):  # as if their controllers had died
        replace(record, controllers=((os.getpid(), 1.0),)).write()
    finish(second, 0)
    assert [r.run for r in read_records(tmp_path)] == [other.run]


def test_a_number_that_another_process_has_now_is_not_the_controller(tmp_path, dead):
    record = begun(tmp_path)
    assert replace(record, controllers=((os.getpid(), 12345.0),)).alive() == []
    assert replace(record, controllers=((dead, 12345.0),)).alive() == []
    assert note_controller(record, os.getpid()).alive() == [os.getpid()] * 2


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"format": 1}', '{"format": 99}', "\x00"])
def test_a_damaged_record_is_a_sentence(text, tmp_path, monkeypatch, capsys):
    place = tmp_path / FOLDER / "x.json"
    place.parent.mkdir(parents=True)
    place.write_text(text)
    with pytest.raises(StoredFileError, match="delete it"):
        read_records(tmp_path)
    monkeypatch.chdir(tmp_path)
    assert invoke(["resume", "--yes"]) == 2
    assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_controller_at_work_is_left_alone(tmp_path):
    record = begun(tmp_path)
    with pytest.raises(AtWorkError, match=f"process {os.getpid()} on this machine"):
        require_dead(tmp_path, [record], ended=True)
    away = replace(record, host="elsewhere")
    with pytest.raises(AtWorkError, match="was started on elsewhere"):
        require_dead(tmp_path, [away], ended=False)
    require_dead(tmp_path, [away], ended=True)
    require_dead(tmp_path, [replace(away, code=1)], ended=False)


def test_the_doctor_tells_of_the_last_run(tmp_path):
    assert list(check_last_run(tmp_path)) == []
    locks = tmp_path / ".snakemake/locks"
    locks.mkdir(parents=True)
    (locks / "0.input.lock").touch()
    (found,) = check_last_run(tmp_path)
    assert (found.verdict, found.advice) == ("warning", "mixedflow resume")
    begun(tmp_path)
    (found,) = check_last_run(tmp_path)
    assert found.verdict == "note"


def test_jobs_of_slurm_are_known_by_name_or_by_head_and_folder(tmp_path):
    found = parse_jobs(said.JOBS_22)
    assert [slurm_jobs.belongs(job, RUN, ()) for job in found] == [True, True, False, False]
    assert [slurm_jobs.belongs(job, Path("/x"), {"held"}) for job in found] == [
        False,
        False,
        True,
        False,
    ]
    log = tmp_path / ".snakemake/log/2026.snakemake.log"
    log.parent.mkdir(parents=True)
    log.write_text("Building DAG\nSLURM run ID: mine_0a1b-2c\nSLURM run ID: other\n")
    assert slurm_jobs.run_ids(tmp_path) == {"mine_0a1b-2c", "other"}


def test_a_slurm_that_is_silent_may_hide_jobs(monkeypatch, tmp_path):
    monkeypatch.setattr(slurm_jobs.shutil, "which", lambda _: "/usr/bin/squeue")
    monkeypatch.setattr(slurm_jobs, "ask", lambda *_, **__: Answer(None, "", "no answer"))
    assert slurm_jobs.slurm_jobs(tmp_path, ()) == []
    with pytest.raises(StubbornError, match="no answer"):
        slurm_jobs.slurm_jobs(tmp_path, {"mixedflow_1"})


def test_jobs_of_slurm_are_waited_for(monkeypatch, tmp_path):
    asked: list[list[str]] = []
    there = [f"2_1|2|RUNNING|mixedflow_1|{tmp_path}", f"2_2|2|PENDING|mixedflow_1|{tmp_path}"]

    def ask(command, **_: object) -> Answer:
        asked.append(command)
        if command[0] == "squeue":
            return Answer(0, "\n".join(there))
        return Answer(0)

    monkeypatch.setattr(slurm_jobs.shutil, "which", lambda _: "/usr/bin/squeue")
    monkeypatch.setattr(slurm_jobs, "ask", ask)
    monkeypatch.setattr(slurm_jobs.time, "sleep", lambda _: there.clear())
    found = slurm_jobs.slurm_jobs(tmp_path, ())
    with pytest.raises(StubbornError, match=r"2_1 \(running\), 2_2 \(pending\)"):
        slurm_jobs.cancel(tmp_path, (), found, 0.0)
    slurm_jobs.cancel(tmp_path, (), found, 60.0)
    assert ["scancel", "2"] in asked


def test_jobs_of_dask_workers(tmp_path):
    desk = tmp_path / ".snakemake/tmp.x/desk"
    desk.mkdir(parents=True)
    (desk / "fit-1.claim").touch()
    (desk / "fit-2.ticket").touch()
    (desk / "fit-3.claim").write_text("[0]")
    log = tmp_path / ".snakemake/mixedflow-dask/fit/fit-1.log"
    log.parent.mkdir(parents=True)
    log.write_text("# fit-1 on n7, tcp://10.0.0.1:3\n")
    waiting, running = dask_jobs.dask_jobs(tmp_path)
    assert (waiting.key, waiting.running) == ("fit-2", False)
    assert (running.key, running.running, running.host) == ("fit-1", True, "n7")
    with pytest.raises(StubbornError, match="fit-1 on n7"):
        dask_jobs.withdraw(tmp_path, [waiting, running], 0.0)
    left = sorted(path.name for path in desk.iterdir())
    assert left == [f"fit-1{LEAVING}", "fit-3.claim"]
    order = Order("fit-1", "true", str(tmp_path), str(tmp_path / "log"), str(desk))
    _keep(order, Outcome(0, "n7", 2.5, ""))
    assert sorted(path.name for path in desk.iterdir()) == ["fit-3.claim"]
    dask_jobs.withdraw(tmp_path, [running], 0.0)
    over = replace(running, key="fit-3")  # its end came between the look and the word
    dask_jobs.withdraw(tmp_path, [over], 0.0)
    assert dask_jobs.LEAVING == LEAVING
    here = replace(running, key="fit-9", host=socket.gethostname())
    dask_jobs.withdraw(tmp_path, [here], 0.0)


def test_leftovers_of_the_dead_alone(tmp_path, dead):
    results, me = tmp_path / "results", os.getpid()
    for name in (f".a.new-{dead}-0123abcd", f".b.new-{me}-0123abcd", "c.new-1-0123abcd"):
        (results / name).mkdir(parents=True)
        (results / name / "part").touch()
    for name in ("kept", f".kept.old-{dead}-0123abcd", f".lost.old-{dead}-0123abcd"):
        (results / name).write_text(name)
    here = socket.gethostname()
    for owner in (f"{here}-{dead}", f"{here}-{me}", f"other-node-{dead}"):
        (tmp_path / f".mixedflow-{owner}-x_1").mkdir()
    found = leftovers(tmp_path, results)
    for place in found:
        remove(place)
    assert sorted(path.name for path in results.iterdir()) == sorted(
        [f".b.new-{me}-0123abcd", "c.new-1-0123abcd", "kept", "lost"]
    )
    assert (results / "kept").read_text() == "kept"
    assert sorted(path.name for path in tmp_path.glob(".mixedflow-*")) == sorted(
        [f".mixedflow-{here}-{me}-x_1", f".mixedflow-other-node-{dead}-x_1"]
    )


def test_a_folder_of_certificates_names_its_owner(monkeypatch, tmp_path):
    from mixedflow.parallel.tls import private_folder

    monkeypatch.chdir(tmp_path)
    with private_folder() as folder:
        assert f"-{os.getpid()}-" in folder.name
        assert leftovers(tmp_path, tmp_path / "results") == []
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "is_one"),
    [
        (["python3.11", "/venv/bin/snakemake", "--cores", "2"], True),
        (["/venv/bin/python", "-P", "-m", "snakemake"], True),
        (["snakemake"], True),
        (["vim", "snakemake"], False),
        (["/bin/bash", "-c", "snakemake --cores 2"], False),
        ([], False),
    ],
)
def test_what_a_controller_looks_like(words, is_one):
    assert processes._is_snakemake(words) is is_one


def test_the_variable_of_a_controller_is_its_own():
    from mixedflow.recording import runs  # Snakemake sets these anew while it reads the rules

    assert processes.VARIABLE not in {runs.RUN, runs.ATTEMPT, runs.SUBMITTED}


def test_nothing_to_resume(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert invoke(["resume"]) == 0
    assert "nothing to resume" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []
    assert look(tmp_path).orphans() == []
