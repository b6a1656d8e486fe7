"""Parts of a sweep on disk: rows that are done, found again by what they were made of.

Stands at "Sweeps" in ``docs/algorithm.md``. A row is known by its trait, the digest of the trait's
values and the key of its model, which covers the model, the options and the predictors' values. A part
gets its name, which tells its rows and its bytes, when it is complete; one that is damaged is removed,
and its rows are fitted again.
"""

from __future__ import annotations

import hashlib
import io
import json
import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

import mixedflow
from mixedflow.data.atomic import atomic_write_bytes
from mixedflow.data.columns import to_text
from mixedflow.data.fingerprint import sha256_of_text
from mixedflow.design.types import Float
from mixedflow.results.tabulating import pd
from mixedflow.sweeps.model import SweepModel
from mixedflow.sweeps.standin import StandInSource

LOG = logging.getLogger(__name__)

FOLDER = "parts"
FORMAT = "mixedflow-sweep-part 1"
KEY, DIGEST = "_model", "_digest"
"""Columns of a part that say what a row was made of."""
LENGTH = 32
"""Hexadecimal digits of a part's name and of a trait's digest."""


class TraitDigests:
    """Digests of the values of T traits, however their rows are divided."""

    def __init__(self, count: int) -> None:
        self._hashes = [hashlib.sha256() for _ in range(count)]

    def add(self, V: Float) -> None:
        """Add the values of a partition, (T, n)."""
        for one, values in zip(self._hashes, V, strict=True):
            one.update(_plain(values).data)

    def values(self) -> list[str]:
        """Return the digests."""
        return [one.hexdigest()[:LENGTH] for one in self._hashes]


def _plain(V: Float) -> Float:
    """Return values with one NaN and one zero."""
    out: Float = np.ascontiguousarray(V + 0.0)
    out[np.isnan(out)] = np.nan
    return out


def with_keys(models: Iterable[SweepModel]) -> tuple[SweepModel, ...]:
    """Return the models with their keys; predictors are read once a subset and set of columns."""
    known: dict[tuple[str, tuple[str, ...]], str] = {}
    out = []
    for model in models:
        names = tuple(n for n in model.spec.variables if n != model.source.response)
        which = (model.subset, names)
        if which not in known:
            known[which] = _predictors_digest(model.source, names)
        out.append(replace(model, key=_key(model, known[which])))
    return tuple(out)


def _key(model: SweepModel, predictors: str) -> str:
    content = {
        "format": FORMAT,
        "version": mixedflow.__version__,
        "spec": model.spec.to_json(),
        "reml": model.reml,
        "ddf": model.ddf,
        "control": None if model.control is None else asdict(model.control),
        "predictors": predictors,
    }
    return sha256_of_text(json.dumps(content, sort_keys=True, default=str))


def _predictors_digest(source: StandInSource, names: Sequence[str]) -> str:
    """Return a SHA-256 of the predictors' values in their order, however rows are divided."""
    hashes = {name: hashlib.sha256() for name in names}
    for index in range(source.n_partitions):
        table = source.read(index, names) if names else None
        for name, one in hashes.items():
            assert table is not None  # noqa: S101 - there are names
            one.update(_bytes(table.column(name)))
    levels = {n: list(v) for n, v in source.declared_levels(names).items()}
    kinds = {name: [source.describe(name), source.is_coded(name)] for name in names}
    digests = {name: one.hexdigest() for name, one in hashes.items()}
    return sha256_of_text(json.dumps([levels, kinds, digests], default=str))


def _bytes(column: pa.ChunkedArray) -> bytes:
    held = column.type
    if not pa.types.is_dictionary(held) and not pa.types.is_string(held):
        return _plain(np.asarray(column.to_numpy(), dtype=float)).tobytes()
    coded = to_text(column).dictionary_encode().unify_dictionaries().combine_chunks()
    labels = coded.dictionary.to_pylist()
    hashed = [hashlib.blake2b(str(v).encode(), digest_size=8).digest() for v in labels]
    table = np.frombuffer(b"".join([*hashed, bytes(8)]), dtype=np.uint64)
    codes = coded.indices.fill_null(len(labels)).to_numpy(zero_copy_only=False)
    out: bytes = table[codes].tobytes()
    return out


@dataclass(frozen=True, slots=True)
class Parts:
    """The folder of a sweep's parts."""

    folder: Path

    def write(self, frame: pd.DataFrame) -> None:
        """Keep rows, with the columns :data:`KEY` and :data:`DIGEST`."""
        text = "\n".join(frame["trait"] + "\0" + frame[DIGEST] + "\0" + frame[KEY])
        table = pa.Table.from_pandas(frame, preserve_index=False)
        buffer = io.BytesIO()
        pq.write_table(table.replace_schema_metadata({"mixedflow": FORMAT}), buffer)
        content = buffer.getvalue()
        name = f"{sha256_of_text(text)[:LENGTH]}-{_digest(content)}.parquet"
        atomic_write_bytes(self.folder / name, content)

    def read(self, keys: Iterable[str]) -> pd.DataFrame:
        """Return the rows of some models, each trait's values, model and row once.

        Parts that cannot be read are removed.
        """
        wanted, frames = set(keys), []
        for path in sorted(self.folder.glob("*.parquet")):
            found = _read(path)
            if found is None:
                LOG.warning("'%s' is damaged: its rows are fitted again", path)
                path.unlink(missing_ok=True)
                continue
            own = found[found[KEY].isin(wanted)]
            if len(own):
                frames.append(own)
        if not frames:
            return pd.DataFrame({"trait": [], KEY: [], DIGEST: []}, dtype=object)
        whole = pd.concat(frames, ignore_index=True)
        return whole.drop_duplicates(["trait", KEY, DIGEST], keep="last", ignore_index=True)


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()[:LENGTH]


def _read(path: Path) -> pd.DataFrame | None:
    """Return a part; None where it is damaged or none of ours."""
    try:
        content = path.read_bytes()
        if path.stem.rpartition("-")[2] != _digest(content):
            return None
        with pq.ParquetFile(io.BytesIO(content)) as file:
            if (file.schema_arrow.metadata or {}).get(b"mixedflow") != FORMAT.encode():
                return None
            frame: pd.DataFrame = file.read().to_pandas()
    except (OSError, ValueError, pa.ArrowException):
        return None
    return frame if {"trait", KEY, DIGEST, "error"} <= set(frame.columns) else None
