"""What the workflow tests share: a copy of the shipped analysis, and Snakemake on it."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]


@dataclass(frozen=True)
class Run:
    """A finished command."""

    code: int
    text: str

    @property
    def jobs(self) -> set[str]:
        """The messages of the jobs that ran or would run."""
        return set(re.findall(r"^Job \d+: (.+)$", self.text, flags=re.MULTILINE))


def copy_analysis(to: Path) -> Path:
    """Copy workflow and configuration as a clone would have them."""
    to.mkdir(parents=True, exist_ok=True)
    for name in ("workflow", "config"):
        shutil.copytree(ROOT / name, to / name)
    shutil.copy(ROOT / "Snakefile", to)
    (to / "profiles").symlink_to("workflow/profiles")
    return to


FAIL_ONCE = """\
mixedflow() {{
    if [ "$3" = {verb} ] && mkdir {place}/once 2> /dev/null; then
        command mixedflow "$1" "$2" {verb} {place}/nowhere --out {place}/once/out
    else
        command mixedflow "$@"
    fi
}}
"""


def fail_once(place: Path, verb: str) -> None:
    """Let the first attempt at a step fail in a copied analysis, with a reason."""
    (place / "once.sh").write_text(FAIL_ONCE.format(verb=verb, place=place), encoding="utf-8")
    with (place / "Snakefile").open("a", encoding="utf-8") as rules:
        rules.write(f'\n\nshell.prefix("source {place}/once.sh; ")\n')


def python_module(*arguments: str, cwd: Path, environment: dict[str, str] | None = None) -> Run:
    """Run ``python -m ...``, with variables besides the own, and return what it said."""
    done = subprocess.run(
        [sys.executable, "-m", *arguments],
        cwd=cwd,
        env=os.environ | (environment or {}),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=290,
    )
    return Run(done.returncode, done.stdout)


def snakemake(*arguments: str, cwd: Path) -> Run:
    """Run Snakemake on two cores."""
    return python_module("snakemake", "--cores", "2", *arguments, cwd=cwd)


def edit(path: Path, old: str, new: str) -> None:
    """Replace a text that must be there."""
    text = path.read_text(encoding="utf-8")
    assert old in text
    path.write_text(text.replace(old, new), encoding="utf-8")


def figures(place: Path) -> dict[str, object]:
    """Return what the stored fits of a finished run say, without times and versions."""
    kept = ("loglik", "sigma", "fixef", "parameters", "nobs")
    fits = sorted(place.glob("results/models/*/fit/fit.json"))
    assert fits
    stored = {path.parts[-3]: json.loads(path.read_text(encoding="utf-8")) for path in fits}
    return {name: {key: fit[key] for key in kept} for name, fit in stored.items()}
