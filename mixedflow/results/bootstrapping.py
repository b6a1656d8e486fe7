"""Bootstraps of a fit: which plan makes the draws, and where they are made.

Stands at "Bootstrap" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import reduce
from operator import add
from typing import TYPE_CHECKING, Any, get_args

import numpy as np

from mixedflow.crossproducts.condense import condense_block
from mixedflow.crossproducts.groups import drawn
from mixedflow.crossproducts.types import ONLY_KEY, CrossProducts
from mixedflow.design.types import Int
from mixedflow.equations.budget import usable_cores
from mixedflow.equations.system import system_and_choice
from mixedflow.errors import ConfigError, DataError, UnsupportedError, did_you_mean, listing
from mixedflow.estimation.grouped import compiled_pays
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.residual import ResidualProblem
from mixedflow.inference.redrawn import GroupDraws
from mixedflow.inference.sum_law import ErrorLaw, feasible, rows_of_system
from mixedflow.inference.sum_law_parts import residual_parts
from mixedflow.results.bca import influence_values
from mixedflow.results.bootstrap import VERDICTS, Bootstrap, BootstrapKind
from mixedflow.results.bootstrap_plans import (
    DrawPlan,
    GroupPlan,
    LawPlan,
    LeftOutPlan,
    NestedGroupPlan,
    RowPlan,
    replicates,
)
from mixedflow.results.replicate import Replicate, names_of, replicate_of, values_of
from mixedflow.results.simulating import check_count, check_whole, row_blocks
from mixedflow.results.tabulating import pd

if TYPE_CHECKING:
    from mixedflow.parallel import Runner
    from mixedflow.results.fit_result import FitResult

Statistic = Callable[[Replicate], Any]

MOST_LEFT_OUT = 5_000
"""Groups that are left out in turn, at most."""

AT_ONCE = 16
"""Draws whose rows are condensed together, and that are sent together."""


@dataclass(frozen=True, slots=True)
class BootstrapRequest:
    """What is to be drawn; see :meth:`mixedflow.FitResult.bootstrap`."""

    nsim: int
    kind: BootstrapKind
    statistic: Statistic | None
    seed: int
    factor: str | None
    strata: object
    jackknife: bool = False


def bootstrap(
    fit: FitResult, request: BootstrapRequest, workers: int | None, runner: Runner | None
) -> Bootstrap:
    """Return draws of a fit's parameters; see :meth:`mixedflow.FitResult.bootstrap`."""
    check_count("nsim", request.nsim, 1)
    check_count("seed", request.seed, 0)
    if workers is not None:
        check_count("workers", workers, 1)
    if request.kind not in get_args(BootstrapKind):
        raise ConfigError(
            f"kind={request.kind!r} is not known{did_you_mean(str(request.kind), get_args(BootstrapKind))}"
            f"; allowed are {listing(get_args(BootstrapKind))}"
        )
    check_whole(fit, "bootstrapped")
    if fit.monte_carlo is not None:
        raise UnsupportedError(
            "a bootstrap fits the model again for every draw, by exact evaluations that the solver 'pcg' "
            "does not make; use a solver that factorises: solver='auto', 'sparse', 'schur' or 'dense'"
        )
    own = recorded(replicate_of(fit), request.statistic)
    plan = _group_plan(fit, request) if request.kind == "group" else _parametric_plan(fit, request)
    _check_jackknife(plan, request)
    if workers is None:
        workers = usable_cores() if _pays(fit) else 1
    rows = _everywhere(Draws(plan, request.statistic), request.nsim, workers, runner)
    names = [name for name in own if name not in VERDICTS]
    draws = pd.DataFrame(rows, columns=[*names, *VERDICTS])
    draws[list(VERDICTS)] = draws[list(VERDICTS)].fillna(value=False).astype(bool)
    draws.index.name = "draw"
    influence = None
    if request.jackknife and isinstance(plan, GroupPlan | NestedGroupPlan):
        out = LeftOutPlan(plan)
        without = _everywhere(Draws(out, request.statistic), len(out.levels), workers, runner)
        influence = _influence(pd.DataFrame(without, columns=names).astype(float), plan.strata)
    estimate = pd.Series({name: own[name] for name in names}, name="estimate", dtype=float)
    return Bootstrap(
        request.kind, estimate, draws.astype(dict.fromkeys(names, float)), request.seed, influence
    )


