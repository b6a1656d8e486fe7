"""A sharded fit on disk: its own format beside that of a fit in memory.

Stands at "Shards" in ``docs/algorithm.md``. ``fit.json`` (as that of any fit, with G, sigma2,
the fixed effects and their covariance, which columns are aliased, and the list of parts),
``trace.parquet``, ``schema/``, ``crossproducts/`` (the global sums) and ``ranef/part-00000.parquet
...``, which every shard writes for itself.

The sums of the groups are not stored, so reading cannot solve the equations again. What is verified:
formats and keys; that arrays have the shapes of the formula's columns and finite numbers; that numbers that
are stored twice agree; that all parts are there with their sizes and rows. What the parts hold is
verified when they are read.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.atomic import atomic_folder
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.manifest import (
    FILES,
    ManifestKind,
    check_digests,
    digests_of,
    read_json,
    read_manifest,
)
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import spec_from_json
from mixedflow.design.types import Float
from mixedflow.errors import StoredFileError, listing
from mixedflow.estimation.driver import TraceRow
from mixedflow.estimation.fit import Estimates
from mixedflow.results.ranef_parts import part_paths
from mixedflow.results.sharded import ShardedFit
from mixedflow.results.store import (
    OWN_FILES,
    PARTS,
    check_keys,
    damage_named,
    fit_content,
    read_trace,
    stored_certificate,
    stored_parameters,
    write_trace,
)

KIND = ManifestKind(
    "a sharded fit", "fit.json", 1, "mixedflow-sharded-fit", again="`mixedflow fit` writes it"
)
REQUIRED = ("G", "sigma2", "beta", "vcov", "se", "kept", "aliased", "parts", "n_levels", "nobs")
RANEF = "ranef"
AGREEMENT = 1e-9
"""Relative difference of numbers that are stored twice, in different words, that is rounding."""


def is_sharded(folder: Path) -> bool:
    """Tell the folder of a sharded fit from that of a fit in memory, whole or damaged."""
    try:
        content = read_json(folder / KIND.file, missing="")
    except StoredFileError:
        return False
    return isinstance(content, dict) and content.get("format") == KIND.format


def save_sharded(fit: ShardedFit, folder: Path) -> None:
    """Write a sharded fit to a folder; it appears whole or not at all."""
    with atomic_folder(folder, OWN_FILES) as place:
        fit.schema.save(place / "schema")
        save_crossproducts(fit.crossproducts, place / "crossproducts")
        fit.ranef_parts(place / RANEF)
        write_trace(fit, place / "trace.parquet")
        content = {**fit_content(fit), **_own_content(fit, place / RANEF)}
        content[FILES] = digests_of(place, PARTS)
        (place / KIND.file).write_text(KIND.text(content), encoding="utf-8")


def _own_content(fit: ShardedFit, ranef: Path) -> dict[str, Any]:
    """Return what the sums of the groups would have given on reading, and the list of parts."""
    estimates = fit.estimates
    return {
        "G": [part.tolist() for part in estimates.G],
        "sigma2": estimates.sigma2,
        "beta": estimates.beta.tolist(),
        "kept": estimates.kept.tolist(),
        "aliased": estimates.aliased.tolist(),
        "parts": [
            {
                "file": path.name,
                "rows": pq.read_metadata(path).num_rows,
                "bytes": path.stat().st_size,
                "sha256": sha256_of_file(path),
            }
            for path in part_paths(ranef)
        ],
    }


def load_sharded(folder: Path) -> ShardedFit:
    """Read a sharded fit, and verify what can be verified without its shards.

    Raises
    ------
    StoredFileError
        if a file is missing or damaged, the format version is another one, or numbers are not finite
        or do not agree.
    """
    content = read_manifest(folder, KIND)
    with damage_named(folder):
        check_keys(content, folder)
        lacking = [key for key in REQUIRED if key not in content]
        if lacking:
            raise StoredFileError(
                f"the fit '{folder}' is damaged: fit.json lacks {listing(lacking)}"
            )
        spec = spec_from_json(content["spec"])
        schema = Schema.load(folder / "schema")
        sums = load_crossproducts(folder / "crossproducts")
        estimates = _estimates(content, read_trace(folder / "trace.parquet"))
        check_digests(folder, content[FILES], KIND)
        _check_shapes(estimates, Encoder(spec, schema), sums, folder)
        _check_numbers(content, estimates, sums, folder)
        _check_parts(content, Encoder(spec, schema), folder)
    return ShardedFit(
        spec=spec,
        schema=schema,
        estimates=estimates,
        crossproducts=sums,
        data_summary=content["data_summary"],
        messages=tuple(content["messages"]),
        timings=content["timings"],
        versions=content["versions"],
        stored=(folder / RANEF).absolute(),
        digests={str(part["file"]): str(part["sha256"]) for part in content["parts"]},
    )


def _estimates(content: Mapping[str, Any], trace: tuple[TraceRow, ...]) -> Estimates:
    return Estimates(
        reml=bool(content["reml"]),
        method=content["method"],
        solver=content["solver"],
        params=stored_parameters(content),
        G=tuple(_array(part) for part in content["G"]),
        sigma2=float(content["sigma2"]),
        beta=_array(content["beta"]),
        vcov=_array(content["vcov"]),
        kept=np.array(content["kept"], dtype=np.int64),
        aliased=np.array(content["aliased"], dtype=np.int64),
        u=(),
        minus2ll=-2.0 * float(content["loglik"]),
        n_obs=int(content["nobs"]),
        n_params=int(content["df_model"]),
        converged=bool(content["converged"]),
        singular=tuple(bool(value) for value in content["singular_terms"]),
        trace=trace,
        certificate=stored_certificate(content),
        seconds=float(content["seconds"]),
    )


def _array(values: Any) -> Float:
    return np.array(values, dtype=np.float64)


def _check_shapes(
    estimates: Estimates, encoder: Encoder, sums: CrossProducts, folder: Path
) -> None:
    """Raise unless the estimates are those of the formula's columns."""
    info, p = sums.info, len(estimates.kept)
    columns = sorted([*estimates.kept.tolist(), *estimates.aliased.tolist()])
    same = {
        "columns of the fixed part": (columns, list(range(len(info.x_columns)))),
        "names of the fixed part": (encoder.info.x_columns, info.x_columns),
        "columns of the random part": (
            [(f.name, f.columns) for f in encoder.info.factors],
            [(f.name, f.columns) for f in info.factors],
        ),
        "shape of the fixed effects": (estimates.beta.shape, (p,)),
        "shape of their covariance": (estimates.vcov.shape, (p, p)),
        "shapes of G": (
            [part.shape for part in estimates.G],
            [(len(term.columns), len(term.columns)) for term in encoder.terms],
        ),
        "number of singular terms": (len(estimates.singular), len(encoder.terms)),
    }
    for what, (found, wanted) in same.items():
        if found != wanted:
            raise StoredFileError(
                f"the fit '{folder}' is damaged: the {what} is {found} where its design has {wanted}"
            )


