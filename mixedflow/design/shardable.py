"""Which models are fitted with the sums of their groups in shards.

Stands at "Shards" in ``docs/algorithm.md``. Known from formula and options, before any data are seen.
"""

from __future__ import annotations

from mixedflow.design.spec import ModelSpec
from mixedflow.errors import UnsupportedError, listing

OFFERED = (
    "shards are offered for one grouping factor that is a column of its own, as in (1 + x | g)"
)


def check_shardable(spec: ModelSpec, solver: str = "auto") -> None:
    """Raise unless shards are offered for the model and the solver."""
    if spec.residual != "iid":
        raise UnsupportedError(
            f"shards are offered for residual='iid', not for residual='{spec.residual}'; leave "
            "sharded out"
        )
    factors = spec.parsed.factors
    if len(factors) != 1:
        names = listing([factor.name for factor in factors])
        raise UnsupportedError(
            f"'{spec.formula}' has {len(factors)} grouping factors ({names}); {OFFERED}"
        )
    (factor,) = factors
    if len(factor.variables) != 1:
        raise UnsupportedError(
            f"the groups of '{factor.name}' combine columns; {OFFERED}: make the combination a "
            "column of the data"
        )
    parsed = spec.parsed
    others = (*spec.linear_expressions, parsed.response, *parsed.offsets)
    if any(factor.variables[0] in e.names for e in others):
        raise UnsupportedError(
            f"'{factor.name}' is a grouping factor and stands elsewhere in '{spec.formula}'; {OFFERED}"
        )
    if solver not in ("auto", "grouped"):
        raise UnsupportedError(
            f"solver '{solver}' cannot solve equations in shards; possible are 'auto' and 'grouped'"
        )
