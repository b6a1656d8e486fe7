"""gpboost: maximum likelihood, effects of one group independent: a smaller model where slopes are.

y is copied: a strided y is misread by its C interface.
"""

from __future__ import annotations

import gpboost as gpb
import numpy as np
from common import Case, design, group_codes, independent, main, read_pandas


def fit(frame: object, case: Case) -> dict[str, object]:
    """Fit by its default optimiser."""
    groups = np.column_stack([group_codes(frame, group) for _, group in case["random"]])
    slopes, owners = [], []
    for number, (columns, _) in enumerate(case["random"], start=1):
        for name in columns[1:]:
            slopes.append(frame[name].to_numpy(dtype=float, copy=True))
            owners.append(number)
    model = gpb.GPModel(
        group_data=groups,
        group_rand_coef_data=np.column_stack(slopes) if slopes else None,
        ind_effect_group_rand_coef=owners or None,
        likelihood="gaussian",
    )
    response = np.array(frame[case["response"]], dtype=float)
    model.fit(y=response, X=design(frame, case["fixed"]))
    return {
        "minus2ll": 2.0 * float(model.get_current_neg_log_likelihood()),
        "model": {"formula": independent(case), "reml": False},
        "note": "ML" + (", effects independent" if slopes else ""),
    }


main(read_pandas, fit, "gpboost", "numpy", "pandas", "scipy")
