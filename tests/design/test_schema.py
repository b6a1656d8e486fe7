"""The schema pass: merges, levels, pilots, files, and what the data cannot carry."""

from __future__ import annotations

import json
import pickle
from dataclasses import replace

import helpers
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from design_frames import arrow, cuts, encoder, frame, learn

from mixedflow.design import (
    Encoder,
    PartitionPlace,
    Schema,
    finish_schema,
    make_spec,
    merge_summaries,
    summarize_partition,
)
from mixedflow.design.moments import moments_of
from mixedflow.design.sketch import distinct_sketch
from mixedflow.errors import (
    DataError,
    FormulaError,
    MissingValuesError,
    MixedflowError,
    StoredFileError,
    UnknownLevelError,
)

RICH = (
    "y ~ x * f + poly(x, 3) + scale(log(z)) + bs(z, df=6) + cr(count, df=4) + C(h, contr.sum) "
    "+ offset(w) + (1 + x + f | g) + (1 | h/k)"
)


def assert_same_schema(a: Schema, b: Schema, rtol: float) -> None:
    assert a.kinds == b.kinds
    assert a.factors == b.factors
    assert (a.rows_in, a.rows_used, a.missing) == (b.rows_in, b.rows_used, b.missing)
    assert {n: v.labels() for n, v in a.levels.items()} == {
        n: v.labels() for n, v in b.levels.items()
    }
    for name, keys in a.keys.items():
        np.testing.assert_array_equal(keys, b.keys[name])
    for key, state in a.states.items():
        for part, value in state.items():
            np.testing.assert_allclose(
                np.array(value, dtype=float), np.array(b.states[key][part], dtype=float), rtol=rtol
            )
    for part in ("x_shift", "x_scale", "y_shift", "y_scale"):
        np.testing.assert_allclose(
            getattr(a.pilots, part), getattr(b.pilots, part), rtol=rtol, atol=rtol
        )
    for name, pair in a.ranges.items():
        np.testing.assert_allclose(pair, b.ranges[name], rtol=rtol)


@pytest.mark.parametrize("parts", [2, 3, 7, 40])
def test_partitions_and_their_order_do_not_matter(parts: int) -> None:
    data = frame()
    data.loc[::13, "x"] = np.nan
    data.loc[5, "k"] = None
    whole = learn(RICH, data)
    order = np.random.default_rng(parts).permutation(parts).tolist()
    assert_same_schema(whole, learn(RICH, data, parts), 1e-11)
    assert_same_schema(whole, learn(RICH, data, parts, order), 1e-11)


def test_merge_is_associative_and_pure() -> None:
    data, spec = frame(), make_spec(RICH)
    table = arrow(data)
    a, b, c = (
        summarize_partition(spec, table.slice(i, j - i), PartitionPlace("d", k, i))
        for k, (i, j) in enumerate(cuts(len(data), 3))
    )
    before = pickle.dumps(a), pickle.dumps(b)
    left = merge_summaries(merge_summaries(a, b), c)
    right = merge_summaries(a, merge_summaries(b, c))
    assert (pickle.dumps(a), pickle.dumps(b)) == before
    assert_same_schema(finish_schema(spec, left), finish_schema(spec, right), 1e-12)


def test_moments_keep_their_digits_far_from_zero() -> None:
    values = 1e12 + np.tile([0.2, 0.4], 5001)
    whole = moments_of(values)
    merged = moments_of(values[:3]) + moments_of(values[3:77]) + moments_of(values[77:])
    exact = float(np.sum((values - 1e12 - np.mean(values - 1e12)) ** 2))
    assert whole.m2 == pytest.approx(exact, rel=1e-10)
    assert merged.m2 == pytest.approx(exact, rel=1e-10)


