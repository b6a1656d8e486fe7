"""The grammar: what lme4 reads, in lme4's names and order; what cannot be read, in a sentence."""

from __future__ import annotations

import pytest

from mixedflow.design import formula, make_spec, parse_formula
from mixedflow.errors import ConfigError, FormulaError, MixedflowError, UnsupportedError

GRAMMAR = [
    ("y ~ x + (1 | g)", "1 + x", ["(1 | g)"]),
    ("y~x+(1|g)", "1 + x", ["(1 | g)"]),
    ("y ~ (1 | g) + x", "1 + x", ["(1 | g)"]),
    ("y ~ (1 | g)", "1", ["(1 | g)"]),
    ("y ~ x", "1 + x", []),
    ("y ~ 1", "1", []),
    ("y ~ 0 + (1 | g)", "0", ["(1 | g)"]),
    ("y ~ 0 + x + (x | g)", "0 + x", ["(1 + x | g)"]),
    ("y ~ x - 1 + (1 + x | g)", "0 + x", ["(1 + x | g)"]),
    ("y ~ -1 + x + (0 + x | g)", "0 + x", ["(0 + x | g)"]),
    ("y ~ x + (x - 1 | g)", "1 + x", ["(0 + x | g)"]),
    ("y ~ x + (x || g)", "1 + x", ["(1 | g)", "(0 + x | g)"]),
    ("y ~ x + (0 + x || g)", "1 + x", ["(0 + x | g)"]),
    ("y ~ (x + z || g)", "1", ["(1 | g)", "(0 + x | g)", "(0 + z | g)"]),
    ("y ~ (x * z || g)", "1", ["(1 | g)", "(0 + x | g)", "(0 + z | g)", "(0 + x:z | g)"]),
    ("y ~ (1 | a/b)", "1", ["(1 | b:a)", "(1 | a)"]),
    ("y ~ (1 | a/b/c)", "1", ["(1 | c:(b:a))", "(1 | b:a)", "(1 | a)"]),
    ("y ~ (x | a/b)", "1", ["(1 + x | b:a)", "(1 + x | a)"]),
    ("y ~ (x || a/b)", "1", ["(1 | b:a)", "(0 + x | b:a)", "(1 | a)", "(0 + x | a)"]),
    ("y ~ (1 | a:b)", "1", ["(1 | a:b)"]),
    ("y ~ (1 | a:b:c)", "1", ["(1 | a:b:c)"]),
    ("y ~ (1 | a) + (1 | a:b)", "1", ["(1 | a)", "(1 | a:b)"]),
    ("y ~ (1 | a) + (1 | b) + (0 + x | a)", "1", ["(1 | a)", "(1 | b)", "(0 + x | a)"]),
    ("y ~ diag(1 + x | g)", "1", ["diag(1 + x | g)"]),
    ("y ~ us(1 + x | g)", "1", ["(1 + x | g)"]),
    ("y ~ a * b", "1 + a + b + a:b", []),
    ("y ~ a * b - b", "1 + a + a:b", []),
    ("y ~ a:b + a", "1 + a + a:b", []),
    ("y ~ a / b", "1 + a + a:b", []),
    ("y ~ (a + b + c)^2", "1 + a + b + c + a:b + a:c + b:c", []),
    ("y ~ (a + b + c)**2 - a:c", "1 + a + b + c + a:b + b:c", []),
    ("y ~ x + x", "1 + x", []),
    ("y ~ log( x ) + I( x^2 )", "1 + log(x) + I(x^2)", []),
    ("y ~ poly(x,2,raw = TRUE)", "1 + poly(x, 2, raw=True)", []),
    ("y ~ C(f,contr.sum)", "1 + C(f, contr.sum)", []),
    ("y ~ C(f, contr.treatment('b'))", "1 + C(f, contr.treatment('b'))", []),
    ("y ~ Sepal.Length + `my col`", "1 + Sepal.Length + `my col`", []),
    ("y ~ \n x\t+ z", "1 + x + z", []),
    ("y ~ größe + (1 | straße)", "1 + größe", ["(1 | straße)"]),
]


