"""Shift and scale of every column, chosen before anything is multiplied.

Stands at "Shift first" in ``docs/algorithm.md``. A shift is the mean rounded to 2^-10 of the
scale, so that taking it away costs no digits; a scale is the power of two nearest the standard
deviation.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.design.columns import Column, Learned, Rows
from mixedflow.design.evaluate import stateful_calls
from mixedflow.design.levels import LevelIndex
from mixedflow.design.moments import EMPTY_MOMENTS, Moments, moments_of
from mixedflow.design.plan import plan_design
from mixedflow.design.spec import ModelSpec
from mixedflow.design.summary import PartitionSummary
from mixedflow.design.types import Float, Pilots

if TYPE_CHECKING:
    from mixedflow.design.schema import Schema

SAMPLED = "column "
"""Prefix of the moments that a summary without its sample keeps of the columns."""


def learn_pilots(spec: ModelSpec, schema: Schema, summary: PartitionSummary) -> Pilots:
    """Pilots from merged moments where a column has them, from the sample of rows otherwise."""
    plan = plan_design(spec, schema.learned)
    known = _Known(spec, schema, summary)
    x_shift, x_scale = _column_pilots(plan.x, known)
    z = [_column_pilots(columns, known) for columns in plan.z]
    y_shift, y_scale = shift_and_scale(known.response())
    return Pilots(
        x_shift,
        x_scale,
        np.array([y_shift]),
        np.array([y_scale]),
        tuple(shift for shift, _ in z),
        tuple(scale for _, scale in z),
    )


def sampled_moments(
    spec: ModelSpec, schema: Schema, summary: PartitionSummary
) -> dict[str, Moments]:
    """Return what pilots take from the sample of rows, so that the sample can be left behind."""
    known = _Known(spec, schema, summary)
    plan = plan_design(spec, schema.learned)
    columns = [c for part in (plan.x, *plan.z) for c in _numeric(part, schema.learned)]
    found = {SAMPLED + c.name: known.of(c) for c in columns if not known.exact(c)}
    return found if "" in summary.moments else {**found, SAMPLED: known.response()}


class _Known:
    """Moments of columns: exact ones of all rows, else those of the sample, or of what it left."""

    def __init__(self, spec: ModelSpec, schema: Schema, summary: PartitionSummary) -> None:
        self.learned = schema.learned
        self._spec = spec
        self._moments: Mapping[str, Moments] = summary.moments
        self._rows: Rows | None = None
        if summary.sample is not None and summary.sample.rows is not None:
            indices = {n: LevelIndex(v) for n, v in schema.levels.items()}
            self._rows = Rows(summary.sample.rows, schema.learned, indices)

    def exact(self, column: Column) -> Moments | None:
        """Return the moments over all rows, if they were taken.

        Those of a call that learns, ``scale(x)``, are of its argument.
        """
        if len(column.pieces) != 1 or stateful_calls(column.pieces[0].expression.tree):
            return None
        return self._moments.get(column.name)

    def of(self, column: Column) -> Moments:
        """Return the moments of a column; in the sample of its finite values."""
        found = self.exact(column)
        if found is not None:
            return found
        if self._rows is None:
            return self._moments.get(SAMPLED + column.name, EMPTY_MOMENTS)
        values = self._rows.matrix([column])[:, 0]
        return moments_of(values[np.isfinite(values)])

    def response(self) -> Moments:
        """Return the moments of y less its offsets."""
        if "" in self._moments:
            return self._moments[""]
        if self._rows is None:
            return self._moments.get(SAMPLED, EMPTY_MOMENTS)
        rows = self._rows
        offsets = [rows.numeric(e) for e in self._spec.parsed.offsets]
        return moments_of(rows.numeric(self._spec.parsed.response) - sum(offsets))


def shift_and_scale(moments: Moments) -> tuple[float, float]:
    """(mean rounded to a multiple of scale / 1024, power of two nearest the sd)."""
    sd = moments.sd
    if not math.isfinite(sd) or sd <= 0:
        return moments.mean if math.isfinite(moments.mean) else 0.0, 1.0
    scale = 2.0 ** min(max(round(math.log2(sd)), -1000), 1000)
    step = scale / 1024
    return round(moments.mean / step) * step, scale


def _numeric(columns: Sequence[Column], learned: Learned) -> Iterator[Column]:
    """Yield the columns in which some number stands."""
    for column in columns:
        if not all(learned.is_category(p.expression) for p in column.pieces):
            yield column


def _column_pilots(columns: Sequence[Column], known: _Known) -> tuple[Float, Float]:
    shift, scale = np.zeros(len(columns)), np.ones(len(columns))
    constant = any(not column.pieces for column in columns)
    places = {column.name: k for k, column in enumerate(columns)}
    for column in _numeric(columns, known.learned):
        k = places[column.name]
        mean, scale[k] = shift_and_scale(known.of(column))
        shift[k] = mean if constant else 0.0
    return shift, scale