def _check_jackknife(plan: DrawPlan, request: BootstrapRequest) -> None:
    if not request.jackknife:
        return
    if not isinstance(plan, GroupPlan | NestedGroupPlan):
        raise ConfigError(
            "jackknife=True leaves out the groups that kind='group' draws; it does not belong to "
            f"kind='{request.kind}'"
        )
    count = sum(map(len, plan.strata))
    if count > MOST_LEFT_OUT:
        raise UnsupportedError(
            f"jackknife=True fits once without each group, here {count:,} times, and is for up to "
            f"{MOST_LEFT_OUT:,}; with so many groups the percentile interval needs no acceleration"
        )


def _influence(left_out: pd.DataFrame, strata: Sequence[Int]) -> pd.DataFrame:
    """Return the influence of every group; rows stand in the order of the levels."""
    place = np.argsort(np.argsort(np.concatenate(strata)))
    ends = np.cumsum([len(own) for own in strata])[:-1]
    values = influence_values(left_out.to_numpy(), np.split(place, ends))
    return pd.DataFrame(values, columns=left_out.columns)


def recorded(one: Replicate, statistic: Statistic | None) -> dict[str, float | bool]:
    """Return the numbers of a replicate that a bootstrap keeps."""
    out: dict[str, float | bool] = dict(one.parameters())
    if statistic is not None:
        out |= values_of(statistic(one))
    return {**out, "converged": one.converged, "singular": one.singular}


@dataclass(frozen=True, slots=True)
class Draws:
    """Makes draws by their numbers.

    Attributes
    ----------
    plan : how
    statistic : what is computed of each besides
    """

    plan: DrawPlan
    statistic: Statistic | None

    def __call__(self, numbers: Sequence[int]) -> list[dict[str, float | bool]]:
        """Return the numbers of every draw; none of one that could not be fitted."""
        found = replicates(self.plan, numbers)
        return [{} if one is None else recorded(one, self.statistic) for one in found]


def _everywhere(
    make: Draws, nsim: int, workers: int, runner: Runner | None
) -> list[dict[str, float | bool]]:
    """Return the draws in their order, wherever they were made."""
    parts = [range(a, min(a + AT_ONCE, nsim)) for a in range(0, nsim, AT_ONCE)]
    if runner is not None and runner.client is not None:
        done = runner.each(_Parts(make, tuple(parts)), len(parts))
    else:
        from threadpoolctl import threadpool_limits

        workers = workers if runner is None else runner.workers
        with threadpool_limits(limits=1), ThreadPoolExecutor(workers) as pool:
            done = list(pool.map(make, parts)) if workers > 1 else [make(part) for part in parts]
    return [row for part in done for row in part]


@dataclass(frozen=True, slots=True)
class _Parts:
    """Makes portions of draws by the numbers of the portions; picklable."""

    make: Draws
    parts: tuple[Sequence[int], ...]

    def __call__(self, index: int) -> list[dict[str, float | bool]]:
        return self.make(self.parts[index])


def _pays(fit: FitResult) -> bool:
    """Say whether draws are mostly compiled passes, which threads take side by side."""
    info = fit.crossproducts.info
    return info.residual is None and compiled_pays(fit._problem().system)


def _start(fit: FitResult) -> VarianceParameters | None:
    """Return where draws begin: the estimates, unless a search would stay on their boundary."""
    return None if fit.singular else fit.estimates.params


def _parametric_plan(fit: FitResult, request: BootstrapRequest) -> DrawPlan:
    if request.factor is not None or request.strata is not None:
        raise ConfigError(
            "factor and strata belong to kind='group': groups are drawn within strata"
        )
    problem, params, seed = fit._problem(), fit.estimates.params, request.seed
    if isinstance(problem, ResidualProblem):
        found = residual_parts(problem.residual, fit.crossproducts, params)
        if found is None:
            return _row_plan(fit, seed)
        laws, sds, back = found
    elif feasible(problem.system):
        laws, sds = (ErrorLaw(rows_of_system(problem.system)),), (float(np.sqrt(params.sigma2)),)
        back = np.ones((1, 1))
    else:
        return _row_plan(fit, seed)
    beta = fit._evaluation().beta
    return LawPlan(problem, params, _start(fit), beta, laws, sds, back, seed, names_of(fit))


def _row_plan(fit: FitResult, seed: int) -> RowPlan:
    if fit.source is None:
        raise UnsupportedError(
            f"responses of '{fit.spec.formula}' with residual='{fit.spec.residual}' cannot be simulated "
            "from these sums alone: that is for independent, weighted, strata or cs residuals, and "
            "beside the largest factor few enough levels; fit the model from rows"
        )
    return RowPlan(fit, tuple(row_blocks(fit, "bootstrapped")), _start(fit), seed, names_of(fit))


