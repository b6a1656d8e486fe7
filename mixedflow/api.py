"""The friendly layer: check, call the rooms in order, hand back a result.

Stands around the whole of ``docs/algorithm.md``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixedflow.data import Source, open_source
from mixedflow.design.spec import make_spec
from mixedflow.estimation.control import FitControl, checked_method
from mixedflow.parallel import Runner, condense, limited_threads
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.store import load_fit


def fit(  # noqa: PLR0913 - everything that a fit can be told
    formula: str,
    data: Any,
    *,
    reml: bool = True,
    method: str = "auto",
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    missing: str = "drop",
    residual: str = "iid",
    relationship: Any = None,
    control: FitControl | None = None,
    runner: Runner | None = None,
) -> FitResult:
    """Fit y = X beta + sum_j Z_j u_j + e, u_j ~ N(0, I x G_j), e ~ N(0, sigma2 W^-1).

    Parameters
    ----------
    formula : lme4's grammar, ``"Reaction ~ Days + (Days | Subject)"``
    data : a pandas, polars, Arrow or Dask frame, a dict of arrays, or a path or glob
    reml : restricted likelihood, or (False) the full one
    method : ``auto`` (EM start, then Newton with the average information), ``em``, ``px-em``, ``ai``
    weights : column of known weights w, Var(e_i) = sigma2 / w_i
    levels : column -> its levels in order; makes the column categorical
    types : column -> ``category``, ``float``, ``int`` or ``string``
    missing : ``drop`` rows that are incomplete in the model's columns, or ``error``
    residual : structure of R; ``iid``
    relationship : between the levels of a factor; not offered yet
    control : settings of the driver
    runner : where partitions are condensed; this process unless said otherwise

    Returns
    -------
    FitResult

    Raises
    ------
    MixedflowError
        one sentence on what is wrong with formula, data or options, before any long work.
    """
    began = time.perf_counter()
    checked_method(method)
    spec = make_spec(
        formula,
        weights=weights,
        levels=levels,
        missing=missing,
        residual=residual,
        relationship=relationship,
    )
    require_random_term(spec)
    source = open_source(data, types=types, levels=levels)
    with limited_threads(control.threads if control else 1):
        schema, sums = condense(spec, source, runner or Runner())
        rows = _row_source(source, data, time.perf_counter() - began)
        return fit_condensed(spec, schema, sums, FitRequest(reml, method, control), rows)


def _row_source(source: Source, data: Any, seconds: float) -> RowSource:
    """Return where the rows came from; a pandas frame's index names them."""
    is_pandas = type(data).__module__.startswith("pandas")
    return RowSource(
        name=source.name,
        source=source,
        index=getattr(data, "index", None) if is_pandas else None,
        timings={"condense": seconds},
    )


def require_random_term(spec: Any) -> None:
    """Raise unless the formula has a random term."""
    from mixedflow.errors import FormulaError

    if not spec.parsed.random:
        raise FormulaError(
            f"'{spec.formula}' has no random term; add at least one, such as (1 | group)"
        )


def load(path: str | Path) -> FitResult:
    """Read a fit that ``FitResult.save`` or the workflow wrote, and verify it.

    Raises
    ------
    StoredFileError
        if it is missing, damaged, or does not agree with its own equations.
    """
    return load_fit(Path(path))
