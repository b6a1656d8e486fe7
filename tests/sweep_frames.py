"""Tables of sweeps, made up."""

from __future__ import annotations

import dataclasses

import numpy as np
import pandas as pd

from mixedflow.report import SweepSection

FORMULAS = {"full": '~ x + C(z, "sum") + (1 | g)', "null": "~ 1 + (1 | g)"}
COEFFICIENTS = {"full": ("(Intercept)", "x"), "null": ("(Intercept)",)}


@dataclasses.dataclass(frozen=True)
class Found:
    """What a sweep's result offers a page."""

    table: pd.DataFrame
    tests: pd.DataFrame
    spec: dict = dataclasses.field(default_factory=dict)

    @property
    def failures(self) -> pd.DataFrame:
        return self.table[self.table["error"] != ""]


def model_frame(model, traits, rng, coefficients=None):
    """Return the rows of one model, numbers drawn by chance."""
    t = len(traits)
    between, sigma = rng.chisquare(2, t) / 4, 0.5 + rng.random(t)
    logLik = rng.normal(-700, 3, t)
    columns = {
        "trait": list(traits), "model": model, "subset": "all", "n": 500, "converged": True,
        "singular": between < 0.02, "iterations": rng.integers(3, 9, t), "logLik": logLik,
        "deviance": -2 * logLik, "AIC": -2 * logLik + 6, "BIC": -2 * logLik + 18, "npar": 3,
        "sigma": sigma, "sd:(Intercept)|g": np.sqrt(between), "icc": between / (between + sigma**2),
    }  # fmt: skip
    q = {}
    for name in coefficients or COEFFICIENTS[model]:
        estimate, p = rng.normal(size=t), rng.random(t)
        columns |= {
            f"estimate:{name}": estimate, f"se:{name}": 0.1, f"df:{name}": 90.0 + rng.random(t),
            f"statistic:{name}": estimate / 0.1, f"p:{name}": p,
        }  # fmt: skip
        q[f"q:{name}"] = np.minimum(1.0, 3 * p)
    return pd.DataFrame({**columns, "error": "", "seconds": 1e-3, **q})


def with_failure(frame, row, reason):
    """Return the frame with a reason in place of one fit."""
    out = frame.copy()
    numbers = [c for c in out.columns if out[c].dtype.kind == "f" and c != "seconds"]
    out.loc[row, numbers] = np.nan
    out.loc[row, ["converged", "singular"]] = False
    out.loc[row, "error"] = reason
    return out


def tests_frame(traits, rng):
    """Return a likelihood-ratio test a trait."""
    p = rng.random(len(traits))
    return pd.DataFrame(
        {
            "trait": list(traits), "test": "x", "subset": "all", "chisq": rng.chisquare(1, len(p)),
            "df": 1, "p": p, "q": p, "note": "",
        }
    )  # fmt: skip


def section(traits, *, models=("full",), failures=None, seed=7):
    """Return a sweep of these traits; ``failures`` is row -> reason."""
    rng = np.random.default_rng(seed)
    frame = pd.concat([model_frame(m, traits, rng) for m in models], ignore_index=True)
    for row, reason in (failures or {}).items():
        frame = with_failure(frame, row, reason)
    tests = tests_frame(traits, rng)
    if len(models) == 1:
        tests = tests.iloc[:0]
    return SweepSection("cells", Found(frame, tests), "Cells & genes", formulas=FORMULAS)