def test_poly_far_from_zero() -> None:
    data = frame().assign(year=lambda d: 2000 + d["count"])
    made = encoder("y ~ poly(year, 4) + (1 | g)", data, 7)
    X = made.encode(arrow(data)).X
    np.testing.assert_allclose(X[:, 1:].T @ X[:, 1:], np.eye(4), atol=1e-9)
    np.testing.assert_allclose(X[:, 1:].sum(axis=0), 0, atol=1e-9)


def test_sketch_beyond_what_it_keeps_is_the_same_however_divided() -> None:
    values = np.random.default_rng(1).normal(size=5000).round(3)
    whole = distinct_sketch(values, kept=200)
    parts = [distinct_sketch(values[a:b], kept=200) for a, b in cuts(5000, 6)]
    merged = parts[3]
    for k in (1, 5, 0, 2, 4):
        merged = merged + parts[k]
    np.testing.assert_array_equal(merged.values, whole.values)
    np.testing.assert_array_equal(merged.counts, whole.counts)
    assert not merged.complete
    quartiles = merged.quantiles(np.array([0.25, 0.5, 0.75]), distinct=False)
    np.testing.assert_allclose(quartiles, np.quantile(values, [0.25, 0.5, 0.75]), atol=0.25)


def test_sketch_quantiles_are_numpy_s() -> None:
    values = np.random.default_rng(2).normal(size=999).round(1)
    merged = distinct_sketch(values[:400]) + distinct_sketch(values[400:])
    at = np.linspace(0, 1, 23)
    np.testing.assert_array_equal(merged.quantiles(at, distinct=False), np.quantile(values, at))
    distinct = np.quantile(np.unique(values), at)
    np.testing.assert_array_equal(merged.quantiles(at, distinct=True), distinct)


def test_levels_of_every_sort_are_in_order() -> None:
    n = 60
    data = pd.DataFrame(
        {
            "y": np.arange(n) % 7.0,
            "whole": np.arange(n) % 3 * 5 + 10_000_000_000,
            "decimal": np.arange(n) % 4 * 0.5,
            "text": [f"{v}" for v in np.arange(n) % 11],
            "accents": np.array(["é", "z", "Z", "a"])[np.arange(n) % 4],
            "flag": np.arange(n) % 2 == 0,
        }
    )
    spec = make_spec("y ~ (1 | whole) + (1 | decimal) + (1 | text) + (1 | accents) + (1 | flag)")
    schema = learn(spec, data, 4)
    assert schema.level_labels(0) == ["10000000000", "10000000005", "10000000010"]
    assert schema.level_labels(1) == ["0", "0.5", "1", "1.5"]
    assert schema.level_labels(2) == ["0", "1", "10", "2", "3", "4", "5", "6", "7", "8", "9"]
    assert schema.level_labels(3) == ["Z", "a", "z", "é"]
    assert schema.level_labels(4) == ["False", "True"]
    block = Encoder(spec, schema).encode(arrow(data))
    for k, name in enumerate(["whole", "decimal", "text", "accents", "flag"]):
        expected = pd.factorize(data[name], sort=True)[0]
        np.testing.assert_array_equal(block.codes[k], expected)


def test_wide_integer_levels() -> None:
    values = np.array([-(2**62), 5, 2**62, 7, 5, 7] * 5)
    data = {"y": np.arange(30.0), "g": values}
    block = encoder("y ~ 1 + (1 | g)", data, 3).encode(arrow(data))
    np.testing.assert_array_equal(block.codes[0], np.searchsorted(np.unique(values), values))


def test_interactions_hold_observed_combinations() -> None:
    data = frame()
    made = encoder("y ~ 1 + (1 | h/k) + (1 | k:h:f)", data, 5)
    pairs = sorted(set(zip(data["k"], data["h"], strict=True)))
    assert made.schema.level_labels(0) == [f"{k}:{h}" for k, h in pairs]
    block = made.encode(arrow(data))
    place = {pair: code for code, pair in enumerate(pairs)}
    expected = [place[pair] for pair in zip(data["k"], data["h"], strict=True)]
    np.testing.assert_array_equal(block.codes[0], expected)
    triples = sorted(set(zip(data["k"], data["h"], data["f"], strict=True)))
    assert made.schema.level_labels(2) == [":".join(t) for t in triples]
    assert [f.name for f in made.info.factors] == ["k:h", "h", "k:h:f"]


