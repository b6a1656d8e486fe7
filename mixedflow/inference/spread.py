"""se(g(x)) = sqrt(dg/dx' H^-1 dg/dx): standard errors of variances, SDs and correlations.

Stands at "Standard errors of variances" in ``docs/algorithm.md``. H is the observed information of
x = [theta, psi, phi]; g, from parameters to components in the user's units, is arithmetic on small
matrices, so its slopes are central differences.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float
from mixedflow.estimation.observed import ObservedInformation
from mixedflow.estimation.parameters import VarianceParameters

STEP = 1e-5
"""Half the distance of two values of g, relative to the parameter's size."""

ON_EDGE = 1e-8
"""How near 1 a correlation's size is that has no standard error."""


@dataclass(frozen=True, slots=True)
class ComponentErrors:
    """Standard errors, NaN where there is none.

    Attributes
    ----------
    vcov, sdcor : (K,), of variances and covariances; of standard deviations and correlations
    """

    vcov: Float
    sdcor: Float


def component_errors(
    components: Callable[[VarianceParameters], tuple[Float, Float]],
    params: VarianceParameters,
    information: ObservedInformation,
    correlations: NDArray[np.bool_],
) -> ComponentErrors:
    """Return the standard errors of components by the delta method.

    Parameters
    ----------
    components : parameters -> vcov (K,), sdcor (K,)
    params : the estimates
    information : curvature there
    correlations : (K,), where ``sdcor`` is a correlation, not a standard deviation
    """
    vcov, sdcor = components(params)
    covariance = information.covariance
    slopes = _slopes(components, params, information.free)
    vcov_se, sdcor_se = (
        np.sqrt(np.maximum(np.einsum("ki,ij,kj->k", J, covariance, J), 0.0)) for J in slopes
    )
    vcov_se[(vcov == 0) | ~slopes[0].any(axis=1)] = np.nan
    edge = np.where(correlations, np.abs(sdcor) >= 1.0 - ON_EDGE, sdcor == 0)
    sdcor_se[edge | ~slopes[1].any(axis=1)] = np.nan
    return ComponentErrors(vcov_se, sdcor_se)


def _slopes(
    components: Callable[[VarianceParameters], tuple[Float, Float]],
    params: VarianceParameters,
    free: NDArray[np.bool_],
) -> tuple[Float, Float]:
    """Return dvcov/dx and dsdcor/dx, (K, r) each, zero for what is not free."""
    x, sizes = params.vector(), _sizes(params)
    here = components(params)
    slopes = tuple(np.zeros((len(values), len(x))) for values in here)
    for i in np.flatnonzero(free):
        step = np.zeros(len(x))
        step[i] = STEP * sizes[i]
        up, down = (components(params.with_vector(x + sign * step)) for sign in (1.0, -1.0))
        for slope, above, below in zip(slopes, up, down, strict=True):
            slope[:, i] = (above - below) / (2.0 * step[i])
    return slopes[0], slopes[1]


def _sizes(params: VarianceParameters) -> Float:
    """Return the size of every parameter: at least a tenth of the largest of its term."""
    own = [
        np.maximum(np.abs(theta), 0.1 * np.abs(theta).max(initial=1e-8)) for theta in params.theta
    ]
    return np.concatenate([*own, np.ones(len(params.psi) + 1)])
