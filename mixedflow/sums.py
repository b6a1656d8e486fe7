"""Sums as a thing of their own: condensed once, stored, added, taken apart, and fitted without rows.

Stands at "Sums" in ``docs/algorithm.md``. What :func:`mixedflow.fit` does to rows in one go is here
in its parts, so that sites can condense apart and one place can fit.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from functools import reduce
from operator import add
from pathlib import Path
from typing import Any

from mixedflow.crossproducts.condensed import Condensed
from mixedflow.crossproducts.folder import OWN_FILES, is_design, read_design, save_condensed
from mixedflow.data import Source, check_folder, open_source
from mixedflow.design import ModelSpec, Schema, make_spec
from mixedflow.design.checks import check_factors
from mixedflow.design.shared import OWN_FILES as SHARED_FILES
from mixedflow.design.shared import SharedSchema, is_shared_schema, without_rows
from mixedflow.design.spec import require_random_term
from mixedflow.equations.budget import usable_cores
from mixedflow.errors import ConfigError, DataError, StoredFileError, UnsupportedError
from mixedflow.parallel import Runner, limited_threads, own_runner, summarize
from mixedflow.parallel import condense as condense_rows
from mixedflow.results.build import FitRequest, RowSource, fit_condensed
from mixedflow.results.fit_result import FitResult

AnySchema = SharedSchema | Schema | Condensed | str | Path


def condense(  # noqa: PLR0913 - everything that condensing can be told
    spec: ModelSpec | str,
    data: Any,
    path: str | Path | None = None,
    *,
    schema: AnySchema | None = None,
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    missing: str = "drop",
    residual: str = "iid",
    by_group: str | None = None,
    runner: Runner | None = None,
) -> Condensed:
    """Return [X y]'B[X y] and Z'B[Z X y] of a model, enough to fit it and every smaller one.

    Parameters
    ----------
    spec : a formula in lme4's grammar, or a description made of one
    data : as for :func:`mixedflow.fit`
    path : folder to store the sums in; :func:`load_crossproducts` reads it
    schema : levels and pilots that others condense with too, from :func:`learn_schema` or
        :func:`merge_schemas`, or their folder; learned from the data without it
    weights, levels, types, missing, residual : as for :func:`mixedflow.fit`
    by_group : grouping factor of which every level's own [X y]'B[X y] is kept, so that groups can be
        left out or drawn again; (p + 1)(p + 2) / 2 numbers a level
    runner : where partitions are condensed; this process unless said otherwise

    Raises
    ------
    MixedflowError
        one sentence on what is wrong with formula, data or options.
    """
    described, source = _opened(spec, data, (weights, levels, types, missing, residual))
    if by_group is not None and described.residual != "iid":
        raise UnsupportedError(
            f"by_group='{by_group}' keeps sums of groups for residual='iid' only, not for "
            f"residual='{described.residual}'; leave one of them out"
        )
    if path is not None:
        check_folder(path, OWN_FILES)
    common = None if schema is None else _schema_of(schema)
    runner = runner or own_runner(source.n_partitions, usable_cores())
    with limited_threads(1):
        found, sums = condense_rows(described, source, runner, schema=common, by_group=by_group)
    condensed = Condensed(described, found, sums)
    if path is not None:
        place = data if isinstance(data, str | Path) else ""
        facts = {"source": source.name, "path": str(place), "fingerprint": source.fingerprint()}
        save_condensed(condensed, Path(path), facts)
    return condensed


def load_crossproducts(path: str | Path) -> Condensed:
    """Read sums that :func:`condense` or the workflow wrote, and verify them.

    Raises
    ------
    StoredFileError
        if a file is missing, damaged, or of another format version.
    """
    return read_design(Path(path))[0]


def learn_schema(  # noqa: PLR0913 - everything that the schema depends on
    spec: ModelSpec | str,
    data: Any,
    path: str | Path | None = None,
    *,
    weights: str | None = None,
    levels: Mapping[str, Sequence[Any]] | None = None,
    types: Mapping[str, str] | None = None,
    missing: str = "drop",
    residual: str = "iid",
    runner: Runner | None = None,
) -> SharedSchema:
    """Return what the columns of a model depend on besides the rows: counts, moments, levels.

    It holds no row; for every numeric column it holds number, mean, spread, least and greatest value,
    and for every category and grouping factor the names of the levels, which stand in ascending order
    unless ``levels`` declares another.

    Parameters
    ----------
    spec, data, weights, levels, types, missing, residual, runner : as for :func:`condense`
    path : folder to store it in, for :func:`merge_schemas` elsewhere
    """
    described, source = _opened(spec, data, (weights, levels, types, missing, residual))
    if path is not None:
        check_folder(path, SHARED_FILES)
    runner = runner or own_runner(source.n_partitions, usable_cores())
    shared = without_rows(described, summarize(described, source, runner))
    if path is not None:
        shared.save(path)
    return shared


def merge_schemas(
    parts: Iterable[SharedSchema | str | Path], path: str | Path | None = None
) -> SharedSchema:
    """Return what several sites tell together, in the order given.

    Parameters
    ----------
    parts : from :func:`learn_schema`, or their folders
    path : folder to store it in, for :func:`condense` at the sites
    """
    read = [p if isinstance(p, SharedSchema) else SharedSchema.load(p) for p in parts]
    if not read:
        raise DataError("no schema was given; merging needs at least one")
    merged = reduce(add, read)
    assert merged.schema is not None  # noqa: S101 - judged here, where all sites can be told
    if path is not None:
        merged.save(path)
    return merged


def fit_sums(
    formula: str, condensed: Condensed, request: FitRequest, residual: str | None = None
) -> FitResult:
    """Return the fit of a model whose columns are among those of condensed data.

    Parameters
    ----------
    formula : of the model
    condensed : the sums
    request : REML or ML, method, settings
    residual : residual structure that shares the sums; that of the sums without it

    Raises
    ------
    FormulaError
        naming what the model has that was not condensed.
    """
    require_random_term(make_spec(formula, residual=residual or condensed.spec.residual))
    if not condensed.n_obs:
        raise DataError("no rows are left in these sums, so there is nothing to fit")
    chosen = condensed.submodel(formula, residual)
    if chosen.sums.lacks_levels:
        chosen = chosen.compact()
    check_factors(chosen.spec, chosen.schema)
    rows = RowSource(f"sums of {condensed.schema.source}")
    return fit_condensed(chosen.spec, chosen.schema, chosen.sums, request, rows)


def condensed_in(data: Any) -> Condensed | None:
    """Return condensed data, given as such or as the path of their folder; None for rows."""
    if isinstance(data, Condensed):
        return data
    if isinstance(data, str | Path) and is_design(Path(data)):
        return load_crossproducts(data)
    return None


def check_options(condensed: Condensed, **options: Any) -> None:
    """Raise for options of a fit that would need the rows."""
    spec = condensed.spec
    own = {
        "weights": spec.weights,
        "levels": dict(spec.levels),
        "missing": spec.missing,
    }
    for name, value in options.items():
        if value and value != own.get(name):
            raise UnsupportedError(
                f"{name} cannot be changed any more: the rows were condensed with "
                f"{name}={own.get(name) or None!r}; condense them again"
            )


def _opened(
    spec: ModelSpec | str, data: Any, options: tuple[Any, Any, Any, str, str]
) -> tuple[ModelSpec, Source]:
    """Return the model's description and the rows."""
    weights, levels, types, missing, residual = options
    if isinstance(spec, ModelSpec):
        changed = weights is not None or levels is not None or missing != "drop"
        if changed or residual != "iid":
            raise ConfigError(
                "weights, levels, missing and residual are part of the description that was given; "
                "name them in make_spec()"
            )
        described = spec
    else:
        described = make_spec(
            spec, weights=weights, levels=levels, missing=missing, residual=residual
        )
    require_random_term(described)
    declared = {name: list(values) for name, values in described.levels.items()}
    return described, open_source(data, types=types, levels=declared or levels)


def _schema_of(given: AnySchema) -> Schema:
    if isinstance(given, Schema):
        return given
    if isinstance(given, SharedSchema | Condensed):
        return given.schema
    if not isinstance(given, str | Path):
        raise ConfigError(
            f"schema must be what learn_schema() returned, or the folder it wrote; {given!r} was given"
        )
    place = Path(given)
    if is_shared_schema(place):
        return SharedSchema.load(place).schema
    if is_design(place):
        return Schema.load(place / "schema")
    if not (place / "schema.json").is_file():
        raise StoredFileError(f"there is no schema at '{place}'")
    return Schema.load(place)
