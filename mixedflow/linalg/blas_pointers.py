"""BLAS and LAPACK of SciPy's wheel as plain calls inside compiled kernels.

SciPy publishes the addresses of its BLAS and LAPACK in ``scipy.linalg.cython_blas`` and
``cython_lapack``. A kernel takes them as an *argument* (an int64 array, :func:`routines`): an
address baked into the code would be wrong in the next process, and numba would refuse to cache it.
Matrices are handed over as int64 addresses (``array.ctypes.data + 8 * offset``), column-major.
Serves the sparse engine of ``docs/algorithm.md``.
"""

from __future__ import annotations

import ctypes
import functools
from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from mixedflow.errors import UnsupportedError
from mixedflow.linalg.arrays import IntArray
from mixedflow.linalg.jit import compiled

LEFT, RIGHT, LOWER, PLAIN, TRANSPOSED = (ord(letter) for letter in "LRLNT")

# order of the addresses in routines()
DGEMM, DSYRK, DTRSM, DSYMM, DPOTRF, DPOTRI = range(6)
_NAMES = {
    "scipy.linalg.cython_blas": ("dgemm", "dsyrk", "dtrsm", "dsymm"),
    "scipy.linalg.cython_lapack": ("dpotrf", "dpotri"),
}


@functools.cache
def routines() -> IntArray:
    """Return the addresses of dgemm, dsyrk, dtrsm, dsymm, dpotrf and dpotri in this process."""
    import importlib

    found = []
    for module_name, names in _NAMES.items():
        capsules = importlib.import_module(module_name).__pyx_capi__
        found += [_address(capsules[name], name) for name in names]
    addresses = np.array(found, dtype=np.int64)
    addresses.flags.writeable = False
    return addresses


def _address(capsule: object, name: str) -> int:
    """Read the pointer from a capsule after a look at the C signature it carries."""
    api = ctypes.pythonapi
    api.PyCapsule_GetName.restype = ctypes.c_char_p
    api.PyCapsule_GetName.argtypes = [ctypes.py_object]
    api.PyCapsule_GetPointer.restype = ctypes.c_void_p
    api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
    signature = api.PyCapsule_GetName(capsule)
    if b" int *" not in signature or ctypes.sizeof(ctypes.c_int) != 4:
        raise UnsupportedError(
            f"SciPy's {name} has the signature {signature.decode()!r}; the sparse engine needs a "
            "SciPy whose BLAS counts with 32-bit integers (the wheels from PyPI do)"
        )
    return int(api.PyCapsule_GetPointer(capsule, signature))


def _fortran_call(kinds: str) -> Callable[..., Any]:
    """Make a compiled call ``f(address, (arguments...))`` of a Fortran routine.

    Each letter of ``kinds`` says how an argument travels: ``c`` a character given by its code,
    ``i`` an integer, ``d`` a double (these three by reference to a temporary), ``p`` an address as
    it is, ``o`` the output flag *info*, which is what the call returns (0 where there is none).
    """
    temporaries = {"c": ir.IntType(8), "i": ir.IntType(32), "d": ir.DoubleType()}
    native = {"c": types.int8, "i": types.int32, "d": types.float64}

    def fortran(typing_context: Any, address: Any, arguments: Any) -> Any:  # noqa: ARG001
        def emit(context: Any, builder: Any, signature: Any, values: Any) -> Any:
            pointer_type = ir.IntType(8).as_pointer()
            info = cgutils.alloca_once(builder, ir.IntType(32))  # type: ignore[no-untyped-call]
            builder.store(ir.Constant(ir.IntType(32), 0), info)
            items = iter(enumerate(signature.args[1].types))
            pointers = []
            for kind in kinds:
                if kind == "o":
                    pointers.append(builder.bitcast(info, pointer_type))
                    continue
                index, item_type = next(items)
                value = builder.extract_value(values[1], index)
                if kind == "p":
                    pointers.append(builder.inttoptr(value, pointer_type))
                    continue
                slot = cgutils.alloca_once(builder, temporaries[kind])  # type: ignore[no-untyped-call]
                builder.store(context.cast(builder, value, item_type, native[kind]), slot)
                pointers.append(builder.bitcast(slot, pointer_type))
            routine = ir.FunctionType(ir.VoidType(), [pointer_type] * len(kinds))
            builder.call(builder.inttoptr(values[0], routine.as_pointer()), pointers)
            return context.cast(builder, builder.load(info), types.int32, types.int64)

        return types.int64(address, arguments), emit

    return intrinsic(fortran)


_dgemm = _fortran_call("cciiidpipidpi")
_dsyrk = _fortran_call("cciidpidpi")
_dtrsm = _fortran_call("cccciidpipi")
_dsymm = _fortran_call("cciidpipidpi")
_dpotr = _fortran_call("cipio")


@compiled
def gemm(
    calls: IntArray,
    flips: tuple[int, int],
    sizes: tuple[int, int, int],
    alpha: float,
    a: int,
    lda: int,
    b: int,
    ldb: int,
    beta: float,
    c: int,
    ldc: int,
) -> None:
    """C = alpha op(A) op(B) + beta C, C being m x n and the inner size k; sizes = (m, n, k)."""
    m, n, k = sizes
    _dgemm(calls[DGEMM], (flips[0], flips[1], m, n, k, alpha, a, lda, b, ldb, beta, c, ldc))


@compiled
def syrk(
    calls: IntArray, n: int, k: int, alpha: float, a: int, lda: int, beta: float, c: int, ldc: int
) -> None:
    """C = alpha A A' + beta C in the lower triangle, A being n x k."""
    _dsyrk(calls[DSYRK], (LOWER, PLAIN, n, k, alpha, a, lda, beta, c, ldc))


@compiled
def solve_right(
    calls: IntArray, flip: int, m: int, n: int, factor: int, ldf: int, b: int, ldb: int
) -> None:
    """B = B op(L)^-1 with L lower triangular (n x n), B being m x n."""
    _dtrsm(calls[DTRSM], (RIGHT, LOWER, flip, PLAIN, m, n, 1.0, factor, ldf, b, ldb))


@compiled
def symm(
    calls: IntArray,
    m: int,
    n: int,
    alpha: float,
    a: int,
    lda: int,
    b: int,
    ldb: int,
    c: int,
    ldc: int,
) -> None:
    """C = alpha A B with A symmetric (m x m), its lower triangle stored, B being m x n."""
    _dsymm(calls[DSYMM], (LEFT, LOWER, m, n, alpha, a, lda, b, ldb, 0.0, c, ldc))


@compiled
def potrf(calls: IntArray, n: int, a: int, lda: int) -> int:
    """Overwrite A by L of A = L L'; return 0, or 1 + the column whose pivot is not positive."""
    return _dpotr(calls[DPOTRF], (LOWER, n, a, lda))  # type: ignore[no-any-return]


@compiled
def potri(calls: IntArray, n: int, a: int, lda: int) -> int:
    """Overwrite L by the lower triangle of (L L')^-1; return 0, or 1 + a column with L_jj = 0."""
    return _dpotr(calls[DPOTRI], (LOWER, n, a, lda))  # type: ignore[no-any-return]
