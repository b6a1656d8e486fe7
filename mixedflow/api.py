"""The friendly layer: check, call the rooms in order, hand back a result.

Stands around the whole of ``docs/algorithm.md``.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from mixedflow.data import Source, open_source
from mixedflow.design.spec import make_spec, require_random_term
from mixedflow.equations.budget import usable_cores
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.control import FitControl, checked_method
from mixedflow.parallel import Runner, condense, limited_threads, own_runner
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.fit_result import FitResult
from mixedflow.results.store import load_fit
from mixedflow.sums import check_options, condensed_in, fit_sums


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
    sharded: bool | str | Path = False,
) -> FitResult:
    """Fit y = X beta + sum_j Z_j u_j + e, u_j ~ N(0, I x G_j), e ~ N(0, sigma2 W^-1/2 R0 W^-1/2).

    Parameters
    ----------
    formula : lme4's grammar, ``"Reaction ~ Days + (Days | Subject)"``
    data : a pandas, polars, Arrow or Dask frame, a dict of arrays, a path or glob; or condensed data
        or their folder, which then say themselves what weights, levels and missing are
    reml : restricted likelihood, or (False) the full one
    method : ``auto`` (EM start, then Newton with the average information), ``em``, ``px-em``, ``ai``
    weights : column of known weights w, Var(e_i) = R_ii / w_i
    levels : column -> its levels in order; makes the column categorical
    types : column -> ``category``, ``float``, ``int`` or ``string``
    missing : ``drop`` rows that are incomplete in the model's columns, or ``error``
    residual : structure of R, ``"us(visit | subject)"``, ``"us(visit | arm/subject)"``,
        ``"ar1(1 | g)"``, ``"strata(sex)"`` and others (docs/structures.md); independent without
    relationship : between the levels of a factor; not offered yet
    control : settings of the driver
    runner : where partitions are condensed; threads of this process unless said otherwise (the
        bits are the same everywhere)
    sharded : leave the sums of the groups where the partitions were condensed: on the runner's
        workers, in this process without workers, or memory-mapped in a new folder, named here.
        For one grouping factor; partitions must hold whole groups, as data prepared by group do

    Returns
    -------
    FitResult
        or, where it is sharded, a :class:`mixedflow.results.sharded.ShardedFit`

    Raises
    ------
    MixedflowError
        one sentence on what is wrong with formula, data or options, before any long work.
    """
    began = time.perf_counter()
    checked_method(method)
    condensed = condensed_in(data)
    if condensed is not None:
        if sharded:
            raise UnsupportedError(
                "sharded fits are made from rows, not from condensed data; give the data, or leave "
                "sharded out"
            )
        check_options(
            condensed,
            weights=weights,
            levels={name: tuple(values) for name, values in (levels or {}).items()},
            types=types,
            missing=missing if missing != "drop" else None,
            relationship=relationship,
        )
        with limited_threads(control.threads if control else 1):
            request = FitRequest(reml, method, control)
            return fit_sums(formula, condensed, request, None if residual == "iid" else residual)
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
    where = runner or own_runner(source.n_partitions, usable_cores())
    request = FitRequest(reml, method, control)
    with limited_threads(control.threads if control else 1):
        if sharded:
            from mixedflow.sharding import fit_sharded

            rows = _row_source(source, data, time.perf_counter() - began)
            return fit_sharded(spec, rows, request, where, None if sharded is True else sharded)
        schema, sums = condense(spec, source, where)
        rows = _row_source(source, data, time.perf_counter() - began)
        return fit_condensed(spec, schema, sums, request, rows)


def _row_source(source: Source, data: Any, seconds: float) -> RowSource:
    """Return where the rows came from; a pandas frame's index names them."""
    is_pandas = type(data).__module__.startswith("pandas")
    return RowSource(
        name=source.name,
        source=source,
        index=getattr(data, "index", None) if is_pandas else None,
        timings={"condense": seconds},
    )


def load(path: str | Path) -> FitResult:
    """Read a fit that ``FitResult.save`` or the workflow wrote, and verify it.

    The equations are solved again and must give what is stored. Those of a sharded fit are not
    there, so it is verified as far as its own files go: formats, keys, shapes, numbers that must
    agree with each other, sizes of the parts.

    Raises
    ------
    StoredFileError
        if it is missing, damaged, or does not agree with its own equations.
    """
    from mixedflow.results.sharded_store import is_sharded, load_sharded

    folder = Path(path)
    return load_sharded(folder) if is_sharded(folder) else load_fit(folder)
