"""Tests on the two nodes that ``tests/slurm/run`` starts; skipped where it has not."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[1] / "workflow"))

RUNNING = "MIXEDFLOW_TEST_SLURM" in os.environ
EMPTY_SECONDS = 60
FIGURES = pytest.StashKey[dict[str, dict[str, float]]]()


def pytest_configure(config):
    config.stash[FIGURES] = {}
    config.addinivalue_line("markers", "shared_queue: other tests of the file have jobs too")


def pytest_collection_modifyitems(items):
    for item in items:
        if Path(item.path).parent == Path(__file__).parent:
            item.add_marker("slurm")
            if not RUNNING:
                item.add_marker(pytest.mark.skip(reason="no Slurm of our own: make test-slurm"))


def queue() -> list[str]:
    """Return the jobs that wait, run or end."""
    shown = subprocess.run(
        ["squeue", "--noheader", "--states=pending,running,completing", "--format=%i %j %T"],
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    return shown.stdout.splitlines()


@pytest.fixture(autouse=True)
def empty_queue(request: pytest.FixtureRequest) -> Iterator[None]:
    """See that a test leaves no job; cancel what one leaves, so that only that one fails."""
    yield
    if not RUNNING or request.node.get_closest_marker("shared_queue"):
        return
    # the last processes of a job may take a moment after its result
    until = time.monotonic() + EMPTY_SECONDS
    while (left := queue()) and time.monotonic() < until:
        time.sleep(0.2)
    if left:
        for state in ("PENDING", "RUNNING"):
            subprocess.run(["scancel", f"--state={state}"], timeout=60, check=False)
    assert left == []


Timer = Callable[[str, str], object]


@pytest.fixture(scope="session")
def timed(pytestconfig: pytest.Config) -> Timer:
    """Measure ``with timed(what, route)``; all routes stand side by side at the end of the run."""

    @contextmanager
    def measure(what: str, route: str) -> Iterator[None]:
        started = time.monotonic()
        yield
        pytestconfig.stash[FIGURES].setdefault(what, {})[route] = time.monotonic() - started

    return measure


def pytest_terminal_summary(terminalreporter, config):
    for what, routes in config.stash[FIGURES].items():
        terminalreporter.section(f"{what}, seconds")
        for route, seconds in routes.items():
            terminalreporter.write_line(f"{route:<60}{seconds:8.1f}")
