import numpy as np
import pytest

from mixedflow.linalg import batched
from mixedflow.linalg.errors import NotPositiveDefinite


@pytest.fixture(params=["numpy", "compiled"])
def engine(request, monkeypatch):
    monkeypatch.setattr(batched, "COMPILED_FROM", 0 if request.param == "compiled" else 10**12)
    return request.param


def batch_of(q, G=50, seed=0):
    root = np.random.default_rng(seed).normal(size=(G, q, q + 2))
    return root @ root.transpose(0, 2, 1)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("q", [1, 2, 3, 7, 16])
@pytest.mark.usefixtures("engine")
def test_against_numpy(q, threads):
    A = batch_of(q)
    inverse = np.linalg.inv(A)
    scale = np.abs(inverse).max(axis=(1, 2))[:, None, None]
    lower = batched.batched_cholesky(A, threads=threads)
    assert np.allclose(lower, np.linalg.cholesky(A), rtol=1e-11, atol=1e-13)
    assert np.array_equal(lower, np.tril(lower))
    assert np.allclose(
        batched.batched_logdet(lower), np.linalg.slogdet(A)[1], rtol=1e-11, atol=1e-11
    )
    found = batched.batched_inverse(lower, threads=threads)
    assert np.abs((found - inverse) / scale).max() < 1e-10
    assert np.array_equal(found, found.transpose(0, 2, 1)) or np.allclose(
        found, found.transpose(0, 2, 1), rtol=1e-14
    )
    B = np.random.default_rng(1).normal(size=(len(A), q, 5))
    half = batched.batched_solve_lower(lower, B, threads=threads)
    assert np.allclose(lower @ half, B, atol=1e-10)
    upper = batched.batched_solve_upper(lower, B, threads=threads)
    assert np.allclose(lower.transpose(0, 2, 1) @ upper, B, atol=1e-10)
    solution = batched.batched_solve(lower, B[:, :, 0], threads=threads)
    assert solution.shape == (len(A), q)
    assert np.abs((solution - (inverse @ B)[:, :, 0]) / scale[:, :, 0]).max() < 1e-10


def test_twins_agree(monkeypatch):
    A = batch_of(4)
    B = np.random.default_rng(1).normal(size=(len(A), 4, 3))
    results = []
    for limit in (0, 10**12):
        monkeypatch.setattr(batched, "COMPILED_FROM", limit)
        lower = batched.batched_cholesky(A)
        results.append(
            (
                lower,
                batched.batched_inverse(lower),
                batched.batched_solve(lower, B),
                batched.batched_logdet(lower),
            )
        )
    for compiled, plain in zip(*results, strict=True):
        assert np.allclose(compiled, plain, rtol=1e-12, atol=1e-14)


@pytest.mark.parametrize("bad", [-1.0, 0.0, np.nan, np.inf])
@pytest.mark.parametrize("threads", [1, 4])
@pytest.mark.usefixtures("engine")
def test_the_first_matrix_without_a_factor_is_named(bad, threads):
    A = np.tile(np.eye(3), (40, 1, 1))
    A[35, 0, 0] = -1.0
    A[17, 1, 1] = bad
    with pytest.raises(NotPositiveDefinite, match="matrix 17 of the batch") as caught:
        batched.batched_cholesky(A, threads=threads)
    assert (caught.value.item, caught.value.column) == (17, 1)


@pytest.mark.usefixtures("engine")
def test_input_is_left_alone_and_may_be_read_only():
    A = batch_of(3)
    B = np.ones((len(A), 3, 2))
    for array in (A, B):
        array.flags.writeable = False
    lower = batched.batched_cholesky(A)
    lower.flags.writeable = False
    batched.batched_solve(lower, B)
    batched.batched_inverse(lower)
    assert (B == 1.0).all()


@pytest.mark.usefixtures("engine")
def test_only_the_lower_triangle_is_read():
    A = batch_of(3)
    assert np.array_equal(batched.batched_cholesky(np.tril(A)), batched.batched_cholesky(A))


@pytest.mark.usefixtures("engine")
def test_an_empty_batch():
    lower = batched.batched_cholesky(np.zeros((0, 2, 2)))
    assert lower.shape == (0, 2, 2)
    assert batched.batched_solve(lower, np.zeros((0, 2))).shape == (0, 2)
    assert batched.batched_logdet(lower).shape == (0,)


def test_wrong_shapes_are_refused():
    with pytest.raises(ValueError, match=r"\(G, q, q\)"):
        batched.batched_cholesky(np.ones((3, 3)))
    with pytest.raises(ValueError, match="right-hand sides"):
        batched.batched_solve(np.ones((2, 3, 3)), np.ones((2, 2, 1)))
