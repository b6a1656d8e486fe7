"""``mixedflow doctor`` and ``mixedflow resume`` on the two nodes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from snakes import copy_analysis

sys.path.insert(0, str(Path(__file__).parents[1] / "operating"))

from runs import jobs, kill_controller, make_place, outputs, resume, started, wait_for

ROOT = Path(__file__).parents[2]
SLURM = (
    "--workflow-profile",
    str(ROOT / "workflow/profiles/slurm-noacct"),
    "--default-resources",
    "slurm_partition=main",
    "mem_mb=400",
    "runtime=5",
)

pytestmark = pytest.mark.timeout(900)


@pytest.fixture
def analysis(tmp_path):
    return copy_analysis(tmp_path / "analysis")


def doctor(place, *arguments, **environment):
    done = subprocess.run(
        [sys.executable, "-m", "mixedflow", "doctor", "--json", *arguments],
        cwd=place,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=120,
    )
    found = json.loads(done.stdout)["findings"]
    return done.returncode, {f"{each['area']} {each['check']}": each for each in found}


def test_doctor_finds_a_cluster_that_works(analysis):
    code, found = doctor(analysis, "--profile", "slurm-noacct", "--partition", "main", "--slurm")
    errors = [each for each in found.values() if each["verdict"] == "error"]
    assert (code, errors) == (0, [])
    for check in (
        "controller",
        "configuration",
        "partition main",
        "MinJobAge",
        "EnforcePartLimits",
        "job",
    ):
        assert found[f"slurm {check}"]["verdict"] == "ok", found[f"slurm {check}"]
    assert "slurm-noacct" in found["slurm accounting"]["advice"]
    for check in ("versions", "folder", "clock"):
        assert found[f"workers {check}"]["verdict"] == "ok"


def test_doctor_says_what_the_cluster_cannot_give(analysis):
    code, found = doctor(analysis, "--profile", "slurm", "--partition", "short")
    assert code == 1
    assert found["slurm accounting"]["verdict"] == "error"
    assert "minutes" in found["slurm rule fit"]["said"]
    code, found = doctor(analysis, "--profile", "slurm-noacct", "--partition", "mian", "--slurm")
    assert code == 1
    assert "did you mean 'main'?" in found["slurm partition mian"]["said"]
    assert "invalid partition" in found["slurm job"]["said"].lower()


def test_doctor_does_not_wait_for_a_controller_that_is_silent(analysis, tmp_path):
    dead = tmp_path / "slurm.conf"
    dead.write_text(
        "ClusterName=dead\nSlurmctldHost=nowhere(127.0.0.1)\nSlurmctldPort=1\n"
        "SlurmctldTimeout=10\nNodeName=n9\nPartitionName=main Nodes=n9\n"
    )
    code, found = doctor(analysis, "--profile", "slurm-noacct", SLURM_CONF=str(dead))
    assert code == 1
    assert found["slurm controller"]["verdict"] == "error"
    assert "slurm partition main" not in found


def queue(place: Path, form: str, states: str) -> list[list[str]]:
    """Return what squeue tells of the jobs of a folder."""
    done = subprocess.run(
        ["squeue", "--noheader", f"--states={states}", f"--format={form}|%Z"],
        capture_output=True,
        text=True,
        check=True,
    )
    rows = (line.split("|") for line in done.stdout.splitlines())
    return [row[:-1] for row in rows if row[-1] == str(place)]


def running(place: Path) -> list[str]:
    return [number for (number,) in queue(place, "%i", "RUNNING")]


def test_orphans_are_cancelled_before_their_rules_run_again(tmp_path):
    place = make_place(tmp_path / "run")
    with started(place, "mixedflow", "run", "--", *SLURM) as process:
        jobs(place)
        orphans = running(place)
        assert len(orphans) == 2
        kill_controller(process)
        code, text = resume(place)
        assert (code, "add --yes" in text) == (2, True), text
        assert all(f"Slurm job {number}, running" in text for number in orphans)
        assert resume(place, "--dry-run")[0] == 0
        assert running(place) == orphans
        with started(place, "mixedflow", "resume", "--yes") as again:
            wait_for(lambda: not set(running(place)) & set(orphans))
            wait_for(lambda: len(running(place)) == 2)
            (place / "go").touch()
            assert again.wait(500) == 0, (place / "said.txt").read_text()
    assert outputs(place) == ["done\n"] * 2
    assert not (place / "twice").exists()
    ended = dict(queue(place, "%i|%T", "all"))
    assert [ended[number] for number in orphans] == ["CANCELLED"] * 2
