"""The step that asks a stored fit for tests and intervals.

Stands at "Degrees of freedom" and after in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

import pandas as pd

from mixedflow import api
from mixedflow.config.inference import InferConfig, check_coefficients
from mixedflow.data import check_folder
from mixedflow.errors import FitError, UnsupportedError
from mixedflow.results.fit_result import FitResult
from mixedflow.results.inferred import (
    OWN_FILES,
    Inferred,
    InferredTable,
    TableKind,
    file_digest,
    save_inferred,
)
from mixedflow.results.inferring import Inference
from mixedflow.steps.opening import OnDone

DDF_WORDS = {
    "satterthwaite": "Satterthwaite's degrees of freedom",
    "kenward-roger": "Kenward and Roger's degrees of freedom and adjusted covariance",
    "residual": "residual degrees of freedom, n − p",
    "asymptotic": "the normal distribution (degrees of freedom without bound)",
}
NOT_CONVERGED = (
    "The fit did not converge: its estimates are not a maximum of the likelihood, and tests and "
    "intervals about them would mean nothing, so none were computed."
)

Part = Callable[[], pd.DataFrame]


def infer_step(
    fitted: Path,
    settings: InferConfig,
    out: Path,
    *,
    where: str = "",
    on_done: OnDone | None = None,
) -> Inferred:
    """Answer what is asked of a stored fit, and write the tables.

    Parameters
    ----------
    fitted : folder of the fit
    settings : what is asked; every name in it is checked before any work
    out : folder to write
    where : opens the message about a wrong name
    on_done : told how many tables of how many are done
    """
    check_folder(out, OWN_FILES)
    fit = api.load(fitted)
    check_coefficients(settings, fit.coefficient_names, where)
    found = Inferred(
        formula=str(fit.spec.formula),
        settings=settings.model_dump(mode="json"),
        ddf=DDF_WORDS[settings.ddf],
        level=settings.level,
        statement="" if fit.converged else NOT_CONVERGED,
        tables=_tables(fit, settings, on_done) if fit.converged else (),
        fit_digest=file_digest(fitted / "fit.json"),
        versions=fit.versions,
    )
    save_inferred(found, out)
    return found


def _tables(
    fit: FitResult, settings: InferConfig, on_done: OnDone | None
) -> tuple[InferredTable, ...]:
    inference = fit.infer(settings.ddf, level=settings.level)
    asked = [*_of_fixed_effects(inference, settings), *_of_variances(fit, settings)]
    found = []
    for done, (table, part) in enumerate(asked, 1):
        found.append(_answered(table, part))
        if on_done is not None:
            on_done(done, len(asked))
    return tuple(found)


Question = tuple[InferredTable, Part]


def _question(key: str, kind: TableKind, title: str, method: str, part: Part) -> Question:
    return InferredTable(key, kind, title, method, pd.DataFrame()), part


def _answered(asked: InferredTable, part: Part) -> InferredTable:
    """Return the table; the reason in its place where this fit cannot have it."""
    try:
        table, note = part(), ""
    except (UnsupportedError, FitError) as fault:
        table, note = pd.DataFrame({"reason": []}, dtype=str), str(fault)
    return InferredTable(
        asked.key, asked.kind, asked.title, asked.method, table, note, asked.details
    )


def _named(table: pd.DataFrame, name: str) -> pd.DataFrame:
    """Return a table with its index as the first column."""
    return table.rename_axis(index=name).reset_index()


def _of_fixed_effects(inference: Inference, settings: InferConfig) -> Iterator[Question]:
    by, percent = DDF_WORDS[settings.ddf], f"{100 * settings.level:g} %"
    with_limits = f"t tests and {percent} intervals by {by}."
    yield _question(
        "coefficients",
        "coefficients",
        "Fixed effects",
        with_limits,
        lambda: _named(inference.coef_table, "coefficient"),
    )
    if settings.anova != "none":
        kind = settings.anova
        title = f"Tests of the terms, type {'I' * kind}"
        yield _question(
            "anova", "anova", title, f"F tests by {by}.",
            lambda: _named(inference.anova(kind), "term"),
        )  # fmt: skip
    single = {name: rows for name, rows in settings.contrasts.items() if len(rows) == 1}
    joint = {name: rows for name, rows in settings.contrasts.items() if len(rows) > 1}
    if single:
        yield _question(
            "contrasts", "contrasts", "Contrasts", with_limits,
            lambda: _contrasts(inference, single),
        )  # fmt: skip
    if joint:
        yield _question(
            "joint_contrasts", "joint", "Joint tests of contrasts", f"F tests by {by}.",
            lambda: _contrasts(inference, joint),
        )  # fmt: skip


def _contrasts(
    inference: Inference, asked: Mapping[str, tuple[dict[str, float], ...]]
) -> pd.DataFrame:
    """Return one row a contrast."""
    rows = [inference.contrast(pd.DataFrame(list(L)).fillna(0.0)) for L in asked.values()]
    return _named(pd.concat(rows).set_axis(list(asked)), "contrast")


def _of_variances(fit: FitResult, settings: InferConfig) -> Iterator[Question]:
    if settings.intervals is not None:
        method, level = settings.intervals.method, settings.level
        words = {
            "profile": "By the profile of the ML likelihood",
            "wald": "Estimate ± z standard errors",
        }
        yield _question(
            "intervals", "intervals", f"{100 * level:g} % intervals", f"{words[method]}.",
            lambda: _named(fit.confint(level, method), "parameter"),
        )  # fmt: skip
    if settings.random_tests:
        yield _question(
            "random_tests", "random", "Tests of the random terms",
            "Likelihood-ratio tests of the model without the term, fitted on the same sums.",
            lambda: _named(fit.drop_random(), "dropped"),
        )  # fmt: skip
