"""Which engine solves a system: by predicted cost, overridable, told to the user beforehand.

Stands at "Solving" in ``docs/algorithm.md`` (DESIGN 3.5). Where dense algebra is cheap it is taken
at once; otherwise the symbolic analysis of the sparse engine says what that would cost, and the
cheaper of both is taken. Where both are beyond the machine, conjugate gradients solve the system and
traces are estimated. The number of rows plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from mixedflow.equations.budget import Budget, machine_budget
from mixedflow.equations.engines import (
    DenseEngine,
    Engine,
    GroupedEngine,
    MakeEngine,
    RandomPattern,
)
from mixedflow.equations.iterative import (
    IterativeEngine,
    IterativePattern,
    IterativeRoute,
    IterativeSettings,
)
from mixedflow.equations.schur import SchurEngine
from mixedflow.equations.sparse import SparseEngine, SparsePattern
from mixedflow.errors import UnsupportedError, listing
from mixedflow.linalg.separators import front_estimate

SMALL = 300
"""Random effects up to which one dense matrix is quickest."""

EASY_REST = 500
"""Order of a dense Schur complement below which nothing else is looked at."""

SPARSE_PENALTY = 0.5
"""Time of a flop of the sparse engine over that of one of the dense route (measured)."""

PCG_STEPS = 40
"""Multiplications a probe and iteration, log-determinant and traces together."""

FRONT_SHARE = 0.5
"""Share of the narrowest separator that the largest front has at least (0.6 and more measured)."""

ENGINES: dict[str, type[Engine]] = {
    engine.name: engine for engine in (GroupedEngine, DenseEngine, SchurEngine, SparseEngine)
}
"""The exact engines."""


@dataclass(frozen=True, slots=True)
class EnginePlan:
    """The chosen route and what it is predicted to cost an iteration.

    Attributes
    ----------
    name : of the engine
    flops : floating-point operations of one factorisation with its inverse
    bytes : memory of the factor and its work space
    why : the choice in a clause
    make : factorises matrices of the pattern
    """

    name: str
    flops: float
    bytes: float
    why: str
    make: MakeEngine = field(repr=False, compare=False)

    @property
    def engine(self) -> type[Engine]:
        """The engine's class."""
        return IterativeEngine if self.name == IterativeEngine.name else ENGINES[self.name]


def plan_engine(
    pattern: RandomPattern,
    *,
    wanted: str = "auto",
    budget: Budget | None = None,
    iterative: IterativeSettings | None = None,
) -> EnginePlan:
    """Return the route for a system of this pattern.

    Parameters
    ----------
    pattern : factors, and the levels that meet
    wanted : name of an engine, or "auto"
    budget : what a factorisation may cost; this machine's unless given
    iterative : settings of conjugate gradients, should they be taken

    Raises
    ------
    UnsupportedError
        if the route asked for cannot solve the system.
    """
    if not pattern.shapes:
        raise UnsupportedError(
            "the formula has no random term; write at least one, such as (1 | group)"
        )
    possible = _possible(pattern)
    if wanted == "auto":
        return _cheapest(pattern, budget or machine_budget(), iterative)
    if wanted not in possible:
        raise UnsupportedError(
            f"solver '{wanted}' cannot solve this model ({len(pattern.shapes)} grouping factor(s)); "
            f"possible are {listing(['auto', *possible])}"
        )
    if wanted == IterativeEngine.name:
        return _plan_pcg(pattern, iterative)
    return _PLANS[wanted](pattern)


def predict_engine(shapes: tuple[tuple[int, int], ...], n_pairs: int) -> EnginePlan:
    """Return the likely route from the sizes alone, before any pair of levels is known.

    Parameters
    ----------
    shapes : (levels, columns) of every grouping factor
    n_pairs : at most how many pairs of levels meet
    """
    empty = RandomPattern(shapes, {})
    sizes = [L * q for L, q in shapes]
    if not shapes:
        return plan_engine(empty)
    if len(shapes) == 1:
        return _plan_grouped(empty)
    if sum(sizes) <= SMALL:
        return _plan_dense(empty)
    if sum(sizes) - max(sizes) <= EASY_REST:
        return _plan_schur(empty, n_pairs)
    entries = float(n_pairs * max(q for _, q in shapes) ** 2)
    why = "or schur, or pcg, once the pairs of levels are known"
    return EnginePlan("sparse", 60.0 * entries, 200.0 * entries, why, SparseEngine)


