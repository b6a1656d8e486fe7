"""A x = b for a symmetric positive definite A whose pattern stays and whose values change.

The pattern is looked at once, the way of solving is chosen from what it will cost, and every set of
values is then factorised with what is known: the loop of a fit in three calls. Small or crowded
systems go to plain LAPACK at once, without waiting for compiled kernels; numba is imported only
when the sparse engine is needed. Serves "the mixed model equations" of ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, get_args

from numpy.typing import ArrayLike

from mixedflow.errors import did_you_mean, listing
from mixedflow.linalg.full_cholesky import factorize_full
from mixedflow.linalg.patterns import PatternEntries, read_pattern

if TYPE_CHECKING:
    import scipy.sparse as sp

    from mixedflow.linalg.arrays import FloatArray, IntArray
    from mixedflow.linalg.symbolic import SymbolicFactor

SystemMethod: TypeAlias = Literal["auto", "full", "sparse"]

FULL_ORDER = 600  # up to this order a full factorisation takes some 10 ms
CROWDED_ORDER = 3000  # up to this order a pattern with many entries is not worth analysing
CROWDED_SHARE = 0.2


class Inverse(Protocol):
    """A^-1 at the entries that matter: ``SelectedInverse`` or ``FullInverse``."""

    def on_pattern(self) -> FloatArray:
        """Values at the entries of the pattern, in its order."""
        ...

    def diagonal(self) -> FloatArray:
        """Diagonal of A^-1."""
        ...

    def at(self, rows: ArrayLike, columns: ArrayLike) -> FloatArray:
        """Values at the entries asked for, on the pattern of L."""
        ...


class Factor(Protocol):
    """A = L L' up to an order of the columns: ``SparseFactor`` or ``FullFactor``."""

    def solve(self, right: ArrayLike) -> FloatArray:
        """A^-1 B."""
        ...

    def half_solve(self, right: ArrayLike) -> FloatArray:
        """L^-1 P B."""
        ...

    def half_solve_transposed(self, right: ArrayLike) -> FloatArray:
        """P' L^-T B."""
        ...

    def logdet(self) -> float:
        """log|A|."""
        ...

    def pivots(self) -> FloatArray:
        """L_jj^2 in the numbering of A."""
        ...

    def inverse(self, *, overwrite: bool = False) -> Inverse:
        """A^-1, in the place of L with ``overwrite``."""
        ...


@dataclass(frozen=True, slots=True)
class SystemCost:
    """What one factorisation takes, known before any.

    Attributes
    ----------
    flops : float
        Multiplications and additions; the inverse on the pattern takes about twice as many again.
    nnz : int
        Entries of L.
    peak_bytes : int
        Memory at the peak of a factorisation followed by an inverse made in place.
    """

    flops: float
    nnz: int
    peak_bytes: int


class SparseSystem:
    """Systems of equations that share one symmetric pattern.

    Parameters
    ----------
    pattern : CSC matrix, (n, n)
        Only its structure is read: one triangle, or both. Entries given more than once add up.
    method : {"auto", "full", "sparse"}
        ``full`` stores all of L (LAPACK), ``sparse`` only what fills in.
    order : (n,) int array, optional
        Elimination order for ``sparse`` instead of approximate minimum degree.

    Examples
    --------
    >>> import numpy as np, scipy.sparse as sp
    >>> A = sp.csc_matrix(np.array([[4.0, 2.0], [2.0, 5.0]]))
    >>> factor = SparseSystem(A).factorize(A.data)
    >>> factor.solve([1.0, 0.0]).tolist()
    [0.3125, -0.125]
    >>> round(factor.logdet(), 6)
    2.772589
    """

    def __init__(
        self,
        pattern: sp.csc_matrix | sp.csc_array,
        *,
        method: SystemMethod = "auto",
        order: IntArray | None = None,
    ) -> None:
        if method not in get_args(SystemMethod):
            raise ValueError(
                f"method must be one of {listing(get_args(SystemMethod))}, found {method!r}"
                f"{did_you_mean(method, get_args(SystemMethod))}"
            )
        entries = read_pattern(pattern)
        self.n = entries.n
        self.method: Literal["full", "sparse"] = _choose(entries) if method == "auto" else method
        self._entries = entries
        self._symbolic: SymbolicFactor | None = None
        self._factor: Factor | None = None
        self._inverse: Inverse | None = None
        if self.method == "sparse":
            from mixedflow.linalg.symbolic import analyze

            self._symbolic = analyze(pattern, order=order)

    @property
    def cost(self) -> SystemCost:
        """What one factorisation takes."""
        if self._symbolic is not None:
            known = self._symbolic
            return SystemCost(known.flops, known.nnz, known.peak_bytes)
        n = self.n
        return SystemCost(n * (n + 1) * (2 * n + 1) / 6, n * (n + 1) // 2, 32 * n * n)

    def factorize(self, values: ArrayLike) -> Factor:
        """Factorise the matrix with these values, one per entry of the pattern, in its order.

        The factor is also kept: ``solve``, ``logdet`` and ``inverse_on_pattern`` of the system
        refer to the latest one. Of a pattern with both triangles only the lower is read.

        Raises
        ------
        NotPositiveDefinite
            With the column at which the factorisation broke down; the system then has no factor.
        """
        self._factor = self._inverse = None
        factor: Factor  # what is returned is never read back from the system: threads may share it
        if self._symbolic is None:
            factor = factorize_full(self._entries, values)
        else:
            from mixedflow.linalg.cholesky import factorize

            factor = factorize(self._symbolic, values)
        self._factor = factor
        return factor

    @property
    def factor(self) -> Factor:
        """The latest factor."""
        if self._factor is None:
            raise ValueError("the system has no factor yet: call factorize(values) first")
        return self._factor

    def solve(self, right: ArrayLike) -> FloatArray:
        """A^-1 B for one right-hand side (n,) or several (n, k)."""
        return self.factor.solve(right)

    def logdet(self) -> float:
        """log|A|."""
        return self.factor.logdet()

    def inverse(self) -> Inverse:
        """A^-1 at least on the pattern of A, computed once for a factor."""
        if self._inverse is None:
            self._inverse = self.factor.inverse()
        return self._inverse

    def inverse_on_pattern(self) -> FloatArray:
        """A^-1 at the entries of the pattern, in its order."""
        return self.inverse().on_pattern()


def _choose(entries: PatternEntries) -> Literal["full", "sparse"]:
    """Full where that is quick, or where there is next to nothing to be gained."""
    if entries.n <= FULL_ORDER:
        return "full"
    count = len(entries.rows[entries.scattered])
    crowded = 2 * count >= CROWDED_SHARE * entries.n**2
    return "full" if entries.n <= CROWDED_ORDER and crowded else "sparse"
