"""The parts of the sparse engine by themselves."""

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
import scipy.sparse as sp

import mixedflow
from mixedflow.linalg import cholesky, symbolic
from mixedflow.linalg.blas_pointers import routines
from mixedflow.linalg.ordering import _eliminate, minimum_degree
from mixedflow.linalg.sparse_system import SparseSystem
from mixedflow.linalg.symbolic import Relaxation, analyze


def graph(matrix):
    off = sp.csr_matrix(matrix)
    off.setdiag(0)
    off.eliminate_zeros()
    return off.indptr.astype(np.int64), off.indices.astype(np.int64)


@pytest.mark.parametrize("seed", range(60))
def test_the_order_is_a_permutation(systems, seed):
    matrix = systems.random(np.random.default_rng(1000 + seed))
    order = minimum_degree(*graph(matrix))
    assert sorted(order) == list(range(matrix.shape[0]))


@pytest.mark.parametrize("name", ["crossed", "pedigree", "grid"])
def test_the_order_does_not_depend_on_the_room_for_it(systems, name):
    pointers, neighbours = graph(getattr(systems, name)())
    arguments = pointers, neighbours.astype(np.int32), 1e9
    roomy = _eliminate(*arguments, 10**6)
    assert np.array_equal(_eliminate(*arguments, 0), roomy)
    assert np.array_equal(_eliminate(*arguments, 50), roomy)


def test_crowded_rows_come_last(systems):
    matrix = sp.lil_matrix(systems.grid(20))
    matrix[5, :] = matrix[:, 5] = 1.0
    assert minimum_degree(*graph(matrix), dense=2.0)[-1] == 5


# entries of L that the prototype of this engine reached on the same patterns
@pytest.mark.parametrize(
    ("name", "reference"),
    [("nested", 1623), ("crossed", 10763), ("pedigree", 2171), ("grid", 3702)],
)
def test_the_fill_is_that_of_good_orderings(systems, name, reference):
    assert analyze(getattr(systems, name)()).nnz <= 1.05 * reference


def test_an_order_that_is_given_is_kept_up_to_postorder(systems):
    matrix = systems.grid(10)
    natural = analyze(matrix, order=np.arange(100))
    assert natural.nnz == pytest.approx((np.linalg.cholesky(matrix.toarray()) != 0).sum(), rel=0.05)
    with pytest.raises(ValueError, match="permutation"):
        analyze(matrix, order=np.zeros(100, dtype=np.int64))


@pytest.mark.parametrize(
    "relaxation", [Relaxation((0,), (0.0,)), Relaxation(), Relaxation((40,), (0.9,))]
)
@pytest.mark.parametrize("name", ["crossed", "pedigree", "grid"])
def test_every_entry_of_the_selected_inverse(systems, name, relaxation):
    matrix = getattr(systems, name)()
    known = analyze(matrix, relaxation=relaxation)
    inverse = cholesky.factorize(known, matrix.data).inverse()
    expected = np.linalg.inv(matrix.toarray())[known.order][:, known.order]
    condition = np.linalg.norm(matrix.toarray(), 1) * np.linalg.norm(expected, 1)
    tol = max(1e-12, np.finfo(float).eps * condition) * np.abs(expected).max()
    nodes = known.nodes
    for s in range(len(nodes.start) - 1):
        rows = nodes.rows[nodes.row_start[s] : nodes.row_start[s + 1]]
        width = nodes.start[s + 1] - nodes.start[s]
        panel = inverse.panels[nodes.panel_start[s] : nodes.panel_start[s + 1]]
        found = panel.reshape(width, len(rows)).T
        wanted = expected[np.ix_(rows, range(nodes.start[s], nodes.start[s + 1]))]
        lower = np.tri(len(rows), width, dtype=bool)
        assert np.abs(found - wanted)[lower].max() < tol


def test_many_right_hand_sides(systems):
    matrix = systems.crossed()
    factor = cholesky.factorize(analyze(matrix), matrix.data)
    B = np.random.default_rng(0).normal(size=(matrix.shape[0], 50))
    assert np.abs(matrix @ factor.solve(B) - B).max() < 1e-12 * matrix.shape[0]
    assert factor.solve(B[:, :0]).shape == (matrix.shape[0], 0)


