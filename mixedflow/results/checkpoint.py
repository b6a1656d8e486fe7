"""Where a long fit stands, in a file beside its folder, for the next process to go on from.

Stands at "The driver" in ``docs/algorithm.md``. The file appears only where a fit takes longer than
:data:`EVERY` seconds, is replaced as a whole, and goes with the end of the fit. What was kept of other
sums, other options or another version is left alone.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from mixedflow.data.atomic import atomic_write_text
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.errors import OutputError, StoredFileError

LOG = logging.getLogger(__name__)
EVERY = 30.0
"""Seconds between two checkpoints: what a fit loses when it is killed."""


class FileKeeper:
    """Keeps where a fit stands beside the folder that it will be written to.

    Parameters
    ----------
    out : folder of the fit
    """

    def __init__(self, out: Path) -> None:
        self.path = out.with_name(f".{out.name}.checkpoint.json")
        self.kind = ManifestKind("a checkpoint", self.path.name, 1, "mixedflow-checkpoint")
        self._key: Callable[[], str] = str
        self._last = time.monotonic()
        self._digest = ""

    def found(self, key: Callable[[], str]) -> Mapping[str, Any] | None:
        """Return what was kept of the same fit."""
        self._key = key
        if not self.path.exists():
            return None
        try:
            content = read_manifest(self.path.parent, self.kind)
        except StoredFileError as fault:
            LOG.warning("%s: the fit begins anew", fault)
            return None
        if content.get("key") != self._fit():
            LOG.warning("'%s' is of another fit: this one begins anew", self.path)
            return None
        state: Mapping[str, Any] = content["state"]
        LOG.warning("'%s': the fit goes on from iteration %d", self.path, state["trace"][-1][0])
        return state

    def keep(self, make: Callable[[], Mapping[str, Any]]) -> None:
        """Write where the fit stands, if it is time; a fit goes on where that is not possible."""
        if time.monotonic() - self._last < EVERY:
            return
        try:
            text = self.kind.text({"key": self._fit(), "state": make()}, indent=None)
            atomic_write_text(self.path, text)
        except OutputError as fault:
            LOG.warning("%s; the fit goes on without a checkpoint", fault)
        self._last = time.monotonic()

    def done(self) -> None:
        """Remove the file of a fit that was stored."""
        self.path.unlink(missing_ok=True)

    def _fit(self) -> str:
        """Return the digest of the fit, found once and only where it is needed."""
        self._digest = self._digest or self._key()
        return self._digest
