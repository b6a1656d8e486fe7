"""What every residual structure must do, in every basis it can be computed from.

The registry is walked. The other route is dense: the basis matrices B_k written out, R0 of every
group, and central differences.
"""

from __future__ import annotations

from itertools import combinations_with_replacement
from types import SimpleNamespace

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from mixedflow.covariance import registry
from mixedflow.covariance.autoregressive import AutoregressiveResidual
from mixedflow.covariance.registry import get_residual, residual_structures
from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.covariance.residual_weights import (
    psi_names,
    residual_matrix,
    residual_plan,
    residual_weights,
    start_psi,
)
from mixedflow.errors import FitError, UnsupportedError

M = 5
PATTERNS = (0b11111, 0b10011, 0b01010, 0b00100, 0b11010)
TIMES = np.array([0.0, 0.3, 1.7, 2.2, 9.0])
POINTS = np.column_stack([TIMES, [1.0, -0.5, 0.0, 2.0, 3.25]])
CASES = [
    pytest.param(name, basis, strata, id=f"{name}-{basis}-{len(strata)}")
    for name, structure in residual_structures().items()
    for basis in structure.bases
    for strata in (("",), ("a", "b", "c"))
]
every = pytest.mark.parametrize(("name", "basis", "strata"), CASES)


class Dense:
    """Groups with missing positions, their basis matrices, and R0 written out."""

    def __init__(self, name, basis, strata, n_groups=30, *, common=False):
        self.rng = np.random.default_rng([1, *map(ord, name)])
        self.over_points = basis == "pairs" and get_residual(name).over_points
        labels = [f"{a}, {b}" for a, b in POINTS] if self.over_points else "vwxyz"
        self.design = ResidualDesign(
            name,
            basis,
            positions=tuple(labels) if basis == "pairs" else (),
            strata=strata,
            largest=M if basis == "sizes" else 0,
            common=common,
        )
        self.structure = get_residual(name).at(self.design.positions)
        self.real = basis == "gaps" and name != "ar1"
        patterns = [*PATTERNS, *self.rng.choice(PATTERNS, n_groups - len(PATTERNS))]
        self.groups = [
            (k % len(strata), np.flatnonzero([int(mask) >> p & 1 for p in range(M)]))
            for k, mask in enumerate(patterns)
        ]
        self.n = sum(len(positions) for _, positions in self.groups)
        self.B, self.count, at = {}, {}, 0
        for stratum, positions in self.groups:
            getattr(self, basis)(stratum, positions, at)
            at += len(positions)
        self.keys = sorted(self.B)
        self.counts = [self.count[key] for key in self.keys]
        names = psi_names(self.design)
        self.psi = start_psi(self.design, self.keys, self.counts)
        self.psi = self.psi + 0.3 * self.rng.normal(size=len(names))

    def add(self, key, entries, count=0):
        B = self.B.setdefault(key, np.zeros((self.n, self.n)))
        for i, j in entries:
            B[i, j] += 1.0
            B[j, i] += float(i != j)
        self.count[key] = self.count.get(key, 0) + count

    def strata(self, s, positions, at):
        self.add((s, 0), [(at + i, at + i) for i in range(len(positions))], len(positions))

    def sizes(self, s, positions, at):
        n = len(positions)
        self.add((s << 32 | n, 0), [(at + i, at + i) for i in range(n)], 1)
        both = combinations_with_replacement(range(n), 2)
        self.add((s << 32 | n, 1), [(at + i, at + j) for i, j in both], 1)

    def gaps(self, s, positions, at):
        self.strata(s, positions, at)
        for i, gap in enumerate(np.diff(TIMES[positions] if self.real else positions)):
            code = int(np.float64(gap).view(np.uint64)) if self.real else int(gap)
            here, there = at + i, at + i + 1
            self.add((s, 1 + 2 * code), [(here, here), (there, there)], 1)
            self.add((s, 2 + 2 * code), [(here, there)], 1)

    def pairs(self, s, positions, at):
        mask = sum(1 << int(p) for p in positions)
        for i, j in combinations_with_replacement(range(len(positions)), 2):
            element = int(positions[i] * M + positions[j])
            self.add((s << 62 | mask, element), [(at + i, at + j)], 1)

    def R0(self, psi):
        out, at = np.zeros((self.n, self.n)), 0
        strata = len(self.design.strata)
        count = (len(psi) - strata + 1) // strata
        common = self.design.common
        first = [0 if common else s * (count + 1) for s in range(strata)]
        if common:
            count = len(psi) - strata + 1
        for s, positions in self.groups:
            own = psi[first[s] :][:count]
            log_sd = psi[count + s - 1 if common else first[s] - 1] if s else 0.0
            variance = np.exp(2.0 * log_sd)
            stop = at + len(positions)
            if self.real:
                t = TIMES[positions]
                block = np.exp(-np.exp(own[0]) * np.abs(t[:, None] - t))
            elif self.over_points:
                x = POINTS[positions]
                block = np.exp(-np.exp(own[0]) * np.linalg.norm(x[:, None] - x, axis=2))
            else:
                block = self.structure.matrix(own, M)[np.ix_(positions, positions)]
            out[at:stop, at:stop] = variance * block
            at = stop
        return out

    def weights(self, psi):
        return residual_weights(self.design, self.keys, self.counts, psi)


