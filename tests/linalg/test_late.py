"""SciPy's extensions by themselves are those that SciPy itself hands out."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
import numpy as np
from mixedflow.linalg.late import blas, lapack
factor, info = lapack.dpotrf(np.diag([4.0, 9.0]), lower=1)
assert info == 0 and np.diagonal(factor).tolist() == [2.0, 3.0]
assert {found} == ("scipy.linalg" in sys.modules)
import scipy.linalg
assert scipy.linalg.cholesky(np.eye(2)).tolist() == np.eye(2).tolist()
assert scipy.linalg.blas.dsymm(1.0, np.eye(2), np.ones((2, 1))).tolist() == [[1.0], [1.0]]
assert blas.dsymm(1.0, np.eye(2), np.ones((2, 1))).tolist() == [[1.0], [1.0]]
"""

MISSING = """
from mixedflow.linalg import late
late.PathFinder = type("None", (), dict(find_spec=staticmethod(lambda *given: None)))
"""


def run(program):
    subprocess.run([sys.executable, "-c", program], check=True)


def test_the_package_is_not_imported():
    run(PROGRAM.format(found=False))


def test_the_package_is_imported_where_the_extension_is_not_found():
    run(MISSING + PROGRAM.format(found=True))


def test_the_package_s_own_is_taken_once_it_is_there():
    run("import scipy.linalg.lapack\n" + PROGRAM.format(found=True))
