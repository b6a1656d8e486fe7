"""Time the phases of the sparse engine on the patterns it was made for.

    python benchmarks/sparse_engine.py [nested] [insteval] [crossed] [pedigree] [--repeat 3]

Prints one line a problem: order, entries of L, flops, predicted peak of memory, and the best
wall time of each phase. Set OPENBLAS_NUM_THREADS=1 for figures that can be compared.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable

import numpy as np
import scipy.sparse as sp

from mixedflow.linalg.cholesky import factorize
from mixedflow.linalg.symbolic import analyze


def nested(n_inner: int = 1_000_000, per_outer: int = 100) -> sp.csc_matrix:
    """A million levels within ten thousand within one mean."""
    outer = np.arange(n_inner) // per_outer
    return _normal_equations([(np.arange(n_inner), n_inner), (outer, n_inner // per_outer)])


def insteval() -> sp.csc_matrix:
    """Students by lecturers by departments, of the size of lme4's InstEval."""
    rng = np.random.default_rng(1)
    lecturer = rng.choice(1128, 73_421, p=_uneven(1128, 0.5))
    department = rng.integers(0, 14, 1128)
    student = rng.integers(0, 2972, 73_421)
    return _normal_equations([(student, 2972), (lecturer, 1128), (department[lecturer], 14)])


def crossed(rows: int = 300_000, large: int = 20_000, small: int = 2_000) -> sp.csc_matrix:
    """Users by items."""
    rng = np.random.default_rng(1)
    users = rng.choice(large, rows, p=_uneven(large, 0.6))
    return _normal_equations(
        [(users, large), (rng.choice(small, rows, p=_uneven(small, 0.8)), small)]
    )


def pedigree(n: int = 100_000, generations: int = 8, per_herd: int = 100) -> sp.csc_matrix:
    """Animal model: sires of the whole population, dams of the own herd, herd-year effects."""
    rng = np.random.default_rng(1)
    generation = np.sort(rng.integers(0, generations, n))
    herd = rng.integers(0, max(2, n // (per_herd * generations)), n)
    sire, dam = np.full(n, -1), np.full(n, -1)
    for g in range(1, generations):
        now, before = np.flatnonzero(generation == g), np.flatnonzero(generation == g - 1)
        sires = rng.choice(before, max(2, len(before) // 100), replace=False)
        sire[now] = rng.choice(sires, len(now), p=rng.dirichlet(np.full(len(sires), 0.8)))
        by_herd = before[np.argsort(herd[before], kind="stable")]
        left = np.searchsorted(herd[by_herd], herd[now])
        count = np.searchsorted(herd[by_herd], herd[now], side="right") - left
        pick = left + (rng.random(len(now)) * count).astype(int)
        dam[now] = np.where(count > 0, by_herd[np.minimum(pick, len(by_herd) - 1)], -1)
    animal = np.arange(n)
    known = (sire >= 0) * 1 + (dam >= 0)
    T = sp.eye_array(n, format="csr")
    for parent in (sire, dam):
        has = parent >= 0
        T = T - sp.csr_array((np.full(has.sum(), 0.5), (animal[has], parent[has])), shape=(n, n))
    inverse = T.T @ sp.diags_array(1.0 / (1.0 - 0.25 * known)) @ T
    recorded = rng.random(n) < 0.6
    year = herd[recorded] * generations + generation[recorded]
    year = np.unique(year, return_inverse=True)[1]
    rows = np.arange(recorded.sum())
    Z = sp.csr_array((np.ones(len(rows)), (rows, animal[recorded])), shape=(len(rows), n))
    X = sp.csr_array((np.ones(len(rows)), (rows, year)), shape=(len(rows), year.max() + 1))
    return _sorted(sp.block_array([[X.T @ X, X.T @ Z], [Z.T @ X, Z.T @ Z + 2.0 * inverse]]))


def _normal_equations(factors: list[tuple[np.ndarray, int]]) -> sp.csc_matrix:
    """W'W + ridge on the levels; W = [Z1 Z2 ... 1]."""
    rows = len(factors[0][0])
    ones, index = np.ones(rows), np.arange(rows)
    parts = [sp.csr_array((ones, (index, code)), shape=(rows, m)) for code, m in factors]
    W = sp.hstack([*parts, sp.csr_array(ones[:, None])], format="csr")
    ridge = np.r_[np.full(W.shape[1] - 1, 2.0), 0.0]
    return _sorted(W.T @ W + sp.diags_array(ridge))


def _sorted(matrix: sp.sparray) -> sp.csc_matrix:
    lower = sp.csc_matrix(sp.tril(matrix))
    lower.sum_duplicates()
    return lower


def _uneven(levels: int, power: float) -> np.ndarray:
    share = 1.0 / np.arange(1, levels + 1) ** power
    return share / share.sum()


def best(run: Callable[[], object], repeat: int) -> float:
    """Shortest of several wall times, in seconds."""
    times = []
    for _ in range(repeat):
        begin = time.perf_counter()
        run()
        times.append(time.perf_counter() - begin)
    return min(times)


def measure(name: str, matrix: sp.csc_matrix, repeat: int) -> str:
    """One line of figures."""
    known = analyze(matrix)
    factor = factorize(known, matrix.data)
    right = np.random.default_rng(0).normal(size=(known.n, 1))
    phases = {
        "analyze": lambda: analyze(matrix),
        "factorize": lambda: factorize(known, matrix.data),
        "solve": lambda: factor.solve(right),
        "logdet": factor.logdet,
        "inverse": lambda: factor.inverse().on_pattern(),
    }
    times = "  ".join(f"{phase} {best(run, repeat):.3f}" for phase, run in phases.items())
    size = f"n {known.n}  nnz(L) {known.nnz}  flops {known.flops:.2g}"
    return f"{name:9s} {size}  peak {known.peak_bytes / 2**20:.0f} MiB  seconds: {times}"


def main() -> None:
    problems = {"nested": nested, "insteval": insteval, "crossed": crossed, "pedigree": pedigree}
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("problems", nargs="*", default=list(problems), metavar="problem")
    parser.add_argument("--repeat", type=int, default=3)
    options = parser.parse_args()
    begin = time.perf_counter()
    warm = sp.csc_matrix(np.array([[1.0]]))
    factorize(analyze(warm), warm.data).inverse()
    print(f"kernels loaded or compiled in {time.perf_counter() - begin:.2f} s")
    for name in options.problems:
        print(measure(name, problems[name](), options.repeat), flush=True)


if __name__ == "__main__":
    main()
