"""Compiled kernels come from disk without the compiler's own start."""

from __future__ import annotations

import subprocess
import sys

import numpy as np

from mixedflow.linalg import elimination_kernels as kernels

POINTERS, ROWS = np.array([0, 1, 3, 5]), np.array([0, 0, 1, 1, 2])

AGAIN = """
import sys
import numpy as np
from mixedflow.linalg import elimination_kernels as kernels
found = kernels.elimination_tree(np.array([0, 1, 3, 5]), np.array([0, 0, 1, 1, 2]))
hits = sum(kernels.elimination_tree.stats.cache_hits.values())
print(found.tolist(), hits, "numba.np.linalg" in sys.modules, "scipy.linalg" in sys.modules)
"""


def test_a_kept_kernel_is_loaded_without_what_compiling_needs() -> None:
    expected = kernels.elimination_tree(POINTERS, ROWS)
    again = subprocess.run(
        [sys.executable, "-c", AGAIN], capture_output=True, text=True, check=True
    )
    assert again.stdout.split("\n")[0] == f"{expected.tolist()} 1 False False"


def test_a_new_signature_is_compiled_after_a_kept_one() -> None:
    code = AGAIN + (
        "import numba\n"
        "double = numba.njit(lambda x: 2 * np.linalg.norm(x))\n"
        "print(double(np.array([3.0, 4.0])))\n"
    )
    again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert again.stdout.split("\n")[1] == "10.0"


SUMMED = """
import sys
import numpy as np
from mixedflow.design.moments import COMPILED_FROM, moments_of
found = moments_of(np.arange(float(COMPILED_FROM)))
print(found.n, "numba.np.linalg" in sys.modules, "scipy.linalg" in sys.modules)
"""


def test_the_first_kernel_of_a_large_fit_needs_no_linear_algebra() -> None:
    for _ in range(2):  # the first may have to compile
        again = subprocess.run(
            [sys.executable, "-c", SUMMED], capture_output=True, text=True, check=True
        )
    assert again.stdout == "300000 False False\n"
