"""Fixed effects as a table: estimate, standard error, statistic beta / se.

Stands at "Standard errors" in ``docs/algorithm.md``; Var(beta-hat) = (X'V^-1X)^-1.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from mixedflow.design.types import Float


@dataclass(frozen=True, slots=True)
class CoefficientTable:
    """Columns of the coefficient table.

    Attributes
    ----------
    estimate, se, statistic : (p,) each
    """

    estimate: Float
    se: Float
    statistic: Float


def coefficient_table(beta: Float, vcov: Float) -> CoefficientTable:
    """Return estimate, root of the diagonal of vcov, and their ratio.

    Parameters
    ----------
    beta : (p,)
    vcov : (p, p)
    """
    se = np.sqrt(np.diag(vcov))
    return CoefficientTable(beta.copy(), se, beta / np.where(se > 0, se, np.nan))
