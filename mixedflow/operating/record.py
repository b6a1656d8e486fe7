"""How a run was called, kept beside Snakemake's own notes until the run has ended well.

A file a run in ``.snakemake/mixedflow-runs``, since runs of different results may share a folder.
Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import os
import socket
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from uuid import uuid4

from mixedflow.data.atomic import atomic_write_text
from mixedflow.errors import StoredFileError
from mixedflow.operating.processes import started_at

FOLDER = Path(".snakemake/mixedflow-runs")

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Record:
    """One run.

    Attributes
    ----------
    run : its name
    command : Python and Snakemake with all arguments
    config : configuration file
    cwd : where it was called
    folder : working directory
    host : machine of its controller
    begun : when
    controllers : processes of the controller, with the times when they started
    code : exit code, None while it runs, or if it never ended by itself
    """

    run: str
    command: tuple[str, ...]
    config: str
    cwd: str
    folder: str
    host: str
    begun: float
    controllers: tuple[tuple[int, float], ...] = ()
    code: int | None = None

    @property
    def place(self) -> Path:
        """Return the file of this record."""
        return Path(self.folder) / FOLDER / f"{self.run}.json"

    @property
    def here(self) -> bool:
        """Whether it was started on this machine."""
        return self.host == socket.gethostname()

    def alive(self) -> list[int]:
        """Return its controller's processes that still run, if it was started on this machine."""
        if not self.here:
            return []
        return [pid for pid, started in self.controllers if started_at(pid) == started]

    def write(self) -> None:
        """Write the record; a reader sees the old one or this."""
        atomic_write_text(
            self.place, json.dumps({"format": FORMAT} | asdict(self), indent=1) + "\n"
        )


def begin(command: Sequence[str], config: Path, folder: Path) -> Record:
    """Note that a run begins; its own process is its first controller."""
    me = os.getpid()
    record = Record(
        run=uuid4().hex[:12],
        command=tuple(command),
        config=str(config.resolve()),
        cwd=str(Path.cwd()),
        folder=str(folder.resolve()),
        host=socket.gethostname(),
        begun=time.time(),
        controllers=((me, started_at(me)),),
    )
    record.write()
    return record


def note_controller(record: Record, pid: int) -> Record:
    """Note the process of Snakemake."""
    noted = replace(record, controllers=(*record.controllers, (pid, started_at(pid))))
    noted.write()
    return noted


def finish(record: Record, code: int) -> None:
    """Note how a run ended; one that ended well settles all earlier ones of its configuration."""
    if code != 0:
        replace(record, code=code).write()
        return
    for other in read_records(Path(record.folder)):
        if other.config == record.config and other.begun <= record.begun and not other.alive():
            other.place.unlink(missing_ok=True)
    record.place.unlink(missing_ok=True)


def read_records(folder: Path) -> list[Record]:
    """Return the runs of a folder that have not ended well, the newest last.

    Raises
    ------
    StoredFileError
        when a record cannot be read
    """
    found = [_read(path) for path in (folder / FOLDER).glob("*.json")]
    return sorted(found, key=lambda record: record.begun)


def _read(path: Path) -> Record:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if content.pop("format") != FORMAT:
            raise StoredFileError(f"'{path}' is of another version of mixedflow; delete it")
        controllers = tuple((int(pid), float(started)) for pid, started in content["controllers"])
        return Record(
            **content | {"command": tuple(content["command"]), "controllers": controllers}
        )
    except OSError as fault:
        raise StoredFileError(f"'{path}' cannot be read: {fault.strerror}") from None
    except (ValueError, KeyError, TypeError, AttributeError):
        raise StoredFileError(f"'{path}' is no record of a run of mixedflow; delete it") from None
