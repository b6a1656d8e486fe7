"""Condensed data on disk: the folder that ``condense`` writes, from Python and in the workflow.

Stands at "Sums" in ``docs/algorithm.md``; the format is DESIGN 4's: ``schema/``, ``crossproducts/``
and a manifest that names the model and where its rows came from.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mixedflow.crossproducts.condensed import Condensed
from mixedflow.crossproducts.storage import load_crossproducts, save_crossproducts
from mixedflow.crossproducts.types import same_positions
from mixedflow.data.atomic import atomic_folder, atomic_write_text
from mixedflow.data.manifest import (
    FILES,
    ManifestKind,
    check_digests,
    digests_of,
    read_json,
    read_manifest,
)
from mixedflow.design.encode import Encoder
from mixedflow.design.schema import Schema
from mixedflow.design.spec import spec_from_json
from mixedflow.errors import MixedflowError, StoredFileError

MANIFEST = "manifest.json"
KIND = ManifestKind(
    "condensed data",
    MANIFEST,
    2,
    "mixedflow-design",
    again="delete the folder and condense the data again",
)
OWN_FILES = (MANIFEST, "schema", "crossproducts")
PARTS = ("schema/schema.json", "crossproducts/manifest.json")
"""Manifests of what a folder is made of; they name their own files."""


def is_design(path: Path) -> bool:
    """Tell a condensed folder from data."""
    try:
        content = read_json(path / MANIFEST, missing="")
    except StoredFileError:
        return False
    return isinstance(content, dict) and content.get("format") == KIND.format


def save_condensed(
    condensed: Condensed, folder: Path, data: Mapping[str, Any] | None = None
) -> None:
    """Write condensed data to a folder of its own; it appears whole or not at all."""
    with atomic_folder(folder, OWN_FILES) as place:
        write_design(condensed, place, data or {"source": condensed.schema.source, "path": ""})


def write_design(condensed: Condensed, folder: Path, data: Mapping[str, Any]) -> None:
    """Write into a folder; the manifest comes last, so that a folder with one is complete.

    Parameters
    ----------
    condensed : what to write
    folder : where
    data : where the rows came from: ``source``, ``path``, ``fingerprint``
    """
    manifest = folder / MANIFEST
    manifest.unlink(missing_ok=True)
    sums = condensed.sums
    condensed.schema.save(folder / "schema")
    save_crossproducts(sums, folder / "crossproducts")
    content = {
        "spec": condensed.spec.to_json(),
        "data": dict(data),
        "rows_in": sums.rows_in,
        "rows_used": sums.n_obs,
        "missing": dict(sums.missing),
        FILES: digests_of(folder, PARTS),
    }
    atomic_write_text(manifest, KIND.text(content, indent=2))


def read_design(folder: Path) -> tuple[Condensed, dict[str, Any]]:
    """Read a condensed folder and verify it; return it and where its rows came from.

    Raises
    ------
    StoredFileError
        if a file is missing, damaged, of another format version, or does not go with the others.
    """
    content = _manifest_of(folder)
    sums = load_crossproducts(folder / "crossproducts")
    if sums.n_obs != content.get("rows_used"):
        raise StoredFileError(
            f"'{folder}' holds sums of {sums.n_obs:,} rows where its {MANIFEST} says"
            f" {content.get('rows_used')}; condense the data again"
        )
    schema = Schema.load(folder / "schema")
    check_digests(folder, content[FILES], KIND)
    try:
        spec = spec_from_json(content["spec"])
        described = Encoder(spec, schema).info
    except (MixedflowError, KeyError, TypeError, AttributeError) as error:
        raise StoredFileError(f"'{folder}' is damaged: {error}; condense the data again") from error
    same = (described.x_columns, described.factors) == (sums.info.x_columns, sums.info.factors)
    if not same or not same_positions(described.residual, sums.info.residual):
        raise StoredFileError(
            f"'{folder}' holds sums of other columns than its schema describes; condense the data"
            " again"
        )
    return Condensed(spec, schema, sums), content["data"]


def _manifest_of(folder: Path) -> dict[str, Any]:
    content = read_manifest(folder, KIND)
    if not isinstance(content.get("data"), dict) or not {"source", "path"} <= set(content["data"]):
        raise StoredFileError(
            f"'{folder / MANIFEST}' does not say where its rows came from; condense the data again"
        )
    if not isinstance(content.get(FILES), dict) or set(content[FILES]) != set(PARTS):
        raise StoredFileError(
            f"'{folder / MANIFEST}' does not name the files beside it; condense the data again"
        )
    return content
