"""A schema on disk: JSON for what is small, Parquet for long lists of levels. No pickle.

Stands at "The schema pass" in ``docs/algorithm.md``. Numbers are written so that reading gives the
same bits back: encoding with a loaded schema is bit-identical. Files are written under temporary names and
renamed.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.covariance.residual_types import ResidualDesign
from mixedflow.data.atomic import cannot_write
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.manifest import ManifestKind, check_digests, read_manifest
from mixedflow.design.levels import LevelSet
from mixedflow.design.positions import ResidualSchema
from mixedflow.design.schema import FORMAT_VERSION, Schema
from mixedflow.design.types import Pilots
from mixedflow.errors import StoredFileError

SCHEMA_FILE = "schema.json"
KIND = ManifestKind("a schema", SCHEMA_FILE, FORMAT_VERSION)
INLINE_LEVELS = 1_000


def save_schema(schema: Schema, folder: Path) -> None:
    """Write ``schema.json`` and one Parquet file for each list of more than 1,000 levels."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lists = {f"levels:{n}": (v.kind, v.values) for n, v in schema.levels.items()}
        lists |= {f"keys:{n}": ("int", v) for n, v in schema.keys.items()}
        stored = {
            name: store_list(folder, f"levels-{k}.parquet", kind, values)
            for k, (name, (kind, values)) in enumerate(lists.items())
        }
        text = KIND.text(_to_json(schema, stored))
        temporary = folder / f".{SCHEMA_FILE}.tmp"
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, folder / SCHEMA_FILE)  # noqa: PTH105 - atomic on every platform
    except OSError as error:
        raise cannot_write(folder, error) from error


def store_list(folder: Path, file: str, kind: str, values: Any) -> dict[str, Any]:
    """Return levels as JSON; a long list goes to a file of its own, which the JSON names."""
    array = values if isinstance(values, pa.Array) else pa.array(values)
    if len(array) <= INLINE_LEVELS:
        return {"kind": kind, "values": array.to_pylist()}
    temporary = folder / f".{file}.tmp"
    pq.write_table(pa.table({"level": array}), temporary)
    os.replace(temporary, folder / file)  # noqa: PTH105 - atomic on every platform
    digest = sha256_of_file(folder / file)
    return {"kind": kind, "file": file, "count": len(array), "sha256": digest}


def _to_json(schema: Schema, lists: Mapping[str, Any]) -> dict[str, Any]:
    pilots = schema.pilots
    return {
        "design_key": schema.design_key,
        "source": schema.source,
        "rows_in": schema.rows_in,
        "rows_used": schema.rows_used,
        "missing": dict(schema.missing),
        "kinds": dict(schema.kinds),
        "factors": [[name, list(variables)] for name, variables in schema.factors],
        "states": dict(schema.states),
        "ranges": {n: list(r) for n, r in schema.ranges.items()},
        "means": dict(schema.means),
        "messages": list(schema.messages),
        "pilots": {
            "x": [pilots.x_shift.tolist(), pilots.x_scale.tolist()],
            "y": [pilots.y_shift.tolist(), pilots.y_scale.tolist()],
            "z": [
                [shift.tolist(), scale.tolist()]
                for shift, scale in zip(pilots.z_shift, pilots.z_scale, strict=True)
            ],
        },
        "lists": dict(lists),
        **_residual_to_json(schema.residual),
    }


def _residual_to_json(residual: ResidualSchema | None) -> dict[str, Any]:
    if residual is None:
        return {}
    return {"residual": {**residual_to_json(residual.design), "keys": residual.keys.tolist()}}


def residual_to_json(design: ResidualDesign) -> dict[str, Any]:
    """Return a residual structure as plain JSON."""
    plain = {name: getattr(design, name) for name in design.__slots__}
    return {n: list(v) if isinstance(v, tuple) else v for n, v in plain.items()}


def residual_from_json(content: Mapping[str, Any]) -> ResidualDesign:
    """Undo :func:`residual_to_json`."""
    named: dict[str, Any] = {name: content[name] for name in ResidualDesign.__slots__}
    lists = {n: tuple(v) for n, v in named.items() if isinstance(v, list)}
    return ResidualDesign(**(named | lists))


def load_schema(folder: Path) -> Schema:
    """Read a schema; a missing, damaged or newer file is a :class:`StoredFileError`."""
    path = folder / SCHEMA_FILE
    content = read_manifest(folder, KIND)
    try:
        return _from_json(content, folder)
    except (KeyError, TypeError, ValueError, OSError, pa.ArrowException) as error:
        raise StoredFileError(f"The schema at {path} is damaged: {error!r}.") from None


def _from_json(content: Mapping[str, Any], folder: Path) -> Schema:
    lists = {name: load_list(folder, entry) for name, entry in content["lists"].items()}
    pilots = content["pilots"]
    return Schema(
        design_key=content["design_key"],
        source=content["source"],
        rows_in=content["rows_in"],
        rows_used=content["rows_used"],
        missing=content["missing"],
        kinds=content["kinds"],
        levels={n.partition(":")[2]: v for n, v in lists.items() if n.startswith("levels:")},
        keys={n.partition(":")[2]: v.values for n, v in lists.items() if n.startswith("keys:")},
        factors=tuple((name, tuple(variables)) for name, variables in content["factors"]),
        states=content["states"],
        ranges={n: (low, high) for n, (low, high) in content["ranges"].items()},
        pilots=Pilots(
            x_shift=np.array(pilots["x"][0], dtype=np.float64),
            x_scale=np.array(pilots["x"][1], dtype=np.float64),
            y_shift=np.array(pilots["y"][0], dtype=np.float64),
            y_scale=np.array(pilots["y"][1], dtype=np.float64),
            z_shift=tuple(np.array(shift, dtype=np.float64) for shift, _ in pilots["z"]),
            z_scale=tuple(np.array(scale, dtype=np.float64) for _, scale in pilots["z"]),
        ),
        messages=tuple(content["messages"]),
        means=content.get("means", {}),
        residual=_residual_from_json(content.get("residual")),
    )


def _residual_from_json(content: Mapping[str, Any] | None) -> ResidualSchema | None:
    if content is None:
        return None
    keys = np.array(content["keys"], dtype=np.int64)
    return ResidualSchema(residual_from_json(content), keys)


_ARROW = {"int": pa.int64(), "float": pa.float64(), "bool": pa.bool_(), "text": pa.large_string()}


def load_list(folder: Path, entry: Mapping[str, Any]) -> LevelSet:
    """Undo :func:`store_list`."""
    kind = entry["kind"]
    if "file" in entry:
        check_digests(folder, {entry["file"]: entry["sha256"]}, KIND)
        column = pq.read_table(folder / entry["file"]).column("level").cast(_ARROW[kind])
        if len(column) != entry["count"]:
            raise ValueError(f"{entry['file']} holds {len(column)} levels, not {entry['count']}")
        array = pa.concat_arrays(column.chunks)
    else:
        array = pa.array(entry["values"], _ARROW[kind])
    return LevelSet(kind, array if kind == "text" else array.to_numpy(zero_copy_only=False))
