"""One decorator for every compiled kernel; outside the equations of ``docs/algorithm.md``.

Kernels are compiled at their first call and kept on disk, beside the package or, where that is
read-only, in the user's cache folder. They hold no global lock, so threads can run them side by
side, and they follow NumPy in division (1/0 is inf). Importing this module imports numba: modules
that must stay light import their kernels inside functions.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar, cast

import numba

Kernel = TypeVar("Kernel", bound=Callable[..., Any])


def compiled(function: Kernel) -> Kernel:
    """Compile with numba: cached on disk where a folder can be written, without the global lock."""
    try:
        kernel = numba.njit(cache=True, nogil=True, error_model="numpy")(function)
    except RuntimeError:  # numba found no folder it may write to
        kernel = numba.njit(nogil=True, error_model="numpy")(function)
    return cast("Kernel", kernel)
