"""Sources of rows: files and frames become partitions with declared types."""

from mixedflow.data.atomic import (
    atomic_file,
    atomic_folder,
    atomic_write_bytes,
    atomic_write_text,
    check_folder,
    check_place,
)
from mixedflow.data.columns import ColumnKind, Level, Place
from mixedflow.data.open import column_names, open_head, open_source
from mixedflow.data.prepared import PreparedData, PreparedManifest
from mixedflow.data.source import Source

__all__ = [
    "ColumnKind",
    "Level",
    "Place",
    "PreparedData",
    "PreparedManifest",
    "Source",
    "atomic_file",
    "atomic_folder",
    "atomic_write_bytes",
    "atomic_write_text",
    "check_folder",
    "check_place",
    "column_names",
    "open_head",
    "open_source",
]
