"""Of two jobs that make one result, the one that began last writes it."""

from __future__ import annotations

import threading

import pytest

from mixedflow import claims, cli
from mixedflow.data import atomic_file, atomic_folder, atomic_write_text

FIT = ["fit", "config/data/sleepstudy.csv", "Reaction ~ Days + (1 | Subject)", "--out"]


@pytest.fixture
def job(monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")


def other_job(out):
    claim = claims.Claim(out, "18", "later")
    claim.take()
    return claim


@pytest.mark.parametrize("ended", [False, True])
def test_the_earlier_job_writes_nothing(ended, job, tmp_path):
    file, folder = tmp_path / "a.txt", tmp_path / "b"
    atomic_write_text(file, "later")
    with claims.claimed(file):
        later = other_job(file)
        if ended:
            later.release()
        with pytest.raises(claims.SupersededError, match="job 17 writes nothing"):
            atomic_write_text(file, "earlier")
        with pytest.raises(claims.SupersededError), atomic_file(file) as place:
            place.write_text("earlier")
        with pytest.raises(claims.SupersededError), atomic_folder(folder) as place:
            (place / "c").write_text("earlier")
    assert file.read_text() == "later"
    assert {path.name for path in tmp_path.iterdir()} <= {"a.txt", ".a.txt.claim"}
    assert later.held() == (not ended)


def test_the_later_job_writes_and_leaves_nothing_else(job, tmp_path):
    other_job(tmp_path / "a.txt")
    with claims.claimed(tmp_path / "a.txt"):
        atomic_write_text(tmp_path / "a.txt", "later")
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_outside_a_job_nothing_is_claimed(monkeypatch, tmp_path):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with claims.claimed(tmp_path / "a.txt"):
        other_job(tmp_path / "a.txt")
        atomic_write_text(tmp_path / "a.txt", "both")


def test_the_step_waits_for_the_other_and_is_no_failure(job, tmp_path, monkeypatch, capsys):
    """A failure would have Snakemake delete what the other job writes."""
    out, fitting = tmp_path / "fit", threading.Event()
    check = claims.check_claims

    def after_another_began():
        if not fitting.is_set():
            later = other_job(out)
            threading.Timer(0.3, later.release).start()
            fitting.set()
        check()

    monkeypatch.setattr("mixedflow.data.atomic.check_claims", after_another_began)
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.05)
    assert cli.invoke([*FIT, str(out)]) == 0
    assert "job 18 has begun to make" in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("known", [True, False])
def test_a_job_that_slurm_does_not_know_is_not_waited_for(known, tmp_path, monkeypatch):
    squeue = tmp_path / "bin" / "squeue"
    squeue.parent.mkdir()
    said = "Unable to contact slurm controller" if known else "Invalid job id specified"
    squeue.write_text(f"#!/bin/sh\necho 'slurm_load_jobs error: {said}' >&2\nexit 1\n")
    squeue.chmod(0o755)
    monkeypatch.setenv("PATH", str(squeue.parent))
    monkeypatch.setattr(claims, "LOOK_SECONDS", 0.01)
    monkeypatch.setattr(claims, "ASK_SECONDS", 0.0)
    later = other_job(tmp_path / "fit")
    if known:
        threading.Timer(0.3, later.release).start()
    assert claims.outlast(tmp_path / "fit") == known
