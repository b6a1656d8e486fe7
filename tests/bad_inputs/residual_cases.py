"""Residual structures that cannot be, or that the data cannot carry."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from bad_inputs.cases import Case, csv, frame, with_value

import mixedflow as mf
from mixedflow.errors import (
    DataError,
    FormulaError,
    MixedflowError,
    UnsupportedError,
)

FIXED = "y ~ x"


def residual(
    name: str,
    text: str,
    error: type[MixedflowError],
    *says: str,
    formula: str = FIXED,
    shown: str = "",
    flags: tuple[str, ...] = (),
    options: dict[str, Any] | None = None,
    **columns: Any,
) -> Case:
    """Return a case of ``residual=``, tried as a frame and as CSV."""
    return Case(
        name,
        shown or f"residual='{text}'",
        error,
        says,
        files={"data.csv": csv(**columns)},
        call=lambda: mf.fit(formula, frame(**columns), residual=text, **(options or {})),
        command=("fit", "data.csv", formula, "--residual", text, "--out", "out", *flags),
    )


def asked(
    name: str, text: str, shown: str, *says: str, of: Callable[[mf.FitResult], object]
) -> Case:
    """Return a case of something that a fit with this structure does not have."""
    return Case(
        name,
        shown,
        UnsupportedError,
        says,
        call=lambda: of(mf.fit(FIXED, frame(), residual=text)),
    )


RESIDUAL = [
    residual(
        "structure misspelt", "us1(x | g)", UnsupportedError, "'us1'", "did you mean 'us'", "'ar1'"
    ),
    residual(
        "variance a function of a column",
        "varPower(x)",
        UnsupportedError,
        "'varPower' is not offered",
        "no finite set of sums",
        "strata(...)",
        "weights=",
    ),
    residual("power of a column", "power(x)", UnsupportedError, "no finite set", "strata(...)"),
    residual("Gaussian in space", "sp_gau(x | g)", UnsupportedError, "sp_exp(x, y | g)"),
    residual("nlme's varIdent", "varIdent(1 | sex)", UnsupportedError, "write strata(...)"),
    residual("nlme's corAR1", "corAR1(x | g)", UnsupportedError, "write ar1(t | g)"),
    residual("nlme's corCAR1", "corCAR1(x | g)", UnsupportedError, "write car1(t | g)"),
    residual("nlme's corExp", "corExp(x | g)", UnsupportedError, "write sp_exp(x, y | g)"),
    residual("nlme's corSymm", "corSymm(x | g)", UnsupportedError, "write us(visit | g)"),
    residual("nlme's corCompSymm", "corCompSymm(1 | g)", UnsupportedError, "write cs(1 | g)"),
    residual(
        "two coordinates", "car1(x, z | g)", UnsupportedError, "one column", "2 were", "sp_exp"
    ),
    residual("a coordinate twice", "sp_exp(x, x | g)", FormulaError, "'x' twice"),
    residual("no coordinate after a comma", "sp_exp(x, | g)", FormulaError, "nothing was found"),
    residual("a coordinate that is not there", "sp_exp(x, zz | g)", FormulaError, "'zz'", "'x'"),
    residual("a coordinate that is text", "sp_exp(x, sex | g)", DataError, "'sex'", "a coordinate"),
    residual(
        "a point twice",
        "sp_exp(x, h | g)",
        DataError,
        "'x, h' holds the same position",
        "row 1",
        "row 2",
        shown="residual='sp_exp(x, h | g)', rows 1 and 2 of group a at one point",
        x=with_value("x", 2, 0.0),
        h=[1.0] * len(frame()),
    ),
    residual(
        "a coordinate without end",
        "sp_exp(x, h | g)",
        DataError,
        "'h'",
        "infinite",
        shown="residual='sp_exp(x, h | g)', h infinite in a row",
        h=[float("inf")] + [1.0] * (len(frame()) - 1),
    ),
    residual("no groups", "ar1", FormulaError, "'ar1' needs groups", "us(visit | subject)"),
    residual("no bar", "us(x)", FormulaError, "one bar", "us(visit | subject)"),
    residual("no times", "car1(1 | g)", FormulaError, "car1 needs a column of times", "ar1(1 | g)"),
    residual("a sum for a column", "us(x + z | g)", FormulaError, "a column name is needed"),
    residual("a column that is not there", "us(visit | g)", FormulaError, "'visit'", "'x'"),
    residual("a column twice", "us(x | g/g)", FormulaError, "'g' twice"),
    residual("a product of two structures", "us(x | g) * ar1(x | g)", UnsupportedError, "strata("),
    residual(
        "a position twice",
        "us(x | g)",
        DataError,
        "g = a",
        "row 1",
        "row 2",
        shown="residual='us(x | g)', rows 1 and 2 of group a with x = 0",
        x=with_value("x", 2, 0.0),
    ),
    residual(
        "positions that are no whole numbers",
        "ar1(x | g)",
        DataError,
        "row 2",
        "x = 0.5",
        "car1(x | g)",
        shown="residual='ar1(x | g)', x = 0.5",
        x=with_value("x", 2, 0.5),
    ),
    residual(
        "no two rows of a group",
        "ar1(1 | g)",
        DataError,
        "ar1(1 | g)",
        "no group has two rows",
        "residual='iid'",
        shown="residual='ar1(1 | g)', every row a group of its own",
        g=[f"g{k}" for k in range(len(frame()))],
    ),
    residual("strata that differ within a group", "us(x | sex/g)", DataError, "sex", "row"),
    residual(
        "crossed factor within the groups of R",
        "ar1(x | g)",
        UnsupportedError,
        "'h'",
        formula="y ~ x + (1 | h)",
        shown="y ~ x + (1 | h), residual='ar1(x | g)'",
    ),
    residual(
        "conjugate gradients",
        "ar1(x | g)",
        UnsupportedError,
        "'pcg'",
        "'auto'",
        formula="y ~ x + (1 | g)",
        shown="residual='ar1(x | g)', solver 'pcg'",
        flags=("--solver", "pcg"),
        options={"control": mf.FitControl(solver="pcg")},
    ),
    residual(
        "conjugate gradients for crossed factors",
        "strata(g)",
        UnsupportedError,
        "'pcg'",
        "independent or weighted residuals",
        "'auto'",
        formula="y ~ x + (1 | g) + (1 | h)",
        shown="y ~ x + (1 | g) + (1 | h), residual='strata(g)', solver 'pcg'",
        flags=("--solver", "pcg"),
        options={"control": mf.FitControl(solver="pcg")},
    ),
    Case(
        "sharded",
        "residual='ar1(x | g)', sharded=True",
        UnsupportedError,
        ("residual",),
        call=lambda: mf.fit("y ~ x + (1 | g)", frame(), residual="ar1(x | g)", sharded=True),
    ),
    asked(
        "covariance over positions that have no names",
        "ar1(x | g)",
        "fit.residual_cov of residual='ar1(x | g)'",
        "residual_params",
        "us(visit | subject)",
        of=lambda fit: fit.residual_cov,
    ),
    asked(
        "residuals of another kind",
        "ar1(x | g)",
        "fit.residuals('person')",
        "'person'",
        "did you mean 'pearson'",
        "'normalized'",
        of=lambda fit: fit.residuals("person"),  # type: ignore[arg-type]
    ),
    Case(
        "structure misspelt in a configuration",
        "residual: us1(x | g)",
        UnsupportedError,
        ("models.one", "'us1'", "did you mean 'us'"),
        files={
            "data.csv": csv(),
            "config.yaml": "data:\n  trial: {path: data.csv}\nmodels:\n  one:\n    data: trial\n"
            '    formula: y ~ x\n    residual: "us1(x | g)"\n',
        },
        command=("check", "--config", "config.yaml"),
    ),
]
RESIDUALS = {"Residual structures": RESIDUAL}
