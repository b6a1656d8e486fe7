"""What tasks are told, as it comes to a worker: whole, of this version, every array aligned.

Stands at "Sums are added in a fixed tree" in ``docs/algorithm.md``. A message is one run of bytes: the
arrays in it begin anywhere, and unaligned arrays sum to other last bits. What tasks are told is any
function with whatever it holds, so that buffers are put right before anything is made of them.
"""

from __future__ import annotations

import pickle
import threading
from collections.abc import Sequence
from typing import Any, Generic, TypeVar

import numpy as np

import mixedflow
from mixedflow.parallel.runner import WorkerError

T = TypeVar("T")

ALIGNMENT = 16
"""To which a buffer begins: that of the widest numbers, and of memory that is newly asked for."""

_opening = threading.Lock()


class Sent(Generic[T]):
    """A thing on its way to workers; there it is opened once, whatever number of tasks uses it."""

    __slots__ = ("_packed", "_value")

    def __init__(self, value: T) -> None:
        self._value: T | None = value
        self._packed: tuple[str, bytes, Sequence[Any]] | None = None

    def opened(self) -> T:
        """Return the thing.

        Raises
        ------
        WorkerError
            where it was sent by another version of mixedflow
        """
        with _opening:
            if self._packed is not None:
                version, body, buffers = self._packed
                if version != mixedflow.__version__:
                    raise WorkerError(
                        f"a Dask worker has mixedflow {mixedflow.__version__}, and {version} is here; "
                        "start the workers with the same installation"
                    )
                self._value = pickle.loads(body, buffers=map(aligned_buffer, buffers))  # noqa: S301
                self._packed = None
        value: Any = self._value
        return value  # type: ignore[no-any-return]

    def __reduce__(self) -> Any:
        """Return how it is packed: buffers beside the body, as pickle's protocol 5 knows them."""
        import cloudpickle  # type: ignore[import-untyped]

        if self._packed is not None:
            version, body, held = self._packed
            return _arrived, (version, body, [pickle.PickleBuffer(buffer) for buffer in held])
        buffers: list[pickle.PickleBuffer] = []
        body = cloudpickle.dumps(self._value, protocol=5, buffer_callback=buffers.append)
        return _arrived, (mixedflow.__version__, body, buffers)


def _arrived(version: str, body: bytes, buffers: Sequence[Any]) -> Sent[Any]:
    """Return what came, still packed: what is wrong with it is said by the task that opens it."""
    sent: Sent[Any] = Sent(None)
    sent._packed = (version, body, buffers)
    return sent


def aligned_buffer(buffer: Any) -> Any:
    """Return a buffer, or a copy of it that begins where any number may."""
    with memoryview(buffer) as view:
        flat = np.frombuffer(view, dtype=np.uint8)
        if not len(flat) or flat.ctypes.data % ALIGNMENT == 0:
            return buffer
        copy = flat.copy()
        copy.flags.writeable = not view.readonly
        return copy
