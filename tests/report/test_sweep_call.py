"""The call that a sweep's page shows makes the same fit, and the page holds a real sweep."""

from __future__ import annotations

import json
import re

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.report import SweepSection, render_sweep_page


@pytest.fixture(scope="module")
def data():
    rng = np.random.default_rng(11)
    g = np.repeat(np.arange(12), 8)
    x, sex = rng.normal(size=96), rng.choice(["f", "m"], 96)
    Y = rng.normal(size=(12, 3))[g] + rng.normal(size=(96, 3)) + 0.4 * x[:, None]
    frame = pd.DataFrame(Y, columns=["gene1", "gene 2", "gene3"])
    return frame.assign(gene3=1.0, g=g.astype(str), x=x, sex=sex)


@pytest.fixture(scope="module")
def result(data):
    models = {"null": "~ 1 + (1 | g)", "full": "~ x + (1 | g)"}
    subsets = {"all": None, "women": {"sex": ["f"]}}
    return mf.sweep(
        models, data, "gene*", subsets=subsets, tests={"x": ("null", "full")}, reml=False
    )


@pytest.fixture(scope="module")
def variants(result):
    page = render_sweep_page(SweepSection("genes", result))
    return json.loads(re.search(r'id="sweep-data">(.*?)</script>', page, re.S).group(1))["variants"]


@pytest.mark.parametrize("trait", ["gene1", "`gene 2`"])
def test_call_makes_the_same_fit(data, result, variants, trait):
    assert [v["label"] for v in variants] == [
        "null · all", "full · all", "null · women", "full · women"
    ]  # fmt: skip
    table = result.table.set_index(["trait", "model", "subset"])
    for one in variants:
        model, subset = one["label"].split(" · ")
        fit = eval(f"{one['before']}{trait}{one['after']}", {"mf": mf, "data": data})
        row = table.loc[(trait.strip("`"), model, subset)]
        assert fit.loglik == pytest.approx(row["logLik"], rel=1e-9)
        assert fit.nobs == row["n"]


def test_failures_of_a_real_sweep_are_listed(result):
    page = render_sweep_page(SweepSection("genes", result))
    assert "gene3" in page
    assert re.search(r'<th scope="row">constant</th><td class="number">4</td><td>gene3</td>', page)
