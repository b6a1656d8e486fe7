"""The residual variance of new observations: weights, strata and positions of new rows.

Stands at "Prediction" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from mixedflow.covariance.registry import get_residual
from mixedflow.design.levels import LevelIndex
from mixedflow.design.positions import PatternEncoder
from mixedflow.errors import DataError, UnsupportedError
from mixedflow.inference.decorrelate import ResidualPlaces
from mixedflow.inference.prediction_variance import ResidualRows

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult
    from mixedflow.results.predicting import Piece


def residual_columns(fit: FitResult) -> tuple[str, ...]:
    """Return the columns that a row's residual variance depends on.

    Raises
    ------
    UnsupportedError
        where it depends on the place of a row among those of its group.
    """
    names = [fit.spec.weights] if fit.spec.weights else []
    design = fit.crossproducts.info.residual
    if design is not None:
        names += design.stratum
        if get_residual(design.structure).heterogeneous:
            if design.position is None:
                raise UnsupportedError(
                    f"residual='{fit.spec.residual}' has a variance for every place of a row in its "
                    "group, which a new row does not have; name the positions in the structure, or "
                    "ask for interval='confidence'"
                )
            names.append(design.position)
    return tuple(dict.fromkeys(names))


@dataclass(frozen=True, slots=True)
class NewResiduals:
    """Finds what the residual variance of new rows depends on."""

    fit: FitResult

    def __call__(self, piece: Piece, kept: Any) -> ResidualRows:
        """Return it for the rows that were kept."""
        fit = self.fit
        at = np.flatnonzero(kept)
        table = piece.table.take(at)
        for name in residual_columns(fit):
            column = table.column(name)
            if column.null_count:
                first = int(np.argmax(np.asarray(column.is_null())))
                raise DataError(
                    f"The column '{name}' has a missing value in {piece.place.row(int(at[first]))}, on "
                    "which the interval of a new observation depends."
                )
        weights = self._weights(table, piece, at)
        design, learned = fit.crossproducts.info.residual, fit.schema.residual
        if design is None or learned is None:
            return ResidualRows(weights)

        def row(index: int) -> str:
            return piece.place.row(int(at[index]))

        indices = {
            name: LevelIndex(levels)
            for name, levels in fit.schema.levels.items()
            if name in residual_columns(fit)
        }
        encoder = PatternEncoder(fit.spec, learned, fit.schema.levels, indices)
        varied = get_residual(design.structure).heterogeneous
        position = encoder.position(table, row) if varied else None
        return ResidualRows(
            weights, design, ResidualPlaces(encoder.stratum(table, row), None, position)
        )

    def _weights(self, table: Any, piece: Piece, at: Any) -> Any:
        name = self.fit.spec.weights
        if name is None:
            return None
        weights = np.asarray(table.column(name), dtype=np.float64)
        bad = ~(weights > 0)
        if bad.any():
            first = int(bad.argmax())
            raise DataError(
                f"The weights column '{name}' holds {weights[first]:g} in "
                f"{piece.place.row(int(at[first]))}; weights must be positive."
            )
        return weights
