"""Which engine solves a system: by predicted cost, overridable, told to the user beforehand.

Stands at "Solving" in ``docs/algorithm.md`` (DESIGN 3.5).
"""

from __future__ import annotations

from dataclasses import dataclass

from mixedflow.equations.engines import DenseEngine, Engine, GroupedEngine
from mixedflow.equations.schur import SchurEngine
from mixedflow.errors import UnsupportedError, listing

SMALL = 300
"""Random effects up to which one dense matrix is quickest."""

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (GroupedEngine, DenseEngine, SchurEngine)
}


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """The chosen route and what it is predicted to cost an iteration.

    Attributes
    ----------
    name : of the engine
    flops : floating-point operations of one factorisation with its inverse
    bytes : memory of the factor and its work space
    why : the choice in a clause
    """

    name: str
    flops: float
    bytes: float
    why: str

    @property
    def engine(self) -> type[Engine]:
        """The engine's class."""
        return ENGINES[self.name]


def plan_engine(
    shapes: tuple[tuple[int, int], ...], n_pairs: int, *, wanted: str = "auto"
) -> EnginePlan:
    """Return the route for factors of the given (levels, columns) and pairs that meet.

    Raises
    ------
    UnsupportedError
        if the route asked for cannot solve the system.
    """
    if not shapes:
        raise UnsupportedError(
            "the formula has no random term; write at least one, such as (1 | group)"
        )
    routes = _routes(shapes, n_pairs)
    if wanted != "auto":
        if wanted not in routes:
            raise UnsupportedError(
                f"solver '{wanted}' cannot solve this model ({len(shapes)} grouping factors); "
                f"possible are {listing(['auto', *routes])}"
            )
        return routes[wanted]
    return min(routes.values(), key=lambda plan: plan.flops)


def _routes(shapes: tuple[tuple[int, int], ...], n_pairs: int) -> dict[str, EnginePlan]:
    sizes = [L * q for L, q in shapes]
    total, largest = sum(sizes), max(sizes)
    rest = total - largest
    width = max(q for _, q in shapes)
    own = 3.0 * sum(L * q**3 for L, q in shapes)
    plans = {}
    if len(shapes) == 1:
        plans["grouped"] = EnginePlan("grouped", own, 24.0 * largest * width, "one grouping factor")
    else:
        flops = own + 2.0 / 3.0 * rest**3 + 4.0 * n_pairs * width**2 * max(1, rest)
        plans["schur"] = EnginePlan(
            "schur", flops + 2e5, 24.0 * rest**2 + 48.0 * n_pairs * width**2, "crossed or nested"
        )
    if total <= SMALL or len(shapes) > 1:
        plans["dense"] = EnginePlan("dense", float(total) ** 3, 24.0 * total**2, "small system")
    return plans
