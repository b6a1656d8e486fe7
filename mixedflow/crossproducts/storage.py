"""Sums on disk: one folder, arrays without pickle beside a manifest, verified on reading.

Stands at "Sums" in ``docs/algorithm.md``; the format is DESIGN 4's. ``arrays.npz`` holds the
numbers, ``manifest.json`` the format version, the columns and the SHA-256 of the arrays.
"""

from __future__ import annotations

import hashlib
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from mixedflow.crossproducts.types import (
    CrossProducts,
    FactorSums,
    GroupSums,
    KeyedSums,
    PairSums,
)
from mixedflow.data.atomic import atomic_folder
from mixedflow.data.fingerprint import sha256_of_file
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.design.stored import residual_from_json, residual_to_json
from mixedflow.design.types import DesignInfo, FactorDesign, Pilots
from mixedflow.errors import StoredFileError, listing

KIND = ManifestKind(
    "cross-products", "manifest.json", 1, "mixedflow-crossproducts", again="condense them again"
)
MANIFEST_KEYS = ("arrays_sha256", "rows_in", "missing", "info", "keys")
OWN_FILES = ("arrays.npz", "manifest.json")
GROUP_ARRAYS = ("n_obs", "sum_log_weight", "XYtBXY")


def save_crossproducts(sums: CrossProducts, folder: Path | str, piece: str = "") -> None:
    """Write the sums to a folder; it appears whole or not at all.

    Parameters
    ----------
    sums : what to write
    folder : where
    piece : what these sums are of, where they are a part of others
    """
    with atomic_folder(Path(folder), OWN_FILES) as place:
        arrays = _arrays_of(sums)
        np.savez(place / "arrays.npz", allow_pickle=False, **arrays)
        manifest = {
            "arrays_sha256": sha256_of_file(place / "arrays.npz"),
            "rows_in": sums.rows_in,
            "missing": dict(sums.missing),
            "info": info_to_json(sums.info),
            "keys": [_key_to_json(key, part) for key, part in sums.keyed.items()],
            **({"piece": piece} if piece else {}),
        }
        (place / KIND.file).write_text(KIND.text(manifest), encoding="utf-8")


def digest_of_sums(sums: CrossProducts) -> str:
    """Return the SHA-256 of all numbers of the sums and of the names of their columns."""
    keys = [_key_to_json(key, part) for key, part in sums.keyed.items()]
    found = hashlib.sha256(json.dumps([info_to_json(sums.info), keys, sums.rows_in]).encode())
    for name, values in _arrays_of(sums).items():
        array = np.ascontiguousarray(values)
        found.update(f"{name} {array.shape} {array.dtype}".encode())
        found.update(array.data)
    return found.hexdigest()


def load_crossproducts(folder: Path | str, piece: str = "") -> CrossProducts:
    """Read sums that :func:`save_crossproducts` wrote.

    Raises
    ------
    StoredFileError
        if a file is missing, damaged, of another format version, or the sums are another piece.
    """
    folder = Path(folder)
    manifest = read_manifest(folder, KIND)
    lacking = [key for key in MANIFEST_KEYS if key not in manifest]
    if lacking:
        raise StoredFileError(f"cross-products '{folder}': manifest.json lacks {listing(lacking)}")
    if manifest.get("piece", "") != piece:
        raise StoredFileError(
            f"cross-products '{folder}' are those of '{manifest.get('piece', '')}'; {KIND.again}"
        )
    path = folder / "arrays.npz"
    if not path.is_file():
        raise StoredFileError(f"cross-products '{folder}' have no arrays.npz; condense them again")
    if sha256_of_file(path) != manifest["arrays_sha256"]:
        raise StoredFileError(
            f"cross-products '{folder}' are damaged: arrays.npz does not match the checksum in "
            "manifest.json; condense them again"
        )
    try:
        with np.load(path, allow_pickle=False) as stored:
            arrays = {name: stored[name] for name in stored.files}
        info = info_from_json(manifest["info"], arrays)
        keyed = {tuple(k["key"]): _keyed_from(k, arrays) for k in manifest["keys"]}
    except (KeyError, TypeError, ValueError, OSError, zipfile.BadZipFile) as error:
        raise StoredFileError(f"cross-products '{folder}' cannot be read: {error}") from error
    return CrossProducts(info, keyed, manifest["rows_in"], manifest["missing"])


