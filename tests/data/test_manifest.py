"""One way to read what a folder of ours says of itself, and one sentence for each thing that is wrong."""

from __future__ import annotations

from pathlib import Path

import helpers
import pytest

from mixedflow.crossproducts.folder import KIND as DESIGN
from mixedflow.crossproducts.storage import KIND as SUMS
from mixedflow.data.manifest import ManifestKind, read_manifest
from mixedflow.data.prepared import KIND as PREPARED
from mixedflow.design.shared import KIND as SHARED
from mixedflow.design.stored import KIND as SCHEMA
from mixedflow.diagnostics.store import KIND as DIAGNOSTICS
from mixedflow.errors import StoredFileError
from mixedflow.results.store import KIND as FIT

KINDS = [DESIGN, SUMS, PREPARED, SHARED, SCHEMA, DIAGNOSTICS, FIT]
WRONG = {
    "no file": (None, "no {short} at "),
    "cut off": ('{"format": "mixed', "cannot be read as JSON"),
    "bytes": ("\udcff", "cannot be read as JSON"),
    "nested": ("[" * 10_000, "cannot be read as JSON"),
    "a list": ("[]", "does not describe {what} of mixedflow"),
    "another thing": ('{"format": "other", "format_version": 1}', "does not describe {what}"),
    "a newer version": (99, "has format version 99; this version of mixedflow reads version"),
    "a text": ("1", "has format version '1'"),
    "no version": (None, "has format version None"),
}


@pytest.mark.parametrize("kind", KINDS, ids=[kind.what for kind in KINDS])
@pytest.mark.parametrize("name", list(WRONG))
def test_what_is_wrong_is_one_sentence(kind: ManifestKind, name: str, tmp_path: Path) -> None:
    content, says = WRONG[name]
    path = tmp_path / kind.file
    if name in {"a newer version", "a text", "no version"}:
        path.write_text(helpers.sealed({**kind.head(), "format_version": content}))
    elif isinstance(content, str):
        path.write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(StoredFileError) as caught:
        read_manifest(tmp_path, kind)
    message = str(caught.value)
    assert says.format(what=kind.what, short=kind.what.removeprefix("a ")) in message
    assert str(tmp_path) in message
    assert "\n" not in message


def test_a_file_where_a_folder_should_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("{}")
    with pytest.raises(StoredFileError, match=r"no fit at .*file': fit.json is missing"):
        read_manifest(tmp_path / "file", FIT)


def test_what_is_right_comes_back(tmp_path: Path) -> None:
    for kind in KINDS:
        (tmp_path / kind.file).write_text(helpers.sealed({**kind.head(), "more": 1}))
        assert read_manifest(tmp_path, kind) == {**kind.head(), "more": 1}