@every
def test_weights_make_the_dense_inverse_under_five_missing_patterns(name, basis, strata):
    dense = Dense(name, basis, strata)
    found, R = dense.weights(dense.psi), dense.R0(dense.psi)
    inverse = sum(f * dense.B[key] for f, key in zip(found.f, dense.keys, strict=True))
    assert_allclose(inverse, np.linalg.inv(R), rtol=1e-12, atol=1e-12)
    assert_allclose(found.logdet, np.linalg.slogdet(R)[1], rtol=1e-12, atol=1e-12)


@every
def test_likelihood_from_sums_is_the_dense_one(name, basis, strata):
    dense = Dense(name, basis, strata)
    e = dense.rng.normal(size=dense.n)
    s_k = np.array([e @ dense.B[key] @ e for key in dense.keys])
    f, logdet = residual_plan(dense.design, dense.keys, dense.counts).values(dense.psi)
    R = dense.R0(dense.psi)
    direct = np.linalg.slogdet(R)[1] + e @ np.linalg.solve(R, e)
    assert_allclose(logdet + f @ s_k, direct, rtol=1e-12)


@every
def test_derivatives_against_differences(name, basis, strata):
    dense, step = Dense(name, basis, strata), 1e-5
    found = dense.weights(dense.psi)
    for i, unit in enumerate(np.eye(len(dense.psi))):
        up, down = (dense.weights(dense.psi + s * step * unit) for s in (1, -1))
        assert_allclose(found.df[i], (up.f - down.f) / (2 * step), rtol=1e-6, atol=1e-7)
        slope = (up.logdet - down.logdet) / (2 * step)
        assert_allclose(found.dlogdet[i], slope, rtol=1e-6, atol=1e-7)


@every
def test_slopes_are_those_of_the_weights(name, basis, strata):
    dense = Dense(name, basis, strata)
    s_k, found = dense.rng.normal(size=len(dense.keys)), dense.weights(dense.psi)
    of_sum, of_log = residual_plan(dense.design, dense.keys, dense.counts).slopes(dense.psi, s_k)
    assert_allclose(of_sum, found.df @ s_k, rtol=1e-11, atol=1e-12)
    assert_allclose(of_log, found.dlogdet, rtol=1e-11, atol=1e-12)


@every
def test_any_psi_within_the_limits_can_be_inverted(name, basis, strata):
    dense = Dense(name, basis, strata)
    plan = residual_plan(dense.design, dense.keys, dense.counts)
    low, high = plan.limits
    assert len(low) == len(high) == len(dense.psi)
    assert (low < dense.psi).all()
    assert (dense.psi < high).all()
    for point in (low, high, dense.rng.uniform(low, high)):
        try:
            found = plan.weights(point)
        except FitError:  # several correlations of one at a time
            assert len(point) > len(strata)
            continue
        assert np.isfinite(found.f).all()
        assert np.isfinite(found.df).all()


@every
def test_parameters_are_counted_and_named(name, basis, strata):
    design = Dense(name, basis, strata).design
    names = psi_names(design)
    assert len(set(names)) == len(names) == len(start_psi(design))
    structure = get_residual(name)
    assert structure.name == name
    assert structure.title
    assert set(structure.nested_in) <= set(residual_structures())
    assert structure.basis == structure.bases[0]


@pytest.mark.parametrize(("name", "basis"), [("ar1", "gaps"), ("us", "pairs"), ("cs", "sizes")])
def test_strata_may_share_all_but_their_variances(name, basis):
    dense = Dense(name, basis, ("a", "b", "c"), common=True)
    found, R = dense.weights(dense.psi), dense.R0(dense.psi)
    assert len(dense.psi) == dense.structure.n_params(M) + 2
    inverse = sum(f * dense.B[key] for f, key in zip(found.f, dense.keys, strict=True))
    assert_allclose(inverse, np.linalg.inv(R), rtol=1e-12, atol=1e-12)
    assert_allclose(found.logdet, np.linalg.slogdet(R)[1], rtol=1e-12)
    plan = residual_plan(dense.design, dense.keys, dense.counts)
    s_k = dense.rng.normal(size=len(dense.keys))
    of_sum, of_log = plan.slopes(dense.psi, s_k)
    for i, unit in enumerate(np.eye(len(dense.psi))):
        up, down = (plan.values(dense.psi + s * 1e-5 * unit) for s in (1, -1))
        assert_allclose(found.df[i], (up[0] - down[0]) / 2e-5, rtol=1e-6, atol=1e-7)
        assert_allclose(of_sum[i], (up[0] - down[0]) @ s_k / 2e-5, rtol=1e-6, atol=1e-6)
        assert_allclose(of_log[i], (up[1] - down[1]) / 2e-5, rtol=1e-6, atol=1e-6)
    assert (plan.limits[0] < plan.limits[1]).all()


