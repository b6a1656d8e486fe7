"""What every engine must do, whoever adds it: M_zz by its parts against one dense matrix.

``ENGINES`` is walked, so a new engine is tested from the moment it is there. Systems that an engine
cannot do are left out by ``plan_engine``'s own verdict. All errors are relative to the largest entry;
1e-12 allows for condition numbers of some hundreds.
"""

from __future__ import annotations

import functools

import numpy as np
import pytest

from mixedflow.equations import choice
from mixedflow.equations.choice import ENGINES, plan_engine
from mixedflow.equations.engines import (
    NoneEngine,
    RandomMatrix,
    RandomPattern,
    stack,
    unstack,
)
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.estimation.control import SOLVERS
from mixedflow.linalg.complement import DenseComplement

# name -> (levels, columns) a factor, share of the pairs of levels that meet
SYSTEMS: dict[str, tuple[tuple[tuple[int, int], ...], float]] = {
    "one, q=1": (((40, 1),), 0.0),
    "one, q=2": (((30, 2),), 0.0),
    "one, q=3": (((11, 3),), 0.0),
    "one level": (((1, 2),), 0.0),
    "two": (((23, 1), (7, 1)), 0.4),
    "two, the second larger": (((6, 2), (31, 1)), 0.5),
    "two, equal sizes": (((12, 2), (12, 2)), 0.3),
    "two, q=3 and 2": (((15, 3), (9, 2)), 0.25),
    "two, all meet": (((9, 2), (5, 3)), 1.0),
    "three": (((20, 1), (12, 2), (6, 1)), 0.3),
    "three, the middle largest": (((5, 2), (25, 3), (7, 1)), 0.4),
    "three, the last largest": (((4, 1), (6, 3), (30, 2)), 0.35),
    "four": (((8, 1), (9, 2), (14, 1), (5, 1)), 0.3),
    "nested": (((24, 1), (6, 2)), -1.0),
    "nested twice": (((24, 2), (8, 1), (4, 1)), -1.0),
}


