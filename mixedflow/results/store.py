"""A fit on disk: JSON and Parquet in one folder, verified on reading.

Stands at "Results" in ``docs/algorithm.md``; the format is DESIGN 4's. ``fit.json`` (what was asked,
parameters, estimates, convergence, versions, timings), ``ranef.parquet``, ``trace.parquet``,
``schema/`` and ``crossproducts/``. On reading, the equations are solved again at the stored
parameters and the log-likelihood and the fixed effects must agree with what is stored.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.data.atomic import atomic_folder
from mixedflow.data.manifest import (
    FILES,
    ManifestKind,
    check_digests,
    digests_of,
    read_manifest,
)
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import spec_from_json
from mixedflow.errors import MixedflowError, StoredFileError, listing
from mixedflow.estimation.certificate import Certificate
from mixedflow.estimation.driver import TraceRow
from mixedflow.estimation.fit import (
    Estimates,
    evaluate_at,
    fixed_effects,
    random_effects,
    term_covariances,
)
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.probed import MonteCarloError
from mixedflow.inference.fixed import coefficient_table
from mixedflow.results.fit_result import FitResult
from mixedflow.results.tabulating import pd

KIND = ManifestKind("a fit", "fit.json", 1, "mixedflow-fit", again="`mixedflow fit` writes it")
OWN_FILES = ("fit.json", "ranef.parquet", "ranef", "trace.parquet", "schema", "crossproducts")
"""Names in the folder of any fit, so that one of another kind is replaced."""
PARTS = ("schema/schema.json", "crossproducts/manifest.json", "trace.parquet")
"""Files that ``fit.json`` knows by their SHA-256; manifests among them know their own files."""
REQUIRED = (
    "spec", "parameters", "reml", "method", "solver", "loglik", "fixef", "certificate", "df_model",
    "converged", "singular_terms", "seconds", "data_summary", "messages", "timings", "versions", FILES,
)  # fmt: skip
AGREEMENT = 1e-9
"""Relative difference between the stored and the recomputed log-likelihood that is rounding."""
AGREEMENT_PROBED = 1e-6
"""The same where conjugate gradients stop at a tolerance, the probes being the same."""


def save_fit(fit: FitResult, folder: Path) -> None:
    """Write a fit to a folder; it appears whole or not at all."""
    with atomic_folder(folder, OWN_FILES) as place:
        fit.schema.save(place / "schema")
        save_crossproducts(fit.crossproducts, place / "crossproducts")
        pq.write_table(_ranef_table(fit), place / "ranef.parquet")
        write_trace(fit, place / "trace.parquet")
        content = {**fit_content(fit), FILES: digests_of(place, (*PARTS, "ranef.parquet"))}
        (place / KIND.file).write_text(KIND.text(content), encoding="utf-8")


def fit_content(fit: FitResult) -> dict[str, Any]:
    """Return what ``fit.json`` says of any fit, after its format."""
    estimates = fit.estimates
    return {
        "spec": fit.spec.to_json(),
        "reml": estimates.reml,
        "method": estimates.method,
        "solver": estimates.solver,
        "parameters": {
            "theta": [part.tolist() for part in estimates.params.theta],
            "psi": estimates.params.psi.tolist(),
            "phi": estimates.params.phi,
        },
        "singular_terms": list(estimates.singular),
        "seconds": estimates.seconds,
        **fit_record(fit),
        "data_summary": dict(fit.data_summary),
        "messages": list(fit.messages),
        "timings": dict(fit.timings),
        "versions": dict(fit.versions),
    }


def fit_record(fit: FitResult) -> dict[str, Any]:
    """Return the scalars and small tables of a fit as plain JSON values."""
    return {
        "loglik": fit.loglik,
        "deviance": fit.deviance,
        "aic": fit.aic,
        "bic": fit.bic,
        "nobs": fit.nobs,
        "df_model": fit.df_model,
        "sigma": fit.sigma,
        "converged": fit.converged,
        "singular": fit.singular,
        "n_iter": fit.n_iter,
        "fixef": fit.fixef.to_dict(),
        "se": dict(zip(fit.coefficient_names, _standard_errors(fit), strict=True)),
        "vcov": fit.estimates.vcov.tolist(),
        "varcorr": fit.varcorr.to_dict(orient="records"),
        "n_levels": fit.n_levels,
        "certificate": asdict(fit.certificate),
        "monte_carlo": None if fit.monte_carlo is None else asdict(fit.monte_carlo),
    }


def _standard_errors(fit: FitResult) -> list[float]:
    return [float(se) for se in coefficient_table(fit.estimates.beta, fit.estimates.vcov).se]


def _ranef_table(fit: FitResult) -> pa.Table:
    parts = [pd.DataFrame({"factor": [], "level": [], "column": []}, dtype=str)]
    parts[0] = parts[0].assign(blup=np.empty(0), sd=np.empty(0))
    for factor, values in fit.ranef.items():
        known = fit.monte_carlo is None
        sd = fit.ranef_se[factor] if known else pd.DataFrame(np.nan, values.index, values.columns)
        for column in dict.fromkeys(values.columns):
            parts.append(
                pd.DataFrame(
                    {
                        "factor": factor,
                        "level": values.index.map(str),
                        "column": column,
                        "blup": values[column].to_numpy(),
                        "sd": sd[column].to_numpy(),
                    }
                )
            )
    return pa.Table.from_pandas(pd.concat(parts), preserve_index=False)


def load_fit(folder: Path) -> FitResult:
    """Read a fit and verify it.

    Raises
    ------
    StoredFileError
        if a file is missing or damaged, the format version is another one, or the equations at the
        stored parameters give another log-likelihood or other fixed effects.
    """
    content = read_manifest(folder, KIND)
    with damage_named(folder):
        check_keys(content, folder)
        spec = spec_from_json(content["spec"])
        schema = Schema.load(folder / "schema")
        sums = load_crossproducts(folder / "crossproducts")
        params = stored_parameters(content)
        trace = read_trace(folder / "trace.parquet")
        check_digests(folder, content[FILES], KIND)
        estimates = _verified(content, params, Encoder(spec, schema), (sums, trace, folder))
    return FitResult(
        spec=spec,
        schema=schema,
        estimates=estimates,
        crossproducts=sums,
        data_summary=content["data_summary"],
        messages=tuple(content["messages"]),
        timings=content["timings"],
        versions=content["versions"],
    )


@contextmanager
def damage_named(folder: Path) -> Iterator[None]:
    """Turn what goes wrong in reading the files of a fit into a sentence that names the folder."""
    try:
        yield
    except StoredFileError:
        raise
    except KeyError as error:
        raise StoredFileError(f"the fit '{folder}' is damaged: {error} is missing in it") from error
    except FileNotFoundError as error:
        raise StoredFileError(f"the fit '{folder}' is not complete: no trace.parquet") from error
    except (
        AttributeError,
        MixedflowError,
        TypeError,
        ValueError,
        OSError,
        pa.ArrowException,
    ) as error:
        raise StoredFileError(f"the fit '{folder}' is damaged: {error}") from error


def check_keys(content: Mapping[str, Any], folder: Path) -> None:
    """Raise for keys that are missing, and for another number of terms than the formula's."""
    lacking = [key for key in REQUIRED if key not in content]
    if lacking:
        raise StoredFileError(f"the fit '{folder}' is damaged: fit.json lacks {listing(lacking)}")
    stored, terms = (
        content["parameters"]["theta"],
        len(spec_from_json(content["spec"]).parsed.random),
    )
    if len(stored) != terms:
        raise StoredFileError(
            f"the fit '{folder}' is damaged: fit.json has parameters of {len(stored)} random terms,"
            f" its formula has {terms}"
        )