@pytest.mark.parametrize(("formula", "fixed", "random"), GRAMMAR)
def test_grammar(formula: str, fixed: str, random: list[str]) -> None:
    parsed = parse_formula(formula)
    assert str(parsed.fixed) == fixed
    assert [str(term) for term in parsed.random] == random


def test_response_and_offsets() -> None:
    parsed = parse_formula("log(y) ~ x + offset(z) + offset(log(w)) + (1 | g)")
    assert parsed.response.text == "log(y)"
    assert parsed.response.names == ("y",)
    assert [e.text for e in parsed.offsets] == ["z", "log(w)"]
    assert str(parsed.fixed) == "1 + x"
    assert str(parse_formula("y ~ offset(x)").fixed) == "1"


def test_nested_factor_variables() -> None:
    factors = parse_formula("y ~ (1 | a/b/c)").factors
    assert [f.variables for f in factors] == [("c", "b", "a"), ("b", "a"), ("a",)]


UNREADABLE = [
    ("", FormulaError, "formula is empty"),
    ("   ", FormulaError, "formula is empty"),
    ("y", FormulaError, "no '~'"),
    ("y ~ x ~ z", FormulaError, "2 '~'"),
    ("~ x", FormulaError, "no response"),
    ("y ~", FormulaError, "nothing on the right"),
    ("y ~ x +", FormulaError, "'+' at its end"),
    ("y ~ x + + z", FormulaError, "'+' before another operator"),
    ("y ~ (x", FormulaError, "lacks a ')'"),
    ("y ~ x)", FormulaError, "never opened"),
    ("y ~ `x", FormulaError, "a backtick that is never closed"),
    ("y ~ x $ z", FormulaError, "character '$'"),
    ("y ~ x + 1 | g", FormulaError, "stands in parentheses"),
    ("y ~ x * (1 | g)", FormulaError, "added by '+'"),
    ("y ~ x - (1 | g)", FormulaError, "cannot be subtracted"),
    ("y ~ ((1 | g) + x)", FormulaError, "inside another term"),
    ("y ~ (1 | g | h)", FormulaError, "is not a random term"),
    ("y ~ (1 | )", FormulaError, "is not a random term"),
    ("y ~ ( | g)", FormulaError, "is not a random term"),
    ("y ~ (0 | g)", FormulaError, "no column left of the bar"),
    ("y ~ (1 | g + h)", FormulaError, "right of the bar stand columns"),
    ("y ~ (1 | factor(g))", FormulaError, "right of the bar stand columns"),
    ("y ~ (1 | g:g)", FormulaError, "names a column twice"),
    ("y ~ spatial(1 | g)", UnsupportedError, "'spatial' is not offered for random terms"),
    ("y ~ cs(1 | g, 2)", FormulaError, "'cs' takes no argument; found 2"),
    ("y ~ fa(0 + k | g)", FormulaError, "from 1 on, such as"),
    ("y ~ fa(0 + k | g, x)", FormulaError, "must be a number or a list of lists"),
    ("y ~ fa(0 + k | g, 1, 2)", FormulaError, "takes one argument at most, found 2"),
    ("y ~ fixed(x | g, [[1, 2], [2, 1]])", FormulaError, "none may be negative"),
    ("y ~ fixed(x | g, [[1, 2], [0, 1]])", FormulaError, "is not symmetric"),
    ("y ~ toep(1 || g)", FormulaError, "either toep"),
    ("y ~ dia(1 | g)", UnsupportedError, "did you mean 'diag'?"),
    ("y ~ diag(x || g)", FormulaError, "not both"),
    ("y ~ (1 | g) + (x | g)", FormulaError, "not identified: '(Intercept)' varies by 'g'"),
    ("y ~ (x | g) + (0 + x | g)", FormulaError, "not identified: 'x' varies by 'g'"),
    ("y ~ (1 | a:b) + (1 | b:a)", FormulaError, "not identified"),
    ("y ~ 2 * x", FormulaError, "goes inside I()"),
    ("y ~ x + 3", FormulaError, "the number 3 is not a term"),
    ("y ~ x^9", FormulaError, "must be 1 to 8"),
    ("y ~ x^z", FormulaError, "cannot be read"),
    ("y ~ x > 3", FormulaError, "'>' has no meaning between terms"),
    ("y ~ a*b*c*d*e*f*g*h*i*j*k*l*m", FormulaError, "at most 12"),
    ("y ~ .", FormulaError, "character '.'"),
    ("y ~ a %in% b", FormulaError, "'%' has no meaning between terms"),
    ("cbind(a, b) ~ x", UnsupportedError, "one numeric response"),
    ("poly(y, 2) ~ x", FormulaError, "must be one numeric column"),
    ("y ~ x - offset(z)", FormulaError, "must be added as a term"),
    ("y ~ I(offset(z))", FormulaError, "must be a term by itself"),
    ("y ~ I(2)", FormulaError, "reads no column"),
    ("y ~ x" + " + x" * 5000, FormulaError, "at most 10,000"),
    ("y ~ I(" + "(" * 3000 + "x" + ")" * 3000 + ")", FormulaError, "nested parentheses"),
]


