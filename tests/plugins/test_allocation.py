"""What workers inside one Slurm job are told; tests/slurm starts them."""

from __future__ import annotations

import json

import pytest

from mixedflow.config import DaskConfig
from mixedflow.errors import ConfigError
from mixedflow.parallel import Tls
from mixedflow.parallel.runner import Runner
from mixedflow.plugins.allocation import nodes_of, of_this_node, on_each_node
from mixedflow.plugins.pool import Pool, PoolError, check_settings
from mixedflow.plugins.settings import ExecutorSettings
from mixedflow.steps import opening

TLS = Tls("ca.pem", "cert.pem", "key.pem")


@pytest.mark.parametrize(
    ("environment", "resources"),
    [
        ({"SLURM_MEM_PER_NODE": "8000", "SLURM_NODEID": "1"}, "CPU=4 MEM_MB=7700"),
        ({"SLURM_MEM_PER_NODE": "8000", "SLURM_NODEID": "0"}, "CPU=4 MEM_MB=7200"),
        ({"SLURM_MEM_PER_CPU": "500", "SLURM_NODEID": "1"}, "CPU=4 MEM_MB=1700"),
        ({"SLURM_MEM_PER_NODE": "0", "SLURM_NODEID": "1"}, "CPU=4"),
        ({"SLURM_MEM_PER_NODE": "200", "SLURM_NODEID": "1"}, "CPU=4 MEM_MB=0"),
    ],
)
def test_a_worker_has_what_the_job_has_on_its_node(environment, resources):
    options = of_this_node({"SLURM_CPUS_ON_NODE": "4", **environment})
    assert options == ["--nthreads", "4", "--memory-limit", "0", "--resources", resources]


def test_a_worker_a_node_and_certificates_for_each():
    command = on_each_node(Runner("srun", workers=3, interface="ib0"), TLS, "tls://n1:1")
    assert command[0] == "srun"
    assert {"--nodes=3", "--ntasks=3", "--ntasks-per-node=1"} < set(command)
    assert command[command.index("--interface") + 1] == "ib0"
    assert command[command.index("--tls-key") + 1] == "key.pem"


def test_outside_a_job_it_is_refused(monkeypatch):
    assert nodes_of({"SLURM_JOB_ID": "7", "SLURM_JOB_NUM_NODES": "2"}) == 2
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match="run Snakemake inside sbatch or salloc"):
        check_settings(ExecutorSettings(srun=True))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"srun": True, "local_workers": 2}, "local-workers and --mixedflow-dask-srun say two"),
        ({"interface": "ib0"}, "--mixedflow-dask-interface is for --mixedflow-dask-srun only"),
    ],
)
def test_options_that_contradict_each_other(settings, message):
    with pytest.raises(PoolError, match=message):
        check_settings(ExecutorSettings(**settings))


def test_jobs_know_the_certificates(tmp_path, monkeypatch):
    pool = Pool(None, "tls://n1:1", None, tmp_path, TLS)
    assert pool.environment()["DASK_DISTRIBUTED__COMM__TLS__CLIENT__KEY"] == "key.pem"
    assert Pool(None, "tcp://n1:1", None, tmp_path).environment() == {}
    file = tmp_path / "scheduler.json"
    paths = {"ca": TLS.ca, "cert": TLS.cert, "key": TLS.key}
    file.write_text(json.dumps({"address": "tls://n1:1", "tls": paths}), encoding="utf-8")
    asked = {}

    class Opened:
        def __init__(self, kind, **options):
            asked.update(options)

        def __enter__(self):
            return Runner()

        def __exit__(self, *_):
            return None

    monkeypatch.setattr(opening, "open_runner", Opened)
    with opening.runner_of(DaskConfig(kind="address", scheduler_file=str(file))):
        pass
    assert (asked["address"], asked["tls"]) == ("tls://n1:1", TLS)
