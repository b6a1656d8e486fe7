"""Outcomes of a sweep as a table: one row a response and model.

Stands at "Sweeps" in ``docs/algorithm.md``. Columns of coefficients are ``estimate:x``, ``se:x``,
``df:x``, ``statistic:x``, ``p:x``; of variances ``sd:x|g``, ``cor:x.z|g``, ``sigma``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixedflow.covariance.registry import get_structure
from mixedflow.design.types import Float
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.outcome import Outcomes

NOT_CONVERGED = "not converged"
NO_VALUE = "no value"
CONSTANT = "constant"
INFINITE = "an infinite value"
FEW_ROWS = "too few rows: {n} for {p} fixed effects"
LACKING = "{lacking} of {rows} values are missing, and missing='error'"
EXACT = "fixed effects reproduce it exactly"
ALIASED = "a column is a sum of others in its rows"


def outcome_frame(
    model: SweepModel,
    traits: Sequence[str],
    found: Outcomes,
    more: Mapping[str, float] | None = None,
) -> pd.DataFrame:
    """Return a row a response; ``more`` are the residual structure's parameters."""
    deviance = found.minus2ll
    columns: dict[str, object] = {
        "trait": list(traits),
        "model": model.name,
        "subset": model.subset,
        "n": found.n_obs,
        "converged": found.converged,
        "singular": found.singular,
        "iterations": found.iterations,
        "logLik": -0.5 * deviance,
        "deviance": deviance,
        "AIC": deviance + 2.0 * found.n_params,
        "BIC": deviance + found.n_params * np.log(np.maximum(found.n_obs, 1)),
        "npar": found.n_params,
        "sigma": np.sqrt(found.sigma2),
        **_components(model, found),
        **{f"residual:{name}": value for name, value in (more or {}).items()},
    }
    parts = {
        "estimate": found.beta,
        "se": found.se,
        "df": found.df,
        "statistic": found.beta / found.se,
        "p": found.p,
    }
    for k, name in enumerate(model.coefficients):
        columns |= {f"{part}:{name}": values[:, k] for part, values in parts.items()}
    columns["error"] = np.where(found.converged, "", NOT_CONVERGED)
    return pd.DataFrame(columns)


def _components(model: SweepModel, found: Outcomes) -> dict[str, Float]:
    """Return SDs and correlations of random effects, and the share of a lone random intercept."""
    info = model.encoder.info
    out: dict[str, Float] = {}
    for term, G in zip(model.encoder.terms, found.G, strict=True):
        names = [info.factors[term.factor].columns[c] for c in term.columns]
        sd = np.sqrt(np.einsum("taa->ta", G))
        for i, name in enumerate(names):
            out[f"sd:{name}|{term.label}"] = sd[:, i]
        if not get_structure(term.structure).correlated:
            continue
        for i in range(len(names)):
            for j in range(i):
                product = sd[:, i] * sd[:, j]
                with np.errstate(divide="ignore", invalid="ignore"):
                    out[f"cor:{names[i]}.{names[j]}|{term.label}"] = G[:, i, j] / np.where(
                        product > 0, product, np.nan
                    )
    if model.spec.residual == "iid" and len(found.G) == 1 and found.G[0].shape[1] == 1:
        between = found.G[0][:, 0, 0]
        out["icc"] = between / (between + found.sigma2)
    return out
