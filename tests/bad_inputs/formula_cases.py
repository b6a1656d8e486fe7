"""Formulas that cannot be read, or that ask for something that formulas may not do."""

from __future__ import annotations

from typing import Any

from bad_inputs.cases import Case, csv, frame

import mixedflow as mf
from mixedflow.errors import DataError, FormulaError, MixedflowError, UnsupportedError

SENTINEL = "executed"
"""File that a hostile formula would make if anything of it were executed."""
TOUCH = f"open('{SENTINEL}', 'w')"


def formula(
    name: str, text: str, error: type[MixedflowError], *says: str, until: str = "", **columns: Any
) -> Case:
    """Return a case that fits a formula to the good data, in memory and from CSV."""
    return Case(
        name,
        text,
        error,
        says,
        files={"data.csv": csv(**columns)},
        call=lambda: mf.fit(text, frame(**columns)),
        command=("fit", "data.csv", text, "--out", "out"),
        until=until,
    )


READING = [
    formula("empty", " ", FormulaError, "is empty", "y ~ x + (1 | g)"),
    formula("no tilde", "y + x + (1 | g)", FormulaError, "no '~'"),
    formula("two tildes", "y ~ x ~ (1 | g)", FormulaError, "2 '~'"),
    formula("no response", "~ x + (1 | g)", FormulaError, "no response"),
    formula("nothing on the right", "y ~", FormulaError, "nothing on the right"),
    formula("plus at the end", "y ~ x + (1 | g) +", FormulaError, "'+' at its end"),
    formula(
        "two operators", "y ~ x + * z + (1 | g)", FormulaError, "`+*`", until="cannot be read:"
    ),
    formula("parenthesis not closed", "y ~ x + (1 | g", FormulaError, "lacks a ')'"),
    formula("parenthesis not opened", "y ~ x + 1 | g)", FormulaError, "never opened"),
    formula("stray character", "y ~ x + (1 | g) ; z", FormulaError, "';'"),
    formula("no random term", "y ~ x", FormulaError, "no random term", "such as (1 | "),
    formula("nothing right of the bar", "y ~ x + (1 | )", FormulaError, "'(1 |)'", "(1 + x | g)"),
    formula("nothing left of the bar", "y ~ x + ( | g)", FormulaError, "'(| g)'", "(1 + x | g)"),
    formula("bar without parentheses", "y ~ x + 1 | g", FormulaError, "'1 | g'", "in parentheses"),
    formula("three bars", "y ~ x + (1 | g | h)", FormulaError, "'(1 | g | h)'"),
    formula("random term as response", "(1 | g) ~ x", FormulaError, "'(1 | g)'", "allowed are"),
    formula("random term taken away", "y ~ x - (1 | g)", FormulaError, "cannot be subtracted"),
    formula("nothing random but 0", "y ~ x + (0 | g)", FormulaError, "no column left of the bar"),
    formula(
        "function of the group",
        "y ~ x + (1 | log(g))",
        FormulaError,
        "'log(g)'",
        "right of the bar",
    ),
    formula(
        "several responses",
        "cbind(y, z) ~ x + (1 | g)",
        UnsupportedError,
        "'cbind(y, z)'",
        "one numeric response",
    ),
    formula(
        "same column twice by one group",
        "y ~ x + (1 + x | g) + (x | g)",
        FormulaError,
        "not identified",
        "'(Intercept)'",
        "'g'",
    ),
    formula("group combined with itself", "y ~ x + (1 | g:g)", FormulaError, "'g:g'", "twice"),
    formula("response on the right", "y ~ x + y + (1 | g)", FormulaError, "'y'", "right of '~'"),
    formula("response as group", "y ~ x + (1 | y)", FormulaError, "'y'"),
    formula("number as a term", "y ~ 2 * x + (1 | g)", FormulaError, "the number 2", "I(2 * x)"),
    formula("power too high", "y ~ (x + z)^99 + (1 | g)", FormulaError, "1 to 8"),
    formula(
        "unknown structure",
        "y ~ x + spatial(1 + x | g)",
        UnsupportedError,
        "'spatial'",
        "'us', 'diag', 'id', 'cs'",
    ),
    formula(
        "factors of a structure not said",
        "y ~ x + fa(0 + x | g)",
        FormulaError,
        "fa(0 + site | g, 2)",
        "found none",
    ),
    formula(
        "argument of a structure that takes none",
        "y ~ x + cs(1 + x | g, 2)",
        FormulaError,
        "'cs'",
        "found 2",
    ),
    formula(
        "known matrix not symmetric",
        "y ~ x + fixed(1 + x | g, [[1, 2], [3, 9]])",
        FormulaError,
        "row 1, column 2 holds 2",
    ),
    formula(
        "known matrix not positive semidefinite",
        "y ~ x + fixed(1 + x | g, [[1, 2], [2, 1]])",
        FormulaError,
        "smallest eigenvalue is -1",
    ),
    formula(
        "misspelt structure",
        "y ~ x + dig(1 + x | g)",
        UnsupportedError,
        "'dig'",
        "did you mean 'diag'?",
    ),
    formula("weights in the formula", "y ~ x + weights(w) + (1 | g)", FormulaError, "weights='w'"),
    formula(
        "far too long",
        "y ~ " + "x + " * 30000 + "(1 | g)",
        FormulaError,
        "120,011 characters",
        "10,000",
    ),
]

