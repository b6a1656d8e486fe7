"""The workflow as a module of somebody else's, fetched as from GitHub, without a network."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from snakes import ROOT, Run, python_module

pytestmark = [pytest.mark.workflow, pytest.mark.slow]

OWNER = "someone/mixedflow"
SNAKEFILE = f"""\
configfile: "analysis.yaml"


module mixedflow:
    snakefile:
        github("{OWNER}", path="workflow/Snakefile", tag="v1")
    config:
        config["mixed"]
    prefix:
        "sub"


use rule * from mixedflow as mf_*


use rule fit from mixedflow as mf_fit with:
    threads: 2
    resources:
        mem_mb=900,
    params:
        source=subpath(input.source, parent=True),
        options='"Reaction ~ Days + (1 | Subject)" --ml',
        place=lambda wildcards, threads, resources: f"--threads={{resources.mem_mb // 450}}",
        out=subpath(output.fit, parent=True),
        version="mine",


rule all:
    default_target: True
    input:
        rules.mf_all.input,
"""
CONFIG = """\
data:
  sleep: {{path: {path}, types: {{Subject: category}}}}
models:
  m: {{data: sleep, formula: "Reaction ~ Days + (1 | Subject)", reml: {reml}}}
output: mixed
"""


def git(*arguments: str, cwd: Path) -> None:
    own = ["-c", "user.name=me", "-c", "user.email=me@localhost", "-c", "init.defaultBranch=main"]
    subprocess.run(["git", *own, *arguments], cwd=cwd, check=True, capture_output=True)


@pytest.fixture
def hosted(tmp_path):
    """Return the variables under which GitHub's address is that of a clone on this disk."""
    pytest.importorskip("git")
    work, bare = tmp_path / "work", tmp_path / "hosted" / f"{OWNER}"
    shutil.copytree(ROOT / "workflow", work / "workflow")
    git("init", cwd=work)
    git("add", "workflow", cwd=work)
    git("commit", "-m", "The workflow", cwd=work)
    git("tag", "v1", cwd=work)
    git("rm", "-r", "workflow", cwd=work)
    git("commit", "-m", "Nothing is left after the tag", cwd=work)
    git("clone", "--bare", str(work), str(bare), cwd=tmp_path)
    return {
        "GIT_CONFIG_COUNT": "1",
        "GIT_CONFIG_KEY_0": f"url.file://{bare.parent.parent}/.insteadOf",
        "GIT_CONFIG_VALUE_0": "https://github.com/",
        "GIT_TERMINAL_PROMPT": "0",
        "XDG_CACHE_HOME": str(tmp_path / "cache"),
    }


def analysis(folder: Path) -> Path:
    """Write somebody's analysis: data, configuration, a Snakefile that names the module."""
    (folder / "mine").mkdir(parents=True)
    shutil.copy(ROOT / "config/data/sleepstudy.csv", folder / "mine/sleep.csv")
    inside = CONFIG.format(path="mine/sleep.csv", reml="true").replace("\n", "\n  ").rstrip()
    (folder / "analysis.yaml").write_text(f"mixed:\n  {inside}\n", encoding="utf-8")
    (folder / "Snakefile").write_text(SNAKEFILE, encoding="utf-8")
    return folder


def snakemake(*arguments: str, cwd: Path, environment: dict[str, str]) -> Run:
    return python_module("snakemake", "--cores", "2", *arguments, cwd=cwd, environment=environment)


def figures(folder: Path) -> dict[str, object]:
    stored = json.loads((folder / "mixed/models/m/fit/fit.json").read_text(encoding="utf-8"))
    names = ("loglik", "sigma", "fixef", "parameters", "nobs", "reml")
    return {name: stored.get(name) for name in names}


def test_from_github_with_a_prefix_and_another_rule_fit(tmp_path, hosted):
    place = analysis(tmp_path / "analysis")
    run = snakemake("--printshellcmds", cwd=place, environment=hosted)
    assert run.code == 0, run.text
    assert "--ml --threads=2" in run.text
    assert (place / "sub/mixed/report.html").is_file()
    assert not (place / "mixed").exists()
    again = snakemake("--dry-run", cwd=place, environment=hosted)
    assert "Nothing to be done" in again.text

    direct = tmp_path / "direct"
    direct.mkdir()
    data = place / "mine/sleep.csv"
    (direct / "c.yaml").write_text(CONFIG.format(path=data, reml="false"), encoding="utf-8")
    told = ["--snakefile", str(ROOT / "Snakefile"), "--configfile", "c.yaml"]
    assert snakemake(*told, cwd=direct, environment={}).code == 0
    assert figures(place / "sub") == figures(direct)
