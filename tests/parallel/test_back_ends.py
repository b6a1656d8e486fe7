"""Every back end gives the numbers of one process, bit for bit; those of Slurm stand in tests/slurm."""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from operator import add
from pathlib import Path

import numpy as np
import psutil
import pyarrow as pa
import pytest

from mixedflow.errors import ConfigError
from mixedflow.parallel import JobQueue, Runner, Tls, WorkerError, aligned, map_reduce, open_runner
from mixedflow.parallel.threads import THREAD_VARIABLES

pytest.importorskip("cryptography")


def rough(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    return rng.normal(size=50) * 10.0 ** rng.integers(-9, 9, 50)


def threads_of_a_worker() -> dict[str, str | None]:
    return {name: os.environ.get(name) for name in THREAD_VARIABLES}


@pytest.fixture(scope="module")
def numbers() -> np.ndarray:
    return map_reduce(rough, 37, add)


@pytest.fixture(scope="module")
def encrypted(tmp_path_factory):
    """A scheduler with TLS on the loopback and one worker; its address and its certificates."""
    from distributed import LocalCluster

    from mixedflow.parallel.connecting import ONLY_HERE
    from mixedflow.parallel.tls import own_tls, security_of

    tls = own_tls(tmp_path_factory.mktemp("tls"))
    with LocalCluster(
        n_workers=1,
        threads_per_worker=1,
        processes=False,
        host="127.0.0.1",
        protocol="tls",
        security=security_of(tls),
        memory_limit=0,
        dashboard_address=None,
        worker_dashboard_address=None,
        scheduler_kwargs=ONLY_HERE,
    ) as cluster:
        yield cluster.scheduler_address, tls


@pytest.mark.parametrize("kind", ["synchronous", "threads"])
def test_in_this_process(kind, numbers):
    with open_runner(kind, workers=2) as runner:
        assert np.array_equal(map_reduce(rough, 37, add, runner=runner), numbers)


def test_local_workers_have_the_threads_and_memory_they_are_given(numbers, monkeypatch):
    for name in THREAD_VARIABLES:
        monkeypatch.setenv(name, "7")
    with open_runner("local", workers=1, threads_per_worker=2, memory_limit=10**9) as runner:
        assert np.array_equal(map_reduce(rough, 37, add, runner=runner), numbers)
        (worker,) = runner.client.scheduler_info(n_workers=-1)["workers"].values()
        given = runner.client.submit(threads_of_a_worker).result()
    assert runner.kind == "processes"
    assert (worker["nthreads"], worker["memory_limit"]) == (2, 10**9)
    assert given == dict.fromkeys(THREAD_VARIABLES, "2")
    assert os.environ["OMP_NUM_THREADS"] == "7"


def test_a_scheduler_with_tls(encrypted, numbers):
    address, tls = encrypted
    assert address.startswith("tls://127.0.0.1:")
    with open_runner("address", address=address, tls=tls) as runner:
        assert np.array_equal(map_reduce(rough, 37, add, runner=runner), numbers)
    sockets = psutil.Process().net_connections("inet")
    assert {s.laddr.ip for s in sockets if s.status == "LISTEN"} <= {"127.0.0.1"}


def test_who_has_not_the_certificates_is_refused(encrypted, tmp_path, monkeypatch):
    from mixedflow.parallel.tls import own_tls

    address, tls = encrypted
    monkeypatch.setattr("mixedflow.parallel.connecting.CONNECT_TIMEOUT", "2s")
    with (
        pytest.raises(ConfigError, match="certificates are needed"),
        open_runner("address", address=address),
    ):
        pass
    for other in (own_tls(tmp_path), tls):
        plain = address.replace("tls://", "tcp://") if other is tls else address
        with (
            pytest.raises(WorkerError, match="no Dask scheduler answers"),
            open_runner("address", address=plain, tls=None if other is tls else other),
        ):
            pass


def test_certificates_are_for_their_owner_alone(tmp_path):
    from mixedflow.parallel.tls import own_tls, private_folder

    tls = own_tls(tmp_path)
    assert {Path(path).stat().st_mode & 0o777 for path in (tls.ca, tls.cert, tls.key)} == {0o600}
    with private_folder() as folder:
        assert folder.stat().st_mode & 0o777 == 0o700
    assert not folder.exists()
    with (
        pytest.raises(ConfigError, match=r"the file 'nowhere.pem', tls\.key, cannot be read"),
        open_runner("address", address="tls://x:1", tls=Tls(tls.ca, tls.cert, "nowhere.pem")),
    ):
        pass


def test_what_srun_is_told():
    from mixedflow.parallel.srun import srun_command

    runner = Runner("srun", 4, 2, 8 * 10**9, interface="ib0")
    command = shlex.join(srun_command(runner, Tls("ca", "cert", "key"), "tls://10.0.0.1:5000"))
    for part in (
        "--ntasks=4 --cpus-per-task=2",
        "distributed.cli.dask_worker tls://10.0.0.1:5000",
        "--tls-ca-file ca --tls-cert cert --tls-key key",
        "--nthreads 2 --memory-limit 2000000000",
        "--no-dashboard --dashboard-address 127.0.0.1:0 --interface ib0",
    ):
        assert part in command


def test_srun_outside_a_slurm_job_is_one_sentence(monkeypatch):
    monkeypatch.delenv("SLURM_JOB_ID", raising=False)
    with pytest.raises(ConfigError, match="SLURM_JOB_ID is not set"), open_runner("srun"):
        pass


@pytest.mark.parametrize(
    ("system", "lines"),
    [
        (
            "slurm",
            ["#SBATCH -p main", "#SBATCH -A lab", "#SBATCH -t 01:30:00", "--cpus-per-task=2"],
        ),
        ("pbs", ["#PBS -q main", "#PBS -A lab", "walltime=01:30:00"]),
        ("sge", ["#$ -q main", "#$ -P lab", "h_rt=01:30:00"]),
        ("lsf", ["#BSUB -q main", '#BSUB -P "lab"', "#BSUB -W 01:30"]),
        ("htcondor", ["RequestCpus = MY.DaskWorkerCores"]),
    ],
)
def test_what_a_batch_system_is_told(system, lines, tmp_path):
    pytest.importorskip("dask_jobqueue")
    from mixedflow.parallel.jobqueue import _cluster_class, job_arguments

    options = {"disk": "1 GB"} if system == "htcondor" else {}
    named = {} if system == "htcondor" else {"queue": "main", "account": "lab"}
    jobs = JobQueue(system, walltime=90, options=options, **named)
    runner = Runner("jobqueue", 4, 2, 8 * 10**9, jobs=jobs)
    arguments = job_arguments(runner, tmp_path)
    if system == "lsf":  # otherwise LSF itself is asked
        arguments |= {"lsf_units": "mb", "use_stdin": True}
    job = _cluster_class(system).job_cls("tls://10.0.0.1:5000", name="w", **arguments)
    script = job.job_script()
    for line in [*lines, "--nthreads 2", "--lifetime 4860s", "OMP_NUM_THREADS"]:
        assert line in script


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "need an amount of memory"),
        ({"memory_limit": 10**9, "jobs": JobQueue(minimum=3)}, "more than the 1 workers"),
    ],
)
def test_jobs_that_cannot_be_meant(options, message):
    with pytest.raises(ConfigError, match=message), open_runner("jobqueue", **options):
        pass


def test_tables_that_lie_unaligned_are_copied():
    raw = pa.py_buffer(bytes(81)).slice(1)
    column = pa.Array.from_buffers(pa.float64(), 10, [None, raw])
    table = pa.table({"x": column})
    made = aligned((table, 1))[0]
    assert made.equals(table)
    assert made.column("x").chunk(0).buffers()[1].address % 8 == 0
    assert aligned(made) is made


def test_ctrl_c_stays_an_interrupt_where_workers_are_jobs():
    pytest.importorskip("dask_jobqueue")
    code = (
        "import signal; from mixedflow.parallel import jobqueue; jobqueue._cluster_class('slurm');"
        "assert signal.getsignal(signal.SIGINT) is signal.default_int_handler"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