COLUMNS = [
    formula(
        "misspelt column",
        "y ~ x + sexx + (1 | g)",
        FormulaError,
        "'sexx'",
        "did you mean 'sex'?",
        "'y', 'x', 'z'",
    ),
    formula("misspelt response", "yy ~ x + (1 | g)", FormulaError, "'yy'", "did you mean 'y'?"),
    formula("misspelt group", "y ~ x + (1 | G)", FormulaError, "'G'", "did you mean 'g'?"),
    formula(
        "misspelt function",
        "y ~ lgo(x) + (1 | g)",
        FormulaError,
        "lgo()",
        "did you mean 'log'?",
        "allowed are",
    ),
    formula(
        "function of another library",
        "y ~ np.log(x) + (1 | g)",
        FormulaError,
        "np.log()",
        "did you mean 'log'?",
    ),
    formula(
        "misspelt argument",
        "y ~ poly(x, degre=2) + (1 | g)",
        FormulaError,
        "'degre'",
        "did you mean 'degree'?",
    ),
    formula(
        "misspelt contrast",
        "y ~ C(sex, contr.summ) + (1 | g)",
        FormulaError,
        "'contr.summ'",
        "did you mean 'contr.sum'?",
    ),
    formula(
        "arguments too many", "y ~ log(x, 2, 3) + (1 | g)", FormulaError, "log() takes at most"
    ),
    formula("poly of text", "y ~ poly(sex, 2) + (1 | g)", DataError, "'sex'", "row 1", "'female'"),
    formula("poly of degree 0", "y ~ poly(x, 0) + (1 | g)", FormulaError, "1 to 10"),
    formula(
        "poly of too few values", "y ~ poly(x, 4) + (1 | g)", DataError, "more than 4 distinct"
    ),
    formula("spline with too few df", "y ~ bs(x, df=2) + (1 | g)", FormulaError, "at least 3"),
    formula(
        "spline inside a function",
        "y ~ I(bs(x, df=4)^2) + (1 | g)",
        FormulaError,
        "bs()",
        "cannot stand inside",
    ),
    formula(
        "arithmetic on text", "y ~ I(sex^2) + (1 | g)", DataError, "I(sex^2)", "row 1", "'female'"
    ),
    formula(
        "offset of text", "y ~ x + offset(sex) + (1 | g)", DataError, "'sex'", "offset", "row 1"
    ),
    formula("offset in a product", "y ~ x * offset(z) + (1 | g)", FormulaError, "by itself"),
    formula(
        "logarithm of a negative number",
        "y ~ log(z) + (1 | g)",
        DataError,
        "'log(z)'",
        "row 1",
        "-2",
        "3 such rows",
    ),
    formula(
        "logarithm of zero in the response",
        "log(x) ~ z + (1 | g)",
        DataError,
        "'log(x)'",
        "row 1",
        "6 such rows",
    ),
    formula(
        "scale of a constant",
        "y ~ scale(k) + (1 | g)",
        DataError,
        "'scale(k)'",
        "constant (3)",
        k=[3.0] * 24,
    ),
    formula(
        "expression without a column", "y ~ I(2 + 3) + (1 | g)", FormulaError, "reads no column"
    ),
]

