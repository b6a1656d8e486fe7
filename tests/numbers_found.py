"""What a run found, without when and where: one digest a file, equal for equal numbers."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

VOLATILE = {"seconds", "timings", "versions", "checksum", "files", "sha256", "arrays_sha256",
            "fit_digest", "bytes", "crc32", "path", "source"}  # fmt: skip
"""Keys and columns that say how long something took, or digest what does."""
SKIPPED = {"logs", "benchmarks", ".snakemake"}


def numbers_of(folder: Path) -> dict[str, str]:
    """Return the digest of each file of results in a folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if path.is_file() and not SKIPPED & set(inside.parts) and path.suffix in READERS:
            found[_named(inside)] = hashlib.sha256(READERS[path.suffix](path)).hexdigest()[:16]
    return found


def _named(path: Path) -> str:
    """Return a path, without the part of its name that is a digest of times."""
    return re.sub(r"-[0-9a-f]{32}(?=\.parquet$)", "", str(path))


def _json(path: Path) -> bytes:
    return json.dumps(_lasting(json.loads(path.read_text("utf-8"))), sort_keys=True).encode()


def _lasting(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _lasting(v) for k, v in value.items() if k not in VOLATILE}
    return [_lasting(v) for v in value] if isinstance(value, list) else value


def _parquet(path: Path) -> bytes:
    frame = pd.read_parquet(path)
    kept = frame[[c for c in frame.columns if c not in VOLATILE]]
    return kept.to_csv(float_format=lambda x: float(x).hex()).encode()


def _npz(path: Path) -> bytes:
    with np.load(path) as stored:
        return b"".join(_named_bytes(name, stored[name]) for name in sorted(stored.files))


def _named_bytes(name: str, values: np.ndarray) -> bytes:
    return f"{name}{values.shape}{values.dtype}".encode() + values.tobytes()


READERS = {".json": _json, ".parquet": _parquet, ".npz": _npz, ".csv": Path.read_bytes}


def digest(*values: Any) -> str:
    """Return one digest of frames, arrays, numbers and texts."""
    found = hashlib.sha256()
    for piece in _flat(values):
        found.update(piece)
    return found.hexdigest()


def _flat(values: Any) -> Iterator[bytes]:
    if isinstance(values, pd.DataFrame):
        kept = values[[c for c in values.columns if c not in VOLATILE]]
        yield kept.to_csv(float_format=lambda x: float(x).hex()).encode()
    elif isinstance(values, np.ndarray):
        yield _named_bytes("", values)
    elif isinstance(values, dict):
        for key, value in values.items():
            yield str(key).encode()
            yield from _flat(value)
    elif isinstance(values, list | tuple):
        for value in values:
            yield from _flat(value)
    else:
        yield repr(values).encode()