def test_terms_have_lme4_s_order_and_labels() -> None:
    made = encoder("y ~ x + (1 | h) + (x || g) + (1 | k)", frame())
    assert [t.label for t in made.terms] == ["g", "g.1", "k", "h"]
    assert [t.columns for t in made.terms] == [(0,), (1,), (0,), (0,)]
    assert [f.name for f in made.info.factors] == ["h", "g", "k"]
    assert made.info.z_intercept == (0, 0, 0)


def test_z_is_the_same_however_terms_divide_it() -> None:
    data = frame()
    spec, other = make_spec("y ~ x + (x | g)"), make_spec("y ~ x + (0 + x | g) + (1 | g)")
    schema = learn(spec, data)
    made = Encoder(other, schema)
    assert made.info.factors[0].columns == ("(Intercept)", "x")
    assert [t.columns for t in made.terms] == [(1,), (0,)]
    with pytest.raises(StoredFileError, match="learned for another design"):
        Encoder(make_spec("y ~ x + (1 | g)"), schema)
    factor = learn("y ~ (f | g)", data)
    with pytest.raises(StoredFileError, match="learned for another design"):
        Encoder(make_spec("y ~ (f || g)"), factor)


def test_random_slopes_of_a_category() -> None:
    data = frame()
    made = encoder("y ~ f + (0 + f | g)", data)
    assert made.info.factors[0].columns == ("f[low]", "f[mid]", "f[top]")
    assert made.info.z_intercept == (None,)
    bars = encoder("y ~ f + (f || g)", data)
    assert [t.columns for t in bars.terms] == [(0,), (1, 2, 3)]
    np.testing.assert_array_equal(bars.encode(arrow(data)).Z[0].sum(axis=1), 2.0)


def test_pilots() -> None:
    data = frame()
    made = encoder("y ~ x + f + x:f + poly(z, 2) + (1 + x | g) + (0 + x | k)", data, 3)
    pilots, names = made.info.pilots, made.info.x_columns
    assert pilots.x_shift[0] == 0
    assert pilots.x_scale[0] == 1
    for k, name in enumerate(names):
        if name.startswith("f["):
            assert (pilots.x_shift[k], pilots.x_scale[k]) == (0, 1)
    x = names.index("x")
    assert pilots.x_shift[x] == pytest.approx(data["x"].mean(), abs=0.01)
    assert pilots.x_scale[x] in (2, 4)
    assert abs(pilots.y_shift[0] - data["y"].mean()) < data["y"].std() / 500
    assert pilots.z_shift[0][1] == pilots.x_shift[x]
    assert pilots.z_shift[1][0] == 0
    scales = np.concatenate([pilots.x_scale, pilots.y_scale, *pilots.z_scale])
    np.testing.assert_array_equal(np.log2(scales) % 1, 0)
    assert encoder("y ~ 0 + x + (1 | g)", data).info.pilots.x_shift[0] == 0


def test_offsets_are_taken_from_the_response() -> None:
    data = frame()
    made = encoder("log(y) ~ x + offset(z) + offset(log(w)) + (1 | g)", data)
    block = made.encode(arrow(data))
    offset = data["z"] + np.log(data["w"])
    np.testing.assert_allclose(block.offset, offset)
    np.testing.assert_allclose(block.y[:, 0], np.log(data["y"]) - offset)
    assert made.info.traits == ("log(y)",)
    centred = encoder("scale(y) ~ x + (1 | g)", data, 3).encode(arrow(data))
    assert centred.y.mean() == pytest.approx(0, abs=1e-12)
    assert centred.y.std(ddof=1) == pytest.approx(1)


