"""Rows of chunks become one table: in the order of the traits, with q-values and tests.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from mixedflow.results.tabulating import pd
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.multiplicity import QMethod, q_values
from mixedflow.sweeps.parts import DIGEST, KEY
from mixedflow.sweeps.ratios import Pair, ratio_tests
from mixedflow.sweeps.single import failed_row

LAST = ("error", "seconds")


def gathered(
    rows: pd.DataFrame,
    names: Sequence[str],
    models: Sequence[SweepModel],
    pairs: Sequence[Pair],
    q: QMethod,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return table and tests of a sweep.

    Parameters
    ----------
    rows : of all traits by all models, in any order, each once; column :data:`KEY` tells the models
    names : of the traits, in their order
    models, pairs : of the sweep
    q : how q-values are found
    """
    own = dict(iter(rows.groupby(KEY, sort=False)))
    frames = {m.identity: _of_model(own[m.label], names, m) for m in models}
    tests = ratio_tests(list(pairs), frames, q)
    shown = [_with_q(frames[m.identity], m, q) for m in models if m.shown]
    whole = pd.concat(shown, ignore_index=True)
    order = np.argsort(np.tile(np.arange(len(names)), len(shown)), kind="stable")
    last = [c for c in LAST if c in whole.columns]
    columns = [c for c in whole.columns if c not in last] + last
    return whole.iloc[order][columns].reset_index(drop=True), tests


def _of_model(rows: pd.DataFrame, names: Sequence[str], model: SweepModel) -> pd.DataFrame:
    """Return a model's rows in the order of the traits, with the model's columns."""
    place = {name: k for k, name in enumerate(names)}
    at = rows["trait"].map(place).to_numpy()
    frame = rows.iloc[np.argsort(at, kind="stable")].reset_index(drop=True)
    known = list(failed_row(model, "", 0, "").columns)
    more = [c for c in frame.columns if c.startswith("residual:") and c not in known]
    if model.spec.residual == "iid":
        more = []
    frame = frame.drop(columns=[c for c in (KEY, DIGEST) if c in frame.columns])
    frame = frame.reindex(columns=[*known[:-2], *more, *known[-2:]])
    frame["model"], frame["subset"] = model.name, model.subset
    return frame


def _with_q(frame: pd.DataFrame, model: SweepModel, q: QMethod) -> pd.DataFrame:
    """Return a model's rows with q-values behind the p-values."""
    columns: Mapping[str, object] = {name: frame[name] for name in frame.columns}
    out: dict[str, object] = {}
    for name, values in columns.items():
        out[name] = values
        if name.startswith("p:") and name.removeprefix("p:") in model.coefficients:
            out[f"q:{name.removeprefix('p:')}"] = q_values(frame[name].to_numpy(dtype=float), q)
    return pd.DataFrame(out)
