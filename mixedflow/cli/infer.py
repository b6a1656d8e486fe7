"""``mixedflow infer``: tests and intervals of a stored fit.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mixedflow.cli import console
from mixedflow.cli import options as opt
from mixedflow.errors import ConfigError, did_you_mean, listing

if TYPE_CHECKING:
    from mixedflow.config.inference import InferConfig


def infer(  # noqa: PLR0913 - one argument an option
    fitted: Annotated[Path, typer.Argument(metavar="FIT", help="Folder of a fit.")],
    *,
    out: opt.OutOption,
    config: Annotated[
        Path | None,
        typer.Option(
            "--config", "-c", help="Configuration whose 'infer' is meant; no options then."
        ),
    ] = None,
    model: Annotated[
        str | None,
        typer.Option("--model", help="Model of the configuration; by FIT's place if left out."),
    ] = None,
    ddf: Annotated[
        str | None, typer.Option("--ddf", help="Degrees of freedom: satterthwaite and others.")
    ] = None,
    level: Annotated[float | None, typer.Option("--level", help="Of the intervals.")] = None,
    anova: Annotated[
        str | None, typer.Option("--anova", help="Type of the tests by term, or none.")
    ] = None,
    contrast: Annotated[
        list[str] | None,
        typer.Option("--contrast", help="NAME={coefficient: weight}; may be repeated."),
    ] = None,
    emmeans: Annotated[
        list[str] | None,
        typer.Option("--emmeans", help="{specs: a, by: b, contrast: pairwise}; may be repeated."),
    ] = None,
    robust: Annotated[
        str | None, typer.Option("--robust", help="Tests by a robust covariance as well: CR2.")
    ] = None,
    influence: Annotated[
        list[str] | None,
        typer.Option("--influence", help="Factor whose levels are left out; may be repeated."),
    ] = None,
    intervals: Annotated[
        str | None,
        typer.Option("--intervals", help="profile, wald, or {method: profile, parameters: ...}."),
    ] = None,
    random_tests: Annotated[
        bool, typer.Option("--random-tests", help="Test what can be dropped of random terms.")
    ] = False,
    variance_test: Annotated[
        str | None,
        typer.Option("--variance-test", help="auto, mixture, exact, or {method: ..., terms: ...}."),
    ] = None,
    bootstrap: Annotated[
        str | None,
        typer.Option("--bootstrap", help="Number of draws, or {draws: 1000, kind: group, ...}."),
    ] = None,
    caic: Annotated[bool, typer.Option("--caic", help="Conditional AIC.")] = False,
    data: Annotated[
        str | None,
        typer.Option("--data", help="Rows of the fit, for what its sums alone do not tell."),
    ] = None,
    threads: opt.ThreadsOption = 1,
) -> None:
    """Write tests and intervals of a fit: F tests, contrasts, profiles, random terms."""
    given = {
        "ddf": ddf,
        "level": level,
        "anova": _anova(anova),
        "contrasts": _contrasts(contrast),
        "emmeans": [_means(text) for text in emmeans or ()],
        "robust": robust,
        "influence": influence or [],
        "intervals": _section(
            intervals, "intervals", "method", "{method: profile, parameters: [sigma]}"
        ),
        "random_tests": random_tests or None,
        "variance_test": _section(variance_test, "variance-test", "method", "{method: exact}"),
        "bootstrap": _section(bootstrap, "bootstrap", "draws", "{draws: 1000, kind: group}"),
        "caic": caic or None,
    }
    asked = {name: value for name, value in given.items() if value not in (None, {}, [])}
    settings, where = _settings(fitted, config, model, asked)
    opt.hold_threads(threads)
    from mixedflow.steps.infer import infer_step

    with console.progress("infer") as advance:
        found = infer_step(
            fitted,
            settings,
            out,
            data=None if data is None else opt.data_config(data),
            where=where,
            on_done=advance,
        )
    if found.statement:
        console.note(f"warning: {found.statement}")
    console.note(f"tests and intervals: {out}")


def _settings(
    fitted: Path, config: Path | None, model: str | None, asked: dict[str, Any]
) -> tuple[InferConfig, str]:
    """Return what is asked, by options or by a configuration, and how messages call it."""
    if config is None:
        if model is not None:
            raise ConfigError("--model names a model of --config, which is not given")
        return opt.infer_config(**asked), f"{opt.COMMAND_LINE}: "
    if asked:
        option = next(iter(asked)).replace("_", "-").replace("contrasts", "contrast")
        raise ConfigError(
            f"--{option} and --config cannot go together: '{config}' says what is asked"
        )
    from mixedflow.config import load_config

    models = load_config(config).models
    name = model or fitted.resolve().parent.name
    if name not in models:
        raise ConfigError(
            f"{config} has no model '{name}'{did_you_mean(name, models)}; 'models' has"
            f" {listing(models)}; name one with --model"
        )
    found = models[name].infer
    if found is None:
        raise ConfigError(
            f"{config}: models.{name} has no key 'infer', so nothing is asked; write it there, or"
            " leave --config out"
        )
    return found, f"{config}: models.{name}.infer."


def _anova(text: str | None) -> int | str | None:
    """Return a type as the number that the configuration has."""
    return int(text) if text is not None and text.isdecimal() else text


def _means(text: str) -> Any:
    """Return ``"{specs: a, by: b}"`` as a section; a name by itself as the variable of the means."""
    if not text.lstrip().startswith("{"):
        return {"specs": text}
    return opt.yaml_value(text, f"--emmeans '{text}'", "{specs: a, contrast: pairwise}")


def _section(text: str | None, option: str, key: str, example: str) -> Any:
    """Return the keys of a section; a value by itself as that of its first key."""
    if text is None:
        return None
    if text.lstrip().startswith("{"):
        return opt.yaml_value(text, f"--{option} '{text}'", example)
    return {key: int(text) if text.isdecimal() else text}


def _contrasts(given: Sequence[str] | None) -> dict[str, Any]:
    """Return ``["rise={Days: 1}"]`` as names to weights."""
    return {
        name: opt.yaml_value(text, f"--contrast '{name}={text}'", "rise={Days: 1}")
        for name, text in opt.pairs(given, "--contrast").items()
    }
