"""Memory as compiled loops see it: numbers at an address, and a hint which are needed next.

Stands outside the equations of ``docs/algorithm.md``. Columns are handed over by address, as any
number of arrays could not be without compiling for that number. A loop that adds to sums in no
order waits for memory at every row; the row that comes a few later is known, so its sums can be on
their way. Results do not depend on the hint.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import carray, types  # type: ignore[attr-defined]
from numba.extending import intrinsic

from mixedflow.linalg.jit import compiled

AHEAD = 12
"""Rows between the hint and the use: about the time that memory takes."""

LINE = 8
"""Doubles in a cache line."""

_FOR_WRITING, _TO_EVERY_CACHE, _DATA = 1, 3, 1


def _hint(typing_context: Any, array: Any, place: Any) -> Any:  # noqa: ARG001
    """Ask for the line of an array, contiguous, in which its number ``place`` stands."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        values = context.make_array(signature.args[0])(context, builder, arguments[0])
        address = builder.gep(values.data, [arguments[1]])
        address = builder.bitcast(address, ir.IntType(8).as_pointer())
        number = ir.IntType(32)
        kind = ir.FunctionType(ir.VoidType(), [address.type, number, number, number])
        hint = builder.module.declare_intrinsic("llvm.prefetch", [address.type], kind)
        options = (_FOR_WRITING, _TO_EVERY_CACHE, _DATA)
        builder.call(hint, [address, *(ir.Constant(number, value) for value in options)])
        return context.get_dummy_value()

    return types.void(array, types.intp), generate


_fetch: Any = intrinsic(_hint)


@compiled
def fetch_sums(sums: Any, codes: Any, i: int) -> None:
    """Ask for the sums of the row that is :data:`AHEAD` of row i; sums (m, width), codes (n,)."""
    width = sums.shape[1]
    start = codes[min(i + AHEAD, len(codes) - 1)] * width
    for k in range(start, start + width, LINE):
        _fetch(sums, k)


def _cast(typing_context: Any, address: Any) -> Any:  # noqa: ARG001
    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:  # noqa: ARG001
        return builder.inttoptr(arguments[0], ir.DoubleType().as_pointer())

    return types.CPointer(types.float64)(address), generate  # type: ignore[no-untyped-call]


_pointer: Any = intrinsic(_cast)


@compiled
def doubles_at(address: int, n: int) -> Any:
    """Return the n doubles from an address on, without a copy; who holds them must go on doing so."""
    return carray(_pointer(address), (n,))
