"""What Slurm's words mean for a run, without a Slurm."""

from __future__ import annotations

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

import said

from mixedflow.operating import slurm_checks as checks
from mixedflow.operating import slurm_text as text
from mixedflow.operating.asked import Asked, Need
from mixedflow.operating.asking import Answer

OLD, NEW = text.parse_config(said.CONFIG_22), text.parse_config(said.CONFIG_23)
DISABLED = Answer(1, "", "Slurm accounting storage is disabled\n")
FIT = Need("fit", 1, 700, 10)


def on_slurm(*needs: Need, partition: str = "", attempts: int = 3, status: str = "") -> Asked:
    resources = {"slurm_partition": partition} if partition else {}
    return Asked(
        executor="slurm", needs=needs, attempts=attempts, resources=resources, status=status
    )


def partitions(listed: str, nodes: str, asked: Asked) -> dict[str, tuple[str, str]]:
    found = checks.check_partitions(text.parse_partitions(listed), text.parse_nodes(nodes), asked)
    return {each.check: (each.verdict, each.said) for each in found}


def test_a_controller_that_is_down_is_an_error():
    answer = Answer(1, "", "slurm_load error: Unable to contact slurm controller (connect failure)")
    found = checks.check_controller([], answer)
    assert found.verdict == "error"
    assert "connect failure" in found.said
    assert found.advice
    assert checks.check_controller(text.parse_ping(said.PING_22), Answer(0)).verdict == "ok"
    backup = checks.check_controller(text.parse_ping(said.PING_23_BACKUP), Answer(0))
    assert (backup.verdict, "head2 answers" in backup.said) == ("note", True)


def test_a_configuration_that_job_steps_lose_is_an_error():
    lost = checks.check_place("/x/slurm.conf", "hpc", Answer(1, "", "no configuration source"), "")
    assert lost.verdict == "error"
    assert "/x/slurm.conf" in lost.advice
    other = checks.check_place("/x/slurm.conf", "hpc", Answer(0), "other")
    assert (other.verdict, "'other'" in other.said) == ("error", True)
    assert checks.check_place("/x/slurm.conf", "hpc", Answer(0), "hpc").verdict == "ok"
    assert checks.check_place("", "hpc", Answer(0), "hpc").verdict == "ok"


def test_accounting_says_which_profile_fits():
    none = checks.check_accounting(OLD, DISABLED, Asked())
    assert (none.verdict, "slurm-noacct" in none.advice) == ("note", True)
    assert checks.check_accounting(OLD, DISABLED, on_slurm()).verdict == "error"
    assert checks.check_accounting(OLD, DISABLED, on_slurm(status="squeue")).verdict == "note"
    works = checks.check_accounting(NEW, Answer(0), on_slurm())
    assert (works.verdict, "slurm_account" in works.advice) == ("note", True)
    assert checks.check_accounting(NEW, Answer(0), Asked()).verdict == "ok"
    dead = Answer(1, "", "sacct: error: Problem talking to the database: Connection refused")
    assert "Connection refused" in checks.check_accounting(NEW, dead, Asked()).said


def test_ended_jobs_must_stay_until_they_are_looked_at():
    assert checks.check_memory_of_jobs(OLD, by_squeue=True).verdict == "ok"
    assert checks.check_memory_of_jobs(NEW, by_squeue=True).verdict == "warning"
    assert checks.check_memory_of_jobs(NEW, by_squeue=False).verdict == "ok"
    assert checks.check_memory_of_jobs({}, by_squeue=True).verdict == "note"


def test_limits_and_memory():
    assert checks.check_limits_kept(OLD).verdict == "ok"
    assert checks.check_limits_kept(NEW).verdict == "warning"
    assert "FAILED" in checks.check_memory_kept(OLD).said
    assert checks.check_memory_kept(NEW).verdict == "ok"
    assert "nothing holds" in checks.check_memory_kept({}).said


def test_a_partition_that_fits():
    found = partitions(said.PARTITIONS_22, said.NODES_22, on_slurm(FIT))
    assert found["partition main"][0] == "ok"
    assert "2 of 2 nodes with 4 CPUs and 6000 MB" in found["partition main"][1]
    assert "at most 120 minutes" in found["partition main"][1]
    assert found["partition short"][0] == "note"
    assert not [check for check in found if check.startswith("rule")]


def test_requests_that_a_partition_cannot_give():
    def verdict(need: Need, partition: str = "") -> tuple[str, str]:
        asked = on_slurm(need, partition=partition)
        return partitions(said.PARTITIONS_22, said.NODES_22, asked)["rule fit"]

    assert verdict(Need("fit", 5, 700, 10))[0] == "error"
    assert "5 CPUs and 700 MB of one node" in verdict(Need("fit", 5, 700, 10))[1]
    assert verdict(Need("fit", 1, 7000, 10))[0] == "error"
    assert "10 minutes" in verdict(FIT, "short")[1]
    later = verdict(Need("fit", 1, 2500, 10))
    assert (later[0], "7500 MB of one node at attempt 3" in later[1]) == ("warning", True)


def test_limits_of_a_partition_count_too():
    def asked(**need: int) -> Asked:
        values = {"cpus": 1, "mem_mb": 700, "minutes": 10} | need
        return on_slurm(Need("fit", **values), partition="long", attempts=1)

    def said_of(asked: Asked) -> str:
        return partitions(said.PARTITIONS_23_LINES, said.NODES_23, asked)["rule fit"][1]

    assert "25 CPUs, more" in said_of(asked(cpus=25))
    assert "64001 MB, more" in said_of(asked(mem_mb=64001))
    assert "10081 minutes" in said_of(asked(minutes=10081))
    fits = partitions(said.PARTITIONS_23_LINES, said.NODES_23, asked(cpus=24, mem_mb=64000))
    assert "rule fit" not in fits


def test_partitions_that_start_nothing():
    found = partitions(said.PARTITIONS_23_LINES, said.NODES_23, on_slurm(FIT))
    assert found["partition debug"][0] == "error"
    assert "drain, 0 of 1 nodes" in found["partition debug"][1]
    here = partitions(said.PARTITIONS_23_LINES, said.NODES_23, Asked(needs=(FIT,)))
    assert here["partition debug"][0] == "warning"
    unknown = partitions(said.PARTITIONS_22, said.NODES_22, on_slurm(partition="mian"))
    assert unknown["partition mian"][0] == "error"
    assert "did you mean 'main'?" in unknown["partition mian"][1]
    short = said.PARTITIONS_22.replace("Default=YES", "Default=NO")
    assert partitions(short, said.NODES_22, on_slurm())["partition"][0] == "error"
