"""q-values beside R's p.adjust and Bioconductor's qvalue."""

import json
from pathlib import Path

import numpy as np
import pytest

from mixedflow.errors import ConfigError
from mixedflow.sweeps.multiplicity import CUTS, checked_q, null_share, q_values, smoothed

REFERENCES = json.loads(
    (Path(__file__).parents[1] / "references" / "q_values.json").read_text(encoding="utf-8")
)


@pytest.mark.parametrize("name", REFERENCES)
def test_bh_is_p_adjust(name):
    one = REFERENCES[name]
    np.testing.assert_allclose(q_values(np.array(one["p"])), one["BH"], rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("name", REFERENCES)
def test_storey_is_qvalue(name):
    # R stops its search for the spline's smoothness where the degrees of freedom agree to 1e-5
    one = REFERENCES[name]
    p = np.array(one["p"])
    assert null_share(p) == pytest.approx(one["pi0"], rel=3e-5)
    np.testing.assert_allclose(q_values(p, "storey"), one["storey"], rtol=3e-5)


def test_missing_p_values_have_no_q_and_do_not_count():
    p = np.array([0.01, np.nan, 0.02, 0.5])
    q = q_values(p)
    assert np.isnan(q[1])
    np.testing.assert_allclose(q[[0, 2, 3]], q_values(p[[0, 2, 3]]))
    assert np.isnan(q_values(np.full(3, np.nan), "storey")).all()


def test_few_tests_are_not_thought_to_be_less_null_than_they_show():
    assert null_share(np.array([0.001, 0.002])) == 1.0
    assert null_share(np.array([])) == 1.0


def test_a_line_is_smoothed_to_itself():
    np.testing.assert_allclose(smoothed(CUTS, 2.0 + CUTS, 3.0), 2.0 + CUTS, atol=1e-10)


def test_another_method_is_refused_with_its_neighbour():
    assert checked_q("bh") == "BH"
    with pytest.raises(ConfigError, match="did you mean 'storey'"):
        checked_q("stoery")