def random_matrix(name, seed=0, zero=None):
    """Return M_zz = F'Z'R^-1ZF + I of random rows; the factors of ``zero`` have F = 0."""
    shapes, share = SYSTEMS[name]
    rng = np.random.default_rng([seed, *map(ord, name)])
    codes = _codes(rng, shapes, share)
    n = len(codes[0])
    Z = [rng.normal(size=(n, q)) * (1.0, 0.0)[f == zero] for f, (_, q) in enumerate(shapes)]
    diagonal = []
    for (L, q), z, c in zip(shapes, Z, codes, strict=True):
        part = np.tile(np.eye(q), (L, 1, 1))
        np.add.at(part, c, z[:, :, None] * z[:, None, :])
        diagonal.append(part)
    pairs = {}
    for f in range(len(shapes)):
        for h in range(f + 1, len(shapes)):
            keys, local = np.unique(codes[f] * shapes[h][0] + codes[h], return_inverse=True)
            values = np.zeros((len(keys), shapes[f][1], shapes[h][1]))
            np.add.at(values, local, Z[f][:, :, None] * Z[h][:, None, :])
            pairs[f, h] = (keys // shapes[h][0], keys % shapes[h][0], values)
    return RandomMatrix(tuple(diagonal), pairs)


def _codes(rng, shapes, share):
    """Return level codes of rows; a share < 0 nests every factor in the next one."""
    L = [levels for levels, _ in shapes]
    n = 6 * max(L)
    if share < 0:
        first = np.r_[np.arange(L[0]), rng.integers(0, L[0], n)]
        return [first * size // L[0] for size in L]
    grid = np.stack(np.meshgrid(*map(np.arange, L), indexing="ij")).reshape(len(L), -1)
    kept = grid[:, rng.random(grid.shape[1]) < max(share, 0.02)] if share < 1 else grid
    kept = kept[:, rng.permutation(kept.shape[1])[:n]]
    return list(np.concatenate([kept, kept[:, ::3]], axis=1))  # some cells twice, some levels never


def dense(matrix):
    """Return M_zz as one array, entry by entry, and where every factor's effects start."""
    shapes = matrix.shapes
    starts = np.cumsum([0, *(L * q for L, q in shapes)])
    M = np.zeros((starts[-1], starts[-1]))
    for f, part in enumerate(matrix.diagonal):
        q = shapes[f][1]
        for level, small in enumerate(part):
            at = starts[f] + level * q
            M[at : at + q, at : at + q] = small
    for (f, h), (rows, cols, values) in matrix.pairs.items():
        for row, col, small in zip(rows, cols, values, strict=True):
            i, j = starts[f] + row * shapes[f][1], starts[h] + col * shapes[h][1]
            M[i : i + small.shape[0], j : j + small.shape[1]] = small
            M[j : j + small.shape[1], i : i + small.shape[0]] = small.T
    return M, starts


def planned(name, matrix):
    """Return what factorises matrices of this pattern by an engine, or None if it cannot."""
    try:
        plan = plan_engine(matrix.pattern, wanted=name)
    except UnsupportedError:
        return None
    assert plan.name == name
    assert plan.engine is ENGINES[name]
    return plan.make


def set_up(engine, system, zero=None):
    matrix = random_matrix(system, zero=zero)
    make = planned(engine, matrix)
    if make is None:
        pytest.skip(f"{engine} does not solve this system")
    M, starts = dense(matrix)
    return make(matrix), matrix, M, starts


def close(found, wanted):
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-12 * max(1.0, np.abs(wanted).max()))


every = pytest.mark.parametrize("engine", list(ENGINES))
systems = pytest.mark.parametrize("system", list(SYSTEMS))
zeros = pytest.mark.parametrize("zero", [None, 0, 1], ids=["", "first is zero", "second is zero"])


@every
@systems
@zeros
def test_against_one_dense_matrix(engine, system, zero):
    if zero is not None and zero >= len(SYSTEMS[system][0]):
        pytest.skip("no such factor")
    solver, matrix, M, starts = set_up(engine, system, zero)
    inverse = np.linalg.inv(M)
    assert solver.logdet == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-12, abs=1e-12)
    for f, ((L, q), found) in enumerate(zip(matrix.shapes, solver.inverse_diagonal(), strict=True)):
        assert found.shape == (L, q, q)
        for level in range(L):
            at = slice(starts[f] + level * q, starts[f] + (level + 1) * q)
            close(found[level], inverse[at, at])
    for f, h in matrix.pairs:
        rows, cols, values = matrix.pairs[f, h]
        found = solver.inverse_pairs((f, h))
        assert found.shape == values.shape
        _, qf, qh = values.shape
        for row, col, small in zip(rows, cols, found, strict=True):
            i, j = starts[f] + row * qf, starts[h] + col * qh
            close(small, inverse[i : i + qf, j : j + qh])


@every
@systems
@pytest.mark.parametrize("columns", [1, 4])
def test_solve(engine, system, columns):
    solver, matrix, M, _ = set_up(engine, system)
    rng = np.random.default_rng(columns)
    right = tuple(rng.normal(size=(L, q, columns)) for L, q in matrix.shapes)
    copies = [part.copy() for part in right]
    found = solver.solve(right)
    assert [part.shape for part in found] == [part.shape for part in right]
    close(stack(found), np.linalg.solve(M, stack(right)))
    for part, copy in zip(right, copies, strict=True):
        np.testing.assert_array_equal(part, copy)


@every
@systems
def test_the_order_of_questions_does_not_matter(engine, system):
    """Whatever is computed on first use must not depend on what was asked before."""
    solver, matrix, _, _ = set_up(engine, system)
    again = ENGINES[engine](matrix)  # the class itself makes an engine too
    pairs = {key: solver.inverse_pairs(key) for key in matrix.pairs}
    diagonal = solver.inverse_diagonal()
    for left, right in zip(again.inverse_diagonal(), diagonal, strict=True):
        np.testing.assert_array_equal(left, right)
    for key, values in pairs.items():
        np.testing.assert_array_equal(again.inverse_pairs(key), values)


