"""The command line itself: help at once, one sentence for a failure, exit codes."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest
import typer

import mixedflow
from mixedflow import cli
from mixedflow.cli import invoke
from mixedflow.cli.app import app
from mixedflow.config import DaskConfig
from mixedflow.errors import DataError

VERBS = [
    "run",
    "resume",
    "init",
    "check",
    "doctor",
    "show",
    "prepare",
    "condense",
    "fit",
    "infer",
    "diagnose",
    "sweep",
    "report",
]
HEAVY = {"numpy", "pandas", "scipy", "pyarrow", "dask", "numba", "snakemake", "pydantic", "altair"}


def fails(capsys, *arguments: str) -> str:
    """Return the one line that a wrong command leaves."""
    assert invoke(arguments) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    lines = captured.err.strip().splitlines()
    assert len(lines) == 1
    assert lines[0].startswith("error: ")
    return lines[0]


def test_help_names_every_verb(capsys):
    assert invoke(["--help"]) == 0
    text = capsys.readouterr().out
    assert all(verb in text for verb in VERBS)


@pytest.mark.parametrize("verb", VERBS)
def test_every_verb_has_help(verb, capsys):
    assert invoke([verb, "--help"]) == 0
    assert "Usage" in capsys.readouterr().out


def test_help_loads_no_heavy_library():
    code = (
        "import sys; from mixedflow.cli import invoke; invoke(['--help']);"
        "print(*sorted({name.split('.')[0] for name in sys.modules}))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not HEAVY & set(done.stdout.splitlines()[-1].split())


def test_help_answers_at_once():
    """Half a second of CPU time, whatever else the machine does meanwhile."""

    def spent() -> float:
        used = resource.getrusage(resource.RUSAGE_CHILDREN)
        return used.ru_utime + used.ru_stime

    def cost() -> float:
        before = spent()
        command = [sys.executable, "-m", "mixedflow", "--help"]
        subprocess.run(command, capture_output=True, check=True)
        return spent() - before

    assert min(cost() for _ in range(3)) < 0.5


def test_version(capsys):
    assert invoke(["--version"]) == 0
    assert capsys.readouterr().out.strip() == f"mixedflow {mixedflow.__version__}"


def test_wrong_use_is_one_sentence(capsys):
    assert "No such command 'fitt'" in fails(capsys, "fitt")
    assert "No such option" in fails(capsys, "fit", "--methd", "em")
    assert "Missing argument" in fails(capsys, "fit", "a.csv")
    assert "Missing option" in fails(capsys, "prepare", "a.csv")
    assert "--max-iter" in fails(capsys, "fit", "a.csv", "y ~ 1 + (1 | g)", "--max-iter", "x")


def test_options_are_checked_like_the_configuration(capsys):
    fit = ("fit", "a.csv", "y ~ 1 + (1 | g)")
    assert "did you mean 'px-em'?" in fails(capsys, *fit, "--method", "pxem")
    assert "the command line: missing is 'x'" in fails(capsys, *fit, "--missing", "x")
    assert "types.g is 'cat'" in fails(capsys, *fit, "--type", "g=cat")
    assert "--type 'g' is not of the form NAME=VALUE" in fails(capsys, *fit, "--type", "g")
    assert "given twice for 'g'" in fails(capsys, *fit, "--type", "g=int", "--type", "g=int")
    assert "is not a list" in fails(capsys, *fit, "--levels", "g=[a")
    prepare = ("prepare", "a.csv", "--out", "x")
    assert "kind is 'slurm'" in fails(capsys, *prepare, "--dask", "slurm")
    assert "'lots' is not an amount of memory" in fails(capsys, *prepare, "--memory", "lots")
    assert "'order' sorts rows within 'group'" in fails(capsys, *prepare, "--order", "t")


def test_levels_are_read_as_lists():
    from mixedflow.cli.options import level_lists

    assert level_lists(['s=["a, b", c]', "t=1,2", "u=x"]) == {
        "s": ["a, b", "c"],
        "t": [1, 2],
        "u": ["x"],
    }


@pytest.fixture
def failing(monkeypatch):
    """Make every command fail in the way that the test says."""

    def with_failure(failure: BaseException) -> None:
        def app(*_: object, **__: object) -> None:
            raise failure

        monkeypatch.setattr("mixedflow.cli.app.app", app)

    return with_failure


def test_a_foreseen_failure_is_its_sentence(capsys, failing):
    failing(DataError("row 3 of\n  a.csv is wrong"))
    assert invoke(["show", "x"]) == 2
    assert capsys.readouterr().err == "error: row 3 of a.csv is wrong\n"
    assert invoke(["show", "x", "--debug"]) == 2
    assert "Traceback" in capsys.readouterr().err


def test_an_unforeseen_failure_says_where_its_traceback_is(capsys, failing, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    failing(KeyError("surprise"))
    assert invoke(["show", "x"]) == 1
    message = capsys.readouterr().err
    assert message.startswith("error: unexpected KeyError: 'surprise'; the traceback is in ")
    assert len(message.splitlines()) == 1
    (log,) = tmp_path.iterdir()
    assert str(log) in message
    assert "Traceback" in log.read_text(encoding="utf-8")
    assert invoke(["--debug", "show", "x"]) == 1
    assert "Traceback" in capsys.readouterr().err
    assert len(list(tmp_path.iterdir())) == 1


def test_an_interrupt_is_130(capsys, failing):
    failing(KeyboardInterrupt())
    assert invoke(["show", "x"]) == 130
    assert capsys.readouterr().err == "error: interrupted\n"


def test_a_closed_pipe_is_no_failure_of_ours(capsys, failing, monkeypatch):
    monkeypatch.setattr(sys, "stdout", sys.stdout)
    failing(BrokenPipeError())
    assert invoke(["show", "x"]) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_debug_after_two_dashes_is_not_ours():
    assert cli._without_debug(["run", "--", "--debug"]) == (["run", "--", "--debug"], False)
    assert cli._without_debug(["run", "--debug", "--", "-n"]) == (["run", "--", "-n"], True)


def test_the_module_is_the_command():
    done = subprocess.run(
        [sys.executable, "-m", "mixedflow", "show", "nowhere"],
        capture_output=True,
        text=True,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")


@pytest.mark.parametrize(
    "verb",
    ["prepare", "condense", "fit", "diagnose", "scan", "sweep plan", "sweep run", "sweep gather"],
)
def test_a_verb_that_runs_on_workers_can_be_told_all_about_them(verb):
    command = typer.main.get_command(app)
    for name in verb.split():
        command = command.commands[name]
    known = {option for parameter in command.params for option in parameter.opts}
    keys = set(DaskConfig.model_fields) - {"kind"}
    assert {f"--{key.replace('_', '-')}" for key in keys} | {"--dask"} <= known


TOLD_TO_END = """
import os, signal
from mixedflow import cli
from mixedflow.crossproducts import storage

def told(*_):
    os.kill(os.getpid(), signal.SIGTERM)

storage.sha256_of_file = told
cli.main()
"""


def test_a_step_that_is_told_to_end_says_so_and_leaves_nothing(tmp_path):
    data = mixedflow.__path__[0] + "/../config/data/sleepstudy.csv"
    words = ["fit", data, "Reaction ~ Days + (1 | Subject)", "--out", str(tmp_path / "fit")]
    ended = subprocess.run(
        [sys.executable, "-c", TOLD_TO_END, *words], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 143
    assert ended.stderr.splitlines()[-1].startswith("error: told to end (SIGTERM), as a job is")
    assert list(tmp_path.iterdir()) == []
