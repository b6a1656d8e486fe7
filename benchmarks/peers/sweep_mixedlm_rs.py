"""mixedlm-rs: a model a trait from arrays, or one model that is given other responses."""

from __future__ import annotations

import mixedlm_rs
import numpy as np
import pandas as pd
from sweeps_common import Request, main


def fit(request: Request) -> tuple[list[str], list[float]]:
    """Return traits and -2 log L."""
    traits, fixed = request["traits"], request["fixed"]
    frame = pd.read_parquet(request["data"], columns=[request["group"], *fixed, *traits])
    X = np.column_stack([np.ones(len(frame)), frame[fixed].to_numpy()])
    groups = frame[request["group"]].to_numpy()
    first = mixedlm_rs.MixedLM(frame[traits[0]].to_numpy(), X, groups)
    out = []
    for t in traits:
        y = frame[t].to_numpy()
        anew = request["way"] == "loop"
        model = mixedlm_rs.MixedLM(y, X, groups) if anew else first.with_endog(y)
        out.append(-2.0 * model.fit(reml=True).llf)
    return traits, out


main(fit, "mixedlm-rs", "numpy", "pandas", "scipy")