def test_missing_rows_are_dropped_and_counted() -> None:
    data = frame()
    data.loc[[3, 9], "x"] = np.nan
    data.loc[[9, 11], "f"] = None
    data.loc[0, "y"] = np.nan
    made = encoder("y ~ x + f + (1 | g)", data, 3)
    assert made.schema.missing == {"y": 1, "x": 2, "f": 2}
    assert made.schema.rows_used == len(data) - 4
    assert made.schema.messages == (
        "4 of 210 rows were dropped for missing values in y (1), x (2), f (2).",
    )
    block = made.encode(arrow(data))
    assert block.missing == {"y": 1, "x": 2, "f": 2}
    assert block.rows_in == len(data)
    np.testing.assert_array_equal(np.flatnonzero(~block.kept), [0, 3, 9, 11])
    new = made.encode(arrow(data.drop(columns="y")), response=False)
    assert new.y.shape == (len(data) - 3, 0)
    assert made.variables(response=False) == ("x", "f", "g")


def test_levels_that_only_incomplete_rows_have_are_not_levels() -> None:
    data = frame()
    data.loc[data["f"] == "top", "x"] = np.nan
    made = encoder("y ~ x + f + (1 | g)", data)
    assert made.schema.levels["f"].labels() == ["low", "mid"]


def test_unknown_levels() -> None:
    data = frame()
    made = encoder("y ~ f + (1 | g) + (1 | k:h)", data)
    new = data.head(4).copy()
    new.loc[2, "g"] = 999
    with pytest.raises(UnknownLevelError) as raised:
        made.encode(arrow(new), where=PartitionPlace("new.csv", 0, 100))
    assert str(raised.value) == (
        "'999' in row 103 of new.csv (line 104) is not a level of 'g', which has 12 levels."
    )
    assert made.encode(arrow(new), new_levels="allow").codes[0][2] == -1
    new = data.head(4).copy()
    new.loc[1, "k"] = "S3"
    with pytest.raises(UnknownLevelError, match=r"'S3:[ab]' in row 2 .* not a level of 'k:h'"):
        made.encode(arrow(new))
    assert made.encode(arrow(new), new_levels="allow").codes[1][1] == -1
    new = data.head(4).copy()
    new.loc[1, "f"] = "lo"
    with pytest.raises(UnknownLevelError, match=r"'lo' in row 2 .*'f'.*did you mean 'low'"):
        made.encode(arrow(new), new_levels="allow")


def test_levels_may_come_as_text_or_numbers() -> None:
    data = frame()
    made = encoder("y ~ (1 | g)", data)
    codes = made.encode(arrow(data)).codes[0]
    for stored in ("str", "float64", "int32"):
        again = made.encode(arrow(data.astype({"g": stored}))).codes[0]
        np.testing.assert_array_equal(again, codes)


def test_weights() -> None:
    data = frame()
    made = encoder("y ~ x + (1 | g)", data, weights="w")
    assert made.info.weighted
    np.testing.assert_array_equal(made.encode(arrow(data)).weights, data["w"])
    assert made.encode(arrow(data[["x", "g"]]), response=False).weights is None


@pytest.mark.parametrize("formula", [RICH, "y ~ 0 + x + (f | g) + (0 + x | k:h)"])
def test_round_trip_is_bit_identical(formula: str, tmp_path) -> None:
    data = frame()
    spec = make_spec(formula)
    schema = learn(spec, data, 3)
    schema.save(tmp_path / "schema")
    again = Schema.load(tmp_path / "schema")
    a, b = (Encoder(spec, s).encode(arrow(data)) for s in (schema, again))
    np.testing.assert_array_equal(a.X, b.X)
    np.testing.assert_array_equal(a.y, b.y)
    for one, two in zip(a.Z + a.codes, b.Z + b.codes, strict=True):
        np.testing.assert_array_equal(one, two)
    assert_same_schema(schema, again, 0)
    assert [schema.level_labels(k) for k in range(len(schema.factors))] == [
        again.level_labels(k) for k in range(len(again.factors))
    ]


