"""28 small jobs: each a job of Slurm, all an array, or all in one allocation; times side by side."""

from __future__ import annotations

import pytest
import routes
from snakes import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1000)]

JOBS = 28
SNAKEFILE = f"""
rule all:
    input: expand("{{i}}.txt", i=range({JOBS}))
rule one:
    output: "{{i}}.txt"
    shell: "sleep 0.5; echo {{wildcards.i}} > {{output}}"
"""


def profile(name: str) -> list[str]:
    return ["--workflow-profile", str(ROOT / "workflow/profiles" / name)]


A_JOB_EACH = [*profile("slurm-noacct"), *routes.PARTITION]
ROUTES = {
    "--executor slurm, a job each": A_JOB_EACH,
    "--executor slurm, --slurm-array-jobs=all": [*A_JOB_EACH, "--slurm-array-jobs=all"],
    "--executor mixedflow-dask in one allocation": [
        *profile("slurm-allocation"),
        *routes.IN_ONE_JOB[2:],
    ],
}


@pytest.mark.parametrize("route", ROUTES, ids=["single", "array", "allocation"])
def test_small_jobs(route, tmp_path, timed):
    (tmp_path / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    with timed(f"{JOBS} jobs of half a second", route):
        routes.run(tmp_path, ROUTES[route])
    made = sorted(int(path.read_text()) for path in tmp_path.glob("*.txt"))
    assert made == list(range(JOBS))
