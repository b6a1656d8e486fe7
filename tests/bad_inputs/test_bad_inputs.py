"""Every bad input gets one sentence, the right class, exit code 2, and leaves nothing behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from bad_inputs import page
from bad_inputs.cases import FORMULA, Case, good_fit, listing
from bad_inputs.formula_cases import SENTINEL
from bad_inputs.table import CASES, IDS, invoked

import mixedflow as mf
from mixedflow.cli import invoke
from mixedflow.errors import MixedflowError

CALLED = [(case, name) for (_, case), name in zip(CASES, IDS, strict=True) if case.call]
COMMANDED = [(case, name) for (_, case), name in zip(CASES, IDS, strict=True) if case.command]
REAL = [
    "no file",
    "bad YAML",
    "code in YAML",
    "import",
    "lambda",
    "truncated Parquet",
    "text in a numeric column",
    "fit.json cut off",
    "unknown verb",
]
DOCUMENT = page.PAGE.read_text(encoding="utf-8")
OUT_OF_STEP = "run `python tests/bad_inputs/page.py --fix`"


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Work in an empty folder."""
    monkeypatch.chdir(tmp_path)
    return tmp_path


def check_sentence(message: str, case: Case) -> None:
    """One line that holds every piece it should, and nothing of the inside of a program."""
    assert "\n" not in message
    for piece in case.says:
        assert piece in message
    assert not re.search(r"Traceback|<class|object at 0x|np\.float64\(|__init__\(\)", message)


def check_nothing_left(folder: Path, before: dict[str, str]) -> None:
    """No file or folder came, went or changed."""
    assert listing(folder) == before
    assert not (folder / SENTINEL).exists()


def test_the_table_is_long_and_its_names_are_distinct():
    assert len(CASES) >= 150
    assert len(set(IDS)) == len(IDS)
    assert all(case.says for _, case in CASES)
    assert all(case.call or case.command for _, case in CASES)


@pytest.mark.parametrize("case", [c for c, _ in CALLED], ids=[name for _, name in CALLED])
def test_python_raises_one_sentence(case: Case, place: Path):
    case.lay_out(place)
    before = listing(place)
    assert case.call is not None
    with pytest.raises(MixedflowError) as caught:
        case.call()
    assert type(caught.value) is case.error
    check_sentence(str(caught.value), case)
    check_nothing_left(place, before)
    if case.command is None:
        assert page.row(case, str(caught.value)) in DOCUMENT, OUT_OF_STEP


@pytest.mark.parametrize("case", [c for c, _ in COMMANDED], ids=[name for _, name in COMMANDED])
def test_the_command_line_exits_with_2(case: Case, place: Path, capsys, monkeypatch):
    case.lay_out(place)
    before = listing(place)
    capsys.readouterr()
    assert case.command is not None
    answer = invoked(case.command, monkeypatch)
    captured = capsys.readouterr()
    assert (answer.code, answer.error) == (2, case.error)
    assert captured.out == ""
    *work, last = captured.err.splitlines()
    assert last.startswith("error: ")
    assert all(re.fullmatch(r"\w+ \.\.\.", line) for line in work)
    check_sentence(last, case)
    check_nothing_left(place, before)
    assert page.row(case, last.removeprefix("error: ")) in DOCUMENT, OUT_OF_STEP


def test_the_document_has_one_row_a_case():
    rows = [
        line for line in DOCUMENT.splitlines() if re.match(r"\| .*Error \||\| .*wrong use \|", line)
    ]
    assert len(rows) == len(CASES), OUT_OF_STEP


@pytest.mark.parametrize("name", REAL)
def test_a_real_process_does_the_same(name: str, place: Path):
    case = next(case for _, case in CASES if case.name == name)
    case.lay_out(place)
    before = listing(place)
    assert case.command is not None
    done = subprocess.run(
        [sys.executable, "-m", "mixedflow", *case.command], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert done.stdout == ""
    check_sentence(done.stderr.splitlines()[-1], case)
    assert "Traceback" not in done.stderr
    check_nothing_left(place, before)


STEPS = [
    ("prepare", "data.csv", "--out", "out"),
    ("condense", "data.csv", FORMULA, "--out", "out"),
    ("fit", "data.csv", FORMULA, "--out", "out"),
    ("diagnose", "model/fit", "data.csv", "--out", "out"),
    ("report", "model", "--out", "out.html"),
    ("init", "data.csv", FORMULA, "--config", "out.yaml"),
]


@pytest.mark.skipif(sys.platform == "win32", reason="limits of files are POSIX")
@pytest.mark.parametrize("command", STEPS, ids=[step[0] for step in STEPS])
def test_a_full_disk_leaves_nothing(command, place: Path, capsys):
    """A limit on the size of files fails a write half-way, as a full disk does."""
    import resource

    good_fit(place)
    (place / "model").mkdir()
    (place / "fit").rename(place / "model/fit")
    before = listing(place)
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (300, old[1]))
    try:
        code = invoke(command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
    captured = capsys.readouterr()
    assert code == 2
    assert "cannot be written: file too large" in captured.err.splitlines()[-1].lower()
    check_nothing_left(place, before)


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root writes anywhere")
@pytest.mark.parametrize("command", STEPS, ids=[step[0] for step in STEPS])
def test_a_folder_without_permission(command, place: Path, capsys):
    good_fit(place)
    (place / "model").mkdir()
    (place / "fit").rename(place / "model/fit")
    before = listing(place)
    place.chmod(0o500)
    try:
        assert invoke(command) == 2
    finally:
        place.chmod(0o700)
    assert "cannot be written: permission denied" in capsys.readouterr().err.lower()
    check_nothing_left(place, before)


def test_results_of_before_are_replaced(place: Path):
    """Refusing to destroy other files must not refuse to work twice."""
    good_fit(place)
    mf.load("fit").save("fit")
    for _ in range(2):
        assert invoke(["prepare", "data.csv", "--out", "rows"]) == 0
        assert invoke(["condense", "rows", FORMULA, "--out", "design"]) == 0
        assert invoke(["fit", "design", FORMULA, "--out", "fit", "--quiet"]) == 0
        assert invoke(["diagnose", "fit", "rows", "--out", "diagnostics"]) == 0
    assert invoke(["prepare", "rows", "--out", "."]) == 2
