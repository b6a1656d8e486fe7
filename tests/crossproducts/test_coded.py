"""Categories with many levels: sums from level codes are those of the columns written out."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from dense_problems import arrays

from mixedflow.crossproducts.coded import written_out
from mixedflow.crossproducts.condense import condense_block, condense_columns
from mixedflow.design import Encoder, coded, finish_schema, make_spec, summarize_partition

L = 30


def frame(n: int = 700, seed: int = 5) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    f = rng.integers(0, L, size=n)
    return pd.DataFrame(
        {
            "y": 50 + rng.normal(size=n) + 0.1 * f,
            "x": 1000 + 3 * rng.normal(size=n),
            "z": rng.uniform(0.5, 9.5, size=n),
            "f": np.array([f"f{k:02d}" for k in range(L)])[f],
            "h": rng.choice([f"h{k}" for k in range(L + 1)], size=n),
            "s": rng.choice(["low", "mid", "top"], size=n),
            "w": rng.uniform(0.5, 2.0, size=n),
            "g": rng.integers(0, 12, size=n),
            "k": rng.choice(list("abcdefgh"), size=n),
        }
    )


FORMULAS = {
    "treatment": "y ~ x + f + (1 | g)",
    "base": "y ~ x + C(f, contr.treatment(base='f07')) + (1 | g)",
    "sum": "y ~ x + C(f, contr.sum) + (1 | g)",
    "helmert": "y ~ x + C(f, contr.helmert) + (1 | g)",
    "polynomial": "y ~ C(f, contr.poly) + (1 | g)",
    "product": "y ~ f * x + (1 | g)",
    "product of three": "y ~ f * x * z + (x | g)",
    "product of sums": "y ~ C(f, contr.sum) * x + (x | g)",
    "with a small category": "y ~ f * s + x + (1 | g)",
    "spline": "y ~ f * bs(z, df=4) + (1 | g)",
    "two categories": "y ~ f + h + (1 | g)",
    "two categories, products": "y ~ f * x + C(h, contr.sum) + h:z + (1 + z | g)",
    "one category, two codings": "y ~ C(f, contr.sum) + f:x + (1 | g)",
    "no constant": "y ~ 0 + f + x + (1 | g)",
    "no constant, product": "y ~ 0 + x + f:z + (z | g)",
    "alone": "y ~ 0 + f + (1 | g)",
    "two factors": "y ~ f * x + (x | g) + (1 | k)",
    "category as factor": "y ~ f + x + (1 | g) + (1 | f)",
}

formulas = pytest.mark.parametrize("name", list(FORMULAS))
weights = pytest.mark.parametrize("w", [None, "w"])
kernels = pytest.mark.parametrize("kernel", ["numpy", "numba"])


def encoder_of(formula: str, data: pd.DataFrame, w: str | None = None) -> Encoder:
    spec = make_spec(formula, weights=w)
    table = pa.Table.from_pandas(data, preserve_index=False)
    return Encoder(spec, finish_schema(spec, summarize_partition(spec, table)))


def columns_of(encoder: Encoder, data: pd.DataFrame):
    return encoder.columns(pa.Table.from_pandas(data, preserve_index=False))


def close(found, wanted, rtol=1e-12):
    left, right = arrays(found), arrays(wanted)
    assert list(left) == list(right)
    for name, values in right.items():
        largest = np.abs(values).max(initial=0.0)
        np.testing.assert_allclose(left[name], values, rtol=0, atol=rtol * largest, err_msg=name)


@formulas
@weights
@kernels
def test_against_columns_written_out(name, w, kernel):
    data = frame()
    encoder = encoder_of(FORMULAS[name], data, w)
    columns = columns_of(encoder, data)
    assert columns.coded
    sums = condense_columns(columns, encoder.info, kernel=kernel)
    close(sums, condense_columns(written_out(columns), encoder.info, kernel=kernel))
    block = encoder.encode(pa.Table.from_pandas(data, preserve_index=False))
    close(sums, condense_block(block, encoder.info, kernel=kernel))


@formulas
def test_columns_written_out_are_those_of_any_category(name, monkeypatch):
    data = frame()
    table = pa.Table.from_pandas(data, preserve_index=False)
    encoder = encoder_of(FORMULAS[name], data)
    block, columns = encoder.encode(table), written_out(encoder.columns(table))
    assert block.X.shape[1] < len(encoder.info.x_columns)
    monkeypatch.setattr(coded, "CODED_FROM", len(data))
    plain = encoder_of(FORMULAS[name], data)
    assert plain.info.x_columns == encoder.info.x_columns
    X = plain.encode(table).X
    for k, pieces in enumerate(columns.x):
        values = np.prod(np.array(pieces, dtype=float), axis=0) if pieces else 1.0
        np.testing.assert_allclose(np.broadcast_to(values, len(X)), X[:, k], rtol=1e-15)
    beta = np.random.default_rng(2).normal(size=X.shape[1])
    np.testing.assert_allclose(coded.fixed_part(block, beta), X @ beta, rtol=1e-9, atol=1e-9)


@formulas
def test_partitions_that_lack_levels_add_up(name):
    data = frame()
    encoder = encoder_of(FORMULAS[name], data)
    whole = condense_columns(columns_of(encoder, data), encoder.info)
    order = data.sort_values(["f", "g"], kind="stable")
    pieces = [order[:1], order[1:50], order[50:50], order[50:400], order[400:]]
    parts = [condense_columns(columns_of(encoder, piece), encoder.info) for piece in pieces]
    close(((parts[0] + parts[1]) + parts[2]) + (parts[3] + parts[4]), whole)


def test_values_that_are_missing():
    data = frame()
    data.loc[::7, "x"] = np.nan
    data.loc[3::11, "f"] = None
    data.loc[5::13, "g"] = np.nan
    encoder = encoder_of("y ~ f * x + (1 | g)", data)
    columns = columns_of(encoder, data)
    sums = condense_columns(columns, encoder.info)
    close(sums, condense_columns(written_out(columns), encoder.info))
    assert sums.n_obs == len(data.dropna())
    assert sums.missing == columns.missing


def test_groups_that_can_be_taken_are_condensed_from_columns():
    data = frame()
    encoder = encoder_of("y ~ f + x + (1 | g)", data)
    columns = columns_of(encoder, data)
    sums = condense_columns(columns, encoder.info, by_group=0)
    close(sums, condense_columns(written_out(columns), encoder.info, by_group=0), rtol=0)


def test_few_levels_are_columns_as_ever(monkeypatch):
    data = frame()
    columns = columns_of(encoder_of("y ~ s * x + (1 | g)", data), data)
    assert not columns.coded
    assert len(columns.x) == 6
    monkeypatch.setattr(coded, "CODED_FROM", L + 2)
    columns = columns_of(encoder_of("y ~ f * h + (1 | g)", data), data)
    assert not columns.coded


def test_a_value_that_is_no_number_shows_in_the_sums():
    """The base's rows have no column of their own; its numbers must not be lost with it."""
    data = frame()
    encoder = encoder_of("y ~ x + f + f:I(x / 2) + (1 | g)", data)
    columns = columns_of(encoder, data)
    bad = np.array(columns.coded[1].pieces[0], dtype=float)
    bad[np.flatnonzero(columns.coded[1].codes == 0)[0]] = np.inf
    products = replace(columns.coded[1], pieces=(bad,))
    sums = condense_columns(replace(columns, coded=(columns.coded[0], products)), encoder.info)
    (part,) = sums.keyed.values()
    assert not np.isfinite(part.XtBX).all()
