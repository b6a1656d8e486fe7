"""The columns of X against formulaic's own on the whole frame, partitioned in several ways."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from design_frames import arrow, cuts, encoder, frame, learn
from formulaic import model_matrix
from hypothesis import given, settings
from hypothesis import strategies as st

from mixedflow.design import arrow as arrow_room
from mixedflow.design import columns, make_spec, spec_from_json
from mixedflow.errors import DataError

SAME_AS_FORMULAIC = [
    "x",
    "0 + x",
    "x + z + x:z",
    "x*z - x",
    "f",
    "0 + f",
    "f*h",
    "f:h",
    "0 + f:h",
    "f/h",
    "x:f",
    "x*f",
    "(x + f + h)^2",
    "(x + f + h)**3 - x:f:h",
    "log(z)",
    "I(x / z)",
    "I(z**2) + I(z**3)",
    "C(f)",
    "C(f, contr.sum)",
    "C(f, contr.sum)*x",
    "C(f, contr.helmert)",
    "C(f, contr.poly)",
    "C(f, contr.diff)",
    "C(f, contr.SAS)",
    "C(f, contr.treatment('mid'))",
    "0 + C(f, contr.sum)",
    "C(f, contr.sum):C(h, contr.helmert)",
    "C(g)",
    "center(x)",
    "scale(x)",
    "scale(x, center=False)",
    "scale(x, scale=False)",
    "scale(x, ddof=0)",
    "standardize(x)",
    "I(scale(z)**2)",
    "scale(log(z))",
    "poly(z)",
    "poly(x, 2)",
    "poly(x, 3)",
    "poly(z, degree=5)",
    "poly(log(z), 2)",
    "poly(x, 2):f",
    "bs(z, df=4)",
    "bs(z, df=6)",
    "bs(z, df=5, degree=2)",
    "bs(z, df=6, include_intercept=True)",
    "0 + bs(z, df=6, include_intercept=True)",
    "bs(z, knots=[2, 5])",
    "bs(x, df=5, lower_bound=900, upper_bound=1100)",
    "bs(z)",
    "cr(z, df=4)",
    "cr(x, df=5, constraints='center')",
    "cs(z, knots=[2, 5])",
    "cc(z, df=4)",
    "cc(z, df=4, constraints='center')",
    "cr(z, df=4):h",
]


def formulaic_matrix(right: str, data: pd.DataFrame) -> pd.DataFrame:
    matrix = model_matrix(right, data)
    return pd.DataFrame(matrix).rename(columns={"Intercept": "(Intercept)"})


@pytest.mark.parametrize("parts", [1, 3, 7])
@pytest.mark.parametrize("right", SAME_AS_FORMULAIC)
def test_same_columns_as_formulaic(right: str, parts: int) -> None:
    data = frame()
    expected = formulaic_matrix(right, data)
    made = encoder(f"y ~ {right} + (1 | g)", data, parts)
    assert list(made.info.x_columns) == list(expected.columns)
    table = arrow(data)
    pieces = [made.encode(table.slice(a, b - a)).X for a, b in cuts(len(data), parts)]
    X = np.vstack(pieces)
    scale = np.abs(expected.to_numpy()).max(axis=0)
    np.testing.assert_allclose(X / scale, expected.to_numpy() / scale, atol=1e-8, rtol=0)


def test_r_power_is_a_power_and_keeps_its_spelling() -> None:
    data = frame()
    made = encoder("y ~ I(count^2) + I((x - 1000)^2 * 2) + (1 | g)", data)
    assert made.info.x_columns == ("(Intercept)", "I(count^2)", "I((x - 1000)^2 * 2)")
    X = made.encode(arrow(data)).X
    np.testing.assert_array_equal(X[:, 1], data["count"].to_numpy() ** 2)
    np.testing.assert_allclose(X[:, 2], 2 * (data["x"] - 1000) ** 2)


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("sqrt(z)", lambda d: np.sqrt(d["z"])),
        ("log2(z)", lambda d: np.log2(d["z"])),
        ("log10(z)", lambda d: np.log10(d["z"])),
        ("log1p(z)", lambda d: np.log1p(d["z"])),
        ("exp(z)", lambda d: np.exp(d["z"])),
        ("expm1(z)", lambda d: np.expm1(d["z"])),
        ("abs(x - 1000)", lambda d: (d["x"] - 1000).abs()),
        ("sin(2 * pi * z / 7)", lambda d: np.sin(2 * np.pi * d["z"] / 7)),
        ("cos(z)", lambda d: np.cos(d["z"])),
        ("tan(z)", lambda d: np.tan(d["z"])),
        ("atan(z)", lambda d: np.arctan(d["z"])),
        ("floor(z)", lambda d: np.floor(d["z"])),
        ("ceil(z)", lambda d: np.ceil(d["z"])),
        ("round(x)", lambda d: d["x"].round()),
        ("round(x, 1)", lambda d: d["x"].round(1)),
        ("I(-z + 2)", lambda d: 2 - d["z"]),
        ("I(z > 3)", lambda d: (d["z"] > 3).astype(float)),
        ("I(count % 2)", lambda d: d["count"] % 2),
        ("flag", lambda d: d["flag"].astype(float)),
        ("count", lambda d: d["count"].astype(float)),
        ("poly(z, 2, raw=TRUE)", lambda d: d["z"]),
    ],
)
def test_functions(expression: str, expected) -> None:
    data = frame()
    X = encoder(f"y ~ {expression} + (1 | g)", data, 3).encode(arrow(data)).X
    np.testing.assert_allclose(X[:, 1], expected(data), rtol=1e-14)


def test_names_with_dots_and_backticks() -> None:
    data = frame().rename(columns={"x": "Sepal.Length", "z": "my col", "g": "the group"})
    made = encoder("y ~ Sepal.Length + log(`my col`) + `my col` + (1 | `the group`)", data)
    assert made.info.x_columns == ("(Intercept)", "Sepal.Length", "log(`my col`)", "`my col`")
    assert made.info.factors[0].name == "the group"


def test_columns_named_like_functions() -> None:
    data = frame().rename(columns={"x": "log", "z": "scale", "count": "v0"})
    made = encoder("y ~ log + scale(scale) + v0 + log(scale) + (1 | g)", data)
    X = made.encode(arrow(data)).X
    np.testing.assert_array_equal(X[:, 1], data["log"])
    np.testing.assert_allclose(X[:, 4], np.log(data["scale"]))


def test_declared_order_of_levels() -> None:
    data = frame()
    made = encoder("y ~ f + (1 | g)", data, levels={"f": ["top", "mid", "low", "never"]})
    assert made.info.x_columns == ("(Intercept)", "f[T.mid]", "f[T.low]")
    assert made.schema.messages == (
        "Declared levels of 'f' that no complete row has are left out: never.",
    )
    in_formula = encoder('y ~ C(f, levels=["top", "mid", "low"]) + (1 | g)', data)
    assert in_formula.info.x_columns[1:] == tuple(
        f"C(f, levels=['top', 'mid', 'low'])[T.{v}]" for v in ("mid", "low")
    )


def test_declared_levels_make_a_number_a_category() -> None:
    data = frame()
    data["dose"] = np.tile([1, 10, 2], 70)
    made = encoder("y ~ dose + (1 | g)", data, levels={"dose": [1, 2, 10]})
    assert made.info.x_columns == ("(Intercept)", "dose[T.2]", "dose[T.10]")
    assert encoder("y ~ dose + (1 | g)", data).info.x_columns == ("(Intercept)", "dose")
    assert encoder("y ~ C(dose) + (1 | g)", data).info.x_columns == (
        "(Intercept)",
        "C(dose)[T.2]",
        "C(dose)[T.10]",
    )


def test_a_column_can_be_number_category_and_group() -> None:
    data = frame()
    made = encoder("y ~ g + C(g) + (1 | g)", data)
    assert made.info.x_columns[:3] == ("(Intercept)", "g", "C(g)[T.107]")


def test_storage_of_a_category_does_not_matter() -> None:
    data = frame()
    plain = encoder("y ~ f*x + (f | k)", data)
    block = plain.encode(arrow(data))
    for stored in ("category", "object", "string"):
        other = data.astype({"f": stored, "k": stored})
        made = encoder("y ~ f*x + (f | k)", other, 3)
        again = made.encode(arrow(other))
        np.testing.assert_array_equal(again.X, block.X)
        np.testing.assert_array_equal(again.codes[0], block.codes[0])
        np.testing.assert_array_equal(plain.encode(arrow(other)).Z[0], block.Z[0])


def test_partitions_encode_alike_whatever_they_hold() -> None:
    data = frame().sort_values(["f", "x"], ignore_index=True)
    made = encoder("y ~ f*poly(x, 2) + bs(z, df=5) + (f | g)", data, 7)
    whole = made.encode(arrow(data))
    table = arrow(data)
    parts = [made.encode(table.slice(a, b - a)) for a, b in cuts(len(data), 50)]
    np.testing.assert_array_equal(np.vstack([p.X for p in parts]), whole.X)
    np.testing.assert_array_equal(np.vstack([p.Z[0] for p in parts]), whole.Z[0])
    np.testing.assert_array_equal(np.concatenate([p.codes[0] for p in parts]), whole.codes[0])


def test_empty_partition() -> None:
    data = frame()
    made = encoder("y ~ f*poly(x, 2) + cr(z, df=4) + (f | g) + (1 | k:g)", data)
    block = made.encode(arrow(data).slice(0, 0))
    assert block.X.shape == (0, len(made.info.x_columns))
    assert block.codes[1].shape == (0,)
    assert learn(made.spec, data, 300).rows_used == len(data)


def test_spline_refuses_to_leave_its_range() -> None:
    data = frame()
    made = encoder("y ~ bs(z, df=4) + (1 | g)", data)
    new = data.head(3).assign(z=[2.0, 3.0, 99.0])
    with pytest.raises(
        DataError, match=r"'bs\(z, df=4\)' .*row 3 of the data has z = 99; extrapolation"
    ):
        made.encode(arrow(new))
    extended = encoder("y ~ bs(z, df=4, extrapolation='extend') + (1 | g)", data)
    assert np.isfinite(extended.encode(arrow(new)).X).all()


def test_make_spec_round_trip() -> None:
    spec = make_spec("y ~ f + (1 | g)", weights="w", levels={"f": ["low", "top"]}, missing="error")
    assert spec_from_json(spec.to_json()) == spec


@settings(deadline=None, max_examples=30)
@given(st.data())
def test_numeric_terms_have_the_structure_that_formulaic_gives(data):
    n = data.draw(st.integers(1, 4))
    possible = [t for d in range(4) for t in itertools.combinations(range(n), d)]
    chosen = data.draw(st.permutations(possible))
    terms = tuple(chosen[: data.draw(st.integers(1, len(possible)))])
    assert columns._structure(terms, (False,) * n) == columns._formulaic_structure(
        terms, (False,) * n
    )


@pytest.mark.parametrize(
    "values",
    [
        np.array([3, 1, 2]),
        np.arange(8)[::2],
        np.array([1.5, np.nan, np.inf]),
        np.array([1, 255], dtype=np.uint8),
        np.array([], dtype=np.int32),
        np.arange(21) % 3 == 0,
        np.array([], dtype=bool),
        np.array(["b", "a"], dtype=object),
        pa.array(["b", None]),
    ],
)
def test_numpy_and_arrow_hold_the_same(values):
    held = arrow_room.as_arrow(values)
    expected = pa.array(values)
    assert held.type == expected.type
    assert str(held.to_pylist()) == str(expected.to_pylist())
    back = arrow_room.as_numpy(held)
    assert back.dtype == expected.to_numpy(zero_copy_only=False).dtype
    assert str(list(back)) == str(list(expected.to_numpy(zero_copy_only=False)))
