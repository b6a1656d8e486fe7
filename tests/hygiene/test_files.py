"""House rules that a machine can keep: length of files, names in the documents, layout.md."""

from __future__ import annotations

import ast
import importlib
import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "mixedflow"
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST = {"mixedflow": 400, "tests": 600, "benchmarks": 600}


def tracked() -> list[str]:
    """Return the files of the repository; the test is left out where there is no git."""
    try:
        listed = subprocess.run(
            ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
            cwd=ROOT, capture_output=True, text=True, check=True,
        )  # fmt: skip
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git checkout")
    return [name for name in listed.stdout.splitlines() if (ROOT / name).exists()]


@pytest.mark.parametrize("folder", sorted(LONGEST))
def test_files_are_short(folder):
    long = {
        str(path.relative_to(ROOT)): lines
        for path in (ROOT / folder).rglob("*.py")
        if (lines := len(path.read_text(encoding="utf-8").splitlines())) > LONGEST[folder]
    }
    assert not long


def test_packages_are_at_most_two_levels_deep():
    assert all(len(path.relative_to(PACKAGE).parts) <= 2 for path in MODULES)


def test_modules_say_where_they_stand():
    silent = []
    for path in MODULES:
        docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        if not docstring or (path.name != "__init__.py" and "docs/algorithm.md" not in docstring):
            silent.append(str(path.relative_to(ROOT)))
    assert not silent


def test_sections_that_modules_stand_at_are_in_the_document():
    headings = re.findall(r"^#+ (.+?)\s*$", read("docs/algorithm.md"), flags=re.MULTILINE)
    wrong = []
    for path in MODULES:
        text = " ".join((ast.get_docstring(ast.parse(path.read_text("utf-8"))) or "").split())
        for section in re.findall(r'Stands (?:at|before|after) "([^"]+)"(?! in ``docs/lay)', text):
            if not any(section in heading for heading in headings):
                wrong.append(f"{path.relative_to(ROOT)}: {section}")
    assert not wrong


def read(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def documents() -> list[Path]:
    return sorted([*(ROOT / "docs").glob("*.md"), ROOT / "README.md", ROOT / "config/README.md"])


@pytest.mark.parametrize("path", documents(), ids=lambda path: str(path.relative_to(ROOT)))
def test_names_in_documents_exist(path):
    text = path.read_text(encoding="utf-8")
    missing = [name for name in re.findall(r"`(mixedflow(?:\.\w+)+)`", text) if not exists(name)]
    missing += [
        name
        for name in re.findall(r"`((?:mixedflow|workflow|config|tests|docs)/[\w./-]+)`", text)
        if not (ROOT / name).exists()
    ]
    missing += [
        link
        for link in re.findall(r"\]\((?!https?:|#|mailto:)([^)#]+)", text)
        if not (path.parent / link).exists()
    ]
    assert not missing


def exists(dotted: str) -> bool:
    """Tell whether a dotted name is a module or an attribute of one."""
    parts = dotted.split(".")
    for cut in range(len(parts), 0, -1):
        try:
            here = importlib.import_module(".".join(parts[:cut]))
        except ModuleNotFoundError:
            continue
        for part in parts[cut:]:
            if not hasattr(here, part):
                return False
            here = getattr(here, part)
        return True
    return False


def table_under(heading: str) -> list[str]:
    """Return the places in the first column of the table under a heading of layout.md."""
    section = read("docs/layout.md").split(f"## {heading}\n")[1].split("\n## ")[0]
    return re.findall(r"^\| `([^`]+)` \|", section, flags=re.MULTILINE)


def test_layout_names_every_room_and_no_other():
    rooms = {
        f"{path.name}/" if path.is_dir() else path.name
        for path in PACKAGE.iterdir()
        if path.name != "__pycache__" and not path.name.endswith(".pyc")
    }
    assert set(table_under("The rooms of `mixedflow/`")) == rooms


def test_layout_names_every_top_level_entry_and_no_other():
    entries = {name.split("/")[0] + ("/" if "/" in name else "") for name in tracked()}
    assert set(table_under("The repository")) == entries


def test_layout_names_the_workflow():
    rules = {str(path.relative_to(ROOT)) for path in (ROOT / "workflow/rules").glob("*.smk")}
    named = set(table_under("The workflow"))
    assert rules <= named
    assert all((ROOT / name).exists() for name in named)


def test_readme_tells_how_to_start_and_test():
    text = read("README.md")
    for command in ("make demo", "make test", "python3 -m venv .venv", "mixedflow run"):
        assert command in text


def test_changelog_has_a_head_for_what_comes():
    assert "## Unreleased" in read("CHANGELOG.md")


def test_the_integration_script_can_be_started():
    assert os.access(ROOT / ".ci/run", os.X_OK)
    assert subprocess.run(["bash", "-n", ".ci/run"], cwd=ROOT).returncode == 0
