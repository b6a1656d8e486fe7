"""``snakemake --executor mixedflow-dask`` on local workers, with everything that can go wrong."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flows import LOCAL, alive, reasons, running, wait_for

pytestmark = pytest.mark.workflow

GRANDCHILD = """
rule all:
    output: "out.txt"
    shell: "(sleep 300 & echo $! > grandchild; wait) ; echo done > {output}"
"""


def test_jobs_run_with_their_threads_and_say_so_in_their_logs(tmp_path):
    snakefile = """
rule all:
    input: "a.txt", "b.txt"
rule one:
    output: "{name}.txt"
    threads: lambda wildcards: 1 if wildcards.name == "a" else 2
    shell: "echo told {wildcards.name}; echo $OMP_NUM_THREADS {threads} > {output}"
"""
    with running(tmp_path, snakefile, "--mixedflow-dask-keep-successful-logs") as flow:
        address = flow.pool["address"]
        code, text = flow.finish()
        assert code == 0, text
        assert [(tmp_path / f"{n}.txt").read_text() for n in "ab"] == ["1 1\n", "2 2\n"]
        first, second = (path.read_text() for path in flow.logs())
        assert "told a" in first + second
        assert ("told a" in first) != ("told a" in second)
        assert first.startswith("# one-")
        assert first.endswith("# exit code 0\n")
        assert address.startswith("tcp://127.0.0.1:")
        assert f"Dask scheduler {address}, workers with: 2 threads" in text
        assert wait_for(lambda: not alive(flow._host))
        assert not (tmp_path / ".snakemake/mixedflow-dask/scheduler.json").exists()


def test_retries_are_snakemakes_and_logs_of_failures_stay(tmp_path):
    snakefile = """
rule all:
    input: "first.txt"
    output: "out.txt"
    resources: mem_mb=lambda wildcards, attempt: 100 * attempt
    shell: "echo {resources.mem_mb} >> tries; exit $((10 - $(wc -l < tries)))"
rule first:
    output: "first.txt"
    shell: "touch {output}"
"""
    with running(tmp_path, snakefile, "--retries", "1") as flow:
        code, text = flow.finish()
        assert code == 1
        assert (tmp_path / "tries").read_text() == "100\n200\n"
        assert [log.parent.name for log in flow.logs()] == ["all", "all"]
        assert [reason.split(" on ")[0] for reason in reasons(text)] == ["exit code 1"] * 2


def test_an_impossible_request_is_refused_at_once(tmp_path):
    snakefile = """
rule all:
    input: "threads.txt", "memory.txt"
rule threads:
    output: "threads.txt"
    threads: 3
    shell: "touch {output}"
rule memory:
    output: "memory.txt"
    resources: mem_mb=900
    shell: "touch {output}"
"""
    place = (*LOCAL, "--mixedflow-dask-worker-mem-mb", "800")
    with running(
        tmp_path, snakefile, "--keep-going", "--set-resources", "threads:mem_mb=10", place=place
    ) as flow:
        code, text = flow.finish()
    assert code == 1
    most = "and the largest worker has 2 threads and 800 MB"
    assert (
        f"no Dask worker can ever run rule threads: it asks for 3 threads and 10 MB, {most}."
        in text
    )
    assert (
        f"no Dask worker can ever run rule memory: it asks for 1 thread and 900 MB, {most}." in text
    )


def test_cancelling_ends_grandchildren(tmp_path):
    with running(tmp_path, GRANDCHILD) as flow:
        grandchild = flow.number("grandchild")
        os.kill(flow.process.pid, signal.SIGINT)
        code, _ = flow.finish()
        assert code != 0
        assert not alive(grandchild)
        assert not (tmp_path / "out.txt").exists()


@pytest.mark.slow
def test_killing_snakemake_ends_grandchildren(tmp_path):
    with running(tmp_path, GRANDCHILD) as flow:
        grandchild, host = flow.number("grandchild"), flow.pool["pid"]
        flow.process.kill()
        assert wait_for(lambda: not alive(grandchild), 20)
        assert wait_for(lambda: not alive(host), 20)


def worker_pids(address: str) -> list[int]:
    from distributed import Client

    with Client(address, set_as_default=False) as client:
        return list(client.run(os.getpid).values())


@pytest.mark.slow
def test_a_killed_worker_is_an_error_of_its_job_and_of_no_other(tmp_path):
    with running(tmp_path, GRANDCHILD) as flow:
        grandchild = flow.number("grandchild")
        (pid,) = worker_pids(flow.pool["address"])
        os.kill(pid, signal.SIGKILL)
        assert wait_for(lambda: not alive(grandchild), 20)
        code, text = flow.finish()
        assert code == 1
        (reason,) = reasons(text)
        assert "that ran it died" in reason


@pytest.mark.slow
def test_a_job_of_a_killed_worker_runs_again_when_snakemake_says_so(tmp_path):
    snakefile = """
rule all:
    output: "out.txt"
    shell: "echo $$ >> tries; [ $(wc -l < tries) -gt 1 ] || sleep 300; touch {output}"
"""
    with running(tmp_path, snakefile, "--retries", "1") as flow:
        flow.number("tries")
        (pid,) = worker_pids(flow.pool["address"])
        os.kill(pid, signal.SIGKILL)
        code, text = flow.finish()
        assert code == 0, text
        assert len((tmp_path / "tries").read_text().split()) == 2


@pytest.mark.slow
def test_a_lost_scheduler_is_an_error_within_seconds(tmp_path):
    with running(tmp_path, GRANDCHILD, "--retries", "1") as flow:
        grandchild, pool = flow.number("grandchild"), flow.pool
        os.kill(pool["pid"], signal.SIGKILL)
        started = time.monotonic()
        code, text = flow.finish()
        assert time.monotonic() - started < 20
        assert code == 1
        said = reasons(text)
        assert said
        assert all(s.startswith(f"the Dask scheduler at {pool['address']} is gone.") for s in said)
        assert wait_for(lambda: not alive(grandchild), 20)


@pytest.mark.slow
def test_a_scheduler_that_is_not_there_is_one_sentence(tmp_path):
    with running(
        tmp_path, GRANDCHILD, place=("--mixedflow-dask-address", "tcp://127.0.0.1:9")
    ) as flow:
        code, text = flow.finish()
    assert code == 1
    assert "no Dask scheduler answers at 'tcp://127.0.0.1:9' within" in text
    assert "Traceback" not in text


NESTED = """
rule all:
    input: "a.txt", "b.txt", "c.txt"
rule one:
    output: "{name}.txt"
    shell: "{PYTHON} nested.py > {output}"
"""

NESTED_PROGRAM = """
from distributed import Client

if __name__ == "__main__":
    with Client() as client:
        print(sum(client.gather(client.map(lambda x: x + 1, range(200)))))
"""


@pytest.mark.slow
def test_jobs_that_use_dask_themselves_find_the_same_workers(tmp_path):
    (tmp_path / "nested.py").write_text(NESTED_PROGRAM)
    place = ("--mixedflow-dask-local-workers", "1")  # one thread, which the job holds
    with running(tmp_path, f"PYTHON = {sys.executable!r}\n{NESTED}", place=place) as flow:
        code, text = flow.finish()
    assert code == 0, text
    assert {(tmp_path / f"{name}.txt").read_text() for name in "abc"} == {"20100\n"}


def test_loading_the_plugin_loads_no_dask():
    program = (
        "import sys, snakemake_executor_plugin_mixedflow_dask; "
        "print([name for name in ('dask', 'distributed', 'numpy', 'pandas') if name in sys.modules])"
    )
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert said.stdout == "[]\n", said.stderr
