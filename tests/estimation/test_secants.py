"""What scores show of the curvature: the Newton matrix, and how fast a fit closes in."""

from __future__ import annotations

import numpy as np
import pytest
from dense_problems import RECIPES, problem

from mixedflow.estimation.fit import estimate
from mixedflow.estimation.information import Information
from mixedflow.estimation.secants import NEAR, ROUNDING, Look, Secant, extended, with_secants


def test_a_quadratic_is_known_after_as_many_moves_as_parameters():
    rng = np.random.default_rng(4)
    H = rng.normal(size=(5, 5))
    H = H + H.T
    info = Information(np.zeros(5), np.eye(5), np.diag(rng.uniform(1, 2, 5)))
    moves = [Secant(s, H @ s) for s in rng.normal(size=(5, 5))]
    np.testing.assert_allclose(with_secants(info, moves).hessian, H, rtol=1e-9, atol=1e-9)
    known = with_secants(Information(np.zeros(5), np.eye(5), H), moves)
    np.testing.assert_allclose(known.hessian, H, rtol=0, atol=1e-12)


def test_moves_from_afar_and_moves_of_rounding_tell_nothing():
    point, score = np.ones(2), np.zeros(2)
    kept = (Secant(np.ones(2), np.ones(2)),)

    def after(decrement: float) -> int:
        return len(extended(Look(np.zeros(2), np.ones(2), decrement, kept), point, score))

    assert after(2.0 * NEAR) == 0
    assert after(0.5 * NEAR) == 2
    assert after(0.5 * ROUNDING) == 1


@pytest.mark.parametrize("reml", [True, False], ids=["reml", "ml"])
@pytest.mark.parametrize("name", list(RECIPES))
def test_a_fit_closes_in_to_rounding(name, reml):
    """A decrement of 1e-16 is 1e-8 standard errors; with the average information alone 1e-10 stays."""
    p = problem(name)
    fit = estimate(p.sums, p.terms, reml=reml)
    assert fit.converged
    assert fit.certificate.decrement < 1e-16
    assert len(fit.trace) <= 22
