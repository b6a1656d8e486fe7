"""The page of models whose residuals have a structure."""

from __future__ import annotations

import re

import helpers
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.report.page import ModelSection, ReportInput, render_report
from mixedflow.report.residual_tables import residual_tables


def orthodont() -> pd.DataFrame:
    return helpers.data_frame("Orthodont")


def page(fit: mf.FitResult) -> str:
    return render_report(ReportInput((ModelSection("one", fit),)))


def test_covariance_over_positions_is_a_table_a_stratum() -> None:
    fit = mf.fit("distance ~ age*Sex", orthodont(), residual="us(age | Sex/Subject)")
    parameters, *matrices = residual_tables(fit)
    assert parameters.caption == "Residuals: unstructured"
    assert [table.caption for table in matrices] == [
        "Covariance of residuals, Female",
        "Covariance of residuals, Male",
    ]
    R = fit.residual_cov
    assert isinstance(R, dict)
    cells = matrices[0].rows
    assert [row[0].text for row in cells] == ["8", "10", "12", "14"]
    assert float(cells[1][2].exact) == R["Female"].loc["10", "10"]
    assert float(cells[0][2].exact) == R["Female"].loc["8", "10"]
    sd = R["Female"].to_numpy().diagonal() ** 0.5
    wanted = R["Female"].loc["10", "8"] / (sd[0] * sd[1])
    assert float(cells[1][1].exact) == pytest.approx(wanted, rel=1e-14)


def test_without_random_effects_nothing_is_said_of_them() -> None:
    html = page(mf.fit("distance ~ age", orthodont(), residual="cs(1 | Subject)"))
    assert "<code>cs(1 | Subject)</code>" in html
    assert "Residuals: compound symmetry" in html
    assert "Variances and standard deviations" not in html
    assert not re.search(r"Groups\s*</caption>", html)


def test_random_effects_and_residuals_stand_side_by_side() -> None:
    fit = mf.fit("distance ~ age + (1 | Subject)", orthodont(), residual="strata(Sex)")
    html = page(fit)
    for part in ("Variances and standard deviations", "sd ratio", "Female", "Male"):
        assert part in html
    assert residual_tables(mf.fit("distance ~ age + (1 | Subject)", orthodont())) == []
