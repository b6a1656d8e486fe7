"""What sites that may not share rows tell each other, so that all condense to the same columns.

Stands at "The schema pass" in ``docs/algorithm.md``. Every site summarises its own rows; the sample
of rows stays at the site, and only counts, moments (with the least and the greatest value) and the
names of levels leave it. Summaries add up to one schema, which goes back to all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from mixedflow.data.atomic import atomic_folder
from mixedflow.data.manifest import FILES, ManifestKind, check_digests, digests_of, read_manifest
from mixedflow.design.checks import check_summary
from mixedflow.design.moments import Moments, PowerSums
from mixedflow.design.pilots import sampled_moments
from mixedflow.design.schema import Schema, finish_schema, provisional_schema
from mixedflow.design.sketch import DistinctSketch
from mixedflow.design.spec import ModelSpec, spec_from_json
from mixedflow.design.stored import load_list, store_list
from mixedflow.design.summary import ColumnSummary, Finding, PartitionSummary, merge_summaries
from mixedflow.errors import DataError, MixedflowError, StoredFileError, UnsupportedError

FILE = "summary.json"
KIND = ManifestKind("a shared schema", FILE, 1, "mixedflow-shared-schema")
OWN_FILES = (FILE, "levels-*.parquet", "pairs-*.parquet")


@dataclass(frozen=True, eq=False)
class SharedSchema:
    """What one or more sites tell of their rows; ``a + b`` is what they tell together.

    Attributes
    ----------
    spec : the model
    summary : counts, moments and levels; no row
    """

    spec: ModelSpec
    summary: PartitionSummary

    @cached_property
    def schema(self) -> Schema:
        """The schema that the rows of all of them have in common."""
        schema = finish_schema(self.spec, self.summary)
        return replace(schema, design_key=self.spec.design_key(schema.kinds))

    def __add__(self, other: SharedSchema) -> SharedSchema:
        """Return what both tell together.

        Raises
        ------
        DataError
            if they are of different models.
        """
        if self.spec.to_json() != other.spec.to_json():
            raise DataError(
                f"schemas of '{self.spec.formula}' and of '{other.spec.formula}' cannot be merged; "
                "learn both for one model, with the same levels and weights"
            )
        return SharedSchema(self.spec, merge_summaries(self.summary, other.summary))

    def __repr__(self) -> str:
        """Return one line."""
        return f"<SharedSchema {self.spec.formula!r}: {self.summary.rows_used:,} rows>"

    def save(self, path: str | Path) -> None:
        """Write it to a folder, ``summary.json`` with the long lists of levels beside it."""
        with atomic_folder(Path(path), OWN_FILES) as place:
            (place / FILE).write_text(KIND.text(_to_json(self, place)), encoding="utf-8")

    @staticmethod
    def load(path: str | Path) -> SharedSchema:
        """Read what :meth:`save` wrote.

        Raises
        ------
        StoredFileError
            if it is missing, damaged, or of another format version.
        """
        return _load(Path(path))


def without_rows(spec: ModelSpec, summary: PartitionSummary) -> SharedSchema:
    """Return a summary that may leave the site: its sample of rows becomes moments of columns.

    Raises
    ------
    MixedflowError
        what is wrong with the rows, naming the first; nothing wrong is left for others to find.
    UnsupportedError
        for splines: their knots are placed by the values themselves.
    """
    check_summary(spec, summary)
    if set(summary.sketches) - set(summary.powers):
        name = sorted(set(summary.sketches) - set(summary.powers))[0]
        raise UnsupportedError(
            f"'{name}' places its knots by the values of its column, which a schema without rows "
            "does not hold; use poly() instead, or condense everywhere with the schema of one site"
        )
    sampled = sampled_moments(spec, provisional_schema(spec, summary), summary)
    moments = {key: found.centred() for key, found in {**summary.moments, **sampled}.items()}
    sketches = {
        key: DistinctSketch(np.arange(len(s.values), dtype=float), np.ones_like(s.counts))
        for key, s in summary.sketches.items()
    }
    columns = {name: replace(c, missing=_counted(c.missing)) for name, c in summary.columns.items()}
    return SharedSchema(
        spec,
        replace(summary, columns=columns, moments=moments, sketches=sketches, sample=None),
    )


def _counted(found: Finding | None) -> Finding | None:
    """Return how many rows were found, not which."""
    return None if found is None else Finding(found.count, 0, "the rows of a site")


def is_shared_schema(path: Path) -> bool:
    """Whether a folder holds a shared schema."""
    return (path / FILE).is_file()


def _to_json(shared: SharedSchema, folder: Path) -> dict[str, Any]:
    summary = shared.summary
    for k, table in enumerate(summary.pairs.values()):
        pq.write_table(table, folder / f"pairs-{k}.parquet")
    return {
        FILES: digests_of(folder, (f"pairs-{k}.parquet" for k in range(len(summary.pairs)))),
        "spec": shared.spec.to_json(),
        "source": summary.source,
        "rows_in": summary.rows_in,
        "rows_used": summary.rows_used,
        "columns": {
            name: [c.kind, c.missing.count if c.missing else 0, c.n_text]
            for name, c in summary.columns.items()
        },
        "moments": {
            key: [m.n, *(float(v) for v in (m.base, m.rest, m.m2, m.low, m.high))]
            for key, m in summary.moments.items()
        },
        "powers": {
            key: [p.center, p.scale, [_digits(value) for value in p.sums]]
            for key, p in summary.powers.items()
        },
        "distinct": {key: len(s.values) for key, s in summary.sketches.items()},
        "levels": {
            name: store_list(folder, f"levels-{k}.parquet", levels.kind, levels.values)
            for k, (name, levels) in enumerate(summary.levels.items())
        },
        "pairs": list(summary.pairs),
        **({"largest": summary.largest} if summary.largest else {}),
    }


def _digits(value: Any) -> str:
    """Write an extended number so that reading gives the same bits."""
    return str(np.format_float_scientific(np.longdouble(value), unique=True))


def _load(folder: Path) -> SharedSchema:
    content = read_manifest(folder, KIND)
    try:
        check_digests(folder, content[FILES], KIND)
        return SharedSchema(spec_from_json(content["spec"]), _summary_from(content, folder))
    except StoredFileError:
        raise
    except (
        AttributeError,
        KeyError,
        TypeError,
        ValueError,
        OSError,
        pa.ArrowException,
        MixedflowError,
    ) as error:
        raise StoredFileError(f"the shared schema '{folder}' is damaged: {error!r}") from error


def _summary_from(content: Mapping[str, Any], folder: Path) -> PartitionSummary:
    columns = {
        name: ColumnSummary(kind, _counted(Finding(missing, 0, "")) if missing else None, n_text=n)
        for name, (kind, missing, n) in content["columns"].items()
    }
    powers = {
        key: PowerSums(center, scale, tuple(np.longdouble(text) for text in sums))
        for key, (center, scale, sums) in content["powers"].items()
    }
    sketches = {
        key: DistinctSketch(np.arange(count, dtype=float), np.ones(count, dtype=np.int64))
        for key, count in content["distinct"].items()
    }
    return PartitionSummary(
        source=content["source"],
        rows_in=content["rows_in"],
        rows_used=content["rows_used"],
        columns=columns,
        moments={key: Moments(*values) for key, values in content["moments"].items()},
        powers=powers,
        sketches=sketches,
        levels={name: load_list(folder, entry) for name, entry in content["levels"].items()},
        pairs={
            name: pq.read_table(folder / f"pairs-{k}.parquet")
            for k, name in enumerate(content["pairs"])
        },
        largest=int(content.get("largest", 0)),
    )
