"""FLASH-MM: from its sums (dense Z'Z); variance components only, so effects are independent.

Its restricted log-likelihood has log |X'X| in it, which lme4's has not.
"""

from __future__ import annotations

import numpy as np
import scipy.sparse as sp
from common import Case, design, group_codes, independent, main, read_pandas
from flash_mm import lmm


def fit(frame: object, case: Case) -> dict[str, object]:
    """Fit one response from X'X, X'y, Z'X, Z'y, Z'Z."""
    X = design(frame, case["fixed"])
    y = frame[case["response"]].to_numpy(dtype=float)[:, None]
    parts = []
    for columns, group in case["random"]:
        codes = group_codes(frame, group)
        place = (np.arange(len(codes)), codes)
        for name in columns:
            values = np.ones(len(codes)) if name == "1" else frame[name].to_numpy(dtype=float)
            parts.append(sp.csr_matrix((values, place)))
    Z = sp.hstack(parts).tocsr()
    sums = (X.T @ X, X.T @ y, np.asarray(Z.T @ X), np.asarray(Z.T @ y), (Z.T @ Z).toarray())
    method = "REML" if case["reml"] else "ML"
    d = [part.shape[1] for part in parts]
    found = lmm(*sums, np.sum(y * y, axis=0), n=len(y), d=d, method=method)
    known = np.linalg.slogdet(X.T @ X)[1] if case["reml"] else 0.0
    return {
        "minus2ll": -2.0 * float(np.ravel(found["logLik"])[0]) + known,
        "model": {"formula": independent(case), "reml": case["reml"]},
        "note": "variance components only",
    }


main(read_pandas, fit, "FLASH-MM", "numpy", "pandas", "scipy")
