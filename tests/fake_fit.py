"""A fit made from the dense oracle at given variances, with the attributes of ``FitResult``.

For what no data set gives on demand: hostile names, a fit that did not converge, a million levels.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any

import numpy as np
import oracle
import pandas as pd
import pyarrow as pa
from scipy import stats

from mixedflow.design.types import DesignBlock, DesignInfo, FactorDesign, Pilots
from mixedflow.estimation.certificate import Certificate


def some_certificate(*, singular: bool = False) -> Certificate:
    return Certificate(
        converged=True,
        scaled_score=3.2e-8,
        decrement=1.1e-15,
        rel_change=2e-9,
        smallest_eigenvalue=0.41,
        boundary=(("Subject", singular),),
        em_monotone=True,
        minus2ll=1743.628,
        minus2ll_check=1743.628,
        check_path="sparse LU",
        condition_fixed=3.1,
        condition_information=8.2,
    )


@dataclass(frozen=True)
class FakeFit:
    spec: Any
    schema: Any
    fixef: pd.Series
    vcov: pd.DataFrame
    varcorr: pd.DataFrame
    ranef: dict[str, pd.DataFrame]
    ranef_se: dict[str, pd.DataFrame]
    sigma: float
    loglik: float
    nobs: int
    df_model: int
    trace: pd.DataFrame
    data_summary: dict[str, Any]
    reml: bool = True
    method: str = "auto"
    converged: bool = True
    singular: bool = False
    n_iter: int = 4
    messages: tuple[str, ...] = ()
    conditions: dict[str, float] = field(default_factory=lambda: {"X'X": 36.0, "system": 410.0})
    timings: dict[str, float] = field(default_factory=lambda: {"condense": 0.012, "fit": 0.034})
    versions: dict[str, str] = field(default_factory=lambda: {"mixedflow": "0", "numpy": "2"})
    certificate: Certificate = field(default_factory=some_certificate)
    monte_carlo: Any = None

    @property
    def deviance(self) -> float:
        return -2 * self.loglik

    @property
    def aic(self) -> float:
        return self.deviance + 2 * self.df_model

    @property
    def bic(self) -> float:
        return self.deviance + np.log(self.nobs) * self.df_model

    @property
    def n_levels(self) -> dict[str, int]:
        return {name: len(frame) for name, frame in self.ranef.items()}

    @property
    def coef_table(self) -> pd.DataFrame:
        beta, se = self.fixef, np.sqrt(np.diag(self.vcov))
        t = stats.t(self.nobs - len(beta))
        columns = {
            "estimate": beta,
            "se": se,
            "df": float(self.nobs - len(beta)),
            "statistic": beta / se,
            "p": 2.0 * t.sf(np.abs(beta / se)),
            "lower": beta - t.ppf(0.975) * se,
            "upper": beta + t.ppf(0.975) * se,
        }
        table = pd.DataFrame(columns, index=beta.index)
        table.attrs = {"ddf": "satterthwaite", "level": 0.95, "note": ""}
        return table


def varcorr_table(label: str, columns: list[str], G: np.ndarray, sigma2: float) -> pd.DataFrame:
    sd = np.sqrt(np.diag(G))
    rows = [(label, c, "", G[i, i], sd[i]) for i, c in enumerate(columns)]
    rows += [
        (label, columns[j], columns[i], G[i, j], G[i, j] / (sd[i] * sd[j]))
        for j in range(len(columns))
        for i in range(j + 1, len(columns))
        if G[i, j] != 0
    ]
    rows.append(("Residual", "", "", sigma2, np.sqrt(sigma2)))
    return pd.DataFrame(rows, columns=["group", "term1", "term2", "vcov", "sdcor"])


def some_trace(final: float) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "iteration": [1, 2, 3, 4],
            "step": ["px-em", "px-em", "ai", "ai"],
            "minus2ll": [final + 22.5, final + 3.1, final + 2e-4, final],
            "decrement": [np.nan, 2.8, 2e-4, 1.1e-15],
            "rel_change": [0.8, 0.2, 3e-3, 2e-9],
            "halvings": [0, 0, 0, 0],
            "seconds": [0.001] * 4,
        }
    )


def dense_fit(
    data: pd.DataFrame,
    response: str,
    x: list[str],
    group: str,
    z: list[str],
    variances: tuple[np.ndarray, float],
    **more: Any,
) -> FakeFit:
    """Return the fit of ``response ~ x + (z | group)``; ``(Intercept)`` is a column of ones."""
    G, sigma2 = variances
    one = data.assign(**{"(Intercept)": 1.0})
    labels = sorted({str(v) for v in data[group]})
    codes = data[group].astype(str).map(labels.index).to_numpy()
    model = oracle.DenseModel(
        one[x].to_numpy(float),
        data[response].to_numpy(float),
        [oracle.Term(codes, one[z].to_numpy(float))],
        weights=more.pop("weight_values", None),
    )
    point = model.at([G], sigma2)
    sd = np.sqrt(np.diagonal(model.cond_var([G], sigma2)[0], axis1=1, axis2=2))
    fixed = [name for name in x if name != "(Intercept)"]
    inner = [name if name != "(Intercept)" else "1" for name in z]
    formula = f"{response} ~ {' + '.join(['1', *fixed])} + ({' + '.join(inner)} | {group})"
    info = {
        "source": "sleepstudy.csv",
        "rows_in": len(data),
        "rows_used": len(data),
        "rows_dropped": 0,
        "missing": {},
    }
    given: dict[str, Any] = {
        "spec": SimpleNamespace(formula=formula, weights=None, variables=(response, *fixed, group)),
        "schema": SimpleNamespace(level_labels=lambda index: labels),
        "fixef": pd.Series(point.beta, index=x),
        "vcov": pd.DataFrame(point.vcov, index=x, columns=x),
        "varcorr": varcorr_table(group, z, G, sigma2),
        "ranef": {group: pd.DataFrame(model.blup([G], sigma2)[0], index=labels, columns=z)},
        "ranef_se": {group: pd.DataFrame(sd, index=labels, columns=z)},
        "sigma": float(np.sqrt(sigma2)),
        "loglik": -point.minus2ll / 2,
        "nobs": len(data),
        "df_model": len(x) + len(z) * (len(z) + 1) // 2 + 1,
        "trace": some_trace(point.minus2ll),
        "data_summary": info,
    }
    return FakeFit(**(given | more))


def sleepstudy_fit(data: pd.DataFrame, **more: Any) -> FakeFit:
    """Return lme4's REML fit of ``Reaction ~ Days + (Days | Subject)``."""
    G = np.array([[612.089906561396, 9.60434327862127], [9.60434327862127, 35.0716574667473]])
    names = ["(Intercept)", "Days"]
    return dense_fit(data, "Reaction", names, "Subject", names, (G, 25.5918157652774**2), **more)


