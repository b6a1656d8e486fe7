"""The command line: ``mixedflow VERB ...``. Every failure becomes one sentence and an exit code.

Exit codes: 0 done; 1 an unexpected failure; 2 something in the input is wrong; 3 a fit did not
converge; 130 interrupted; 143 told to end, as jobs are. Heavy libraries are imported by the verbs that
need them, so that ``mixedflow --help`` answers at once. Stands outside the equations of
``docs/algorithm.md``.
"""

from __future__ import annotations

import signal
import sys
import tempfile
import traceback
from collections.abc import Sequence
from pathlib import Path

from mixedflow import recording
from mixedflow.claims import SupersededError, claimed, outlast
from mixedflow.cli.console import show_log
from mixedflow.errors import MixedflowError, TerminatedError

INTERRUPTED = 130
TERMINATED = 143
UNEXPECTED = 1
WRONG_USE = 2


def main() -> None:
    """Run the command that the process was started with, then exit."""
    show_log()
    signal.signal(signal.SIGTERM, _terminate)
    sys.exit(invoke(sys.argv[1:]))


def _terminate(*_: object) -> None:
    """End as after an interrupt, so that nothing begun is left; a second signal ends at once."""
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    raise TerminatedError


def invoke(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; its end is recorded where that was asked for."""
    code = _answer(arguments)
    unwritten = recording.end(code)
    if unwritten is not None:
        print(f"warning: the run log was not written: {unwritten}", file=sys.stderr)  # noqa: T201
    return code


def _answer(arguments: Sequence[str]) -> int:
    """Run one command and return its exit code; nothing is raised but with ``--debug``."""
    import typer

    from mixedflow.cli.app import app

    ours, debug = _without_debug(list(arguments))
    out = _written(ours)
    try:
        with claimed(out):
            code = app(ours, prog_name="mixedflow", standalone_mode=False)
        sys.stdout.flush()
    except MixedflowError as failure:
        code = _foreseen(failure, debug=debug)
    except (KeyboardInterrupt, typer.Abort):
        code = _say("interrupted", INTERRUPTED)
    except TerminatedError:
        code = _say(
            "told to end (SIGTERM), as a job is that is cancelled or whose time is over; run it again,"
            " with more 'runtime' if it was the time",
            TERMINATED,
        )
    except BrokenPipeError:
        sys.stdout = None
        code = UNEXPECTED
    except Exception as failure:
        if _is_wrong_use(failure):
            code = _say(_one_line(failure.format_message()), WRONG_USE)  # type: ignore[attr-defined]
        else:
            code = _unexpected(failure, debug=debug)
    return code if isinstance(code, int) else 0


def _without_debug(arguments: list[str]) -> tuple[list[str], bool]:
    """Return the arguments without ``--debug``, which may stand anywhere before ``--``."""
    end = arguments.index("--") if "--" in arguments else len(arguments)
    ours = [argument for argument in arguments[:end] if argument != "--debug"]
    return ours + arguments[end:], len(ours) < end


def _written(arguments: Sequence[str]) -> Path | None:
    """Return what a command is to write, if it names that."""
    for argument, following in zip(arguments, [*arguments[1:], ""], strict=True):
        if argument in {"--out", "-o"} and following:
            return Path(following)
        if argument.startswith("--out="):
            return Path(argument.removeprefix("--out="))
    return None


def _is_wrong_use(failure: Exception) -> bool:
    """Tell a mistake on the command line; typer's error classes are click's or its own copy."""
    return any(parent.__name__ == "ClickException" for parent in type(failure).__mro__)


def _foreseen(failure: MixedflowError, *, debug: bool) -> int:
    if debug:
        traceback.print_exception(failure)
    if isinstance(failure, SupersededError):
        # a failure would have Snakemake delete what the other job writes
        _say(_one_line(str(failure)), 0, "note")
        if outlast(failure.out):
            return 0
    return _say(_one_line(str(failure)), failure.exit_code)


def _unexpected(failure: Exception, *, debug: bool) -> int:
    """Report a failure that nobody foresaw: one line, and where its traceback is."""
    named = f"{type(failure).__name__}: {_one_line(str(failure))}"
    if debug:
        traceback.print_exception(failure)
        return _say(f"unexpected {named}", UNEXPECTED)
    with tempfile.NamedTemporaryFile(
        "w", prefix="mixedflow-", suffix=".log", delete=False, encoding="utf-8"
    ) as log:
        traceback.print_exception(failure, file=log)
    place = Path(log.name)
    return _say(f"unexpected {named}; the traceback is in {place} (--debug shows it)", UNEXPECTED)


def _one_line(text: str) -> str:
    return " ".join(text.split())


def _say(message: str, code: int, kind: str = "error") -> int:
    recording.note_reason(message)
    print(f"{kind}: {message}", file=sys.stderr, flush=True)  # noqa: T201
    return code
