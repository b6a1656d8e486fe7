"""Every file that a later step reads, damaged in every way: one sentence or the same bits.

A file is cut in half, emptied, changed by a bit, removed, replaced by the same file of another run,
by another file of its folder, or said to be of another version.
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import helpers
import numpy as np
import pandas as pd
import pytest
from numbers_found import digest

import mixedflow as mf
from mixedflow.config import ControlConfig, DaskConfig, DataConfig, ModelConfig, SweepConfig
from mixedflow.config.inference import InferConfig
from mixedflow.errors import MixedflowError
from mixedflow.steps import (
    condense_step,
    diagnose_step,
    fit_step,
    infer_step,
    prepare_step,
)
from mixedflow.steps.models import _section
from mixedflow.steps.sweep import gather_step, plan_step, run_step

pytestmark = pytest.mark.slow

FORMULA = "y ~ x + sex + (1 + x | g)"
DASK = DaskConfig(kind="synchronous")
Damage = Callable[[Path, Path], None]


def rows(seed: int) -> pd.DataFrame:
    """Return rows of more groups than a manifest lists."""
    rng = np.random.default_rng(seed)
    levels, n = 1_100, 2_400
    g = np.concatenate([np.arange(levels), rng.integers(levels, size=n - levels)])
    x = rng.normal(size=n)
    frame = {f"t{k}": x + rng.normal(size=levels)[g] + rng.normal(size=n) for k in range(3)}
    sex = np.where(rng.random(n) < 0.5, "f", "m")
    return pd.DataFrame({"y": frame["t0"] + (sex == "m"), "x": x, "sex": sex, "g": g, **frame})


def run(folder: Path, seed: int) -> None:
    """Make every artefact from rows."""
    folder.mkdir()
    frame = rows(seed)
    frame.to_csv(folder / "data.csv", index=False)
    here = DataConfig(path=str(folder / "data.csv"), partition_rows=1_300)
    prepare_step(here, folder / "rows", DASK)
    prepare_step(here.model_copy(update={"group": "g"}), folder / "grouped", DASK)
    data = DataConfig(path=str(folder / "rows"))
    condense_step(data, FORMULA, folder / "design", dask=DASK)
    design = DataConfig(path=str(folder / "design"))
    fit_step(design, ModelConfig(data="d", formula=FORMULA), ControlConfig(), folder / "m/fit")
    grouped = DataConfig(path=str(folder / "grouped"))
    shards = ModelConfig(data="d", formula="y ~ x + (1 | g)", sharded=True)
    fit_step(grouped, shards, ControlConfig(), folder / "shards", dask=DASK)
    asked = InferConfig(ddf="satterthwaite")
    infer_step(folder / "m/fit", asked, folder / "m/inference")
    diagnose_step(folder / "m/fit", data, folder / "m/diagnostics", dask=DASK)
    sweep = SweepConfig(data="d", traits=["t*"], models={"a": "~ x + (1 | g)"}, traits_per_job=2)
    for job in plan_step(data, sweep, folder / "sweep", DASK).jobs:
        run_step(folder / "sweep", job.key, DASK)
    gather_step(folder / "sweep", DASK)
    mf.scan("y ~ x + (1 | g)", frame, frame[["t1", "t2"]]).save(folder / "scan")
    mf.learn_schema("y ~ x + (1 | g)", frame, folder / "schema")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Return the folders of two runs on different rows."""
    place = tmp_path_factory.mktemp("damage")
    run(place / "one", 1)
    run(place / "two", 2)
    return place / "one", place / "two"


def condensed(place: Path) -> str:
    """Read prepared rows."""
    return _sums(mf.condense(FORMULA, str(place / "rows")))


def grouped(place: Path) -> str:
    """Read rows that were prepared by group."""
    return _sums(mf.condense("y ~ x + (1 | g)", str(place / "grouped")))


def _sums(found: mf.Condensed) -> str:
    sums = found.sums
    parts = [
        (k, p.XtBX, p.XtBy, p.ytBy, [(f.levels, f.ZtBZ, f.ZtBX, f.ZtBy) for f in p.factors])
        for k, p in sums.keyed.items()
    ]
    levels = [str(v.values) for v in found.schema.levels.values()]
    return digest(parts, levels, found.schema.source, sums.rows_in)


def design(place: Path) -> str:
    """Read condensed data."""
    return _sums(mf.load_crossproducts(place / "design"))


def pieces(place: Path) -> str:
    """Condense anew beside the pieces of the last time."""
    condense_step(DataConfig(path=str(place / "rows")), FORMULA, place / "design", dask=DASK)
    return design(place)


def fitted(place: Path) -> str:
    """Read a fit."""
    return _fit(mf.load(place / "m/fit"))


def sharded(place: Path) -> str:
    """Read a sharded fit and its random effects."""
    return _fit(mf.load(place / "shards"))


