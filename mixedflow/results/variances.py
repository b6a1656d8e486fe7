"""Tables of variances: their standard errors, the parameters of R, the covariance over positions.

Stands at "Standard errors of variances" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from mixedflow.covariance.residual_weights import residual_matrix
from mixedflow.design.types import Float
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.observed import observed_information
from mixedflow.estimation.parameters import VarianceParameters, term_structures, term_units
from mixedflow.estimation.problem import Problem
from mixedflow.inference.components import VarianceComponent, variance_components
from mixedflow.inference.residual import ResidualParameter, residual_parameters
from mixedflow.inference.spread import component_errors
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult

NO_SLOPE = (
    "standard errors of variance components stand in the exact slope of the likelihood, which the "
    "solver 'pcg' only estimates; use a solver that factorises: solver='auto', 'sparse', 'schur' "
    "or 'dense'"
)


def errors_table(fit: FitResult, problem: Problem) -> pd.DataFrame:
    """Return ``varcorr`` with standard errors and a note where there is none."""
    if fit.monte_carlo is not None:
        raise UnsupportedError(NO_SLOPE)
    params = fit.estimates.params

    def components(at: VarianceParameters) -> tuple[Float, Float]:
        rows = _components(fit, problem.system, at)
        return np.array([row.vcov for row in rows]), np.array([row.sdcor for row in rows])

    table = fit.varcorr.copy()
    correlations = (table["term2"] != "").to_numpy()
    information = observed_information(problem, params)
    errors = component_errors(components, params, information, correlations)
    table.insert(4, "se", errors.vcov)
    table["se_sdcor"] = errors.sdcor
    table["note"] = _notes(table, definite=bool(np.isfinite(information.covariance).all()))
    return table


def _components(
    fit: FitResult, system: ModelSystem, params: VarianceParameters
) -> list[VarianceComponent]:
    """Return the components at other parameters than the estimates."""
    y_scale, terms = system.fixed_scale.y_scale, fit.encoder.terms
    G = [
        y_scale**2 * (T @ structure.matrix(theta, len(T)) @ T.T)
        for structure, theta, T in zip(
            term_structures(system), params.theta, term_units(system), strict=True
        )
    ]
    info, sigma2 = fit.crossproducts.info, y_scale**2 * params.sigma2
    return variance_components(info, terms, G, sigma2, params.psi)


def _notes(table: pd.DataFrame, *, definite: bool) -> list[str]:
    """Return why a row lacks standard errors."""
    lacking = table["se"].isna() & table["se_sdcor"].isna()
    if not definite:
        return ["the information is not positive definite"] * len(table)
    pair = table["term2"] != ""
    zero = np.where(pair, ~(table["sdcor"].abs() < 1.0), table["sdcor"] == 0)
    edge = pair & (table["sdcor"].abs() >= 1.0 - 1e-8)
    return [
        "on the boundary" if bound else "not estimated" if none else ""
        for bound, none in zip((lacking & zero) | edge, lacking, strict=True)
    ]


def residual_table(fit: FitResult) -> pd.DataFrame:
    """Return the parameters of R: sigma alone where residuals are independent and alike."""
    design, estimates = fit.crossproducts.info.residual, fit.estimates
    rows = [ResidualParameter("", "sigma", fit.sigma)]
    if design is not None:
        rows = residual_parameters(design, estimates.params.psi, estimates.sigma2)
    return pd.DataFrame(rows, columns=["stratum", "parameter", "estimate"])


def residual_covariance(fit: FitResult) -> pd.DataFrame | dict[str, pd.DataFrame]:
    """Return R over the positions, a frame a stratum where there are strata."""
    design, estimates = fit.crossproducts.info.residual, fit.estimates
    if design is None or not design.positions:
        raise UnsupportedError(
            f"residual='{fit.spec.residual}' has no named positions to lay a covariance matrix out "
            "over; residual_params has its parameters, and residual_cov is for structures over "
            "positions, such as us(visit | subject)"
        )
    index = pd.Index(design.positions, name=design.position)
    psi, frames = estimates.params.psi, {}
    for s, label in enumerate(design.strata):
        R = estimates.sigma2 * residual_matrix(design, psi, s)
        frames[label] = pd.DataFrame(R, index=index, columns=index)
    return frames if design.stratum else frames[""]
