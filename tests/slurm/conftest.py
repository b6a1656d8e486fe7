"""Tests on the two nodes that ``tests/slurm/run`` starts; skipped where it has not."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))


def pytest_collection_modifyitems(items):
    running = "MIXEDFLOW_TEST_SLURM" in os.environ
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker("slurm")
            if not running:
                item.add_marker(pytest.mark.skip(reason="no Slurm of our own: make test-slurm"))