def _group_plan(fit: FitResult, request: BootstrapRequest) -> DrawPlan:
    if fit.crossproducts.info.residual is not None:
        raise UnsupportedError(
            f"groups are drawn again for independent or weighted residuals, not for "
            f"residual='{fit.spec.residual}'; offered is kind='parametric'"
        )
    f = _drawn_factor(fit, request.factor)
    sums = _with_groups(fit, f)
    part = sums.keyed[ONLY_KEY]
    strata = _strata(fit, f, part.factors[f].levels, request.strata)
    problem, names = fit._problem(), names_of(fit)
    if len(sums.info.factors) > 1:
        return NestedGroupPlan(sums, f, problem, _start(fit), strata, request.seed, names)
    groups = part.factors[f].groups
    assert groups is not None  # noqa: S101 - they were asked for
    choice = system_and_choice(sums, fit.encoder.terms)[1]
    draws = GroupDraws(problem.system, groups, choice, sum(part.XtBy.shape))
    return GroupPlan(problem, _start(fit), draws, strata, request.seed, names)


def _drawn_factor(fit: FitResult, name: str | None) -> int:
    names = [factor.name for factor in fit.crossproducts.info.factors]
    if not names:
        raise UnsupportedError(f"'{fit.spec.formula}' has no grouping factor to draw groups of")
    if name is None:
        if len(names) > 1:
            raise UnsupportedError(
                f"'{fit.spec.formula}' has several grouping factors; name the one whose groups are "
                f"drawn, factor='...': {listing(names)}. The levels of the others must each belong "
                "to one of its groups; for crossed factors kind='parametric' is offered"
            )
        return 0
    if name not in names:
        raise DataError(
            f"'{name}' is not a grouping factor of the fit{did_you_mean(name, names)}; it has "
            f"{listing(names)}"
        )
    return names.index(name)


def _with_groups(fit: FitResult, f: int) -> CrossProducts:
    """Return sums that know what each group adds; from one more pass over the rows if need be."""
    sums, name = fit.crossproducts, fit.crossproducts.info.factors[f].name
    if sums.keyed[ONLY_KEY].factors[f].groups is None:
        if fit.source is None:
            raise UnsupportedError(
                f"these sums do not say what each level of '{name}' adds to them, so groups cannot be "
                f"drawn; condense with by_group='{name}', or use kind='parametric'"
            )
        blocks = row_blocks(fit, "bootstrapped")
        info = sums.info
        sums = reduce(add, [condense_block(one.block, info, by_group=f) for one in blocks])
    _check_whole(sums, f)
    return sums


def _check_whole(sums: CrossProducts, f: int) -> None:
    """Raise where another factor's levels do not go with the groups."""
    if len(sums.info.factors) == 1:
        return
    name = sums.info.factors[f].name
    try:
        drawn(sums, f, sums.keyed[ONLY_KEY].factors[f].levels)
    except UnsupportedError as error:
        raise UnsupportedError(
            f"groups of '{name}' cannot be drawn again: another factor is crossed with it, and its "
            "sums cannot be told apart by group; kind='parametric' is offered for crossed factors"
        ) from error


def _strata(fit: FitResult, f: int, levels: Int, given: Any) -> tuple[Int, ...]:
    """Return the places of the levels of every stratum."""
    if given is None:
        return (np.arange(len(levels)),)
    labels = [fit.schema.level_labels(f)[k] for k in levels]
    if not isinstance(given, Mapping | pd.Series):
        raise ConfigError(
            "strata must say the stratum of every group: a mapping or Series by its levels"
        )
    told = {str(level): value for level, value in given.items()}
    lacking = [label for label in labels if label not in told]
    if lacking:
        name = fit.crossproducts.info.factors[f].name
        raise DataError(
            f"strata says nothing of the level '{lacking[0]}' of '{name}'"
            + (f" and {len(lacking) - 1:,} others" if len(lacking) > 1 else "")
        )
    return tuple(_places([told[label] for label in labels]))


def _places(values: Iterable[Any]) -> list[Int]:
    codes = pd.factorize(pd.Series(list(values), dtype=object))[0]
    return [np.flatnonzero(codes == k) for k in range(int(codes.max()) + 1)]
