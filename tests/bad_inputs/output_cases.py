"""Places that cannot be written, or that hold what would be lost."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

from bad_inputs.cases import FORMULA, Case, csv, frame, good_fit

import mixedflow as mf
from mixedflow.errors import (
    OutputError,
)

Change = Callable[[Path], None]
SEXES = "y ~ x + sex + (1 | g)"


@cache
def _fitted() -> mf.FitResult:
    return mf.fit(SEXES, frame())


def output(
    name: str,
    shown: str,
    *command: str,
    says: tuple[str, ...] = (),
    until: str = "",
    prepare: Change = good_fit,
    call: Callable[[], Any] | None = None,
) -> Case:
    """Return a case that writes where nothing can be written."""
    return Case(
        name, shown, OutputError, says, prepare=prepare, call=call, command=command, until=until
    )


def _link(folder: Path) -> None:
    good_fit(folder)
    (folder / "disk").symlink_to("unmounted/disk")


def _model(folder: Path) -> None:
    good_fit(folder)
    (folder / "model").mkdir()
    (folder / "fit").rename(folder / "model/fit")


def _model_and_folder(folder: Path) -> None:
    _model(folder)
    (folder / "fit").mkdir()


def _others(folder: Path) -> None:
    (folder / "data.csv").write_text(csv(), encoding="utf-8")
    (folder / "work").mkdir()
    (folder / "work/thesis.tex").write_text("years of work", encoding="utf-8")


OUTPUT = [
    output(
        "fit onto other files",
        "--out work, with thesis.tex in it",
        "fit",
        "data.csv",
        FORMULA,
        "--out",
        "work",
        prepare=_others,
        call=lambda: _fitted().save("work"),
        says=(
            "'work' cannot be written",
            "'thesis.tex'",
            "new folder",
        ),
    ),
    output(
        "prepare onto other files",
        "--out work, with thesis.tex in it",
        "prepare",
        "data.csv",
        "--out",
        "work",
        prepare=_others,
        says=(
            "'work' cannot be written",
            "'thesis.tex'",
        ),
    ),
    output(
        "condense onto other files",
        "--out work, with thesis.tex in it",
        "condense",
        "data.csv",
        FORMULA,
        "--out",
        "work",
        prepare=_others,
        says=(
            "'work' cannot be written",
            "'thesis.tex'",
        ),
    ),
    output(
        "fit below a file",
        "--out data.csv/fit",
        "fit",
        "data.csv",
        FORMULA,
        "--out",
        "data.csv/fit",
        call=lambda: _fitted().save("data.csv/fit"),
        says=(
            "'data.csv/fit' cannot be written",
            "'data.csv' is a file",
        ),
    ),
    output(
        "fit onto a file",
        "--out data.csv",
        "fit",
        "data.csv",
        FORMULA,
        "--out",
        "data.csv",
        call=lambda: _fitted().save("data.csv"),
        says=(
            "'data.csv' cannot be written",
            "a file of that name",
        ),
    ),
    output(
        "prepare onto a file",
        "--out data.csv",
        "prepare",
        "data.csv",
        "--out",
        "data.csv",
        says=("'data.csv' cannot be written",),
    ),
    output(
        "prepare below a file",
        "--out data.csv/rows",
        "prepare",
        "data.csv",
        "--out",
        "data.csv/rows",
        says=("is a file, not a folder",),
    ),
    output(
        "condense onto a file",
        "--out data.csv",
        "condense",
        "data.csv",
        FORMULA,
        "--out",
        "data.csv",
        says=("'data.csv' cannot be written",),
    ),
    output(
        "diagnose onto a file",
        "--out data.csv",
        "diagnose",
        "fit",
        "data.csv",
        "--out",
        "data.csv",
        says=(
            "cannot be written",
            "'data.csv' is a file",
        ),
    ),
    output(
        "report onto a folder",
        "--out fit",
        "report",
        "model",
        "--out",
        "fit",
        prepare=_model_and_folder,
        says=("'fit' cannot be written",),
    ),
    output(
        "report below a file",
        "--out data.csv/report.html",
        "report",
        "model",
        "--out",
        "data.csv/report.html",
        prepare=_model,
        says=("'data.csv' is a file",),
    ),
    output(
        "init below a file",
        "--config data.csv/c.yaml",
        "init",
        "data.csv",
        FORMULA,
        "--config",
        "data.csv/c.yaml",
        says=("'data.csv' is a file",),
    ),
    output(
        "place that is not mounted",
        "--out disk/fit, a link to nothing",
        "fit",
        "data.csv",
        FORMULA,
        "--out",
        "disk/fit",
        prepare=_link,
        says=("'disk' is a link to nothing",),
    ),
    output(
        "prepare to a place that is not mounted",
        "--out disk/rows",
        "prepare",
        "data.csv",
        "--out",
        "disk/rows",
        prepare=_link,
        says=("'disk' is a link to nothing",),
    ),
    output(
        "condense to a place that is not mounted",
        "--out disk/rows",
        "condense",
        "data.csv",
        FORMULA,
        "--out",
        "disk/rows",
        prepare=_link,
        says=("'disk' is a link to nothing",),
    ),
    output(
        "no folder can be made",
        "--out /proc/fit",
        "fit",
        "data.csv",
        FORMULA,
        "--out",
        "/proc/fit",
        until="cannot be written:",
        call=lambda: _fitted().save("/proc/fit"),
        says=("'/proc/fit' cannot be written",),
    ),
    output(
        "prepare where no folder can be made",
        "--out /proc/rows",
        "prepare",
        "data.csv",
        "--out",
        "/proc/rows",
        until="cannot be written:",
        says=("'/proc/rows' cannot be written",),
    ),
    output(
        "condense where no folder can be made",
        "--out /proc/rows",
        "condense",
        "data.csv",
        FORMULA,
        "--out",
        "/proc/rows",
        until="cannot be written:",
        says=(
            "'/proc/rows",
            "cannot be written",
        ),
    ),
    output(
        "diagnose where no folder can be made",
        "--out /proc/rows",
        "diagnose",
        "fit",
        "data.csv",
        "--out",
        "/proc/rows",
        until="cannot be written:",
        says=(
            "'/proc/rows",
            "cannot be written",
        ),
    ),
]
OUTPUTS = {"Output": OUTPUT}