def _check_numbers(
    content: Mapping[str, Any], estimates: Estimates, sums: CrossProducts, folder: Path
) -> None:
    """Raise for numbers that are not finite, no variances, or do not agree with each other."""
    numbers: dict[str, Any] = {
        "log-likelihood": estimates.minus2ll,
        "fixed effects": estimates.beta,
        "vcov": estimates.vcov,
        "parameters": np.array([*np.concatenate(estimates.params.theta), estimates.params.phi]),
        "sigma2": estimates.sigma2,
        **{f"G[{k}]": part for k, part in enumerate(estimates.G)},
    }
    for name, values in numbers.items():
        if not np.isfinite(values).all():
            raise StoredFileError(f"the fit '{folder}' is damaged: its {name} is not finite")
    variances = [estimates.vcov, *estimates.G]
    if estimates.sigma2 <= 0 or any((part.diagonal() < 0).any() for part in variances):
        raise StoredFileError(f"the fit '{folder}' is damaged: it holds a variance below zero")
    twice: dict[str, tuple[Any, Any]] = {
        "log-likelihood": (content["certificate"]["minus2ll"], estimates.minus2ll),
        "residual standard deviation": (content["sigma"] ** 2, estimates.sigma2),
        "fixed effects": (list(content["fixef"].values()), estimates.beta),
        "standard errors": (list(content["se"].values()), np.sqrt(estimates.vcov.diagonal())),
        "number of rows": (sums.n_obs, estimates.n_obs),
        "numbers of levels": (
            list(content["n_levels"].values()),
            [factor.n_levels for factor in sums.info.factors],
        ),
    }
    for name, (one, other) in twice.items():
        if not np.allclose(one, other, rtol=AGREEMENT, atol=0):
            raise StoredFileError(
                f"the fit '{folder}' fails verification: its {name} is stored as {_shown(one)} and as "
                f"{_shown(other)}; fit the model again"
            )


def _shown(values: Any) -> str:
    return ", ".join(repr(float(value)) for value in np.atleast_1d(values)[:3])


def _check_parts(content: Mapping[str, Any], encoder: Encoder, folder: Path) -> None:
    """Raise unless the random effects of all levels are there, by the sizes of their files."""
    listed, rows = content["parts"], 0
    for part in listed:
        path = folder / RANEF / Path(part["file"]).name
        if not path.is_file():
            raise StoredFileError(f"'{path}' is missing, which fit.json lists; fit the model again")
        size, found = path.stat().st_size, pq.read_metadata(path).num_rows
        if (size, found) != (part["bytes"], part["rows"]):
            raise StoredFileError(
                f"'{path}' has {size:,} bytes and {found:,} rows where fit.json says "
                f"{part['bytes']:,} and {part['rows']:,}; fit the model again"
            )
        rows += found
    others = [path.name for path in part_paths(folder / RANEF)]
    q = sum(len(term.columns) for term in encoder.terms)
    wanted = sum(content["n_levels"].values()) * q
    if rows != wanted or len(others) != len(listed):
        raise StoredFileError(
            f"the fit '{folder}' is damaged: its {len(others):,} parts hold {rows:,} random effects "
            f"where its levels have {wanted:,}"
        )
