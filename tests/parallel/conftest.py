"""Two local workers that all tests of this room share, since starting them takes seconds."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from mixedflow.parallel import Runner, open_runner


@pytest.fixture(scope="session")
def workers() -> Iterator[Runner]:
    with open_runner("processes", workers=2, threads_per_worker=1, memory_limit=2 << 30) as runner:
        yield runner
