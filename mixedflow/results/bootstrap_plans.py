"""How a draw of a bootstrap is made: by the law of the sums, by groups drawn again, by rows.

Stands at "Bootstrap" in ``docs/algorithm.md``. A plan knows everything that draws share, makes any draw
by its number alone, and can be sent to where draws are made.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from mixedflow.crossproducts.groups import drawn
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.design.types import Float, Int
from mixedflow.equations.mme import factor_matrices
from mixedflow.equations.system import ModelSystem
from mixedflow.errors import FitError
from mixedflow.estimation.parameters import VarianceParameters, term_factors
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.problems import exact_problem
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.redrawn import GroupDraws, Refitted, refitted
from mixedflow.inference.sum_law import ErrorLaw, ResponseSums, add_signal
from mixedflow.results.replicate import Replicate, ReplicateNames, replicate
from mixedflow.results.simulating import (
    RowBlock,
    response_sums,
    simulated_rows,
    with_response,
)

if TYPE_CHECKING:
    from mixedflow.results.fit_result import FitResult


class DrawPlan(Protocol):
    """What makes draws."""

    @property
    def names(self) -> ReplicateNames:
        """What the numbers of a draw are called."""

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits of some draws, None where one cannot be fitted."""


def replicates(plan: DrawPlan, draws: Sequence[int]) -> list[Replicate | None]:
    """Return draws as fits; None for one whose coefficients are not all there."""
    found = plan.refits(draws)
    return [None if one is None else replicate(one, plan.names) for one in found]


def generator(seed: int, draw: int) -> np.random.Generator:
    """Return the random numbers of a draw, whatever other draws are made and where."""
    return np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(draw,)))


def attempted(
    problem: Problem, start: VarianceParameters | None, levels: Any = None
) -> Refitted | None:
    """Return the fit, or None where the sums of a draw have none."""
    try:
        return refitted(problem, start, levels)
    except (FitError, np.linalg.LinAlgError):
        return None


@dataclass(frozen=True, slots=True)
class LawPlan:
    """Responses simulated from the estimates, as sums.

    Attributes
    ----------
    problem : of the fit
    params : its estimates; start : where draws begin
    beta : (p,) in stored columns
    laws : one for all rows, or one for every part of them whose residuals have one variance
    sds : of a row of weight 1 of each
    back : (keys, laws), the sums of a key are those of the parts times these
    seed, names : of the draws
    """

    problem: Problem
    params: VarianceParameters
    start: VarianceParameters | None
    beta: Float
    laws: tuple[ErrorLaw, ...]
    sds: tuple[float, ...]
    back: Float
    seed: int
    names: ReplicateNames

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits of some draws."""
        return [attempted(self.problem_of(draw), self.start) for draw in draws]

    def problem_of(self, draw: int) -> Problem:
        """Return the problem with the sums of a draw."""
        found = self.sums(generator(self.seed, draw))
        if isinstance(self.problem, ResidualProblem):
            return _with_parts(self.problem, found, self.back)
        return replace(self.problem, system=_with_sums(self.problem.system, found[0]))

    def sums(self, rng: np.random.Generator) -> list[ResponseSums]:
        """Return the sums of a simulated response, one a law."""
        system = self.problem.system
        F = factor_matrices(system, term_factors(system, self.params))
        effects = [
            rng.standard_normal((one.n_levels, one.dim)) @ (one.basis @ own).T
            for one, own in zip(system.factors, F, strict=True)
        ]
        return [
            add_signal(law, law.draw(rng), self.beta, effects, sd)
            for law, sd in zip(self.laws, self.sds, strict=True)
        ]


def _with_sums(system: ModelSystem, found: ResponseSums) -> ModelSystem:
    factors = tuple(replace(one, ZtBy=Z) for one, Z in zip(system.factors, found.ZtBy, strict=True))
    return replace(system, XtBy=found.XtBy, ytBy=found.ytBy, factors=factors)


def _with_parts(
    problem: ResidualProblem, found: Sequence[ResponseSums], back: Float
) -> ResidualProblem:
    """Return the problem with the sums of every key, one below the other again."""
    residual = problem.residual
    factors = tuple(
        replace(own, ZtBy=_stacked(own.ZtBy, own.meeting.key, [one.ZtBy[f] for one in found], back))
        for f, own in enumerate(residual.factors)
    )
    changed = replace(
        residual,
        XtBy=back @ np.array([one.XtBy for one in found]),
        ytBy=back @ np.array([one.ytBy for one in found]),
        factors=factors,
    )
    system = changed.system(residual.psi)
    return replace(problem, system=system, residual=replace(changed, start=system), last=[])


def _stacked(former: Float, key: Int, parts: Sequence[Float], back: Float) -> Float:
    out = np.zeros_like(former)
    for k, j in zip(*np.nonzero(back), strict=True):
        out[key == k] += back[k, j] * parts[j]
    return out


@dataclass(frozen=True, slots=True)
class GroupPlan:
    """Groups drawn with replacement, for a model of one factor.

    Attributes
    ----------
    problem : of the fit; start : where draws begin
    groups : what each group adds
    strata : (L,) within which groups are drawn; (n,) levels of each of them
    seed, names : of the draws
    """

    problem: Problem
    start: VarianceParameters | None
    groups: GroupDraws
    strata: tuple[Int, ...]
    seed: int
    names: ReplicateNames

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits of some draws."""
        return [self._refit(draw) for draw in draws]

    def _refit(self, draw: int) -> Refitted | None:
        return self.of_levels(drawn_levels(self.strata, generator(self.seed, draw)))

    def of_levels(self, levels: Int) -> Refitted | None:
        """Return the fit of these groups, some of them several times."""
        counts = np.bincount(levels, minlength=len(self.groups.groups.n_obs))
        system, store = self.groups.drawn(counts)
        return attempted(replace(self.problem, system=system), self.start, store)


