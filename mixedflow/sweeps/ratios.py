"""Likelihood-ratio tests between the models of a sweep, trait by trait.

Stands at "Sweeps" in ``docs/algorithm.md``; what is said of a test is what ``mixedflow.compare`` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from mixedflow.design.types import Float, Int
from mixedflow.inference.ratio import (
    RandomPart,
    extra_variances,
    nested,
    random_part,
    same_residuals,
)
from mixedflow.linalg.late import special
from mixedflow.results.comparison import FALL
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.multiplicity import QMethod, q_values

Identity: TypeAlias = tuple[str, str, bool]

COLUMNS = ("trait", "test", "subset", "chisq", "df", "p", "p_mixture", "q", "note")


@dataclass(frozen=True, slots=True)
class Pair:
    """Two models of one test, in one subset.

    Attributes
    ----------
    test : its name
    small, large : the models whose likelihoods are compared
    """

    test: str
    small: SweepModel
    large: SweepModel


def fixed_part(model: SweepModel) -> frozenset[str]:
    """Return the columns of the fixed part, with the offsets."""
    return frozenset((*model.coefficients, *(e.text for e in model.spec.parsed.offsets)))


def ratio_tests(
    pairs: list[Pair], frames: Mapping[Identity, pd.DataFrame], q: QMethod
) -> pd.DataFrame:
    """Return a row a trait and test.

    Parameters
    ----------
    pairs : the tests
    frames : a model's rows by its identity, in the order of the traits
    q : how q-values are found, over the traits of a test in a subset
    """
    parts = [_tested(pair, frames, q) for pair in pairs]
    if not parts:
        return pd.DataFrame({name: pd.Series(dtype=object) for name in COLUMNS})
    return pd.concat(parts, ignore_index=True)


def _tested(pair: Pair, frames: Mapping[Identity, pd.DataFrame], q: QMethod) -> pd.DataFrame:
    small, large = frames[pair.small.identity], frames[pair.large.identity]
    usable = ((small["error"] == "") & (large["error"] == "")).to_numpy()
    same = (small["n"].to_numpy() == large["n"].to_numpy()) & usable
    gain = small["deviance"].to_numpy() - large["deviance"].to_numpy()
    df = (large["npar"].to_numpy() - small["npar"].to_numpy()).astype(np.int64)
    statistic = np.where(same, np.maximum(gain, 0.0), np.nan)
    p = np.where(df > 0, chi2_above(statistic, df), np.nan)
    zeros, mixed = _zeros(pair)
    p_mixture = np.full(len(p), np.nan)
    if mixed:
        half = 0.5 * (chi2_above(statistic, df - 1) + chi2_above(statistic, df))
        p_mixture = np.where(df > 0, half, np.nan)
    notes = _notes(pair, small, large, 0 if mixed else zeros)
    for t in np.flatnonzero(usable & ~same):
        notes[t] = [f"fits of different rows: {small['n'].iloc[t]} and {large['n'].iloc[t]}"]
    fell = gain < -FALL * np.maximum(1.0, 1e-6 * np.abs(large["deviance"].to_numpy()))
    for t in np.flatnonzero(same & fell):
        notes[t].append("the larger model has the lower likelihood")
    for t in np.flatnonzero(same & small["singular"].to_numpy(dtype=bool)):
        notes[t].append("the smaller model is on the boundary")
    return pd.DataFrame(
        {
            "trait": small["trait"].to_numpy(),
            "test": pair.test,
            "subset": pair.small.subset,
            "chisq": statistic,
            "df": df,
            "p": p,
            "p_mixture": p_mixture,
            "q": q_values(np.where(np.isfinite(p_mixture), p_mixture, p), q),
            "note": ["; ".join(one) for one in notes],
        }
    )


def chi2_above(statistic: Float, df: Int) -> Float:
    """Return P(chi2_df >= x); chi2_0 is 0 for certain."""
    some = special.chdtrc(np.maximum(df, 1), statistic)
    none = np.where(np.isnan(statistic), np.nan, (statistic <= 0).astype(float))
    out: Float = np.where(df > 0, some, none)
    return out


def _zeros(pair: Pair) -> tuple[int | None, bool]:
    """Return how many variances are tested at zero (None: not told), and whether that is all."""
    zeros = extra_variances(*_random(pair))
    alike = same_residuals(pair.small.spec, pair.large.spec)
    same = fixed_part(pair.small) == fixed_part(pair.large)
    return zeros, zeros == 1 and alike and same


def _random(pair: Pair) -> tuple[RandomPart, RandomPart]:
    one, two = (random_part(m.encoder.info, m.encoder.terms) for m in (pair.small, pair.large))
    return one, two


def _notes(
    pair: Pair, small: pd.DataFrame, large: pd.DataFrame, zeros: int | None
) -> list[list[str]]:
    """Return what a reader of every trait's test should know."""
    alike = same_residuals(pair.small.spec, pair.large.spec)
    known = fixed_part(pair.small) <= fixed_part(pair.large) and nested(*_random(pair)) and alike
    out: list[list[str]] = []
    for a, b, more in zip(
        small["error"], large["error"], large["npar"] - small["npar"], strict=True
    ):
        said = [f"the smaller model: {a}"] if a else []
        said += [f"the larger model: {b}"] if b else []
        if not said:
            if more <= 0:
                said.append("no parameter more")
            if not known:
                said.append("not seen to be nested")
            elif zeros:
                said.append("a variance is tested at zero besides other parameters: p is too large")
        out.append(said)
    return out
