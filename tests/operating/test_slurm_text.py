"""What Slurm prints is read, in the forms of several versions."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

import said

from mixedflow.operating import slurm_text as text


def test_controllers():
    assert text.parse_ping(said.PING_22) == [("primary", "vm", True)]
    both = [("primary", "head1", False), ("backup", "head2", True)]
    assert text.parse_ping(said.PING_23_BACKUP) == both
    assert text.parse_ping(said.PING_20) == [("primary", "head1", True), ("backup", "head2", False)]
    assert text.parse_ping("slurm_load_ctl_conf error: Unable to contact slurm controller") == []


def test_the_configuration():
    old, new = text.parse_config(said.CONFIG_22), text.parse_config(said.CONFIG_23)
    assert (old["SLURM_VERSION"], new["SLURM_VERSION"]) == ("22.05.8", "23.11.4")
    assert old["Licenses"] == old["PowerPlugin"] == new["JobAcctGatherParams"] == ""
    assert old["SlurmctldHost[0]"] == "vm(127.0.0.1)"
    assert text.parse_seconds(old["MinJobAge"]) == 3600
    assert text.parse_config("") == {}


@pytest.mark.parametrize(
    ("written", "minutes"),
    [
        ("30", 30),
        ("5:30", 5.5),
        ("02:00:00", 120),
        ("1-00", 1440),
        ("1-12:30", 2190),
        ("7-00:00:00", 10080),
        ("UNLIMITED", None),
        ("infinite", None),
        ("NONE", None),
    ],
)
def test_limits_of_time(written, minutes):
    assert text.parse_limit(written) == minutes


@pytest.mark.parametrize(
    ("written", "seconds"),
    [("300 sec", 300), ("300", 300), ("5 min", 300), ("1h", 3600), ("", None)],
)
def test_times(written, seconds):
    assert text.parse_seconds(written) == seconds


def test_partitions():
    main, short = text.parse_partitions(said.PARTITIONS_22)
    assert (main.name, main.default, main.state) == ("main", True, "UP")
    assert (main.minutes, main.mem_mb, main.cpus, main.accounts) == (120, None, None, None)
    assert (short.default, short.minutes) == (False, 5)
    long, debug = text.parse_partitions(said.PARTITIONS_23_LINES)
    assert (long.minutes, long.mem_mb, long.cpus) == (10080, 64000, 24)
    assert long.accounts == ("lab", "guests")
    assert (debug.name, debug.default, debug.state, debug.minutes) == ("debug", True, "DRAIN", None)
    assert text.parse_partitions("") == []


def test_nodes():
    assert text.parse_nodes(said.NODES_22) == [
        ("main", "idle", 2, 4, 6000),
        ("short", "idle", 2, 4, 6000),
    ]
    found = text.parse_nodes(said.NODES_23)
    assert [each.working for each in found] == [True, True, False, False]
    assert found[1].mem_mb == 512000
    assert text.parse_nodes("sinfo: error\n") == []


def test_jobs():
    found = text.parse_jobs(said.JOBS_22)
    assert found[0] == ("2_3", "2", "PENDING", "mixedflow_abc", "/home/a/run")
    assert found[2].folder == "/home/a/odd|name"
    assert len(found) == 4
    assert text.parse_jobs("") == []
