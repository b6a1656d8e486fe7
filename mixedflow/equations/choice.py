"""Which engine solves a system: by predicted cost, overridable, told to the user beforehand.

Stands at "Solving" in ``docs/algorithm.md`` (DESIGN 3.5). Where dense algebra is cheap it is taken
at once; otherwise the symbolic analysis of the sparse engine says what that would cost, and the
cheaper of both is taken. Where both are beyond the machine, conjugate gradients solve the system and
traces are estimated. The number of rows plays no part.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mixedflow.equations.budget import Budget, machine_budget
from mixedflow.equations.engines import (
    DenseEngine,
    Engine,
    GroupedEngine,
    MakeEngine,
    NoneEngine,
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
from mixedflow.linalg.complement import HEAVY
from mixedflow.linalg.separators import front_estimate

SMALL = 300
"""Random effects up to which one dense matrix is quickest."""

EASY_REST = 500
"""Order of a dense Schur complement below which nothing else is looked at."""

SPARSE_PENALTY = 1.7
"""Time of a flop of the sparse engine over that of one of LAPACK (measured where supernodes are wide)."""

MEETING_COST = 250.0
"""Time of writing and reading the entry of S of two levels that meet at a third, in LAPACK's flops."""

EVALUATIONS = 4
"""Evaluations that an ordering has to pay for itself in."""

ORDERING_COST = 1e5
"""Time of ordering and analysing a pair of levels, in LAPACK's flops (measured)."""

LOADING_COST = 1e10
"""Time of loading the sparse engine's compiled loops, in LAPACK's flops (measured)."""

WARM_ABOVE = 1e10
"""Cost of an exact evaluation from which on a few estimated ones are looked at as a start."""

WARM_SHARE = 0.3
"""Share of an exact evaluation that an estimated one may cost to be worth its while."""

WARM_PROBES = 8
"""Random vectors of an estimated evaluation that only has to come near."""

WARM_TOLERANCE = 1e-5
"""Relative residual of their solutions."""

PCG_PENALTY = 30.0
"""Time of a flop of conjugate gradients over that of one of LAPACK (measured)."""

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
    cost : predicted time of the same, in flops of LAPACK; zero where nothing is compared
    warm : route to a start near the optimum where an evaluation is expensive, else None
    """

    name: str
    flops: float
    bytes: float
    why: str
    make: MakeEngine = field(repr=False, compare=False)
    cost: float = field(default=0.0, compare=False)
    warm: IterativeRoute | None = field(default=None, repr=False, compare=False)

    @property
    def engine(self) -> type[Engine]:
        """The engine's class."""
        others = {engine.name: engine for engine in (IterativeEngine, NoneEngine)}
        return others.get(self.name) or ENGINES[self.name]


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
        return _no_random_effects(wanted)
    possible = _possible(pattern)
    if wanted == "auto":
        chosen = _cheapest(pattern, budget or machine_budget(), iterative)
        return _with_warm_start(chosen, pattern, iterative)
    if wanted not in possible:
        raise UnsupportedError(
            f"solver '{wanted}' cannot solve this model ({len(pattern.shapes)} grouping factor(s)); "
            f"possible are {listing(['auto', *possible])}"
        )
    if wanted == IterativeEngine.name:
        return _plan_pcg(pattern, iterative)
    return _with_warm_start(_PLANS[wanted](pattern), pattern, iterative)


def _no_random_effects(wanted: str) -> EnginePlan:
    if wanted not in ("auto", NoneEngine.name):
        raise UnsupportedError(
            f"solver '{wanted}' solves for random effects, and the formula has no random term; write "
            "solver='auto'"
        )
    return EnginePlan(NoneEngine.name, 0.0, 0.0, "there are no random effects", NoneEngine)


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
    easy = sum(sizes) - max(sizes) <= EASY_REST
    if easy or (_allows(budget, schur) and _not_worth_ordering(pattern, schur)):
        return schur
    if not _allows(budget, schur) and _hopeless(pattern, budget):
        return _plan_pcg(pattern, iterative)
    both = (schur, _plan_sparse(pattern))
    affordable = [plan for plan in both if _allows(budget, plan)]
    if not affordable:
        return _plan_pcg(pattern, iterative)
    return min(affordable, key=lambda plan: plan.cost)


