"""Formula and schema become X, Z and y for any piece of the data, always the same columns.

Stands at "Rows become columns" in ``docs/algorithm.md``. The way through the room:
:func:`parse_formula`, :func:`make_spec`, one :func:`summarize_partition` for each partition,
:func:`merge_summaries`, :func:`finish_schema`, :class:`Encoder`.
"""

from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.encode import Encoder
from mixedflow.design.formula import ParsedFormula, parse_formula
from mixedflow.design.learn import summarize_partition
from mixedflow.design.schema import Schema, finish_schema
from mixedflow.design.spec import ModelSpec, check_columns, make_spec, spec_from_json
from mixedflow.design.summary import PartitionSummary, merge_summaries
from mixedflow.design.types import DesignBlock, DesignInfo, FactorDesign, Pilots, TermDesign

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
