"""Several Snakemakes on the same Dask workers."""

from __future__ import annotations

import sys
from contextlib import ExitStack
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flows import Machines, running

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

COUNTED = """
rule all:
    input: expand("{n}.txt", n=range(2))
rule one:
    output: "{n}.txt"
    threads: lambda wildcards: 2 if wildcards.n == "1" else 1
    shell:
        "echo + {threads} >> ../said; sleep 0.3; echo - {threads} >> ../said; touch {output}"
"""

NESTED = """
rule all:
    input: expand("{n}.txt", n=range(2))
rule one:
    output: "{n}.txt"
    shell: "{PYTHON} ../nested.py > {output}"
"""

NESTED_PROGRAM = """
from distributed import Client

if __name__ == "__main__":
    with Client() as client:
        print(sum(client.gather(client.map(lambda x: x + 1, range(200)))))
"""


def together(folder: Path, snakefile: str, place: tuple[str, ...]) -> list[Path]:
    """Run the same workflow in three folders at once, to its end; return the folders."""
    folders = [folder / name for name in "abc"]
    with ExitStack() as stack:
        flows = []
        for one in folders:
            one.mkdir()
            flows.append(stack.enter_context(running(one, snakefile, place=place)))
        ends = [flow.finish() for flow in flows]
    assert [code for code, _ in ends] == [0, 0, 0], ends
    return folders


@pytest.fixture
def one_machine(tmp_path):
    found = Machines(tmp_path, workers=1, threads=2)
    yield found
    found.stop()


def test_three_take_no_thread_twice(tmp_path, one_machine):
    together(tmp_path, COUNTED, one_machine.place)
    taken, most = 0, 0
    for line in (tmp_path / "said").read_text(encoding="utf-8").splitlines():
        sign, threads = line.split()
        taken += int(sign + threads)
        most = max(most, taken)
    assert taken == 0
    assert most == 2


def test_jobs_of_three_that_use_dask_do_not_wait_for_each_other(tmp_path):
    (tmp_path / "nested.py").write_text(NESTED_PROGRAM, encoding="utf-8")
    machines = Machines(tmp_path, workers=1, threads=1)
    try:
        snakefile = f"PYTHON = {sys.executable!r}\n{NESTED}"
        for folder in together(tmp_path, snakefile, machines.place):
            assert [(folder / f"{n}.txt").read_text() for n in range(2)] == ["20100\n"] * 2
    finally:
        machines.stop()
