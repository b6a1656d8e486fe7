"""Shift and scale of every column, chosen before anything is multiplied.

Stands at "Shift first" in ``docs/algorithm.md``. A shift is the mean rounded to 2^-10 of the
scale, so that taking it away costs no digits; a scale is the power of two nearest the standard
deviation.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, cast

import numpy as np

from mixedflow.design.columns import Column, Rows
from mixedflow.design.levels import LevelIndex
from mixedflow.design.moments import Moments, moments_of
from mixedflow.design.plan import plan_design
from mixedflow.design.sketch import RowSample
from mixedflow.design.spec import ModelSpec
from mixedflow.design.summary import PartitionSummary
from mixedflow.design.types import Float, Pilots

if TYPE_CHECKING:
    from mixedflow.design.schema import Schema


def learn_pilots(spec: ModelSpec, schema: Schema, summary: PartitionSummary) -> Pilots:
    """Pilots from merged moments where a column has them, from the sample of rows otherwise."""
    plan = plan_design(spec, schema.learned)
    table = cast(RowSample, summary.sample).rows
    indices = {n: LevelIndex(v) for n, v in schema.levels.items()}
    rows = Rows(table, schema.learned, indices)
    x_shift, x_scale = _column_pilots(plan.x, rows, summary.moments)
    z = [_column_pilots(columns, rows, summary.moments) for columns in plan.z]
    response = summary.moments.get("")
    if response is None:
        offsets = [rows.numeric(e) for e in spec.parsed.offsets]
        response = moments_of(rows.numeric(spec.parsed.response) - sum(offsets))
    y_shift, y_scale = shift_and_scale(response)
    return Pilots(
        x_shift,
        x_scale,
        np.array([y_shift]),
        np.array([y_scale]),
        tuple(shift for shift, _ in z),
        tuple(scale for _, scale in z),
    )


def shift_and_scale(moments: Moments) -> tuple[float, float]:
    """(mean rounded to a multiple of scale / 1024, power of two nearest the sd)."""
    sd = moments.sd
    if not math.isfinite(sd) or sd <= 0:
        return moments.mean if math.isfinite(moments.mean) else 0.0, 1.0
    scale = 2.0 ** min(max(round(math.log2(sd)), -1000), 1000)
    step = scale / 1024
    return round(moments.mean / step) * step, scale


def _column_pilots(
    columns: Sequence[Column], rows: Rows, moments: Mapping[str, Moments]
) -> tuple[Float, Float]:
    shift, scale = np.zeros(len(columns)), np.ones(len(columns))
    constant = any(not column.pieces for column in columns)
    for k, column in enumerate(columns):
        if all(rows.learned.is_category(p.expression) for p in column.pieces):
            continue
        known = moments.get(column.name) if len(column.pieces) == 1 else None
        mean, scale[k] = shift_and_scale(known or _sample_moments(rows, column))
        shift[k] = mean if constant else 0.0
    return shift, scale


def _sample_moments(rows: Rows, column: Column) -> Moments:
    """Moments over the sampled rows in which the column is finite; encoding finds the others."""
    values = rows.matrix([column])[:, 0]
    return moments_of(values[np.isfinite(values)])
