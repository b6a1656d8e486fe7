"""``mixedflow doctor`` on this machine: what it finds, how it says so, exit codes."""

from __future__ import annotations

import json
import os
import shutil
import stat
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from mixedflow.cli import invoke
from mixedflow.operating import limits, machine, places, workers
from mixedflow.operating.asked import Asked, Need, make_asked, merged, read_profile
from mixedflow.operating.asking import ask
from mixedflow.operating.facts import facts
from mixedflow.operating.finding import Finding, worst

ROOT = Path(__file__).parents[2]


@pytest.fixture
def alone(monkeypatch, tmp_path):
    """A folder of its own, on a machine without Slurm."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(shutil, "which", lambda name: None)
    monkeypatch.delenv("SLURM_CONF", raising=False)
    return tmp_path


def findings(capsys, *arguments: object) -> tuple[int, dict[str, dict]]:
    code = invoke(["doctor", "--json", *map(str, arguments)])
    found = json.loads(capsys.readouterr().out)
    assert found["format"] == 1
    assert found["verdict"] == worst(Finding(**each) for each in found["findings"])
    return code, {f"{each['area']} {each['check']}": each for each in found["findings"]}


def test_a_sound_machine_without_slurm(alone, capsys):
    code, found = findings(capsys)
    assert code == 0
    assert found["slurm commands"]["verdict"] == "note"
    assert found["slurm commands"]["said"].startswith("there is no Slurm")
    for check in ("files folder", "files rename", "files clock", "network loopback"):
        assert found[check]["verdict"] == "ok", found[check]
    assert "mixedflow-dask" in found["versions executors"]["said"]
    assert list(alone.iterdir()) == []


def test_a_line_a_finding_where_there_is_no_terminal(alone, capsys):
    assert invoke(["doctor"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[-1] == "note: slurm: commands: there is no Slurm on this machine (no sbatch)"
    assert all(line.split(": ")[0] in {"ok", "note", "warning", "error"} for line in lines)


def test_a_profile_of_slurm_without_slurm_is_an_error(alone, capsys):
    code, found = findings(capsys, "--profile", "slurm")
    assert code == 1
    assert found["slurm commands"]["verdict"] == "error"
    assert found["slurm commands"]["advice"]


def test_wrong_input_is_two(alone, capsys):
    (alone / "bad.yaml").write_text("data: 3\n", encoding="utf-8")
    for arguments, words in (
        (("--profile", "slrum"), ("'slrum'", "did you mean 'slurm'?")),
        (("--directory", "nowhere"), ("'nowhere'",)),
        (("--config", "nowhere.yaml"), ("'nowhere.yaml'",)),
        (("--config", "bad.yaml"), ("bad.yaml",)),
        (("--dask", "locl"), ("'locl'",)),
        (("--tls", "ca.pem"), ("--tls",)),
    ):
        assert invoke(["doctor", *arguments]) == 2
        captured = capsys.readouterr()
        assert captured.out == ""
        assert all(word in captured.err for word in words), captured.err
        assert len(captured.err.splitlines()) == 1


def test_a_scheduler_that_is_not_there_is_an_error(alone, capsys):
    code, found = findings(capsys, "--scheduler-file", "scheduler.json")
    assert code == 1
    assert "'scheduler.json' cannot be read" in found["workers scheduler"]["said"]


def test_an_interface_that_is_not_there_is_an_error(alone, capsys):
    shipped = (ROOT / "config/config.yaml").read_text(encoding="utf-8")
    config = alone / "config.yaml"
    config.write_text(shipped + "\ndask: {kind: srun, interface: nosuch0}\n", encoding="utf-8")
    code, found = findings(capsys, "--config", config)
    assert code == 1
    assert "'nosuch0'" in found["network interface"]["said"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
def test_a_folder_that_cannot_be_written(alone, capsys):
    alone.chmod(stat.S_IRUSR | stat.S_IXUSR)
    code, found = findings(capsys)
    alone.chmod(stat.S_IRWXU)
    assert code == 1
    assert "cannot be written" in found["files folder"]["said"]


def test_a_folder_without_room_or_rename(monkeypatch, tmp_path):
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "replace", full)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=250 * 10**6))
    found = {each.check: each for each in places.check_files(tmp_path, Asked(rows_mb=1000))}
    assert found["rename"].verdict == "error"
    assert found["space"].verdict == "warning"
    assert "may need 2200 MB" in found["space"].said
    monkeypatch.setattr(places.tempfile, "TemporaryDirectory", full)
    assert next(places.check_files(tmp_path, Asked())).verdict == "error"


def test_clocks_are_compared_with_the_time_that_the_question_took():
    def verdict(told: float) -> tuple[str, str]:
        found = places.judge_clock("n1", told, 100.0, 110.0, "workers")
        return found.verdict, found.said

    assert [verdict(told)[0] for told in (100, 105, 110, 111.9, 98.1)] == ["ok"] * 5
    assert verdict(113.5) == ("warning", "the clock of n1 is 3.5 s ahead of this machine's")
    assert verdict(95.0) == ("warning", "the clock of n1 is 5.0 s behind this machine's")


def test_variables_that_ask_for_more_than_there_is(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "4096")
    found = {each.check: each for each in machine.check_threads(Asked())}
    assert found["variables"].verdict == "warning"
    assert "OMP_NUM_THREADS=4096" in found["variables"].said


def test_a_rule_that_is_larger_than_the_machine():
    asked = Asked(needs=(Need("condense", 4096, 10**9, 10),))
    assert {f.check for f in machine.check_threads(asked)} >= {"rule condense"}
    assert [f.verdict for f in machine.check_memory(asked)][-1] == "warning"


@pytest.mark.parametrize("version", [1, 2])
def test_limits_of_control_groups(version, tmp_path):
    proc, groups = tmp_path / "proc", tmp_path / "cgroup"
    (proc / "self").mkdir(parents=True)
    if version == 2:
        (proc / "self/cgroup").write_text("0::/slurm/job_3\n")
        own = cpu = groups / "slurm/job_3"
        own.mkdir(parents=True)
        (own / "memory.max").write_text("max\n")
        (own.parent / "memory.max").write_text("4000000000\n")
        (cpu / "cpu.max").write_text("150000 100000\n")
    else:
        (proc / "self/cgroup").write_text("4:memory:/slurm/job_3\n3:cpu,cpuacct:/slurm\n")
        own, cpu = groups / "memory/slurm/job_3", groups / "cpu,cpuacct/slurm"
        own.mkdir(parents=True)
        cpu.mkdir(parents=True)
        (own / "memory.limit_in_bytes").write_text("4000000000\n")
        (own.parent / "memory.limit_in_bytes").write_text("9223372036854771712\n")
        (cpu / "cpu.cfs_quota_us").write_text("150000\n")
        (cpu / "cpu.cfs_period_us").write_text("100000\n")
    assert limits.group_bytes(proc, groups) == 4e9
    assert limits.group_cores(proc, groups) == 1.5
    assert limits.group_bytes(tmp_path / "none", groups / "none") is None


def test_what_a_profile_asks_for():
    name, profile = read_profile(Path("slurm-multinode"))
    content = merged({"dask": {"threads": 2}, "data": 1}, profile)
    assert (name, content["dask"]) == ("slurm-multinode", {"kind": "srun", "threads": 2})
    asked = make_asked(None, name, profile, "main")
    assert (asked.executor, asked.attempts, asked.status) == ("slurm", 3, "squeue")
    assert asked.resources == {"mem_mb": "400", "runtime": "30", "slurm_partition": "main"}
    listed = make_asked(None, "x", {"default-resources": ["slurm_partition=a", "mem_mb=5"]})
    assert listed.resources == {"slurm_partition": "a", "mem_mb": "5"}


def test_what_the_shipped_analysis_asks_for(monkeypatch):
    from mixedflow.config import load_config
    from mixedflow.config.plan import make_plan

    monkeypatch.chdir(ROOT)
    plan = make_plan(load_config(Path("config/config.yaml")))
    asked = make_asked(
        plan, "", {"set-threads": {"condense": 9}, "set-resources": {"fit": {"mem_mb": 9}}}
    )
    needs = {need.rule: need for need in asked.needs}
    assert needs["condense"].cpus == 9
    assert needs["fit"].mem_mb == 9
    assert needs["prepare"].cpus == plan.threads
    assert set(needs) == {"prepare", "condense", "diagnose", "fit", "report"}


def judged(**changed: object) -> dict[str, str]:
    told = facts() | {"seen": True} | changed
    return {
        each.check: each.verdict for each in workers.judge("w", told, told["time"], told["time"])
    }


def test_workers_that_do_not_fit():
    here = facts()["versions"]
    assert judged() == {"versions": "ok", "folder": "ok", "clock": "ok"}
    assert judged(seen=False)["folder"] == "error"
    assert judged(versions=here | {"mixedflow": "0.0.1"})["versions"] == "error"
    assert judged(versions=here | {"python": "3.1.1"})["versions"] == "error"
    assert judged(versions=here | {"dask": "2020.1"})["versions"] == "warning"


def test_a_program_that_is_silent_or_absent(tmp_path):
    assert "did not answer within" in ask(["sleep", "30"], seconds=0.1).reason
    assert "cannot be started" in ask([str(tmp_path / "none")]).reason
    assert ask(["sh", "-c", "echo first >&2; echo last >&2; exit 3"]).reason == "last"


@pytest.mark.slow
def test_workers_of_a_running_scheduler(tmp_path, monkeypatch, capsys):
    from distributed import LocalCluster
    from runs import ON_THE_LOOPBACK

    monkeypatch.chdir(tmp_path)
    with LocalCluster(n_workers=2, threads_per_worker=1, **ON_THE_LOOPBACK) as cluster:
        code, found = findings(capsys, "--address", cluster.scheduler_address)
    assert code == 0
    assert "has 2 workers" in found["workers scheduler"]["said"]
    for check in ("versions", "folder", "clock"):
        assert found[f"workers {check}"]["verdict"] == "ok"
    assert list(tmp_path.iterdir()) == []
