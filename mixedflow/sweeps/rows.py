"""One partition's columns as the equations have them, for any response beside them.

Stands at "Sweeps" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from mixedflow.design.arrow import PartitionPlace
from mixedflow.design.coded import contrast_matrix
from mixedflow.design.encode import Encoder
from mixedflow.design.types import DesignBlock, Float, Int
from mixedflow.equations.system import ModelSystem


@dataclass(frozen=True, slots=True, eq=False)
class RowColumns:
    """Rows that lack no predictor.

    Attributes
    ----------
    X : (n, p), Z : (n, q) in the equations' columns; codes : (n,) levels of the one factor
    weights : (n,)
    base : (n,) what is to be added to every response: minus the offset
    kept : (rows of the partition,) which of them are here
    """

    X: Float
    Z: Float
    codes: Int
    weights: Float
    base: Float
    kept: NDArray[np.bool_]


def row_columns(
    encoder: Encoder, system: ModelSystem, table: pa.Table, where: PartitionPlace | None = None
) -> RowColumns:
    """Return a partition's columns; its response is the stand-in, which is not looked at."""
    block = encoder.encode(table, where=where)
    pilots = encoder.info.pilots
    X = all_columns(block, len(encoder.info.x_columns))[:, system.kept]
    X = (X - pilots.x_shift[system.kept]) / pilots.x_scale[system.kept]
    (factor,) = system.factors
    (f,) = {term.factor for term in encoder.terms}
    Z = (block.Z[f] - pilots.z_shift[f]) / pilots.z_scale[f]
    n = len(X)
    return RowColumns(
        X=np.ascontiguousarray(X),
        Z=np.ascontiguousarray(Z @ factor.basis),
        codes=np.ascontiguousarray(block.codes[f]),
        weights=np.ones(n) if block.weights is None else block.weights,
        base=np.zeros(n) if block.offset is None else -block.offset,
        kept=block.kept,
    )


def all_columns(block: DesignBlock, p: int) -> Float:
    """Return X with its coded columns written out."""
    out = np.empty((len(block.y), p))
    places = [place for one in block.coded for place in one.places.tolist()]
    out[:, np.setdiff1d(np.arange(p), places)] = block.X
    for one in block.coded:
        columns = contrast_matrix(one)[one.codes]
        for piece in one.pieces:
            columns = columns * np.asarray(piece)[:, None]
        out[:, one.places] = columns
    return out
