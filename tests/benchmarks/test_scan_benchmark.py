"""The benchmark of scans on a small problem: siblings share half of their alleles, the tables are full."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest

SCRIPT = Path(__file__).parents[2] / "benchmarks" / "scan.py"


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("scan_benchmark", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    sys.modules["scan_benchmark"] = module
    spec.loader.exec_module(module)
    return module


def test_siblings_share_half_of_their_alleles(script, tmp_path):
    problem = script.make_problem(100, 400, 2, tmp_path)
    C = np.load(problem.genotypes).astype(float)
    assert C.shape == (400, 400)
    assert set(np.unique(C)) == {0.0, 1.0, 2.0}
    C = (C - C.mean(axis=0)) / C.std(axis=0)
    pairs = C.reshape(100, 4, 400)
    assert np.mean(pairs[:, 0] * pairs[:, 3]) == pytest.approx(0.5, abs=0.03)
    assert np.mean(C[0::4][:-1] * C[4::4]) == pytest.approx(0.0, abs=0.03)


def test_report_of_a_small_problem(script, tmp_path):
    problem = script.make_problem(60, 300, 2, tmp_path)
    args = SimpleNamespace(covariates=300, compared=200, rounds=1, workers=2, again=10)
    text = script.report(problem, args)
    for piece in (
        "| `mf.scan` |",
        "| floor, float64 |",
        "| lambda |",
        "| 0.8% | 2 |",
        "| none | 294 |",
    ):
        assert piece in text
