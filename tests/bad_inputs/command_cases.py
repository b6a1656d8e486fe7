"""Command lines that are wrong."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from bad_inputs.cases import FORMULA, Case, csv, good_fit

from mixedflow.cli import invoke
from mixedflow.errors import (
    ConfigError,
    DataError,
    FormulaError,
    MixedflowError,
    OutputError,
    SourceError,
    StoredFileError,
    UnsupportedError,
)


def command(
    name: str,
    *words: str,
    says: tuple[str, ...] = (),
    error: type[MixedflowError] | None = None,
    fit: bool = False,
    until: str = "",
    before: Sequence[str] = (),
) -> Case:
    """Return a case of the command line alone; ``before`` is a command that comes first."""

    def made(folder: Path) -> None:
        (folder / "data.csv").write_text(csv(), encoding="utf-8")
        assert invoke(before) == 0

    shown = "mixedflow " + " ".join(f"'{w}'" if " " in w else w for w in words)
    files = {} if fit else {"data.csv": csv()}
    return Case(
        name,
        shown,
        error,
        says,
        files=files,
        prepare=good_fit if fit else made if before else None,
        command=words,
        until=until,
    )


COMMANDS = [
    command("unknown verb", "fitt", "data.csv", until="'fitt'", says=("'fitt'",)),
    command(
        "unknown option",
        "fit",
        "data.csv",
        FORMULA,
        "--methd",
        "em",
        until="--methd",
        says=("--methd",),
    ),
    command("missing argument", "fit", "data.csv", until="argument", says=("ormula",)),
    command("missing option", "prepare", "data.csv", says=("--out",)),
    command("value missing", "fit", "data.csv", FORMULA, "--out", says=("--out",)),
    command(
        "no number",
        "fit",
        "data.csv",
        FORMULA,
        "--max-iter",
        "many",
        until="'--max-iter'",
        says=("--max-iter",),
    ),
    command(
        "no iterations",
        "fit",
        "data.csv",
        FORMULA,
        "--max-iter",
        "0",
        error=ConfigError,
        says=(
            "max_iter",
            "0",
            "at least 1",
        ),
    ),
    command(
        "type without a column",
        "fit",
        "data.csv",
        FORMULA,
        "--type",
        "g",
        error=ConfigError,
        says=(
            "--type 'g'",
            "NAME=VALUE",
        ),
    ),
    command(
        "levels that are no list",
        "fit",
        "data.csv",
        FORMULA,
        "--levels",
        "g=[a",
        error=ConfigError,
        says=(
            "--levels 'g=[a'",
            "not a list",
        ),
    ),
    command(
        "code as levels",
        "fit",
        "data.csv",
        FORMULA,
        "--levels",
        "g=!!python/object/apply:os.system ['touch executed']",
        error=ConfigError,
        says=("--levels", "not a list"),
    ),
    command(
        "no scheduler file",
        "prepare",
        "data.csv",
        "--out",
        "out",
        "--dask",
        "address",
        "--scheduler-file",
        "s.json",
        error=ConfigError,
        says=(
            "'s.json'",
            "cannot be read",
        ),
    ),
    command(
        "group of no column",
        "prepare",
        "data.csv",
        "--out",
        "out",
        "--group",
        "G",
        error=DataError,
        says=(
            "'G'",
            "did you mean 'g'?",
        ),
    ),
    command(
        "init: misspelt column",
        "init",
        "data.csv",
        "y ~ xx + (1 | g)",
        error=FormulaError,
        says=(
            "'xx'",
            "did you mean 'x'?",
        ),
    ),
    command(
        "init: missing file",
        "init",
        "dota.csv",
        FORMULA,
        error=SourceError,
        says=(
            "'dota.csv'",
            "did you mean 'data.csv'?",
        ),
    ),
    command(
        "init: a file that exists",
        "init",
        "data.csv",
        FORMULA,
        "--config",
        "data.csv",
        error=OutputError,
        says=(
            "data.csv exists already",
            "--force",
        ),
    ),
    command(
        "run: data for a configuration",
        "run",
        "--config",
        "data.csv",
        error=ConfigError,
        until="data.csv holds",
        says=(
            "data.csv holds",
            "mapping",
        ),
    ),
    command(
        "fit: sharded, groups in two partitions",
        "fit",
        "rows",
        FORMULA,
        "--sharded",
        "--out",
        "out",
        error=DataError,
        says=("'g'",),
        before=("prepare", "data.csv", "--out", "rows", "--partition-rows", "10"),
    ),
    command(
        "fit: sharded, condensed data",
        "fit",
        "design",
        FORMULA,
        "--sharded",
        "--out",
        "out",
        error=UnsupportedError,
        says=(
            "'design' holds condensed data",
            "leave sharded out",
        ),
        before=("condense", "data.csv", FORMULA, "--out", "design"),
    ),
    command(
        "fit: sharded, combined groups",
        "fit",
        "data.csv",
        "y ~ x + (1 | g:h)",
        "--sharded",
        "--out",
        "out",
        error=UnsupportedError,
        says=(
            "'g:h' combine columns",
            "column of the data",
        ),
    ),
    command(
        "fit: workers without shards",
        "fit",
        "data.csv",
        FORMULA,
        "--workers",
        "2",
        error=ConfigError,
        says=(
            "--workers",
            "add --sharded",
        ),
    ),
    command(
        "diagnose: a sharded fit",
        "diagnose",
        "shards",
        "data.csv",
        "--out",
        "out",
        error=UnsupportedError,
        says=(
            "'shards' is a sharded fit",
            "fit the model without sharded",
        ),
        before=("fit", "data.csv", FORMULA, "--sharded", "--out", "shards"),
    ),
    command(
        "condense: no random term",
        "condense",
        "data.csv",
        "y ~ x",
        "--out",
        "out",
        error=FormulaError,
        says=("no random term",),
    ),
    command(
        "condense: misspelt column",
        "condense",
        "data.csv",
        "y ~ xx + (1 | g)",
        "--out",
        "out",
        error=FormulaError,
        says=(
            "'xx'",
            "did you mean 'x'?",
        ),
    ),
    command(
        "report: no fit",
        "report",
        "nowhere",
        error=StoredFileError,
        says=("'nowhere' holds no fit",),
    ),
    command(
        "show: not a fit",
        "show",
        "data.csv",
        error=StoredFileError,
        says=(
            "'data.csv'",
            "fit.json",
        ),
    ),
    command(
        "diagnose: not a fit",
        "diagnose",
        "nowhere",
        "data.csv",
        "--out",
        "out",
        error=StoredFileError,
        says=("'nowhere'",),
    ),
    command(
        "diagnose: other data",
        "diagnose",
        "fit",
        "nowhere.csv",
        "--out",
        "out",
        error=SourceError,
        fit=True,
        says=("'nowhere.csv'",),
    ),
]
COMMAND_LINES = {"Command line": COMMANDS}
