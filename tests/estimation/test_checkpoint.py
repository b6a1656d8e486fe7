"""A search that is broken off anywhere and goes on elsewhere ends at the same bits."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from numbers_found import digest, numbers_of

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.config import ControlConfig, DataConfig, ModelConfig
from mixedflow.data import open_source
from mixedflow.estimation import fit as fitting
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.fit import estimate
from mixedflow.parallel import prepare
from mixedflow.results import checkpoint
from mixedflow.steps import fit_step


class Broken(BaseException):
    """What ends a process in these tests."""


class Memory:
    """Keeps every state as text, and breaks off after one of them."""

    def __init__(self, before: str | None = None, last: int | None = None) -> None:
        self.before, self.last = before, last
        self.kept: list[str] = []
        self.key = ""

    def found(self, key: Callable[[], str]) -> Mapping[str, Any] | None:
        self.key = key()
        return None if self.before is None else json.loads(self.before)

    def keep(self, make: Callable[[], Mapping[str, Any]]) -> None:
        self.kept.append(json.dumps(make()))
        if len(self.kept) == self.last:
            raise Broken


def rows(seed: int = 1) -> pd.DataFrame:
    """Return rows of two crossed factors, with positions for residual structures."""
    rng = np.random.default_rng(seed)
    n = 1_200
    g, h = rng.integers(60, size=n), rng.integers(25, size=n)
    x = rng.normal(size=n)
    y = x + rng.normal(size=60)[g] * (1 + 0.3 * x) + rng.normal(size=25)[h] + rng.normal(size=n)
    t = pd.Series(g).groupby(g).cumcount().to_numpy()
    return pd.DataFrame({"y": y, "x": x, "g": g, "h": h, "t": t})


CASES: dict[str, tuple[str, dict[str, Any]]] = {
    "auto": ("y ~ x + (1 + x | g)", {}),
    "levels": ("y ~ x + (1 | g)", {"method": "px-em"}),
    "crossed": ("y ~ x + (1 | g) + (1 | h)", {}),
    "em": ("y ~ x + (1 + x | g)", {"method": "em", "control": FitControl(max_iter=24)}),
    "ai": ("y ~ x + (1 | g) + (1 | h)", {"method": "ai"}),
    "schur": ("y ~ x + (1 | g) + (1 | h)", {"control": FitControl(solver="schur")}),
    "pcg": ("y ~ x + (1 | g) + (1 | h)", {"control": FitControl(solver="pcg", mc_target=0.3)}),
    "no variance": (
        "y ~ x + (1 | g) + (0 + x || h)",
        {"method": "em", "control": FitControl(max_iter=24)},
    ),
}


def numbers(found: fitting.Estimates) -> str:
    trace = [(r.iteration, r.step, r.minus2ll, r.decrement, r.halvings) for r in found.trace]
    params = (found.params.theta, found.params.psi, found.params.phi)
    return digest(params, found.beta, found.vcov, found.G, found.u, found.minus2ll, trace)


@pytest.mark.parametrize("name", CASES)
def test_it_ends_at_the_same_bits(name: str) -> None:
    formula, how = CASES[name]
    condensed = mf.condense(formula, rows())
    terms = mf.fit(formula, rows()).encoder.terms

    def run(keeper: Memory) -> fitting.Estimates:
        return estimate(condensed.sums, terms, keeper=keeper, **how)

    whole = Memory()
    wanted = numbers(run(whole))
    count = len(whole.kept)
    assert count
    for last in sorted({1, 2, 3, count // 2, count - 1, count} & set(range(1, count + 1))):
        first = Memory(last=last)
        with pytest.raises(Broken):
            run(first)
        again = Memory(before=first.kept[-1])
        assert numbers(run(again)) == wanted, f"broken off after {last} of {count}"
        assert len(again.kept) == count - last
        assert again.key == first.key == whole.key


def test_residual_structures_too() -> None:
    fit = mf.fit("y ~ x", rows(), residual="ar1(t | g)")
    condensed = mf.condense("y ~ x", rows(), residual="ar1(t | g)")

    def run(keeper: Memory) -> fitting.Estimates:
        return estimate(condensed.sums, fit.encoder.terms, keeper=keeper)

    whole = Memory()
    wanted = numbers(run(whole))
    for last in range(1, len(whole.kept) + 1):
        with pytest.raises(Broken):
            run(first := Memory(last=last))
        assert numbers(run(Memory(before=first.kept[-1]))) == wanted


def test_other_sums_and_other_options_have_other_keys() -> None:
    def key(seed: int = 1, reml: bool = True, **how: Any) -> str:
        condensed, keeper = mf.condense("y ~ x + (1 | g)", rows(seed)), Memory()
        terms = mf.fit("y ~ x + (1 | g)", rows(seed)).encoder.terms
        estimate(condensed.sums, terms, reml=reml, keeper=keeper, **how)
        return keeper.key

    keys = [key(), key(2), key(reml=False), key(method="ai"), key(control=FitControl(em_steps=2))]
    assert len(set(keys)) == len(keys)
    assert key(control=FitControl(threads=2)) == keys[0]


FORMULA = "y ~ x + (1 | g)"


@pytest.fixture
def design(tmp_path: Path) -> Path:
    """Return a folder of sums."""
    mf.condense(FORMULA, rows(), tmp_path / "design")
    return tmp_path / "design"


def fit_to(design: Path, out: Path, progress: Callable[[int, int], None] | None = None) -> Any:
    model = ModelConfig(data="d", formula=FORMULA, method="em")
    return fit_step(DataConfig(path=str(design)), model, ControlConfig(), out, progress)


def break_off(design: Path, out: Path) -> Path:
    """Break a fit off and return its checkpoint."""

    def progress(iteration: int, _: int) -> None:
        if iteration == 8:
            raise Broken

    with pytest.raises(Broken):
        fit_to(design, out, progress)
    path = out.with_name(f".{out.name}.checkpoint.json")
    assert path.is_file()
    assert not out.exists()
    return path


def test_a_file_beside_the_fit(design: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    fit_to(design, tmp_path / "whole")
    assert [p.name for p in tmp_path.iterdir() if "checkpoint" in p.name] == []
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    path = break_off(design, tmp_path / "fit")
    seen: list[int] = []
    fit_to(design, tmp_path / "fit", lambda iteration, _: seen.append(iteration))
    assert seen[0] == 8
    assert "goes on from iteration 7" in caplog.text
    assert not path.exists()
    assert numbers_of(tmp_path / "fit") == numbers_of(tmp_path / "whole")


@pytest.mark.parametrize("damage", ["half", "bit", "another", "empty"])
def test_one_that_is_damaged_or_of_another_fit_is_left_alone(
    design: Path, tmp_path: Path, monkeypatch, caplog, damage: str
) -> None:
    fit_to(design, tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    path = break_off(design, tmp_path / "fit")
    content = bytearray(path.read_bytes())
    if damage == "bit":
        content[len(content) // 2] ^= 1
    path.write_bytes(content[: {"half": len(content) // 2, "empty": 0}.get(damage)])
    if damage == "another":
        mf.condense(FORMULA, rows(2), tmp_path / "other")
        break_off(tmp_path / "other", tmp_path / "fit")
    seen: list[int] = []
    fit_to(design, tmp_path / "fit", lambda iteration, _: seen.append(iteration))
    assert seen[0] == 1
    assert "begins anew" in caplog.text
    assert numbers_of(tmp_path / "fit") == numbers_of(tmp_path / "whole")


def test_a_full_disk_does_not_end_a_fit(design: Path, tmp_path: Path, monkeypatch, caplog) -> None:
    def full(path: Path, text: str) -> None:
        raise mf.errors.OutputError(f"'{path}' cannot be written: no space left on device")

    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    monkeypatch.setattr(checkpoint, "atomic_write_text", full)
    with caplog.at_level(logging.WARNING):
        assert fit_to(design, tmp_path / "fit").converged
    assert "no space left on device; the fit goes on without a checkpoint" in caplog.text


def test_shards_are_made_again_and_the_search_goes_on(tmp_path: Path, monkeypatch, caplog) -> None:
    prepare(open_source(rows()), tmp_path / "rows", group="g", partition_rows=400)
    model = ModelConfig(data="d", formula=FORMULA, method="em", sharded=True)

    def run(out: Path, last: int | None = None) -> None:
        def progress(iteration: int, _: int) -> None:
            if iteration == last:
                raise Broken

        fit_step(DataConfig(path=str(tmp_path / "rows")), model, ControlConfig(), out, progress)

    run(tmp_path / "whole")
    monkeypatch.setattr(checkpoint, "EVERY", 0.0)
    with pytest.raises(Broken):
        run(tmp_path / "fit", last=4)
    run(tmp_path / "fit")
    assert "goes on from iteration 3" in caplog.text
    assert numbers_of(tmp_path / "fit") == numbers_of(tmp_path / "whole")


SLOWLY = """
import sys, time
from mixedflow.cli import invoke
from mixedflow.estimation import problem
from mixedflow.results import checkpoint
checkpoint.EVERY = 0.0
at, evaluate = [0], problem.evaluate
def slowly(*args, **kwargs):
    time.sleep(0.05)
    return evaluate(*args, **kwargs)
problem.evaluate = slowly
sys.exit(invoke(sys.argv[1:]))
"""


@pytest.mark.slow
def test_a_fit_killed_with_9_goes_on(design: Path, tmp_path: Path) -> None:
    words = ["fit", str(design), FORMULA, "--method", "em", "--out"]
    assert invoke([*words, str(tmp_path / "whole")]) == 0
    out, path = tmp_path / "fit", tmp_path / ".fit.checkpoint.json"
    process = subprocess.Popen([sys.executable, "-c", SLOWLY, *words, str(out)])
    deadline = time.monotonic() + 120
    while not path.exists():
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.01)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    assert not out.exists()
    assert invoke([*words, str(out)]) == 0
    assert not path.exists()
    assert numbers_of(out) == numbers_of(tmp_path / "whole")