@dataclass(frozen=True)
class FrameSource:
    """A data frame cut into partitions."""

    data: pd.DataFrame
    cuts: tuple[int, ...]
    name: str = "the data frame"

    @property
    def n_partitions(self) -> int:
        return len(self.cuts) - 1

    def row_offset(self, index: int) -> int:
        return self.cuts[index]

    def read(self, index: int, columns: Any) -> pa.Table:
        part = self.data.iloc[self.cuts[index] : self.cuts[index + 1]]
        return pa.Table.from_pandas(part[list(columns)], preserve_index=False)


@dataclass(frozen=True)
class FrameEncoder:
    """``response ~ x + (z | group)`` by hand."""

    response: str
    x: tuple[str, ...]
    group: str
    z: tuple[str, ...]
    labels: tuple[str, ...]
    weights: str | None = None

    @property
    def info(self) -> DesignInfo:
        factor = FactorDesign(self.group, (self.group,), self.z, len(self.labels))
        nothing = Pilots(np.zeros(0), np.zeros(0), np.zeros(0), np.zeros(0), (), ())
        return DesignInfo((self.response,), self.x, 0, (factor,), (0,), nothing)

    def variables(self) -> tuple[str, ...]:
        known = [name for name in (*self.x, *self.z) if name != "(Intercept)"]
        return tuple(dict.fromkeys([self.response, *known, self.group]))

    def encode(self, table: pa.Table, where: Any = None) -> DesignBlock:
        data = table.to_pandas().assign(**{"(Intercept)": 1.0})
        kept = data.notna().all(axis=1).to_numpy()
        used = data[kept]
        codes = used[self.group].astype(str).map(self.labels.index).to_numpy()
        return DesignBlock(
            X=used[list(self.x)].to_numpy(float),
            y=used[[self.response]].to_numpy(float),
            Z=(used[list(self.z)].to_numpy(float),),
            codes=(codes.astype(np.int64),),
            weights=None if self.weights is None else used[self.weights].to_numpy(float),
            offset=None,
            rows_in=len(data),
            kept=kept,
            missing={},
        )


def sleepstudy_encoder(data: pd.DataFrame) -> FrameEncoder:
    labels = tuple(sorted({str(v) for v in data["Subject"]}))
    names = ("(Intercept)", "Days")
    return FrameEncoder("Reaction", names, "Subject", names, labels)