@dataclass(frozen=True, slots=True)
class NestedGroupPlan:
    """Groups drawn with replacement where levels of other factors go with them.

    Attributes
    ----------
    sums : with what each group adds
    factor : that is drawn from
    template : the problem of the fit
    start, strata, seed, names : as of :class:`GroupPlan`
    """

    sums: CrossProducts
    factor: int
    template: Problem
    start: VarianceParameters | None
    strata: tuple[Int, ...]
    seed: int
    names: ReplicateNames

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits of some draws."""
        return [self._refit(draw) for draw in draws]

    def _refit(self, draw: int) -> Refitted | None:
        return self.of_levels(drawn_levels(self.strata, generator(self.seed, draw)))

    def of_levels(self, levels: Int) -> Refitted | None:
        """Return the fit of these groups, some of them several times."""
        sums, _ = drawn(self.sums, self.factor, np.sort(levels))
        solver = self.template.control.solver
        problem = exact_problem(sums, self.names.terms, reml=self.template.reml, solver=solver)
        if problem.system.p != self.template.system.p:
            return None
        return attempted(problem, self.start)


@dataclass(frozen=True, slots=True)
class LeftOutPlan:
    """Every group left out in turn: draw k is the fit without the k-th.

    Attributes
    ----------
    plan : whose groups are left out
    """

    plan: GroupPlan | NestedGroupPlan

    @property
    def names(self) -> ReplicateNames:
        """What the numbers of a draw are called."""
        return self.plan.names

    @property
    def levels(self) -> Int:
        """All groups, ascending."""
        return np.sort(np.concatenate(self.plan.strata))

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits without these groups."""
        levels = self.levels
        return [self.plan.of_levels(np.delete(levels, k)) for k in draws]


@dataclass(frozen=True, slots=True)
class RowPlan:
    """Responses simulated row by row, for what the sums alone cannot simulate.

    Attributes
    ----------
    fit : the model and its estimates
    blocks : all rows
    start, seed, names : as of :class:`GroupPlan`
    """

    fit: FitResult
    blocks: tuple[RowBlock, ...]
    start: VarianceParameters | None
    seed: int
    names: ReplicateNames

    def refits(self, draws: Sequence[int]) -> list[Refitted | None]:
        """Return the fits of some draws, whose rows are condensed together."""
        fit, found = self.fit, self.fit.estimates
        Y = simulated_rows(fit, self.blocks, draws, self.seed, new=True)
        many = response_sums(fit, self.blocks, Y, same_pilots=True)
        out = []
        for k in range(len(draws)):
            sums = with_response(fit.crossproducts, many, k)
            problem = exact_problem(sums, self.names.terms, reml=found.reml, solver=found.solver)
            out.append(attempted(problem, self.start))
        return out


def drawn_levels(strata: Sequence[Int], rng: np.random.Generator) -> Int:
    """Return as many levels of every stratum as it has, drawn with replacement."""
    return np.concatenate([own[rng.integers(0, len(own), len(own))] for own in strata])