def _possible(pattern: RandomPattern) -> tuple[str, ...]:
    if len(pattern.shapes) == 1:
        return ("grouped", "dense", "sparse")
    return ("dense", "schur", "sparse", "pcg")


def _cheapest(
    pattern: RandomPattern, budget: Budget, iterative: IterativeSettings | None
) -> EnginePlan:
    if len(pattern.shapes) == 1:
        return _plan_grouped(pattern)
    sizes = [L * q for L, q in pattern.shapes]
    if sum(sizes) <= SMALL:
        return _plan_dense(pattern)
    schur = _plan_schur(pattern)
    if sum(sizes) - max(sizes) <= EASY_REST:
        return schur
    if not _allows(budget, schur) and _hopeless(pattern, budget):
        return _plan_pcg(pattern, iterative)
    both = (schur, _plan_sparse(pattern))
    affordable = [plan for plan in both if _allows(budget, plan)]
    if not affordable:
        return _plan_pcg(pattern, iterative)
    return min(affordable, key=_predicted_time)


def _allows(budget: Budget, plan: EnginePlan) -> bool:
    return plan.flops <= budget.flops and plan.bytes <= budget.bytes


def _hopeless(pattern: RandomPattern, budget: Budget) -> bool:
    """Say whether any order of elimination ends in a front beyond the budget."""
    met = IterativePattern(pattern)
    front = FRONT_SHARE * front_estimate(met.pointers, met.columns, met.starts[-1])
    return front**3 > budget.flops or 8.0 * front**2 > budget.bytes


def _predicted_time(plan: EnginePlan) -> float:
    return plan.flops * (SPARSE_PENALTY if plan.name == "sparse" else 1.0)


def _plan_grouped(pattern: RandomPattern) -> EnginePlan:
    L, q = pattern.shapes[0]
    make = GroupedEngine.factory(pattern)
    return EnginePlan("grouped", 3.0 * L * q**3, 24.0 * L * q**2, "one grouping factor", make)


def _plan_dense(pattern: RandomPattern) -> EnginePlan:
    total = sum(L * q for L, q in pattern.shapes)
    make = DenseEngine.factory(pattern)
    return EnginePlan("dense", float(total) ** 3, 24.0 * total**2, "a small system", make)


def _plan_schur(pattern: RandomPattern, n_pairs: int | None = None) -> EnginePlan:
    sizes = [L * q for L, q in pattern.shapes]
    rest, width = sum(sizes) - max(sizes), max(q for _, q in pattern.shapes)
    entries = (pattern.n_pairs if n_pairs is None else n_pairs) * width**2
    flops = 3.0 * sum(L * q**3 for L, q in pattern.shapes) + rest**3 + 4.0 * entries * rest
    why = f"the largest factor is eliminated, {rest:,} effects of the others are dense"
    return EnginePlan(
        "schur", flops, 24.0 * rest**2 + 48.0 * entries, why, SchurEngine.factory(pattern)
    )


def _plan_sparse(pattern: RandomPattern) -> EnginePlan:
    shared = SparsePattern(pattern)
    cost = shared.system.cost
    why = f"sparse Cholesky with {cost.nnz:,} entries"
    return EnginePlan(
        "sparse",
        3.0 * cost.flops,
        float(cost.peak_bytes),
        why,
        lambda matrix: SparseEngine(matrix, shared),
    )


def _plan_pcg(pattern: RandomPattern, settings: IterativeSettings | None = None) -> EnginePlan:
    settings = IterativeSettings() if settings is None else settings
    entries = float(
        sum(
            len(rows) * pattern.shapes[f][1] * pattern.shapes[h][1]
            for (f, h), (rows, _) in pattern.pairs.items()
        )
    )
    flops = PCG_STEPS * settings.probes * 4.0 * entries
    effects = sum(L * q for L, q in pattern.shapes)
    return EnginePlan(
        IterativeEngine.name,
        flops,
        32.0 * entries + 160.0 * effects,
        f"conjugate gradients; traces from {settings.probes} random vectors, error reported",
        IterativeRoute(IterativePattern(pattern), settings),
    )


_PLANS = {
    "grouped": _plan_grouped,
    "dense": _plan_dense,
    "schur": _plan_schur,
    "sparse": _plan_sparse,
}
