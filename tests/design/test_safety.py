"""A formula is data: hostile and merely wrong expressions are refused before anything runs."""

from __future__ import annotations

import pytest

from mixedflow.design import check_columns, make_spec, parse_formula
from mixedflow.errors import FormulaError

HOSTILE = [
    "__import__('os')",
    "__import__('os').system('true')",
    "I(__import__('os'))",
    "eval('1')",
    "exec('x = 1')",
    "open('/etc/passwd')",
    "getattr(x, 'a')",
    "globals()",
    "print(x)",
    "x.__class__",
    "x.a.__class__",
    "I(x.__class__.__mro__)",
    "().__class__",
    "x.sum()",
    "I(x.sum())",
    "np.log(x)",
    "np.load('a')",
    "os.system('true')",
    "x[0]",
    "I(x[0])",
    "I([c for c in x])",
    "I((c for c in x))",
    "I({x})",
    "I(lambda: x)",
    "I(x if z else w)",
    "I(x and z)",
    "I(not x)",
    "I((a := x))",
    "I(*x)",
    "I(**x)",
    "I(f'{x}')",
    "I('text')",
    "I(x, y)",
    "I(data=x)",
    "{x}",
    "{__import__('os')}",
    "I(x; z)",
    "I(x @ z)",
    "I(x | z)",
    "I(x & z)",
    "I(~x)",
    "I(x << 2)",
    "I(x // 2)",
    "I(a < x < b)",
    "I(x is z)",
    "I(yield)",
    "I(await x)",
    "I(import)",
    "C(f, __import__('os'))",
    "C(f, contr.__class__)",
    "C(f, contr.custom)",
    "C(f, contr.sum.x)",
    "C(log(x))",
    "poly(x, degree=d)",
    "poly(x, __import__('os'))",
    "bs(x, knots=[__import__('os')])",
    "bs(x, df=open('a'))",
    "`__class__`",
    "lag(x)",
    "hashed(x)",
    "Q('x')",
    "cs()",
    "I(" + "9" * 5000 + " * x)",
    "I(1e999 * x)",
    'I(x"',
    "x\x00",
]


@pytest.mark.parametrize("expression", HOSTILE)
@pytest.mark.parametrize(
    "formula",
    ["y ~ {} + (1 | g)", "{} ~ x + (1 | g)", "y ~ ({} | g)", "y ~ offset({}) + x"],
    ids=["fixed", "response", "random", "offset"],
)
def test_hostile_expressions(formula: str, expression: str) -> None:
    with pytest.raises(FormulaError):
        parse_formula(formula.replace("{}", expression))


@pytest.mark.parametrize(
    ("expression", "message"),
    [
        ("logg(x)", "the function logg() is not offered in formulas; did you mean 'log'?"),
        ("lag(x)", "a lag needs neighbouring rows"),
        ("factor(f)", "C(x) codes a column as a factor"),
        ("ns(x, 3)", "cr(x, df=...)"),
        ("I(x[0])", "'I(x[0])' holds indexing with [ ], which a formula may not"),
        ("I('a')", "holds a piece of text"),
        ("scale(x, centre=False)", "no argument 'centre'; did you mean 'center'?"),
        ("log(x, base=2)", "log() has no argument 'base'; it takes the column alone"),
        ("poly(x, 1, 2, 3)", "takes at most 3 arguments"),
        ("poly(x, d)", "'d' must be a number"),
        ("poly(x, 2, degree=3)", "'degree' is given twice"),
        ("C(f, contr.summ)", "'contr.summ' is not a contrast; did you mean 'contr.sum'?"),
        ("C(f, contr.sum(3))", "contr.sum takes at most 0 arguments"),
        ("C(f, contr.treatment(bas='a'))", "has no argument 'bas'; did you mean 'base'?"),
        ("C(log(x))", "C() takes the name of a column"),
        ("scale(center(x))", "center() stands inside scale()"),
        ("poly(scale(x), 2)", "scale() stands inside poly()"),
        ("I(poly(x, 2))", "poly() makes several columns"),
        ("log(C(f))", "C() makes several columns"),
        ("class", "write `class` in backticks"),
        ("__x", "two underscores"),
        ("I()", "needs the column it works on"),
        ("I(x +)", "cannot be read"),
    ],
)
def test_messages(expression: str, message: str) -> None:
    with pytest.raises(FormulaError) as raised:
        parse_formula(f"y ~ {expression} + (1 | g)")
    assert message in str(raised.value)


def test_the_list_of_functions_is_in_the_message() -> None:
    with pytest.raises(FormulaError, match=r"allowed are I, log, .* poly, bs, cr, cs, cc, C"):
        parse_formula("y ~ system(x)")


def test_misspelt_columns() -> None:
    columns = ["Reaction", "Days", "Subject"]
    with pytest.raises(FormulaError) as raised:
        check_columns(make_spec("Reaction ~ days + (1 | Subject)"), columns, "sleep.csv")
    assert str(raised.value) == (
        "The column 'days' of the model is not in sleep.csv; did you mean 'Days'?; its columns are "
        "'Reaction', 'Days', 'Subject'."
    )
    with pytest.raises(FormulaError, match="weights column 'w' of the model is not in the data"):
        check_columns(make_spec("Reaction ~ 1 + (1 | Subject)", weights="w"), columns)
