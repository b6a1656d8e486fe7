"""What Kenward and Roger's covariance needs of the rows: second-order products of autoregressions.

Stands at "Kenward and Roger" in ``docs/algorithm.md``. Sums by gap hold R^-1 and its derivatives, but not
R^-1 R' R^-1 R' R^-1; it is had from one more reading of the rows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from mixedflow.design.coded import fixed_part
from mixedflow.design.types import DesignBlock, Float
from mixedflow.errors import UnsupportedError
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.inference.gap_second import gap_second
from mixedflow.results.rows import read_blocks, row_places

if TYPE_CHECKING:
    from mixedflow.equations.system import ModelSystem
    from mixedflow.results.fit_result import FitResult


@dataclass(frozen=True, slots=True)
class GapProducts:
    """Reads the rows of a fit for sum_s w_s X~'T_s X~, X~ = X - Z C."""

    fit: FitResult
    system: ModelSystem

    def __call__(
        self, weights: Float, params: VarianceParameters, coefficients: tuple[Float, ...]
    ) -> Float:
        """Return the sum, (p, p), in the columns of the equations.

        Parameters
        ----------
        weights : (S,), w by stratum
        params : of R0
        coefficients : C of every factor, (L_f, q_f, p)

        Raises
        ------
        UnsupportedError
            where the rows are not at hand.
        """
        fit = self.fit
        design = fit.crossproducts.info.residual
        if fit.source is None:
            raise UnsupportedError(self._no_rows())
        assert design is not None  # noqa: S101 - the caller's structure has one
        blocks = [(fit.encoder.encode(table), table) for _, table in read_blocks(fit)]
        X = np.concatenate([self._columns(block, coefficients) for block, _ in blocks])
        places = row_places(design, [block for block, _ in blocks], [table for _, table in blocks])
        return gap_second(design, params.psi, places, X, weights)

    def _columns(self, block: DesignBlock, coefficients: tuple[Float, ...]) -> Float:
        """Return X~ of some rows, (n, p), times the root of their weights."""
        fit, system = self.fit, self.system
        whole = np.zeros((len(fit.crossproducts.info.x_columns), system.p))
        whole[system.kept] = system.fixed_scale.transform
        X = np.column_stack([fixed_part(block, column) for column in whole.T])
        used = sorted({term.factor for term in fit.encoder.terms})
        for f, factor, C in zip(used, system.factors, coefficients, strict=True):
            columns = [c for j in factor.terms for c in fit.encoder.terms[j].columns]
            Z = block.Z[f][:, columns] @ factor.units
            X -= np.einsum("nq,nqp->np", Z, C[block.codes[f]])
        if block.weights is not None:
            X *= np.sqrt(block.weights)[:, None]
        return X

    def _no_rows(self) -> str:
        text = self.fit.spec.residual
        return (
            f"ddf='kenward-roger' under residual='{text}' needs the rows once more, and this fit does "
            "not have them; offered are a fit of the data themselves, one of sums by position "
            "(condensed with residual='us(...)'), and ddf='satterthwaite'"
        )
