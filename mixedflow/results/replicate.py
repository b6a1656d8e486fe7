"""One draw of a bootstrap as a fit: coefficients and variances, nothing that needs rows or levels.

Stands at "Bootstrap" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedflow.design.types import DesignInfo, Float, TermDesign
from mixedflow.errors import DataError
from mixedflow.estimation.fit import fixed_effects, term_covariances
from mixedflow.inference.components import VarianceComponent, variance_components
from mixedflow.inference.redrawn import Refitted
from mixedflow.inference.residual import strata_of
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, slots=True, eq=False)
class ReplicateNames:
    """What the numbers of a replicate are called.

    Attributes
    ----------
    info, terms : of the design
    coefficients : the fixed effects
    """

    info: DesignInfo
    terms: tuple[TermDesign, ...]
    coefficients: tuple[str, ...]


@dataclass(frozen=True, slots=True, eq=False, repr=False)
class Replicate:
    """A fit of one draw, in the user's units.

    Attributes
    ----------
    beta : (p,), vcov : (p, p), fixed effects and their covariance
    G : (q_j, q_j) a random term
    sigma2 : residual variance
    psi : parameters of a residual structure
    loglik : (restricted) log-likelihood
    converged, singular : as of a fit
    names : of all these
    """

    beta: Float
    vcov: Float
    G: tuple[Float, ...]
    sigma2: float
    psi: Float
    loglik: float
    converged: bool
    singular: bool
    names: ReplicateNames

    @property
    def fixef(self) -> pd.Series:
        """Fixed effects by name."""
        return pd.Series(self.beta, index=list(self.names.coefficients), name="estimate")

    @property
    def sigma(self) -> float:
        """Residual standard deviation of a row of weight 1."""
        return float(np.sqrt(self.sigma2))

    @property
    def R(self) -> tuple[Float, ...]:
        """Covariance of residuals of weight 1, a matrix a stratum over its positions, (1, 1) without."""
        design = self.names.info.residual
        if design is None:
            return (np.array([[self.sigma2]]),)
        return tuple(one.R for one in strata_of(design, self.psi, self.sigma2))

    @property
    def varcorr(self) -> pd.DataFrame:
        """Variance components: group, term1, term2, vcov, sdcor."""
        columns = ["group", "term1", "term2", "vcov", "sdcor"]
        return pd.DataFrame(self.components(), columns=columns)

    @property
    def icc(self) -> pd.Series:
        """Shares of variance of the random intercepts: G_j / (sum_k G_k + sigma2), by term."""
        if any(one.shape != (1, 1) for one in self.G):
            raise DataError("icc is for random intercepts; this model has random slopes")
        own = np.array([one[0, 0] for one in self.G])
        labels = pd.Index([t.label for t in self.names.terms], name="group", dtype=object)
        return pd.Series(own / (own.sum() + self.sigma2), index=labels, name="icc")

    def components(self) -> list[VarianceComponent]:
        """Return the rows of ``varcorr``."""
        names = self.names
        return variance_components(names.info, names.terms, self.G, self.sigma2, self.psi)

    def parameters(self) -> dict[str, float]:
        """Return fixed effects, SDs and correlations by the names that ``confint`` has."""
        out = dict(zip(self.names.coefficients, self.beta.tolist(), strict=True))
        for row in self.components():
            out[component_name(row)] = row.sdcor
        return out


def component_name(row: VarianceComponent) -> str:
    """Return ``sd_x|g``, ``cor_x.(Intercept)|g``, ``sigma``, or what a residual structure has."""
    if row.group == "Residual":
        parts = [part for part in (row.term1, row.term2) if part]
        what = "cor" if row.term2 else "sigma"
        if not parts:
            return what
        if len(parts) == 1 and row.term2:
            return parts[0]
        return f"{what}_{'.'.join(parts)}"
    if row.term2:
        return f"cor_{row.term2}.{row.term1}|{row.group}"
    return f"sd_{row.term1}|{row.group}"


def names_of(fit: FitResult) -> ReplicateNames:
    """Return the names of a fit's numbers."""
    info = fit.crossproducts.info
    return ReplicateNames(info, fit.encoder.terms, tuple(fit.coefficient_names))


def replicate_of(fit: FitResult) -> Replicate:
    """Return the fit itself as a replicate."""
    found = fit.estimates
    return Replicate(
        beta=found.beta,
        vcov=found.vcov,
        G=found.G,
        sigma2=found.sigma2,
        psi=found.params.psi,
        loglik=fit.loglik,
        converged=fit.converged,
        singular=fit.singular,
        names=names_of(fit),
    )


def replicate(found: Refitted, names: ReplicateNames) -> Replicate:
    """Return a fit to other sums of the same design as a replicate."""
    settled = found.settled
    beta, vcov = fixed_effects(settled)
    return Replicate(
        beta=beta,
        vcov=vcov,
        G=term_covariances(settled),
        sigma2=settled.system.fixed_scale.y_scale**2 * settled.params.sigma2,
        psi=settled.params.psi,
        loglik=-0.5 * settled.minus2ll,
        converged=found.converged,
        singular=found.singular,
        names=names,
    )


def values_of(found: Any) -> dict[str, float]:
    """Return what a statistic gave as numbers by name.

    Raises
    ------
    DataError
        if it is neither a number, nor numbers by name, nor a list of numbers.
    """
    if isinstance(found, Mapping):
        found = pd.Series(dict(found))
    try:
        if isinstance(found, pd.Series):
            return {str(name): float(value) for name, value in found.items()}
        values = np.asarray(found, dtype=float)
    except (TypeError, ValueError):
        values = np.empty((0, 0))
    if values.ndim == 0:
        return {"statistic": float(values)}
    if values.ndim != 1 or not len(values):
        raise DataError(
            "statistic must return a number, a list of numbers, or numbers by name; it returned "
            f"{type(found).__name__}"
        )
    return {f"statistic_{k}": float(value) for k, value in enumerate(values)}