def _arrays_of(sums: CrossProducts) -> dict[str, Any]:
    pilots = sums.info.pilots
    arrays: dict[str, Any] = {
        "pilot/x_shift": pilots.x_shift,
        "pilot/x_scale": pilots.x_scale,
        "pilot/y_shift": pilots.y_shift,
        "pilot/y_scale": pilots.y_scale,
    }
    for f, (shift, scale) in enumerate(zip(pilots.z_shift, pilots.z_scale, strict=True)):
        arrays[f"pilot/z{f}_shift"], arrays[f"pilot/z{f}_scale"] = shift, scale
    for key, part in sums.keyed.items():
        arrays |= _arrays_of_key(f"sums/{key[0]}_{key[1]}", part)
    return arrays


def _arrays_of_key(root: str, part: KeyedSums) -> dict[str, Any]:
    arrays: dict[str, Any] = {
        f"{root}/{name}": getattr(part, name) for name in ("XtBX", "XtBy", "ytBy")
    }
    for f, factor in enumerate(part.factors):
        for name in ("levels", "ZtBZ", "ZtBX", "ZtBy"):
            arrays[f"{root}/factor{f}/{name}"] = getattr(factor, name)
        if factor.groups is not None:
            for name in GROUP_ARRAYS:
                arrays[f"{root}/factor{f}/groups/{name}"] = getattr(factor.groups, name)
    for (f, h), pair in part.pairs.items():
        for name in ("rows", "cols", "ZtBZ"):
            arrays[f"{root}/pair{f}_{h}/{name}"] = getattr(pair, name)
    return arrays


def _key_to_json(key: tuple[int, int], part: KeyedSums) -> dict[str, Any]:
    return {
        "key": list(key),
        "n_obs": part.n_obs,
        "sum_log_weight": part.sum_log_weight,
        "factors": len(part.factors),
        "pairs": [list(pair) for pair in part.pairs],
    }


def _keyed_from(entry: dict[str, Any], arrays: dict[str, Any]) -> KeyedSums:
    root = "sums/{}_{}".format(*entry["key"])
    return KeyedSums(
        n_obs=entry["n_obs"],
        sum_log_weight=entry["sum_log_weight"],
        XtBX=arrays[f"{root}/XtBX"],
        XtBy=arrays[f"{root}/XtBy"],
        ytBy=arrays[f"{root}/ytBy"],
        factors=tuple(_factor_from(f"{root}/factor{f}", arrays) for f in range(entry["factors"])),
        pairs={
            (f, h): PairSums(*(arrays[f"{root}/pair{f}_{h}/{n}"] for n in ("rows", "cols", "ZtBZ")))
            for f, h in entry["pairs"]
        },
    )


def _factor_from(root: str, arrays: dict[str, Any]) -> FactorSums:
    groups = None
    if f"{root}/groups/XYtBXY" in arrays:
        groups = GroupSums(*(arrays[f"{root}/groups/{name}"] for name in GROUP_ARRAYS))
    levels, ZtBZ, ZtBX, ZtBy = (
        arrays[f"{root}/{name}"] for name in ("levels", "ZtBZ", "ZtBX", "ZtBy")
    )
    return FactorSums(levels, ZtBZ, ZtBX, ZtBy, groups)


def info_to_json(info: DesignInfo) -> dict[str, Any]:
    """Return the names of the columns as plain JSON; the pilots go with the arrays."""
    return {
        "traits": list(info.traits),
        "x_columns": list(info.x_columns),
        "intercept": info.intercept,
        "weighted": info.weighted,
        "z_intercept": list(info.z_intercept),
        "factors": [
            {
                "name": f.name,
                "variables": list(f.variables),
                "columns": list(f.columns),
                "n_levels": f.n_levels,
            }
            for f in info.factors
        ],
        **({} if info.residual is None else {"residual": residual_to_json(info.residual)}),
    }


def info_from_json(data: dict[str, Any], arrays: dict[str, Any]) -> DesignInfo:
    """Return the design that :func:`info_to_json` described, with the pilots of ``arrays``."""
    count = range(len(data["factors"]))
    pilots = Pilots(
        x_shift=arrays["pilot/x_shift"],
        x_scale=arrays["pilot/x_scale"],
        y_shift=arrays["pilot/y_shift"],
        y_scale=arrays["pilot/y_scale"],
        z_shift=tuple(arrays[f"pilot/z{f}_shift"] for f in count),
        z_scale=tuple(arrays[f"pilot/z{f}_scale"] for f in count),
    )
    factors = tuple(
        FactorDesign(f["name"], tuple(f["variables"]), tuple(f["columns"]), f["n_levels"])
        for f in data["factors"]
    )
    return DesignInfo(
        tuple(data["traits"]),
        tuple(data["x_columns"]),
        data["intercept"],
        factors,
        tuple(data["z_intercept"]),
        pilots,
        data["weighted"],
        residual_from_json(data["residual"]) if "residual" in data else None,
    )
