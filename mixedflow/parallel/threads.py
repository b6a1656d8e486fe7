"""How many threads the numerical libraries use: what the worker was given, never the machine's.

Imports nothing heavy: a command can set the environment before the libraries are loaded. Stands
outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "BLIS_NUM_THREADS",
    "VECLIB_MAXIMUM_THREADS",
    "NUMBA_NUM_THREADS",
)


def thread_environment(threads: int) -> dict[str, str]:
    """Return the environment variables that hold BLAS, OpenMP, Arrow and Numba to ``threads``."""
    return dict.fromkeys(THREAD_VARIABLES, str(max(threads, 1)))


def set_thread_environment(threads: int) -> None:
    """Set the variables in this process; to be called before numpy is imported."""
    os.environ.update(thread_environment(threads))


@contextmanager
def held_environment(threads: int) -> Iterator[None]:
    """Set the variables while processes are started, which inherit them."""
    before = {name: os.environ.get(name) for name in THREAD_VARIABLES}
    set_thread_environment(threads)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@contextmanager
def limited_threads(threads: int) -> Iterator[None]:
    """Hold the BLAS libraries of this process to ``threads`` while the body runs.

    Matrices here are many and small; two BLAS threads on busy cores cost up to 80 times one.
    """
    from threadpoolctl import threadpool_limits

    with threadpool_limits(limits=max(threads, 1)):
        yield