def stored_parameters(content: Mapping[str, Any]) -> VarianceParameters:
    """Return the variance parameters in ``fit.json``."""
    stored = content["parameters"]
    theta = tuple(np.array(part, dtype=float) for part in stored["theta"])
    psi = np.array(stored.get("psi", []), dtype=float)  # none before structures of R
    return VarianceParameters(theta, float(stored["phi"]), psi)


def stored_certificate(content: Mapping[str, Any]) -> Certificate:
    """Return the certificate in ``fit.json``."""
    stored = dict(content["certificate"])
    stored["boundary"] = tuple((label, on) for label, on in stored["boundary"])
    limits = stored.get("limits", [])  # none before structures of R
    stored["limits"] = tuple((name, meaning) for name, meaning in limits)
    return Certificate(**stored)


def write_trace(fit: FitResult, path: Path) -> None:
    """Write one row an iteration."""
    pq.write_table(pa.Table.from_pandas(fit.trace, preserve_index=False), path)


def read_trace(path: Path) -> tuple[TraceRow, ...]:
    """Read what :func:`write_trace` wrote."""
    columns = pq.read_table(path).to_pydict()
    names = [f.name for f in fields(TraceRow)]
    return tuple(TraceRow(*row) for row in zip(*(columns[name] for name in names), strict=True))


def _verified(
    content: Mapping[str, Any], params: VarianceParameters, encoder: Encoder, parts: Any
) -> Estimates:
    sums, trace, folder = parts
    reml = bool(content["reml"])
    try:
        chance = _monte_carlo(content)
        again = evaluate_at(
            sums, encoder.terms, params, reml=reml, solver=content["solver"], monte_carlo=chance
        )
    except MixedflowError as error:
        raise StoredFileError(f"the fit '{folder}' cannot be verified: {error}") from error
    share = AGREEMENT if chance is None else AGREEMENT_PROBED
    loglik = -0.5 * again.minus2ll
    _agree(folder, "log-likelihood", content["loglik"], loglik, share * max(1.0, abs(loglik)))
    beta, vcov = fixed_effects(again)
    for name, before, now in zip(content["fixef"], content["fixef"].values(), beta, strict=True):
        scale = float(np.sqrt(vcov.diagonal().max()))
        _agree(folder, f"coefficient '{name}'", before, now, share * max(scale, abs(now)))
    system = again.solution.mme.system
    y2 = system.fixed_scale.y_scale**2
    return Estimates(
        reml=reml,
        method=content["method"],
        solver=content["solver"],
        params=params,
        G=term_covariances(again),
        sigma2=y2 * params.sigma2,
        beta=beta,
        vcov=vcov,
        kept=system.kept,
        aliased=system.aliased,
        u=random_effects(again),
        minus2ll=again.minus2ll,
        n_obs=system.n_obs,
        n_params=int(content["df_model"]),
        converged=bool(content["converged"]),
        singular=tuple(bool(value) for value in content["singular_terms"]),
        trace=trace,
        certificate=stored_certificate(content),
        seconds=float(content["seconds"]),
        monte_carlo=chance,
    )


def _monte_carlo(content: Mapping[str, Any]) -> MonteCarloError | None:
    stored = content["monte_carlo"]
    if stored is None:
        return None
    rows = {name: tuple(stored[name]) for name in ("se", "relative")}
    return MonteCarloError(**{**stored, **rows})


def _agree(folder: Path, what: str, stored: float, now: float, limit: float) -> None:
    if not (math.isfinite(stored) and abs(stored - now) <= limit):
        raise StoredFileError(
            f"the fit '{folder}' fails verification: the stored {what} is {stored!r}, the equations "
            f"at the stored parameters give {float(now)!r}; fit the model again"
        )
