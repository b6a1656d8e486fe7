"""A correlation of one where the first pivot of F is small: a ridge that the first search creeps along."""

import numpy as np
import pandas as pd
import pytest

import mixedflow as mf
from mixedflow.estimation.control import FitControl


def _slopes_without_intercepts(seed: int) -> pd.DataFrame:
    rng = np.random.default_rng(seed)
    g, x = rng.integers(0, 40, 1200), rng.normal(50, 3, 1200)
    y = 100 + 0.3 * x + (x - 50) * rng.normal(size=40)[g] * 0.15 + rng.normal(size=1200)
    return pd.DataFrame({"y": y, "x": x, "g": g, "one": 1.0})


@pytest.mark.parametrize("seed", [0, 50, 71])
def test_a_ridge_is_climbed_to_the_optimum_of_other_columns(seed):
    data = _slopes_without_intercepts(seed)
    fit = mf.fit("y ~ x + (x | g)", data)
    other = mf.fit("y ~ x + (0 + x + one | g)", data)
    assert fit.converged
    assert fit.singular
    assert fit.deviance == pytest.approx(other.deviance, abs=1e-7)
    assert fit.certificate.minus2ll_check == pytest.approx(fit.deviance, abs=1e-8)
    iterations = fit.trace["iteration"]
    assert (np.diff(iterations) >= 0).all()


def test_the_fit_survives_its_file_and_has_degrees_of_freedom(tmp_path):
    fit = mf.fit("y ~ x + (x | g)", _slopes_without_intercepts(0))
    fit.save(tmp_path / "fit")
    again = mf.load(tmp_path / "fit")
    pd.testing.assert_series_equal(again.fixef, fit.fixef)
    assert np.isfinite(fit.infer().coef_table["df"]).all()


def test_a_search_that_was_cut_short_on_request_stays_so():
    control = FitControl(max_iter=3)
    fit = mf.fit("y ~ x + (x | g)", _slopes_without_intercepts(0), control=control)
    assert not fit.converged
    assert fit.n_iter == 3


def test_the_turned_columns_are_the_same_model():
    from mixedflow.design.encode import Encoder
    from mixedflow.estimation.problems import exact_problem
    from mixedflow.estimation.turned import _directions, _turned

    fit = mf.fit("y ~ x + (x | g)", _slopes_without_intercepts(3))
    problem = exact_problem(fit.crossproducts, Encoder(fit.spec, fit.schema).terms, reml=True)
    theta = (np.array([0.4, -0.2, 0.3]),)
    params = fit.estimates.params.with_vector(np.concatenate([*theta, [-0.1]]))
    bases, turned = _directions(problem.system, params)
    from dataclasses import replace

    other = replace(problem, system=_turned(problem.system, bases))
    assert other.evaluate_at(turned).minus2ll == pytest.approx(
        problem.evaluate_at(params).minus2ll, abs=1e-9
    )
