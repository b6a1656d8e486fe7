"""Schedulers that are started here: who has not the run's certificates is refused; nothing else listens."""

from __future__ import annotations

import stat
from collections.abc import Iterator
from contextlib import contextmanager
from operator import add
from pathlib import Path

import numpy as np
import pytest
from listening import LOOPBACK, greets, in_clear_beyond_the_loopback, listening, speaks_tls

from mixedflow.parallel import JobQueue, Runner, Tls, WorkerError, map_reduce, open_runner

pytest.importorskip("cryptography")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="what listens is read in /proc"),
]

OPTIONS = {
    "processes": {"workers": 2},
    "srun": {"workers": 2, "memory_limit": 2 << 30, "interface": "lo"},
    "jobqueue": {
        "workers": 2,
        "memory_limit": 2 << 30,
        "interface": "lo",
        "jobs": JobQueue(walltime=5),
    },
}


def rough(index: int) -> np.ndarray:
    rng = np.random.default_rng(index)
    return rng.normal(size=50) * 10.0 ** rng.integers(-9, 9, 50)


@contextmanager
def opened(kind: str) -> Iterator[Runner]:
    with open_runner(kind, **OPTIONS[kind]) as runner:
        yield runner


def keys_of_the_run() -> list[Path]:
    return sorted(Path.cwd().glob(".mixedflow-*/*.pem"))


@pytest.mark.parametrize("kind", ["srun", "jobqueue"])
def test_a_run_is_for_its_own_certificates_alone(a_slurm, kind, tmp_path, monkeypatch):
    from mixedflow.parallel.tls import own_tls

    monkeypatch.setattr("mixedflow.parallel.connecting.CONNECT_TIMEOUT", "3s")
    other = tmp_path / "other"
    other.mkdir()
    strange = own_tls(other)
    with opened(kind) as runner:
        made = map_reduce(rough, 37, add, runner=runner)
        address = runner.client.scheduler.address
        ca, cert, key = keys_of_the_run()
        own = Tls(str(ca), str(cert), str(key))
        assert {stat.S_IMODE(path.stat().st_mode) for path in (ca, cert, key)} == {0o600}
        assert stat.S_IMODE(key.parent.stat().st_mode) == 0o700
        assert address.startswith("tls://127.0.0.1:")
        for wanted, tls in (
            (address, strange),
            (address, Tls(own.ca, strange.cert, strange.key)),
            (address.replace("tls", "tcp"), None),
        ):
            with (
                pytest.raises(WorkerError, match="no Dask scheduler answers"),
                open_runner("address", address=wanted, tls=tls),
            ):
                pass
        port = int(address.rpartition(":")[2])
        assert greets(port, own.ca, (own.cert, own.key))
        assert not greets(port, own.ca)
        with open_runner("address", address=address, tls=own) as known:
            again = map_reduce(rough, 37, add, runner=known)
        assert in_clear_beyond_the_loopback() == set()
        assert {a for a, _ in listening()} <= LOOPBACK
        assert speaks_tls(("127.0.0.1", port))
    expected = map_reduce(rough, 37, add)
    assert np.array_equal(made, expected)
    assert np.array_equal(again, expected)
    assert keys_of_the_run() == []


def test_local_workers_listen_on_the_loopback_alone():
    with opened("processes") as runner:
        map_reduce(rough, 3, add, runner=runner)
        places = listening()
    assert len(places) >= 3
    assert {address for address, _ in places} <= LOOPBACK


def test_a_client_refuses_a_scheduler_of_another_authority(a_slurm, tmp_path, monkeypatch):
    from mixedflow.parallel.tls import own_tls

    monkeypatch.setattr("mixedflow.parallel.connecting.CONNECT_TIMEOUT", "3s")
    folder = tmp_path / "other"
    folder.mkdir()
    strange = own_tls(folder)
    with opened("srun") as runner:
        address = runner.client.scheduler.address
        _, cert, key = keys_of_the_run()
        with (
            pytest.raises(WorkerError, match="no Dask scheduler answers"),
            open_runner("address", address=address, tls=Tls(strange.ca, str(cert), str(key))),
        ):
            pass