def test_many_levels_go_to_parquet(tmp_path) -> None:
    n = 9000
    data = pd.DataFrame({"y": np.arange(n) % 11.0, "g": np.arange(n) // 2 * 3})
    data["name"] = "n" + (data["g"] // 2).astype(str)
    spec = make_spec("y ~ 1 + (1 | g) + (1 | name)")
    schema = learn(spec, data, 4)
    schema.save(tmp_path)
    assert sorted(p.name for p in tmp_path.iterdir()) == [
        "levels-0.parquet",
        "levels-1.parquet",
        "schema.json",
    ]
    again = Schema.load(tmp_path)
    a, b = (Encoder(spec, s).encode(arrow(data)) for s in (schema, again))
    for one, two in zip(a.codes, b.codes, strict=True):
        np.testing.assert_array_equal(one, two)


def test_damaged_schema_files(tmp_path) -> None:
    with pytest.raises(StoredFileError, match="no schema at"):
        Schema.load(tmp_path)
    learn("y ~ x + (1 | g)", frame()).save(tmp_path)
    path = tmp_path / "schema.json"
    content = json.loads(path.read_text())
    path.write_text(helpers.sealed(content | {"format_version": 99}))
    with pytest.raises(StoredFileError, match="format version 99"):
        Schema.load(tmp_path)
    del content["pilots"]
    path.write_text(helpers.sealed(content))
    with pytest.raises(StoredFileError, match="is damaged"):
        Schema.load(tmp_path)
    path.write_text("{")
    with pytest.raises(StoredFileError, match="cannot be read"):
        Schema.load(tmp_path)


def spoil(**columns: object) -> pd.DataFrame:
    data = frame().astype({"x": object})
    for name, (row, value) in columns.items():
        data[name] = data[name].astype(object)
        data.loc[data.index[row], name] = value
    if "x" not in columns:
        data = data.astype({"x": float})
    return data


CANNOT = [
    ("y ~ x + (1 | g)", {}, spoil().assign(x=np.inf), DataError,
     "The column 'x' holds 210 infinite values: inf in row 1 of data.csv (line 2)"),
    ("y ~ x + (1 | g)", {}, spoil().assign(y=4.5), DataError,
     "The response 'y' is constant: 4.5 in all 210 complete rows."),
    ("y ~ poly(v, 3) + (1 | g)", {}, spoil().assign(v=lambda d: d.index % 3), DataError,
     "needs more than 3 distinct values"),
    ("y ~ poly(exp(g), 5) + (1 | g)", {}, spoil(), DataError, "are too large, or too unevenly"),
    ("y ~ scale(v) + (1 | g)", {}, spoil().assign(v=lambda d: d["x"] * 1e300), DataError,
     "'scale(v)' cannot be scaled: the values of its column are too large."),
    ("y ~ x + (1 | g)", {}, spoil().assign(g=1), DataError,
     "The grouping factor 'g' has one level, '1'"),
    ("y ~ x + (1 | g)", {}, spoil().assign(g=range(210)), DataError,
     "The grouping factor 'g' has 210 levels in 210 complete rows"),
    ("y ~ f + (1 | g)", {}, spoil().assign(f="low"), DataError,
     "The column 'f' has one level, 'low', in the complete rows; contrasts need at least 2 levels."),
    ("y ~ x + (1 | g)", {}, spoil().assign(x=np.nan), MissingValuesError,
     "No complete row is left: the column 'x' is missing in all 210 rows of data.csv."),
    ("y ~ x + (1 | g)", {}, spoil().head(0), MissingValuesError, "data.csv has no rows."),
    ("y ~ x + (1 | g)", {"missing": "error"}, spoil().assign(x=lambda d: d["x"].where(d.index != 7)),
     MissingValuesError, "'x' has 1 missing value, the first in row 8 of data.csv (line 9)"),
    ("y ~ f + (1 | g)", {"levels": {"f": ["low", "mid"]}}, spoil(), DataError,
     "holds 'top', outside its declared levels 'low', 'mid'."),
    ("f ~ x + (1 | g)", {}, spoil(), DataError,
     "The column 'f' is the response and must hold numbers, but row 1 of data.csv (line 2) holds"),
    ("y ~ log(f) + (1 | g)", {}, spoil(), DataError,
     "The column 'f' is used in log(f) and must hold numbers"),
    ("y ~ log(f) + (1 | g)", {}, spoil().astype({"f": "category"}), DataError, "is used in log(f)"),
    ("y ~ x + offset(k) + (1 | g)", {}, spoil(), DataError, "The column 'k' is an offset"),
    ("y ~ log(v) + (1 | g)", {}, spoil().assign(v=lambda d: d.index - 3.0), DataError,
     "'log(v)' has no finite value in row 1 of data.csv (line 2), where its column holds -3 (4 such rows)."),
    ("log(v) ~ x + (1 | g)", {}, spoil().assign(v=lambda d: d.index * 1.0), DataError,
     "'log(v)' has no finite value in row 1"),
    ("y ~ scale(v) + (1 | g)", {}, spoil().assign(v=3.0), DataError,
     "'scale(v)' cannot be scaled: its column is constant (3)"),
    ("y ~ poly(flag, 2) + (1 | g)", {}, spoil(), DataError, "needs more than 2 distinct values"),
    ("y ~ bs(v, df=5) + (1 | g)", {}, spoil().assign(v=3.0), DataError, "not constant"),
    ("y ~ cr(flag, knots=[3]) + (1 | g)", {}, spoil(), FormulaError, "'cr(flag, knots=[3])': Some knot"),
    ("y ~ bs(z, df=2) + (1 | g)", {}, spoil(), FormulaError, "df must be at least 3"),
    ("y ~ bs(z, df=4, upper_bound=5) + (1 | g)", {}, spoil(), DataError, "is bounded by"),
    ("y ~ bs(z, df=4, knots=[3]) + (1 | g)", {}, spoil(), FormulaError, "needs one of df and knots"),
    ("y ~ bs(z, df=4, extrapolation='rais') + (1 | g)", {}, spoil(), FormulaError, "did you mean 'raise'?"),
    ("y ~ poly(z, 11) + (1 | g)", {}, spoil(), FormulaError, "degree must be a whole number from 1 to 10"),
    ("y ~ C(f, contr.treatment('lo')) + (1 | g)", {}, spoil(), DataError, "did you mean 'low'?"),
    ("y ~ x + (1 | g)", {"weights": "v"}, spoil().assign(v=lambda d: d.index * 1.0), DataError,
     "The weights column 'v' holds 0 in row 1 of data.csv (line 2); weights must be positive."),
    ("y ~ x + (1 | g)", {"weights": "f"}, spoil(), DataError, "The column 'f' is the weights and must"),
    ("y ~ x + (1 | gg)", {}, spoil(), FormulaError, "did you mean 'g'?"),
    ("y ~ when + (1 | g)", {}, spoil().assign(when=pd.Timestamp("2024-01-01")), DataError,
     "The column 'when' of data.csv holds values of type timestamp"),
]  # fmt: skip


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize(("formula", "options", "data", "error", "message"), CANNOT)
def test_what_data_cannot_carry(
    formula: str,
    options: dict,
    data: pd.DataFrame,
    error: type[MixedflowError],
    message: str,
    parts: int,
) -> None:
    with pytest.raises(error) as raised:
        learn(formula, data, parts, **options)
    assert message in str(raised.value)


def test_text_in_a_column_of_numbers_names_the_row() -> None:
    values = [str(v) for v in range(210)]
    values[150] = "1,5"
    data = frame().assign(v=values)
    with pytest.raises(DataError) as raised:
        learn("y ~ v + (1 | g)", data, 4)
    assert str(raised.value) == (
        "The column 'v' holds numbers but for 1 other value: row 151 of data.csv (line 152) holds "
        "'1,5'; correct it, or declare `types: {v: category}` if it is a category."
    )
    learn("y ~ 1 + (1 | v)", data.assign(v=data["v"].str[:1]))
    with pytest.raises(
        DataError, match=r"is the response .* row 151 .* holds '1,5' \(1 such value"
    ):
        learn("v ~ x + (1 | g)", data, 4)


def test_mixed_storage_between_partitions() -> None:
    spec, data = make_spec("y ~ f + (1 | g)"), frame(40)
    numbers = data.assign(f=1.5)
    a = summarize_partition(spec, arrow(data), PartitionPlace("d", 0, 0))
    b = summarize_partition(spec, arrow(numbers), PartitionPlace("d", 1, 40))
    with pytest.raises(DataError, match="text in one part and numbers in another"):
        finish_schema(spec, merge_summaries(a, b))


def test_a_partition_in_which_a_column_is_all_missing() -> None:
    spec, data = make_spec("y ~ f + x + (1 | g)"), frame(40)
    empty = arrow(data).set_column(6, "f", pa.nulls(40)).set_column(1, "x", pa.nulls(40))
    a = summarize_partition(spec, empty, PartitionPlace("d", 0, 0))
    b = summarize_partition(spec, arrow(data), PartitionPlace("d", 1, 40))
    schema = finish_schema(spec, merge_summaries(a, b))
    assert schema.rows_used == 40
    assert Encoder(spec, schema).encode(empty).X.shape[0] == 0


def test_levels_equal_to_rows_is_allowed_with_weights_or_without_intercept() -> None:
    data = frame().assign(g=range(210))
    learn("y ~ x + (1 | g)", data, weights="w")
    learn("y ~ x + (0 + x | g)", data)


def test_encoding_checks_new_rows() -> None:
    data = frame()
    made = encoder("y ~ log(z) + x + (1 | g)", data, weights="w")
    place = PartitionPlace("new.parquet", 2, 1000)
    bad = data.head(5).copy()
    bad.loc[3, "z"] = -1.0
    with pytest.raises(
        DataError, match=r"'log\(z\)' has no finite value in row 1004 of new.parquet"
    ):
        made.encode(arrow(bad), where=place)
    bad = data.head(5).copy()
    bad.loc[2, "x"] = np.inf
    with pytest.raises(DataError, match=r"'x' has no finite value in row 1003 .* x = inf"):
        made.encode(arrow(bad), where=place)
    bad = data.head(5).copy()
    bad.loc[2, "w"] = -2
    with pytest.raises(DataError, match=r"weights column 'w' holds -2 in row 1003"):
        made.encode(arrow(bad), where=place)
    with pytest.raises(DataError, match=r"'x' of new.parquet must hold numbers.*row 1001 .*'low'"):
        made.encode(arrow(data.head(5).assign(x="low")), where=place)
    with pytest.raises(FormulaError, match=r"'x' of the model is not in new\.parquet"):
        made.encode(arrow(data.drop(columns="x")), where=place)


def test_summaries_and_schemas_travel_between_processes() -> None:
    data, spec = frame(), make_spec(RICH)
    summary = summarize_partition(spec, arrow(data))
    schema = finish_schema(pickle.loads(pickle.dumps(spec)), pickle.loads(pickle.dumps(summary)))
    again = pickle.loads(pickle.dumps(Encoder(spec, schema)))
    assert again.encode(arrow(data)).X.shape[0] == len(data)
    assert replace(schema, messages=()).messages == ()


def test_two_columns_of_one_name() -> None:
    table = arrow(frame()).rename_columns(["y", "x", "x", *"abcdefg"])
    with pytest.raises(DataError, match=r"two columns named 'x'"):
        summarize_partition(make_spec("y ~ x + (1 | g)"), table)
