"""One command and all its descendants, ended with the hand that holds them."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent))

from flows import alive, wait_for

from mixedflow.plugins.task import SUPERVISOR

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks into /proc")


def supervised(command: str, **more) -> subprocess.Popen[bytes]:
    line = [sys.executable, "-S", "-E", str(SUPERVISOR), command]
    pipe = subprocess.PIPE
    return subprocess.Popen(line, stdin=pipe, stdout=pipe, stderr=pipe, **more)


def pid_of(path: Path) -> int:
    return int(wait_for(lambda: path.exists() and path.read_text().strip()))


@pytest.mark.parametrize(
    ("command", "code"), [("exit 0", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill $$", 143)]
)
def test_it_ends_as_the_command_does(command, code):
    with supervised(f"echo said; {command}") as process:
        assert process.stdout is not None
        assert process.stderr is not None
        assert int(process.stdout.read()) > 0
        assert process.stderr.read() == b"said\n"
        assert process.wait(30) == code


@pytest.mark.parametrize("start", ["", "setsid "])
@pytest.mark.parametrize("last", ["wait", "exit 0"])
def test_nothing_is_left(tmp_path, start, last):
    path = tmp_path / "pid"
    process = supervised(f"{start}sleep 300 & echo $! > {path}; {last}")
    with process:
        sleeper = pid_of(path)
        if last == "wait":
            assert alive(sleeper)
            assert process.stdin is not None
            process.stdin.close()
        process.wait(30)
        assert not alive(sleeper)


def test_what_does_not_end_politely_is_ended(tmp_path):
    path = tmp_path / "pid"
    with supervised(f"trap '' TERM; echo $$ > {path}; while true; do sleep 1; done") as process:
        stubborn = pid_of(path)
        started = time.monotonic()
        assert process.stdin is not None
        process.stdin.close()
        process.wait(30)
        assert time.monotonic() - started < 15
        assert not alive(stubborn)
