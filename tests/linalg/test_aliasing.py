import numpy as np
import pytest

from mixedflow.linalg.aliasing import independent_columns


def greedy_reference(X):
    """Keep a column when it raises numpy's rank of the unit-norm design."""
    norms = np.linalg.norm(X, axis=0)
    scaled = X / np.where(norms > 0, norms, 1.0)
    kept = []
    for j in range(X.shape[1]):
        if np.linalg.matrix_rank(scaled[:, [*kept, j]], tol=1e-6) == len(kept) + 1:
            kept.append(j)
    return kept


def random_design(rng):
    n = int(rng.integers(30, 120))
    columns = [np.ones(n)] if rng.random() < 0.8 else []
    for _ in range(int(rng.integers(1, 4))):
        codes = rng.integers(0, int(rng.integers(2, 6)), n)
        columns += list((codes[:, None] == np.arange(codes.max() + 1)).T.astype(float))
    for _ in range(int(rng.integers(1, 5))):
        columns.append(rng.normal(size=n) * 10.0 ** rng.uniform(-8, 8))
    for _ in range(int(rng.integers(0, 4))):
        pick = rng.choice(len(columns), size=2, replace=False)
        norms = [np.linalg.norm(columns[i]) for i in pick]
        mix = sum(
            rng.normal() * columns[i] / norm
            for i, norm in zip(pick, norms, strict=True)
            if norm > 0
        )
        columns.append(np.zeros(n) + mix * 10.0 ** rng.uniform(-8, 8))
    if rng.random() < 0.3:
        columns.append(np.zeros(n))
    return np.column_stack([columns[i] for i in rng.permutation(len(columns))])


@pytest.mark.parametrize("seed", range(60))
def test_random_rank_deficient_designs(seed):
    X = random_design(np.random.default_rng(seed))
    kept, aliased, explanation = independent_columns(X.T @ X)
    assert kept.tolist() == greedy_reference(X)
    assert sorted([*kept, *aliased]) == list(range(X.shape[1]))
    norms = np.linalg.norm(X, axis=0)
    error = np.abs(X[:, aliased] - X[:, kept] @ explanation.T)
    assert np.all(error <= 1e-6 * np.where(norms[aliased] > 0, norms[aliased], 1.0))


def test_full_rank_is_left_alone():
    X = np.random.default_rng(1).normal(size=(50, 8)) * 10.0 ** np.arange(-8, 8, 2)
    kept, aliased, explanation = independent_columns(X.T @ X)
    assert kept.tolist() == list(range(8))
    assert aliased.size == 0
    assert explanation.shape == (0, 8)


def test_later_columns_give_way_and_are_explained():
    rng = np.random.default_rng(2)
    a, b = rng.normal(size=(2, 40))
    X = np.column_stack([a, b, a + 2 * b, np.zeros(40), -a])
    found = independent_columns(X.T @ X)
    assert found.kept.tolist() == [0, 1]
    assert found.aliased.tolist() == [2, 3, 4]
    assert found.sentences(["a", "b", "c", "zero", "d"]) == [
        "'c' = 'a' + 2 'b'",
        "'zero' = 0",
        "'d' = -'a'",
    ]


def test_long_explanations_are_cut():
    X = np.column_stack([np.eye(9), np.ones(9)])
    sentence = independent_columns(X.T @ X).sentences([f"x{i}" for i in range(10)], limit=2)
    assert sentence == ["'x9' = 'x0' + 'x1' + 7 more"]


def test_only_the_lower_triangle_is_read():
    X = np.random.default_rng(3).normal(size=(20, 4))
    gram = np.tril(np.column_stack([X, X[:, 1]]).T @ np.column_stack([X, X[:, 1]]))
    assert independent_columns(gram).aliased.tolist() == [4]


def test_high_powers_never_pass_the_noise_of_the_gram():
    x = np.linspace(1.0, 2.0, 200)
    X = x[:, None] ** np.arange(25)
    kept = independent_columns(X.T @ X).kept
    assert np.linalg.cond(X[:, kept] / np.linalg.norm(X[:, kept], axis=0)) < 1e8


@pytest.mark.parametrize("gram", [np.ones(3), np.ones((2, 3)), np.array([[np.nan]])])
def test_what_is_not_a_gram_matrix_is_refused(gram):
    with pytest.raises(ValueError, match="X'X"):
        independent_columns(gram)


def test_no_columns():
    kept, aliased, _ = independent_columns(np.zeros((0, 0)))
    assert kept.size == aliased.size == 0
