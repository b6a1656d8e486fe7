"""NIST StRD one-way analysis of variance: the mean squares from the REML fit.

The 11 files come with scipy. Balanced data, and in all of them the F statistic is above one, so the
REML optimum of ``y ~ 1 + (1 | treatment)`` is interior and is the analysis of variance exactly:
sigma2 = within mean square, sigma2 + n var_treatment = between mean square. (With F < 1 REML would
put the variance at zero and pool the two; a test asserts that no file needs that.)

What float64 allows is worked out, not assumed: the analysis of variance of the numbers as float64
stores them is computed exactly in rational arithmetic. The fit has to agree with that answer to
1e-12, and with the certified value as far as the exact answer itself does: SmLs07-09 hold 1e12 + 0.4
and the like, where the last stored bit is 1.2e-4 and takes all but three or four digits with it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from fractions import Fraction
from functools import cache
from pathlib import Path

import pandas as pd
import pytest
import scipy

FOLDER = Path(scipy.__file__).parent / "stats" / "tests" / "data" / "nist_anova"
NAMES = ["SiRstv", "AtmWtAg", *(f"SmLs{i:02d}" for i in range(1, 10))]
LARGE = ("SmLs03", "SmLs06", "SmLs09")  # 18,009 rows


@dataclass(frozen=True)
class Certified:
    """One file: its certified mean squares (between, within), the labels and the response text."""

    between: float
    within: float
    labels: list[str]
    values: list[str]

    @property
    def per_treatment(self) -> int:
        return len(self.values) // len(set(self.labels))


@cache
def nist(name: str) -> Certified:
    text = (FOLDER / f"{name}.dat").read_text()

    def span(what: str) -> list[str]:
        first, last = re.search(rf"{what}\s+\(lines (\d+) to (\d+)\)", text).groups()
        return text.splitlines()[int(first) - 1 : int(last)]

    def mean_square(source: str) -> float:
        row = next(line for line in span("Certified Values") if line.startswith(source))
        return float(re.findall(r"\d\.\d+E[+-]\d+", row)[1])

    rows = [line.split() for line in span("Data") if line.strip()]
    labels, values = [row[0] for row in rows], [row[1] for row in rows]
    return Certified(mean_square("Between"), mean_square("Within"), labels, values)


@cache
def exact_mean_squares(name: str) -> tuple[Fraction, Fraction]:
    """Return (between, within) of the float64-stored responses, in rational arithmetic."""
    data = nist(name)
    groups: dict[str, list[Fraction]] = {}
    for label, text in zip(data.labels, data.values, strict=True):
        groups.setdefault(label, []).append(Fraction(float(text)))
    n = sum(len(values) for values in groups.values())
    grand = sum(sum(values) for values in groups.values()) / n
    means = {label: sum(values) / len(values) for label, values in groups.items()}
    between = sum(len(values) * (means[label] - grand) ** 2 for label, values in groups.items())
    within = sum((v - means[label]) ** 2 for label, values in groups.items() for v in values)
    return between / (len(groups) - 1), within / (n - len(groups))


def fitted_mean_squares(name: str) -> tuple[float, float]:
    import mixedflow as mf

    data = nist(name)
    frame = pd.DataFrame({"treatment": data.labels, "y": [float(v) for v in data.values]})
    fit = mf.fit("y ~ 1 + (1 | treatment)", frame)
    assert fit.converged
    assert not fit.singular
    variances = fit.varcorr.set_index("group")["vcov"]
    within = float(variances["Residual"])
    return within + data.per_treatment * float(variances["treatment"]), within


def relative(ours: float, exact: Fraction | float) -> float:
    return float(abs(Fraction(ours) - Fraction(exact)) / abs(Fraction(exact)))


def test_all_files_are_there_and_balanced():
    assert sorted(path.stem for path in FOLDER.glob("*.dat")) == sorted(NAMES)
    for name in NAMES:
        data = nist(name)
        assert {data.labels.count(label) for label in set(data.labels)} == {data.per_treatment}


@pytest.mark.parametrize("name", NAMES)
def test_every_optimum_is_interior(name):
    between, within = exact_mean_squares(name)
    assert between > within


@pytest.mark.parametrize("name", NAMES)
def test_mean_squares(name):
    fitted = fitted_mean_squares(name)
    exact = exact_mean_squares(name)
    certified = (nist(name).between, nist(name).within)
    for ours, stored, published in zip(fitted, exact, certified, strict=True):
        assert relative(ours, stored) <= 1e-12
        attainable = relative(float(stored), published)
        assert relative(ours, published) <= attainable + 1e-12


def test_what_float64_allows():
    """The digits that the stored numbers can carry at all; the tables of docs quote these."""
    digits = {
        name: min(
            15.0 if gap == 0 else -math.log10(gap)
            for gap in (
                relative(float(stored), published)
                for stored, published in zip(
                    exact_mean_squares(name), (nist(name).between, nist(name).within), strict=True
                )
            )
        )
        for name in NAMES
    }
    assert digits["SiRstv"] > 12
    assert all(digits[f"SmLs{i:02d}"] > 12 for i in (1, 2, 3))
    assert all(digits[f"SmLs{i:02d}"] > 8 for i in (4, 5, 6))
    assert all(2 < digits[f"SmLs{i:02d}"] < 6 for i in (7, 8, 9))
