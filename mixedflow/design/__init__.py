"""Formula and schema become X, Z and y for any piece of the data, always the same columns.

Stands at "Rows become columns" in ``docs/algorithm.md``. The way through the room:
:func:`parse_formula`, :func:`make_spec`, one :func:`summarize_partition` for each partition,
:func:`merge_summaries`, :func:`finish_schema`, :class:`Encoder`. Names are loaded on first use: a
workflow reads formulas whenever Snakemake starts, and no rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from mixedflow.design.arrow import PartitionPlace
    from mixedflow.design.encode import Encoder
    from mixedflow.design.formula import ParsedFormula, parse_formula
    from mixedflow.design.learn import summarize_partition
    from mixedflow.design.schema import Schema, finish_schema
    from mixedflow.design.spec import ModelSpec, check_columns, make_spec, spec_from_json
    from mixedflow.design.summary import PartitionSummary, merge_summaries
    from mixedflow.design.types import DesignBlock, DesignInfo, FactorDesign, Pilots, TermDesign

_HOME = {
    "DesignBlock": "types",
    "DesignInfo": "types",
    "Encoder": "encode",
    "FactorDesign": "types",
    "ModelSpec": "spec",
    "ParsedFormula": "formula",
    "PartitionPlace": "arrow",
    "PartitionSummary": "summary",
    "Pilots": "types",
    "Schema": "schema",
    "TermDesign": "types",
    "check_columns": "spec",
    "finish_schema": "schema",
    "make_spec": "spec",
    "merge_summaries": "summary",
    "parse_formula": "formula",
    "spec_from_json": "spec",
    "summarize_partition": "learn",
}

__all__ = [
    "DesignBlock",
    "DesignInfo",
    "Encoder",
    "FactorDesign",
    "ModelSpec",
    "ParsedFormula",
    "PartitionPlace",
    "PartitionSummary",
    "Pilots",
    "Schema",
    "TermDesign",
    "check_columns",
    "finish_schema",
    "make_spec",
    "merge_summaries",
    "parse_formula",
    "spec_from_json",
    "summarize_partition",
]


def __getattr__(name: str) -> Any:
    if name in _HOME:
        import importlib

        return getattr(importlib.import_module(f"mixedflow.design.{_HOME[name]}"), name)
    raise AttributeError(f"module 'mixedflow.design' has no attribute {name!r}")