HOSTILE = [
    formula("attribute", "y ~ x.__class__ + (1 | g)", FormulaError, "two underscores"),
    formula(
        "attribute of a function", f"y ~ x.apply({TOUCH}) + (1 | g)", FormulaError, "x.apply()"
    ),
    formula("dunder", "y ~ __import__('os') + (1 | g)", FormulaError, "__import__()"),
    formula(
        "import", "y ~ I(__import__('os').system('touch executed')) + (1 | g)", FormulaError, "'.'"
    ),
    formula("import statement", "y ~ import os + (1 | g)", FormulaError, "'import'"),
    formula("eval", f'y ~ eval("{TOUCH}") + (1 | g)', FormulaError, "eval()"),
    formula("exec", f'y ~ exec("{TOUCH}") + (1 | g)', FormulaError, "exec()"),
    formula("open", f"y ~ {TOUCH} + (1 | g)", FormulaError, "open()"),
    formula("lambda", f"y ~ I((lambda: {TOUCH})()) + (1 | g)", FormulaError, "not an expression"),
    formula("subscript", f"y ~ I(x[{TOUCH}]) + (1 | g)", FormulaError, "indexing"),
    formula("text", "y ~ 'x' + (1 | g)", FormulaError, "'x'"),
    formula("code in backticks", f"y ~ `{TOUCH}` + (1 | g)", FormulaError, "not in"),
    formula(
        "code as an argument",
        f"y ~ poly(x, degree={TOUCH}) + (1 | g)",
        FormulaError,
        "must be a number",
    ),
    formula("code as a contrast", f"y ~ C(sex, {TOUCH}) + (1 | g)", FormulaError, "not a contrast"),
    formula("keyword trick", f"y ~ log(x, **{{'a': {TOUCH}}}) + (1 | g)", FormulaError, "'{'"),
    formula("star trick", f"y ~ log(*[{TOUCH}]) + (1 | g)", FormulaError, "first argument"),
    formula("comprehension", f"y ~ I([{TOUCH} for i in x]) + (1 | g)", FormulaError, "'for'"),
    formula("assignment", f"y ~ I(x := {TOUCH}) + (1 | g)", FormulaError, "not an expression"),
    formula(
        "f-string",
        f'y ~ I(f"{{{TOUCH}}}") + (1 | g)',
        FormulaError,
        "cannot be read",
        until="cannot be read:",
    ),
    formula("code as a group", f"y ~ x + (1 | {TOUCH})", FormulaError, "right of the bar"),
    formula("code as the response", f"I({TOUCH}) ~ x + (1 | g)", FormulaError, "open()"),
    formula(
        "nested too deeply",
        "y ~ I(" + "(" * 400 + "x" + ")" * 400 + ") + (1 | g)",
        FormulaError,
        "nested",
        until="cannot be read:",
    ),
    formula(
        "power that never ends",
        "y ~ I(9^9^9^9 * x) + (1 | g)",
        DataError,
        "no finite value",
        "24 such rows",
    ),
]
FORMULAS = {"Reading the formula": READING, "Columns and functions": COLUMNS, "Code": HOSTILE}