@every
@systems
def test_a_pattern_serves_many_matrices(engine, system):
    """What is learned of the pattern must not keep anything of the values."""
    first = random_matrix(system)
    make = planned(engine, first)
    if make is None:
        pytest.skip(f"{engine} does not solve this system")
    other = RandomMatrix(
        tuple(2.0 * part for part in first.diagonal),
        {key: (rows, cols, -0.5 * values) for key, (rows, cols, values) in first.pairs.items()},
    )
    before = make(first)
    after = make(other)
    for matrix, solver in ((first, before), (other, after)):
        M, _ = dense(matrix)
        assert solver.logdet == pytest.approx(np.linalg.slogdet(M)[1], rel=1e-12, abs=1e-12)
        right = tuple(np.ones((L, q, 1)) for L, q in matrix.shapes)
        close(stack(solver.solve(right)), np.linalg.solve(M, stack(right)))


@every
def test_an_indefinite_matrix_is_refused(engine):
    system = "one, q=2" if planned(engine, random_matrix("one, q=2")) else "two"
    matrix = random_matrix(system)
    broken = tuple(part.copy() for part in matrix.diagonal)
    broken[0][0] = -np.eye(broken[0].shape[1])
    with pytest.raises(FitError, match="not positive definite"):
        ENGINES[engine](RandomMatrix(broken, matrix.pairs)).logdet  # noqa: B018 - may be lazy


@systems
@pytest.mark.parametrize("heavy", [1.0, 0.3, 0.0], ids=["all light", "both", "all heavy"])
def test_the_loops_of_the_schur_engine_agree(system, heavy, monkeypatch):
    from mixedflow.equations import schur
    from mixedflow.linalg import complement

    matrix = random_matrix(system)
    if len(matrix.shapes) < 2:
        pytest.skip("nothing is left to be dense")
    found = []
    for compiled, share in ((False, 1.0), (True, heavy)):
        chosen = functools.partial(DenseComplement, compiled=compiled)
        monkeypatch.setattr(complement, "HEAVY", share)
        monkeypatch.setattr(complement, "STRETCH", 100)
        monkeypatch.setattr(schur, "DenseComplement", chosen)
        found.append(schur.SchurEngine(matrix))
        found[-1].inverse_diagonal()
    plain, loops = found
    assert loops.logdet == pytest.approx(plain.logdet, rel=1e-13)
    for left, right in zip(loops.inverse_diagonal(), plain.inverse_diagonal(), strict=True):
        close(left, right)
    for key in matrix.pairs:
        close(loops.inverse_pairs(key), plain.inverse_pairs(key))


@systems
def test_the_schur_engine_solves_after_it_has_inverted(system):
    """The inverse takes the factor's place; solutions are then products with it."""
    solver, matrix, M, _ = set_up("schur", system)
    solver.inverse_diagonal()
    right = tuple(np.ones((L, q, 2)) for L, q in matrix.shapes)
    close(stack(solver.solve(right)), np.linalg.solve(M, stack(right)))


@systems
def test_schur_engines_of_one_pattern_hand_their_array_on(system):
    """One that has given it away answers as before, whatever the others left in it."""
    first, matrix, M, _ = set_up("schur", system)
    make = planned("schur", matrix)
    other = RandomMatrix(
        tuple(3.0 * part for part in matrix.diagonal),
        {key: (rows, cols, 3.0 * values) for key, (rows, cols, values) in matrix.pairs.items()},
    )
    broken = RandomMatrix(tuple(-part for part in matrix.diagonal), matrix.pairs)
    one, two = make(matrix), make(other)
    right = tuple(np.ones((L, q, 2)) for L, q in matrix.shapes)
    wanted = np.linalg.solve(M, stack(right))
    for _ in range(2):
        close(stack(one.solve(right)), wanted)
        close(stack(two.solve(right)), wanted / 3.0)
        for left, part in zip(two.inverse_diagonal(), first.inverse_diagonal(), strict=True):
            close(3.0 * left, part)
        with pytest.raises(FitError, match="not positive definite"):
            make(broken)
        for left, part in zip(one.inverse_diagonal(), first.inverse_diagonal(), strict=True):
            np.testing.assert_array_equal(left, part)


