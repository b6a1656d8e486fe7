"""The step that asks a stored fit for tests and intervals.

Stands at "Degrees of freedom" and after in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from mixedflow import api
from mixedflow.config import DataConfig
from mixedflow.config.inference import (
    InferConfig,
    check_coefficients,
    check_factors,
    check_variables,
)
from mixedflow.config.resampling import check_drawn, check_dropped
from mixedflow.data import check_folder
from mixedflow.design import check_columns
from mixedflow.errors import DataError
from mixedflow.recording import note_read, note_written, phase
from mixedflow.results.dropping import smaller_models
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferred import (
    OWN_FILES,
    Inferred,
    InferredTable,
    file_digest,
    save_inferred,
)
from mixedflow.steps.asking import DDF_WORDS, questions
from mixedflow.steps.opening import OnDone, source_of

NOT_CONVERGED = (
    "The fit did not converge: its estimates are not a maximum of the likelihood, and tests and "
    "intervals about them would mean nothing, so none were computed."
)


def infer_step(
    fitted: Path,
    settings: InferConfig,
    out: Path,
    *,
    data: DataConfig | None = None,
    where: str = "",
    on_done: OnDone | None = None,
) -> Inferred:
    """Answer what is asked of a stored fit, and write the tables.

    Parameters
    ----------
    fitted : folder of the fit
    settings : what is asked; every name in it is checked before any work
    out : folder to write
    data : the rows of the fit, for what its sums do not tell
    where : opens the message about a wrong name
    on_done : told how many tables of how many are done
    """
    check_folder(out, OWN_FILES)
    note_read(fitted, *(() if data is None else (data.path,)))
    with phase("load"):
        fit = api.load(fitted)
    _check_names(fit, settings, where)
    if data is not None:
        fit = _with_rows(fit, data)
    found = Inferred(
        formula=str(fit.spec.formula),
        settings=settings.model_dump(mode="json"),
        ddf=DDF_WORDS[settings.ddf],
        level=settings.level,
        statement="" if fit.converged else NOT_CONVERGED,
        tables=_answers(fit, settings, on_done) if fit.converged else (),
        fit_digest=file_digest(fitted / "fit.json"),
        versions=fit.versions,
    )
    save_inferred(found, out)
    note_written(out)
    return found


def _check_names(fit: FitResult, settings: InferConfig, where: str) -> None:
    """Raise for the first name that the fit has not."""
    check_coefficients(settings, fit.coefficient_names, where)
    check_variables(settings, fit.spec.parsed.fixed.names, where)
    design = fit.crossproducts.info.residual
    group = [] if design is None else [":".join(design.group)]
    check_factors(settings, list(fit.n_levels) or group, where)
    check_drawn(settings.bootstrap, list(fit.n_levels), where)
    dropped = [one.dropped for one in smaller_models(fit.spec.parsed)]
    check_dropped(settings.variance_test, dropped, where)


def _with_rows(fit: FitResult, data: DataConfig) -> FitResult:
    """Return the fit with its rows at hand.

    Raises
    ------
    DataError
        where these are another number of rows.
    """
    source = source_of(data)
    check_columns(fit.spec, source.columns(), source.name)
    expected = int(fit.data_summary.get("rows_in", source.n_rows))
    if source.n_rows != expected:
        raise DataError(
            f"'{data.path}' has {source.n_rows:,} rows, and the fit was made from {expected:,}; name the data"
            " of the fit"
        )
    return replace(fit, source=source)


def _answers(
    fit: FitResult, settings: InferConfig, on_done: OnDone | None
) -> tuple[InferredTable, ...]:
    asked = questions(fit, settings)
    found = []
    for done, question in enumerate(asked, 1):
        with phase(question.kind):
            found.append(question.answer())
        if on_done is not None:
            on_done(done, len(asked))
    return tuple(found)
