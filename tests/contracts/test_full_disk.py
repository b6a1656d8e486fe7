"""A disk that is full at any step: one sentence, nothing half-written, and the same run afterwards.

The disk is a small one in memory where these tests may mount it, and everywhere a limit on the size
of files.
"""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from numbers_found import numbers_of

import mixedflow as mf
from mixedflow.config import ControlConfig, DataConfig, ModelConfig, SweepConfig
from mixedflow.config.inference import InferConfig
from mixedflow.errors import OutputError
from mixedflow.steps import (
    condense_step,
    diagnose_step,
    fit_step,
    infer_step,
    prepare_step,
    report_step,
)
from mixedflow.steps.sweep import gather_step, plan_step, run_step
from tests.contracts.test_damage import DASK, FORMULA, rows

pytestmark = pytest.mark.slow

MODEL = ModelConfig(data="d", formula=FORMULA)
SHARDED = ModelConfig(data="d", formula="y ~ x + (1 | g)", sharded=True)
SWEEP = SweepConfig(data="d", traits=["t*"], models={"a": "~ x + (1 | g)"}, traits_per_job=3)
SWEPT = ("sweep", "sweep/sweep.parquet", "sweep/tests.parquet", "sweep/parts", "sweep/plan.json")
"""What is whole by itself, and used by the next attempt; so are pieces and the residuals' folder."""
Step = Callable[[Path], object]


def data(place: Path, name: str, **more: object) -> DataConfig:
    return DataConfig(path=str(place / name), **more)  # type: ignore[arg-type]


def run_jobs(place: Path) -> None:
    for job in plan_step(data(place, "rows"), SWEEP, place / "sweep", DASK).jobs:
        run_step(place / "sweep", job.key, DASK)


STEPS: dict[str, Step] = {
    "rows": lambda p: prepare_step(data(p, "data.csv", partition_rows=1_300), p / "rows", DASK),
    "grouped": lambda p: prepare_step(
        data(p, "data.csv", partition_rows=1_300, group="g"), p / "grouped", DASK
    ),
    "design": lambda p: condense_step(data(p, "rows"), FORMULA, p / "design", dask=DASK),
    "m/fit": lambda p: fit_step(data(p, "design"), MODEL, ControlConfig(), p / "m/fit"),
    "shards": lambda p: fit_step(
        data(p, "grouped"), SHARDED, ControlConfig(), p / "shards", dask=DASK
    ),
    "m/inference": lambda p: infer_step(
        p / "m/fit", InferConfig(ddf="satterthwaite"), p / "m/inference"
    ),
    "m/diagnostics": lambda p: diagnose_step(
        p / "m/fit", data(p, "rows"), p / "m/diagnostics", dask=DASK
    ),
    "page": lambda p: report_step([p / "m"], p / "page/report.html"),
    "sweep": run_jobs,
    "sweep/sweep.json": lambda p: gather_step(p / "sweep", DASK),
}  # in an order in which each has what it reads


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder in which all steps ran."""
    place = tmp_path_factory.mktemp("whole")
    rows(1).to_csv(place / "data.csv", index=False)
    for step in STEPS.values():
        step(place)
    return place


@contextmanager
def small_files(place: Path, size: int) -> Iterator[None]:
    """Let no file become larger than some bytes."""
    del place
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


@contextmanager
def full_disk(place: Path, size: int) -> Iterator[None]:
    """Leave so many bytes of the disk free."""
    free = os.statvfs(place)
    filler = place / "filler"
    filler.write_bytes(bytes(max(free.f_bavail * free.f_frsize - size, 0)))
    try:
        yield
    finally:
        filler.unlink()


def _largest(place: Path) -> int:
    files = [p for p in [place, *place.rglob("*")] if p.is_file()]
    return max(path.stat().st_size for path in files)


def _remove(place: Path) -> None:
    if place.is_dir():
        shutil.rmtree(place)
    else:
        place.unlink()


def _refused(place: Path, name: str, limit: contextlib.AbstractContextManager[None]) -> None:
    """Run a step that cannot write; what it says is a sentence, what it leaves is nothing of it."""
    out = place / name
    _remove(out)
    before = {p.relative_to(place) for p in place.rglob("*")}
    with limit, pytest.raises(OutputError) as caught:
        STEPS[name](place)
    message = str(caught.value)
    assert str(place) in message
    assert "\n" not in message
    assert message.endswith(("no space left on device", "file too large")), message
    left = {p.relative_to(place) for p in place.rglob("*")} - before
    own = [name, f"{name}/pieces", "m/diagnostics", "m/diagnostics/residuals.parquet", *SWEPT]
    strange = {p for p in left if str(p) not in own and str(p.parent) not in own[1:]}
    assert not strange
    assert not any(".new-" in p.name or ".old-" in p.name for p in place.rglob("*"))


def _again(place: Path, name: str) -> None:
    STEPS[name](place)
    if name == "sweep":
        STEPS["sweep/sweep.json"](place)


@pytest.mark.parametrize("share", [0.0, 0.6])
@pytest.mark.parametrize("name", STEPS)
def test_files_that_become_too_large(name: str, share: float, made: Path, tmp_path: Path) -> None:
    place = tmp_path / "place"
    shutil.copytree(made, place)
    size = int(share * _largest(place / name))
    _refused(place, name, small_files(place, size))
    _again(place, name)
    assert numbers_of(place) == numbers_of(made)


@pytest.fixture(scope="module")
def small_disk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a disk of 8 MB in memory."""
    place = tmp_path_factory.mktemp("disk")
    command = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(place)]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode:
        pytest.skip("no disk can be mounted here")
    yield place
    subprocess.run(["umount", str(place)], check=True)


@pytest.mark.parametrize("name", STEPS)
def test_a_disk_that_is_full(name: str, made: Path, small_disk: Path) -> None:
    place = small_disk / "place"
    shutil.copytree(made, place)
    try:
        size = int(0.5 * _largest(place / name))
        _refused(place, name, full_disk(place, size))
        _again(place, name)
        assert numbers_of(place) == numbers_of(made)
    finally:
        shutil.rmtree(place)


def test_the_disk_is_large_enough_for_a_run(made: Path) -> None:
    assert mf.load(made / "m/fit").converged
    assert sum(p.stat().st_size for p in made.rglob("*") if p.is_file()) < 7_000_000
