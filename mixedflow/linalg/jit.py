"""One decorator for every compiled kernel; outside the equations of ``docs/algorithm.md``.

Kernels are compiled at their first call and kept on disk, beside the package or, where that is
read-only, in the user's cache folder. They hold no global lock, so threads can run them side by
side, and they follow NumPy in division (1/0 is inf). Importing this module imports numba: modules
that must stay light import their kernels inside functions.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba
from numba.core.caching import FunctionCache
from numba.core.runtime.nrt import rtsys

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


class LightCache(FunctionCache):
    """Compiled kernels on disk, loaded without the compiler's own start.

    Before it looks for machine code numba imports everything that compiling could need, some two
    hundred modules with SciPy's linear algebra among them: twice the time of reading a fit's
    kernels. Machine code needs numba's memory management alone; a kernel that is not found is
    compiled as usual, and that imports the rest.
    """

    def load_overload(self, sig: Any, target_context: Any) -> Any:
        """Return the compiled kernel for a signature, or None."""
        itself: Any = self  # numba's own methods have no types
        if not hasattr(itself, "_load_overload"):  # another numba than those known
            return cast("Any", super()).load_overload(sig, target_context)
        rtsys.initialize(target_context)
        with itself._guard_against_spurious_io_errors():
            return itself._load_overload(sig, target_context)


def compiled(function: Kernel) -> Kernel:
    """Compile with numba: cached on disk where a folder can be written, without the global lock."""
    make: Any = LightCache
    kernel: Any = numba.njit(nogil=True, error_model="numpy")(function)
    # without a folder to write to, numba compiles in every process
    with contextlib.suppress(RuntimeError):
        kernel._cache = make(function)  # what numba's own enable_caching does
    return cast("Kernel", kernel)