def _allows(budget: Budget, plan: EnginePlan) -> bool:
    return plan.flops <= budget.flops and plan.bytes <= budget.bytes


def _hopeless(pattern: RandomPattern, budget: Budget) -> bool:
    """Say whether any order of elimination ends in a front beyond the budget."""
    front = _least_front(pattern)
    return front**3 > budget.flops or 8.0 * front**2 > budget.bytes


def _not_worth_ordering(pattern: RandomPattern, schur: EnginePlan) -> bool:
    """Say whether the sparse engine cannot make up for the time that its start and its ordering take."""
    lost = ORDERING_COST * pattern.n_pairs + LOADING_COST
    if EVALUATIONS * schur.cost <= lost:
        return True
    gain = schur.cost - SPARSE_PENALTY * _least_front(pattern) ** 3
    return EVALUATIONS * gain <= lost


def _least_front(pattern: RandomPattern) -> float:
    """Return the order of a front that no order of elimination can do without."""
    met = IterativePattern(pattern)
    return FRONT_SHARE * front_estimate(met.pointers, met.columns, met.starts[-1])


def _plan_grouped(pattern: RandomPattern) -> EnginePlan:
    L, q = pattern.shapes[0]
    make = GroupedEngine.factory(pattern)
    return EnginePlan("grouped", 3.0 * L * q**3, 24.0 * L * q**2, "one grouping factor", make)


def _plan_dense(pattern: RandomPattern) -> EnginePlan:
    total = sum(L * q for L, q in pattern.shapes)
    make = DenseEngine.factory(pattern)
    return EnginePlan("dense", float(total) ** 3, 24.0 * total**2, "a small system", make)


def _plan_schur(pattern: RandomPattern) -> EnginePlan:
    lists = IterativePattern(pattern)
    met = np.diff(lists.pointers).astype(np.float64)
    light = met[met <= HEAVY * lists.starts[-1]]
    dense = 3.0 * (len(met) - len(light)) * lists.starts[-1] ** 2
    make = SchurEngine.of(lists)
    return _schur_plan(pattern.shapes, float((light**2).sum()), dense, pattern.n_pairs, make)


def _schur_plan(
    shapes: tuple[tuple[int, int], ...],
    meetings: float,
    dense: float,
    n_pairs: int,
    make: MakeEngine,
) -> EnginePlan:
    """Return the plan; ``meetings`` is sum_l k_l^2, level l meeting k_l columns, ``dense`` flops beside."""
    sizes = [L * q for L, q in shapes]
    rest, width = sum(sizes) - max(sizes), max(q for _, q in shapes)
    flops = 3.0 * sum(L * q**3 for L, q in shapes) + float(rest) ** 3 + width * dense
    flops += 4.0 * width * meetings
    return EnginePlan(
        "schur",
        flops,
        8.0 * rest**2 + 48.0 * n_pairs * width**2,
        f"the largest factor is eliminated, {rest:,} effects of the others are dense",
        make,
        cost=flops + MEETING_COST * meetings,
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
        cost=SPARSE_PENALTY * 3.0 * cost.flops,
    )


def _with_warm_start(
    plan: EnginePlan, pattern: RandomPattern, settings: IterativeSettings | None
) -> EnginePlan:
    """Return the plan, with a way to a start near the optimum where that is much the cheaper."""
    if plan.cost < WARM_ABOVE:
        return plan
    few = replace(settings or IterativeSettings(), probes=WARM_PROBES, determinant=False)
    few = replace(few, tolerance=WARM_TOLERANCE, probe_tolerance=WARM_TOLERANCE)
    estimated = _plan_pcg(pattern, few)
    if PCG_PENALTY * estimated.flops > WARM_SHARE * plan.cost:
        return plan
    assert isinstance(estimated.make, IterativeRoute)  # noqa: S101 - the plan's own
    why = f"{plan.why}; started where conjugate gradients with {WARM_PROBES} random vectors end"
    return replace(plan, why=why, warm=estimated.make)


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