def test_threads_share_a_symbolic_factor(systems):
    matrix = systems.crossed()
    known = analyze(matrix)

    def work(scale):
        factor = cholesky.factorize(known, scale * matrix.data)
        return factor.logdet(), scale * factor.inverse().on_pattern()

    alone = [work(1.0 + k) for k in range(6)]
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(work, [1.0 + k for k in range(6)]))
    for (logdet, inverse), (logdet_2, inverse_2) in zip(alone, together, strict=True):
        assert logdet == logdet_2
        assert np.array_equal(inverse, inverse_2)


def test_threads_share_a_system(systems):
    matrix = systems.crossed(800, (60, 20))
    system = SparseSystem(matrix, method="sparse")
    scales = np.linspace(1.0, 2.0, 64)
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda scale: system.factorize(scale * matrix.data).logdet(), scales))
    first = system.factorize(matrix.data).logdet()
    assert found == pytest.approx(first + system.n * np.log(scales), rel=1e-12)


def test_blas_addresses_are_there_once():
    assert (routines() != 0).all()
    assert routines() is routines()


def test_an_integer_interface_of_another_width_is_refused(monkeypatch):
    import ctypes

    from mixedflow.errors import UnsupportedError
    from mixedflow.linalg import blas_pointers

    api = ctypes.pythonapi
    api.PyCapsule_New.restype = ctypes.py_object
    api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
    name = b"void (char *, int64_t *)"
    with pytest.raises(UnsupportedError, match="32-bit"):
        blas_pointers._address(api.PyCapsule_New(8, name, None), "dgemm")


def read_only_site(folder):
    """A copy of the room beside which numba cannot keep its cache, even as root."""
    package = Path(mixedflow.__file__).parent
    (folder / "mixedflow").mkdir(parents=True)
    for name in ("__init__.py", "errors.py"):
        shutil.copy(package / name, folder / "mixedflow" / name)
    ignore = shutil.ignore_patterns("__pycache__")
    shutil.copytree(package / "linalg", folder / "mixedflow" / "linalg", ignore=ignore)
    (folder / "mixedflow" / "linalg" / "__pycache__").write_text("")
    return folder


def run_there(code, site, home, cwd):
    """What the code prints; warnings are errors, and nothing may be said on stderr."""
    environment = {
        "PATH": os.environ["PATH"],
        "PYTHONPATH": str(site),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HOME": str(home),
        "XDG_CACHE_HOME": str(home / ".cache"),
    }
    command = [sys.executable, "-W", "error", "-c", code]
    done = subprocess.run(command, env=environment, cwd=cwd, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.strip()


@pytest.mark.slow
def test_kernels_are_cached_for_the_user_when_the_package_is_read_only(tmp_path):
    site, home = read_only_site(tmp_path / "site"), tmp_path / "home"
    code = (
        "import numpy as np, scipy.sparse as sp\n"
        "from mixedflow.linalg import jit\n"
        f"assert jit.__file__.startswith({str(site)!r})\n"
        "from mixedflow.linalg.sparse_system import SparseSystem\n"
        "s = SparseSystem(sp.csc_matrix(np.eye(3)), method='sparse')\n"
        "s.factorize(np.ones(3)); s.inverse_on_pattern()\n"
        "from mixedflow.linalg.cholesky_kernels import factorize_panels as f\n"
        "print(sum(f.stats.cache_hits.values()))\n"
    )
    assert [run_there(code, site, home, tmp_path) for _ in range(2)] == ["0", "1"]
    assert list(home.rglob("*.nbi"))


@pytest.mark.slow
def test_kernels_compile_where_nothing_can_be_written(tmp_path):
    site, home = read_only_site(tmp_path / "site"), tmp_path / "home"
    home.write_text("")  # a file: no folder can be made in it
    code = (
        "import numpy as np\n"
        "from mixedflow.linalg.elimination_kernels import postorder\n"
        "print(postorder(np.array([2, 2, -1])))\n"
    )
    assert run_there(code, site, home, tmp_path) == "[0 1 2]"


@pytest.mark.slow
def test_a_larger_pedigree(systems):
    matrix = systems.pedigree(40_000)
    factor = cholesky.factorize(symbolic.analyze(matrix), matrix.data)
    inverse = factor.inverse()
    picks = np.random.default_rng(0).integers(0, 40_000, 20)
    unit = np.zeros((40_000, 20))
    unit[picks, np.arange(20)] = 1.0
    assert inverse.at(picks, picks) == pytest.approx(factor.solve(unit)[picks, np.arange(20)])
    trace = (
        sp.csc_matrix((inverse.on_pattern(), matrix.indices, matrix.indptr)).multiply(matrix)
    ).sum()
    assert trace == pytest.approx(40_000, rel=1e-10)
