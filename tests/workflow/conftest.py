"""The shipped analysis, run once for all tests that look at a finished run."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))


@pytest.fixture(scope="session")
def finished_once(tmp_path_factory):
    from snakes import copy_analysis, snakemake

    place = copy_analysis(tmp_path_factory.mktemp("shipped") / "analysis")
    run = snakemake(cwd=place)
    assert run.code == 0, run.text
    return place, run


@pytest.fixture
def finished(finished_once, tmp_path):
    """Return a copy of the finished run that the test may change."""
    place = tmp_path / "analysis"
    shutil.copytree(finished_once[0], place, symlinks=True)
    return place