def test_stack_and_unstack():
    matrix = random_matrix("three")
    rng = np.random.default_rng(1)
    parts = tuple(rng.normal(size=(L, q, 2)) for L, q in matrix.shapes)
    for left, right in zip(unstack(stack(parts), matrix.shapes), parts, strict=True):
        np.testing.assert_array_equal(left, right)


def plain_pattern(*shapes, every_pair=True):
    """Return a pattern in which all levels meet, or none do."""
    pairs = {}
    for f in range(len(shapes)):
        for h in range(f + 1, len(shapes)):
            rows, cols = np.divmod(np.arange(shapes[f][0] * shapes[h][0]), shapes[h][0])
            pairs[f, h] = (rows, cols) if every_pair else (rows[:0], cols[:0])
    return RandomPattern(shapes, pairs)


class TestPlan:
    def test_one_factor(self):
        plan = plan_engine(plain_pattern((100_000, 2)))
        assert plan.name == "grouped"
        assert plan.flops > 0
        assert plan.bytes > 0
        assert plan.why

    @pytest.mark.parametrize(
        "pattern",
        [
            plain_pattern((10, 1)),
            plain_pattern((10, 1), (8, 2)),
            plain_pattern((600, 1), (40, 1)),
            plain_pattern((20_000, 1), (2_000, 1), every_pair=False),
        ],
        ids=["one", "small", "crossed", "rest is large"],
    )
    def test_every_choice_is_an_engine_and_none_is_cheaper(self, pattern):
        plan = plan_engine(pattern)
        assert plan.engine is ENGINES[plan.name]
        assert plan_engine(pattern, wanted=plan.name).name == plan.name

    def test_the_cheaper_of_schur_and_sparse_is_taken(self, monkeypatch):
        pattern = plain_pattern((400, 1), (100, 1), every_pair=False)
        monkeypatch.setattr(choice, "EASY_REST", 10)
        assert plan_engine(pattern).name == "schur", "not worth loading the sparse engine"
        monkeypatch.setattr(choice, "LOADING_COST", 0.0)
        assert plan_engine(pattern).name == "sparse"
        monkeypatch.setattr(choice, "SPARSE_PENALTY", 1e9)
        assert plan_engine(pattern).name == "schur"

    def test_every_engine_may_be_asked_for_in_the_settings(self):
        assert set(ENGINES) <= set(SOLVERS)

    def test_a_route_that_cannot_is_refused(self):
        with pytest.raises(UnsupportedError, match=r"'grouped' cannot solve.*2 grouping factor"):
            plan_engine(plain_pattern((10, 1), (8, 1)), wanted="grouped")
        with pytest.raises(UnsupportedError, match=r"possible are 'auto', 'grouped'"):
            plan_engine(plain_pattern((3_000, 1)), wanted="schur")

    @pytest.mark.parametrize("name", ["dense", "schur", "sparse"])
    def test_an_override_is_taken(self, name):
        plan = plan_engine(plain_pattern((10, 1), (8, 1)), wanted=name)
        assert plan.name == name
        assert plan.engine is ENGINES[name]

    def test_without_random_terms_nothing_is_factorised(self):
        plan = plan_engine(RandomPattern((), {}))
        assert plan.name == "none"
        assert plan.engine is NoneEngine
        assert plan.flops == 0

    @pytest.mark.parametrize("name", [*ENGINES, "pcg"])
    def test_without_random_terms_other_solvers_are_refused(self, name):
        with pytest.raises(UnsupportedError, match=rf"'{name}'.*no random term.*'auto'"):
            plan_engine(RandomPattern((), {}), wanted=name)
