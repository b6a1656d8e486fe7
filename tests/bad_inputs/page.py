"""``docs/errors.md``: every bad input of the table and the sentence it gets.

``python tests/bad_inputs/page.py --fix`` writes it; a test fails when it is out of step.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from bad_inputs.cases import Case

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs/errors.md"
LONGEST = 420
HEAD = """\
# Messages

Written by `tests/bad_inputs/page.py`; every row is tried in the tests.

A wrong input gets one sentence: what is wrong, where, what was found, what is allowed, and the
nearest name for a misspelt one. The command line prints it after `error: ` and exits with 2; Python
raises the class, which stands in `mixedflow.errors` under `MixedflowError`. Nothing is left
half-written, and configuration, formula and data are never executed. `...` stands for words that
differ between versions of other libraries. The data are a file `data.csv` of 24 rows with the columns
`y`, `x`, `z`, `g`, `h`, `sex`, `w`; the model is `y ~ x + (1 | g)` where the row names no other.
"""


def page() -> str:
    """Return the document."""
    from bad_inputs.table import SECTIONS

    parts = [HEAD]
    for section, cases in SECTIONS.items():
        parts.append(f"\n## {section}\n\n| Input | Message | Class |\n| --- | --- | --- |\n")
        parts += [row(case, message_of(case)) for case in cases]
    return "".join(parts)


def row(case: Case, message: str) -> str:
    """Return the line of the document for a case and the message it got."""
    kind = case.error.__name__ if case.error else "wrong use"
    head, found, tail = message.partition(case.until) if case.until else (message, "", "")
    said = f"{head}{found} ..." if tail else message
    return f"| {case.name}: {_code(case.shown_input)} | {_code(said)} | {kind} |\n"


def message_of(case: Case) -> str:
    """Try a case in a folder of its own; the command line's message where there is one."""
    from mixedflow.cli import invoke

    here = Path.cwd()
    with tempfile.TemporaryDirectory() as folder, contextlib.redirect_stdout(io.StringIO()):
        os.chdir(folder)
        try:
            with contextlib.redirect_stderr(io.StringIO()) as err:
                case.lay_out(Path(folder))
                if case.command:
                    invoke(case.command)
                    return err.getvalue().splitlines()[-1].removeprefix("error: ")
                try:
                    case.call()
                except Exception as failure:
                    return str(failure)
        finally:
            os.chdir(here)
    raise AssertionError(f"{case.name} was accepted")


def _code(text: str) -> str:
    """Return text as code within a table."""
    short = text if len(text) <= LONGEST else f"{text[:LONGEST]}..."
    fence = "``" if "`" in short else "`"
    pad = " " if fence == "``" else ""
    return f"{fence}{pad}{short.strip() or ' '}{pad}{fence}".replace("|", "\\|")


def main(arguments: list[str]) -> int:
    """Write the document, or tell that it is out of step."""
    text = page()
    if PAGE.exists() and PAGE.read_text(encoding="utf-8") == text:
        return 0
    if "--fix" not in arguments:
        print(f"out of step: {PAGE}")
        return 1
    PAGE.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.path.insert(0, str(ROOT / "tests"))
    sys.exit(main(sys.argv[1:]))