def _fit(fit: mf.FitResult) -> str:
    estimates = fit.estimates
    trace = fit.trace[["iteration", "step", "minus2ll"]]
    return digest(fit.loglik, estimates.beta, estimates.vcov, estimates.G, fit.ranef, trace)


def reported(place: Path) -> str:
    """Read what the page about a model shows."""
    found = _section(place / "m", None)
    assert found.inference is not None
    tables = [(t.key, t.title, t.table, t.details) for t in found.inference.tables]
    return digest(tables, repr(found.diagnostics))


def swept(place: Path) -> str:
    """Read a sweep."""
    found = mf.load_sweep(place / "sweep")
    return digest(found.table, found.tests, dict(found.spec))


def gathered(place: Path) -> str:
    """Gather a sweep from its parts."""
    table = gather_step(place / "sweep", DASK).table.drop(columns="seconds")
    return table.to_csv(float_format="%.8g")  # traits that are fitted beside others round otherwise


def scanned(place: Path) -> str:
    """Read a scan."""
    found = mf.load_scan(place / "scan")
    return digest(found.table, found.null.loglik)


def learned(place: Path) -> str:
    """Read what a site told of its rows."""
    return digest(repr(mf.merge_schemas([place / "schema"]).schema))


@dataclass(frozen=True)
class Artefact:
    """Files of a folder and the step that reads them.

    It may be able to make them again; a file may be all there is, and then be that of another run.
    """

    files: str
    reads: Callable[[Path], str]
    again: bool = False
    whole: bool = False


ARTEFACTS = {
    "prepared rows": Artefact("rows/*", condensed),
    "rows by group": Artefact("grouped/*", grouped),
    "cross-products": Artefact("design/[!p]*/**/*", design),
    "their manifest": Artefact("design/manifest.json", design),
    "pieces": Artefact("design/pieces/**/*", pieces, again=True),
    "fit": Artefact("m/fit/**/*", fitted),
    "sharded fit": Artefact("shards/**/*", sharded),
    "inference": Artefact("m/inference/*", reported),
    "diagnostics": Artefact("m/diagnostics/*.json", reported),
    "sweep": Artefact("sweep/s*.*", swept),
    "tests of a sweep": Artefact("sweep/tests.parquet", swept),
    "plan of a sweep": Artefact("sweep/plan.json", gathered, whole=True),
    "parts of a sweep": Artefact("sweep/parts/*", gathered, again=True),
    "scan": Artefact("scan/**/*", scanned),
    "shared schema": Artefact("schema/summary.json", learned, whole=True),
}


def halve(path: Path, _: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def empty(path: Path, _: Path) -> None:
    os.truncate(path, 0)


def flip(path: Path, _: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(bytes(content))


def remove(path: Path, _: Path) -> None:
    path.unlink()


def swap(path: Path, _: Path) -> None:
    others = [p for p in path.parent.glob(f"*{path.suffix}") if p != path]
    if not others:  # the same file of the next folder, as of another piece
        others = [p for p in path.parent.parent.glob(f"*/{path.name}") if p != path]
    if others:
        content = path.read_bytes()
        path.write_bytes(others[0].read_bytes())
        others[0].write_bytes(content)


def stale(path: Path, other: Path) -> None:
    if other.is_file():
        shutil.copyfile(other, path)


def outdate(path: Path, _: Path) -> None:
    if path.suffix == ".json":
        content = json.loads(path.read_text("utf-8"))
        path.write_text(helpers.sealed({**content, "format_version": 0}), "utf-8")


DAMAGES: dict[str, Damage] = {
    "half": halve,
    "empty": empty,
    "a bit": flip,
    "missing": remove,
    "swapped": swap,
    "of another run": stale,
    "older": outdate,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("name", ARTEFACTS)
def test_damage_is_a_sentence_or_the_same_bits(
    name: str, damage: str, made: tuple[Path, Path], tmp_path: Path
) -> None:
    artefact, (one, two) = ARTEFACTS[name], made
    if artefact.whole and damage == "of another run":
        return
    place = tmp_path / "one"
    shutil.copytree(one, place)
    wanted = artefact.reads(place)
    files = sorted(path for path in one.glob(artefact.files) if path.is_file())
    assert files
    wrong = []
    for file in files:
        inside = file.relative_to(one)
        shutil.rmtree(place / inside.parts[0])
        shutil.copytree(one / inside.parts[0], place / inside.parts[0])
        DAMAGES[damage](place / inside, two / inside)
        outcome = _outcome(artefact, place)
        if outcome != wanted and (artefact.again or not _sentence(outcome, place)):
            wrong.append(f"{inside}: {outcome}")
    assert not wrong, "\n".join(wrong)


def _outcome(artefact: Artefact, place: Path) -> str:
    try:
        return artefact.reads(place)
    except MixedflowError as fault:
        return str(fault)
    except Exception as fault:
        return f"{type(fault).__name__}\n{fault}"


def _sentence(outcome: str, place: Path) -> bool:
    return str(place) in outcome and "\n" not in outcome
