"""``residual=`` taken apart, what the schema learns of it, and where rows stand in it."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from mixedflow.data import open_source
from mixedflow.design import Encoder, Schema, make_spec, spec_from_json
from mixedflow.design.residual import parse_residual
from mixedflow.design.shared import SharedSchema, without_rows
from mixedflow.design.spec import require_random_term
from mixedflow.errors import FormulaError, UnknownLevelError, UnsupportedError
from mixedflow.parallel import learn_schema, summarize

READ = {
    "iid": ("iid", "strata", None, (), ()),
    " us( visit|subject ) ": ("us", "pairs", "visit", ("subject",), ()),
    "us(visit | arm/subject)": ("us", "pairs", "visit", ("subject",), ("arm",)),
    "us(visit | arm:site/subject)": ("us", "pairs", "visit", ("subject",), ("arm", "site")),
    "us(visit | site:subject)": ("us", "pairs", "visit", ("site", "subject"), ()),
    "toeph(1 | g)": ("toeph", "pairs", None, ("g",), ()),
    "ar1(t | g)": ("ar1", "gaps", "t", ("g",), ()),
    "ar1(1 | g)": ("ar1", "gaps", None, ("g",), ()),
    "car1(t | g)": ("car1", "gaps", "t", ("g",), ()),
    "sp_exp(t | g)": ("sp_exp", "gaps", "t", ("g",), ()),
    "sp_exp(u, v | arm/g)": ("sp_exp", "pairs", "u, v", ("g",), ("arm",)),
    "sp_exp(u, `v km`, z | g)": ("sp_exp", "pairs", "u, v km, z", ("g",), ()),
    "cs(1 | g)": ("cs", "sizes", None, ("g",), ()),
    "cs(visit | g)": ("cs", "pairs", "visit", ("g",), ()),
    "strata(sex)": ("strata", "strata", None, (), ("sex",)),
    "strata(sex, site)": ("strata", "strata", None, (), ("sex", "site")),
    "strata(sex) * ar1(1 | g)": ("ar1", "gaps", None, ("g",), ("sex",)),
    "ar1(1 | g) * strata(sex)": ("ar1", "gaps", None, ("g",), ("sex",)),
    "us(`visit no.` | `sub id`)": ("us", "pairs", "visit no.", ("sub id",), ()),
}

BAD = [
    ("usx(visit | g)", UnsupportedError, "'usx' is not offered; did you mean 'us'"),
    ("arma(1 | g)", UnsupportedError, "offered are .*'ar1'.*'toeph'"),
    ("varPower(x)", UnsupportedError, "'varPower' is not offered"),
    ("varpower(x)", UnsupportedError, r"no finite set of sums.*strata\(...\).*weights="),
    ("varIdent(1 | s)", UnsupportedError, r"'varIdent' is not offered: write strata\(...\)"),
    ("car1(a, b | g)", UnsupportedError, "car1 takes one column left of the bar, and 2 were found"),
    ("sp_exp(a, a | g)", FormulaError, "'a' twice"),
    ("ar1(a, b | g)", UnsupportedError, "ar1 takes one column.*'sp_exp'"),
    ("us(a, b | g)", UnsupportedError, "us takes one column left of the bar"),
    ("us", FormulaError, "'us' needs groups; write it like"),
    ("strata", FormulaError, r"strata\(...\) needs columns"),
    ("us(visit)", FormulaError, r"one bar and groups; write 'us\(visit \| subject\)'"),
    ("us(visit || g)", FormulaError, "one bar and groups"),
    ("us(| g)", FormulaError, "one bar and groups"),
    ("us(visit | )", FormulaError, "one bar and groups"),
    ("us(factor(visit) | g)", FormulaError, "a column name is needed, but 'factor"),
    ("us(visit + 1 | g)", FormulaError, "a column name is needed"),
    ("strata(log(x))", FormulaError, "make it a column of the data"),
    ("strata(sex, )", FormulaError, "nothing was found"),
    ("us(2 | g)", FormulaError, "1 for the order of the rows; 2 was found"),
    ("us(visit | a/b/c)", FormulaError, "more than one '/'"),
    ("car1(1 | g)", FormulaError, r"needs a column of times.*'ar1\(1 \| g\)'"),
    ("us(g | g)", FormulaError, "names the column 'g' twice"),
    ("strata(a, a)", FormulaError, "names the column 'a' twice"),
    ("strata(s) * us(v | a/g)", FormulaError, "names strata twice"),
    ("strata(a) * strata(b)", UnsupportedError, r"a product is offered of strata\(...\)"),
    ("us(v | g) * ar1(1 | h)", UnsupportedError, "a product is offered"),
    ("us(v | g) + us(v | h)", FormulaError, "cannot be read"),
    ("us(visit | g", FormulaError, r"^residual='us\(visit \| g' lacks a '\)'"),
    ("", FormulaError, "is no residual structure"),
    (None, FormulaError, "None is no residual structure"),
]


@pytest.mark.parametrize("text", READ)
def test_what_is_read(text):
    found = parse_residual(text)
    parts = (found.structure, found.basis, found.position, found.group, found.strata)
    assert parts == READ[text]
    assert parse_residual(str(found)) == found
    assert make_spec("y ~ x", residual=text).residual == str(found)


@pytest.mark.parametrize(("text", "error", "match"), BAD)
def test_what_cannot_be_read(text, error, match):
    with pytest.raises(error, match=match):
        make_spec("y ~ x", residual=text)


def test_structures_of_one_basis_share_the_design():
    def key(residual: str) -> str:
        return make_spec("y ~ x + (1 | h)", residual=residual).design_key()

    pairs = ("us", "cs", "csh", "ar1h", "ad", "adh", "toep", "toeph")
    assert len({key(f"{name}(visit | g)") for name in pairs}) == 1
    assert key("car1(t | g)") == key("sp_exp(t | g)") != key("ar1(t | g)")
    assert key("strata(a) * ar1(t | g)") == key("ar1(t | a/g)") != key("ar1(t | g)")
    assert len({key(t) for t in ("iid", "cs(1 | g)", "us(1 | g)", "us(v | g)", "us(v | h)")}) == 5


def test_the_key_of_independent_rows_is_as_ever():
    assert make_spec("y ~ x + (1 | g)").design_key() == "176aaa2e8d82"


def test_columns_of_a_structure_are_the_models():
    spec = make_spec("y ~ x + (1 | g)", residual="us(visit | arm/subject)", weights="w")
    assert spec.variables == ("y", "x", "g", "w", "subject", "visit", "arm")
    assert "visit" not in spec.predictors
    assert spec_from_json(spec.to_json()) == spec
    with pytest.raises(FormulaError, match="'y' is both the response and in 'us"):
        make_spec("y ~ x", residual="us(y | g)")
    with pytest.raises(FormulaError, match="'w' is both the weights and in"):
        make_spec("y ~ x", residual="strata(w)", weights="w")


def test_a_random_term_is_needed_for_independent_rows_only():
    require_random_term(make_spec("y ~ x", residual="cs(1 | g)"))
    with pytest.raises(FormulaError, match="no random term"):
        require_random_term(make_spec("y ~ x"))


def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "y": np.arange(12.0) % 5,
            "x": np.arange(12.0) % 7,
            "g": np.repeat(["b", "a", "c"], 4),
            "visit": np.tile(["v10", "v9", "v1", "v2"], 3),
            "step": np.tile([10, 9, 1, 2], 3),
            "sex": np.repeat(["f", "m", "f"], 4),
            "site": np.repeat([2, 1, 1], 4),
        }
    )


def test_the_order_of_positions():
    def positions(residual, data, **options):
        spec = make_spec("y ~ x", residual=residual, **options)
        return learn_schema(spec, open_source(data)).residual.design.positions

    data = frame()
    assert positions("us(visit | g)", data) == ("v1", "v10", "v2", "v9")
    assert positions("us(step | g)", data) == ("1", "2", "9", "10")
    declared = ["v1", "v2", "v9", "v10"]
    assert positions("us(visit | g)", data, levels={"visit": declared}) == tuple(declared)
    data["visit"] = pd.Categorical(data["visit"], categories=[*declared, "v11"])
    assert positions("us(visit | g)", data) == tuple(declared)
    assert positions("us(1 | g)", data) == ("1", "2", "3", "4")
    assert positions("ar1(step | g)", data) == ()
    data.loc[data["visit"] == "v2", "y"] = np.nan
    assert positions("us(visit | g)", data) == ("v1", "v9", "v10")
    assert positions("us(1 | g)", data) == ("1", "2", "3")


def test_strata_are_the_combinations_that_occur():
    spec = make_spec("y ~ x", residual="strata(sex, site)")
    schema = learn_schema(spec, open_source(frame()))
    assert schema.residual.design.strata == ("f:1", "f:2", "m:1")
    table = open_source(frame()).read(0, spec.variables)
    codes = Encoder(spec, schema).encode(table).pattern.stratum
    np.testing.assert_array_equal(codes, np.repeat([1, 2, 0], 4))
    other = frame().assign(site=[2] * 12)
    with pytest.raises(UnknownLevelError, match="sex = m, site = 2 in row 5"):
        Encoder(spec, schema).encode(open_source(other).read(0, spec.variables))


def test_an_unknown_position_is_named():
    spec = make_spec("y ~ x", residual="us(visit | g)")
    schema = learn_schema(spec, open_source(frame()))
    other = frame().replace({"visit": {"v9": "v8"}})
    with pytest.raises(UnknownLevelError, match=r"'v8' in row 2 .* is not a level of 'visit'"):
        Encoder(spec, schema).encode(open_source(other).read(0, spec.variables))


def test_a_column_that_is_not_there_is_named():
    spec = make_spec("y ~ x", residual="us(visits | g)")
    with pytest.raises(FormulaError, match=r"'visits' of residual='us\(visits .*mean 'visit'"):
        learn_schema(spec, open_source(frame()))


@pytest.mark.parametrize(
    "residual", ["us(1 | g)", "cs(1 | g)", "strata(sex, site)", "ar1(step | g)"]
)
def test_schemas_are_stored_with_their_positions(residual, tmp_path):
    spec = make_spec("y ~ x", residual=residual)
    source = open_source(frame())
    schema = learn_schema(spec, source)
    schema.save(tmp_path / "schema")
    again = Schema.load(tmp_path / "schema")
    assert again.residual.design == schema.residual.design
    np.testing.assert_array_equal(again.residual.keys, schema.residual.keys)
    shared = without_rows(spec, summarize(spec, source))
    shared.save(tmp_path / "shared")
    assert SharedSchema.load(tmp_path / "shared").schema.residual.design == schema.residual.design


def test_missing_positions_are_missing_rows():
    data = frame().astype({"step": float})
    data.loc[[0, 5], "step"] = np.nan
    data.loc[7, "g"] = None
    spec = make_spec("y ~ x", residual="ar1(step | g)")
    schema = learn_schema(spec, open_source(data))
    assert schema.missing == {"step": 2, "g": 1}
    assert schema.rows_used == 9