@pytest.mark.parametrize("name", residual_structures())
@pytest.mark.parametrize("size", [1, 2, 3, 6])
def test_matrix(name, size):
    """The reference position has variance one; heterogeneous structures free the others."""
    structure, rng = get_residual(name), np.random.default_rng(size)
    psi = structure.start(size) + rng.normal(size=structure.n_params(size))
    assert len(structure.param_names(tuple("abcdef"[:size]))) == structure.n_params(size)
    R, dR = structure.matrix(psi, size), structure.derivatives(psi, size)
    assert R[0, 0] == 1.0
    assert_array_equal(R, R.T)
    assert np.linalg.eigvalsh(R)[0] > 0
    assert structure.heterogeneous or (np.diag(R) == 1.0).all()
    assert dR.shape == (len(psi), size, size)
    for i, unit in enumerate(np.eye(len(psi))):
        up, down = (structure.matrix(psi + s * 1e-5 * unit, size) for s in (1, -1))
        assert_allclose(dR[i], (up - down) / 2e-5, rtol=1e-7, atol=1e-8)


@pytest.mark.parametrize(
    "name", [n for n, s in residual_structures().items() if "pairs" in s.bases]
)
def test_a_structure_lies_in_those_it_is_nested_in(name):
    """Over named positions: the correlations and variances are found again in the wider one."""
    structure = get_residual(name)
    psi = structure.start(4) + 0.4 * np.random.default_rng(3).normal(size=structure.n_params(4))
    R = structure.matrix(psi, 4)
    sd = np.sqrt(np.diag(R))
    for wider in map(get_residual, structure.nested_in):
        own = wider.correlation.nearest(R / np.outer(sd, sd))
        found = np.concatenate([np.log(sd[1:]) if wider.heterogeneous else [], own])
        assert_allclose(wider.matrix(found, 4), R, rtol=1e-12, atol=1e-13)


def test_the_matrix_of_a_stratum_has_its_variance():
    design = ResidualDesign("ar1", "pairs", positions=("a", "b", "c"), strata=("f", "m"))
    R = residual_matrix(design, np.array([0.3, np.log(2.0), -0.3]), 1)
    rho = np.tanh(-0.3)
    assert_allclose(R, 4.0 * np.array([[1, rho, rho**2], [rho, 1, rho], [rho**2, rho, 1]]))


def test_compound_symmetry_may_be_negative_down_to_the_largest_group():
    design = ResidualDesign("cs", "sizes", largest=1000)
    plan = residual_plan(design, [(1000, 0), (1000, 1)], [3, 3])
    weights = plan.weights(np.array([-8.0]))
    assert 0 < weights.f[1] < np.inf
    assert np.isfinite(weights.logdet)


def test_gaps_tell_the_unit_of_time():
    """A week between visits, counted in days or seconds, starts at the same correlation."""
    for name, unit in [("ar1", 7), ("car1", 7.0), ("car1", 604800.0)]:
        code = int(unit) if name == "ar1" else int(np.float64(unit).view(np.uint64))
        psi = start_psi(ResidualDesign(name, "gaps"), [(0, 0), (0, 1 + 2 * code)], [9, 7])
        r, _ = get_residual(name).gap_correlation(float(psi[0]), np.array([float(unit)]))
        assert_allclose(r, 0.3, rtol=1e-10)


def test_an_unknown_name_is_told_what_there_is():
    with pytest.raises(UnsupportedError, match=r"'arl' is not offered.*'toep'.*mean 'ar1'"):
        get_residual("arl")


def test_an_entry_point_adds_a_residual_structure(monkeypatch):
    monkeypatch.setattr(registry, "_RESIDUAL", dict(registry._RESIDUAL))

    def load():
        @registry.register_residual
        class Twin(AutoregressiveResidual):
            name = "twin"

        return Twin

    point = SimpleNamespace(name="twin", load=load)
    groups = {"mixedflow.residual": [point]}
    monkeypatch.setattr(registry, "entry_points", lambda group: groups.get(group, []))
    assert get_residual("twin").title == "first-order autoregressive"