@pytest.mark.parametrize(("formula", "error", "message"), UNREADABLE)
def test_unreadable(formula: str, error: type[MixedflowError], message: str) -> None:
    with pytest.raises(error) as raised:
        parse_formula(formula)
    assert message in str(raised.value)
    assert str(raised.value).endswith(".")


@pytest.mark.parametrize(
    ("options", "error", "message"),
    [
        ({"missing": "dorp"}, ConfigError, "did you mean 'drop'?"),
        ({"residual": "ar9(1 | g)"}, UnsupportedError, "'ar9' is not offered"),
        ({"relationship": {"g": 1}}, UnsupportedError, "relationship"),
        ({"weights": ""}, ConfigError, "weights must be the name"),
        ({"weights": "y"}, FormulaError, "both the response and the weights"),
        ({"levels": {"f": "abc"}}, ConfigError, "needs a list"),
        ({"levels": {"f": []}}, ConfigError, "is empty"),
        ({"levels": {"f": ["a", "a"]}}, ConfigError, "names a level twice"),
        ({"levels": {"x": ["a", "b"]}}, FormulaError, "'x' has declared levels"),
    ],
)
def test_bad_parts_of_a_spec(options: dict, error: type[MixedflowError], message: str) -> None:
    with pytest.raises(error) as raised:
        make_spec("y ~ log(x) + f + (1 | g)", **options)
    assert message in str(raised.value)


def test_response_on_the_right() -> None:
    with pytest.raises(FormulaError, match="'y' also stands on the right"):
        make_spec("y ~ y + (1 | g)")


def test_design_key_is_shared_by_models_with_the_same_sums() -> None:
    def key(formula: str, **options: object) -> str:
        return make_spec(formula, **options).design_key()

    assert key("y ~ x + (x | g)") == key("y ~ x + (x || g)") == key("y~x+diag(x|g)")
    assert key("y ~ x + (x | g)") == key("y ~ 1 + x + (0 + x | g) + (1 | g)")
    others = [
        key("y ~ x + (x | g)"),
        key("y ~ x + (1 | g)"),
        key("y ~ x + (x | h)"),
        key("y ~ z + (x | g)"),
        key("log(y) ~ x + (x | g)"),
        key("y ~ x + offset(z) + (x | g)"),
        key("y ~ x + (x | g)", weights="w"),
        key("y ~ x + (x | g)", missing="error"),
        key("y ~ x + (x | g)", levels={"x": ["a", "b"]}),
        key("y ~ x + (x || g)", levels={"x": ["a", "b"]}),
    ]
    assert len(set(others)) == len(others)
    category = {"x": "categorical"}
    assert make_spec("y ~ (x | g)").design_key(category) != make_spec("y ~ (x || g)").design_key(
        category
    )


@pytest.mark.parametrize("text", ["1", "v0", "1 + v0", "v0 + v1 + v0", "v1 + 1 + v0 + 1"])
def test_plain_sums_have_the_terms_that_formulaic_gives(text):
    table = {name: parse_formula(f"{name} ~ 1").response for name in ("v0", "v1")}
    assert formula._expand(text, table, text) == formula._formulaic_terms(text, table, text)
