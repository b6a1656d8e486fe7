"""One grouping factor, many responses: Newton's method for all at once, each stopping by itself.

Stands at "Sweeps" in ``docs/algorithm.md``. With G = sigma2 Lambda Lambda', beta and sigma2 profiled
out, -2l = m log(2 pi) + m + m log(y'P0y / m) + log|I + Lambda'Z'Z Lambda| [+ log|X'V0^-1X|], and m is
n - p for REML and n for ML. The slope is exact, the curvature its central differences; a pivot of
Lambda that falls to zero does so quadratically, for -2l is even in it.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mixedflow.design.types import Float, Int
from mixedflow.sweeps.one_factor_twins import look_with_numpy
from mixedflow.sweeps.types import Designs, Entries, Look, OneFactorFits, Responses

__all__ = ["OneFactorFits", "fit_one_factor"]

STEP = 1e-4
"""Half the distance of two slopes that show a curvature, in units of a column that matters."""

STARTS = (0.1, 0.55, 2.0)
"""Sizes of Lambda, in units of a column that matters, among which the search begins."""

LONGEST = 2.0
"""Longest step, in units of a column that matters or of the parameter itself."""

ARMIJO = 1e-2
"""Share of what the slope promises that a step must gain; less, and it may leap over a maximum."""

HALVINGS = 14
"""Times a step is halved before the search is given up."""

DECREMENT = 1e-8
"""Gain that is left, beside which a response has converged; DESIGN 3.4."""

POLISHED = 1e-18
"""Gain that is left, below which nothing is polished."""

MOST = 60
"""Iterations."""

SMALL_PIVOT = 1e-4
"""Pivot, in units of a column that matters, below which zero is tried."""

SLACK = 1e-8
"""Rise of -2 log-likelihood that a zero may cost."""

VANISHING = 1e-13
"""Share of a response's squares below which nothing is left of it."""

COMPILE_ABOVE = 4_000
"""Levels times responses from which the compiled pass pays for its start."""

FEWEST_LEVELS = 40
"""Levels below which a look by NumPy takes no less time."""


@dataclass(frozen=True, slots=True)
class _Task:
    """What stays the same over the iterations; m is n - p or n."""

    designs: Designs
    responses: Responses
    entries: Entries
    reml: bool
    m: Float
    L: Float

    @property
    def many(self) -> bool:
        """Whether there are enough levels and responses for compiled passes."""
        levels = max(int(self.designs.ZtX.shape[1]), FEWEST_LEVELS)
        return levels * len(self.responses.yty) >= COMPILE_ABOVE

    def spread(self, inverse: Float) -> Float:
        """Return the diagonal of L (X'V0^-1X)^-1 L', (T, r)."""
        out: Float = np.einsum("tra,ra->tr", self.L @ inverse, self.L)
        return out

    def look(self, theta: Float, at: Int) -> Look:
        """Return the likelihood's parts of some responses at their theta."""
        designs, entries = self.designs, self.entries
        if not self.many:
            some = self.responses.take(at)
            return look_with_numpy(theta, designs, some, entries, reml=self.reml)
        from mixedflow.sweeps.one_factor_kernels import look_at

        count, k, p = len(at), theta.shape[1], designs.ZtX.shape[3]
        out = Look(
            np.empty(count),
            np.empty(count),
            np.empty((count, k)),
            np.empty((count, k)),
            np.empty((count, p)),
            np.zeros((count, p, p)),
        )
        one = self.responses
        look_at(
            np.ascontiguousarray(theta), at, one.which, designs.ZtZ, designs.ZtX, designs.XtX,
            one.Zty, one.Xty, one.yty, entries.rows, entries.cols, entries.places, self.reml,
            out.logdet, out.square, out.of_log, out.of_square, out.beta, out.inverse,
        )  # fmt: skip
        return out

    def objective(self, look: Look, at: Int) -> Float:
        """Return -2l less constants, infinite where it has no value."""
        with np.errstate(all="ignore"):
            value = look.logdet + self.m[at] * np.log(look.square)
        out: Float = np.where(np.isfinite(value), value, np.inf)
        return out

    def slope(self, look: Look, at: Int) -> Float:
        """Return its slope, (T, k)."""
        out: Float = look.of_log + look.of_square * (self.m[at] / look.square)[:, None]
        return out


def fit_one_factor(
    designs: Designs,
    responses: Responses,
    entries: Entries,
    *,
    reml: bool,
    L: Float | None = None,
) -> OneFactorFits:
    """Return the fits of all responses.

    Parameters
    ----------
    designs, responses : sums in the equations' columns
    entries : of Lambda
    reml : restricted likelihood, or the full one
    L : (r, p) what variances of beta are wanted of; its own elements where left out
    """
    p = designs.XtX.shape[1]
    n = designs.n_obs[responses.which].astype(float)
    L = np.eye(p) if L is None else L
    task = _Task(designs, responses, entries, reml, n - p if reml else n, L)
    units = _units(designs, entries)
    unit = units[responses.which]
    with np.errstate(all="ignore"):
        if designs.ZtX.shape[2] == 1 and task.many:
            return _finished(task, *_by_ratio(task, units[:, 0]))
        state = _started(task, unit)
        for _ in range(MOST):
            if not state.active.any():
                break
            state = _iterated(task, state, unit)
        state = _settled(task, state, unit)
        return _finished(task, state, _curvature(task, state.theta, np.arange(len(n)), unit))


@dataclass(slots=True)
class _State:
    """Where every response stands."""

    theta: Float
    value: Float
    look: Look
    active: NDArray[np.bool_]
    converged: NDArray[np.bool_]
    decrement: Float
    iterations: Int


def _units(designs: Designs, entries: Entries) -> Float:
    """Return the size of theta at which a column matters as much as the residual, (D, k)."""
    with np.errstate(all="ignore"):
        squares = np.einsum("dlaa->da", designs.ZtZ) / designs.n_obs[:, None]
        size = np.where(squares > 0, squares, 1.0) ** -0.5
    out = np.ones((len(size), entries.count))
    out[:, entries.places] = size[:, entries.rows]
    return out


def _started(task: _Task, unit: Float) -> _State:
    """Return the best of a few starts, Lambda diagonal."""
    T = len(unit)
    every = np.arange(T)
    best: tuple[Float, Float, Look] | None = None
    for size in STARTS:
        theta = size * unit * task.entries.diagonal
        look = task.look(theta, every)
        value = task.objective(look, every)
        if best is None:
            best = theta, value, look
            continue
        better = value < best[1]
        best = (
            np.where(better[:, None], theta, best[0]),
            np.where(better, value, best[1]),
            _merged(best[2], look, better),
        )
    assert best is not None  # noqa: S101 - there are starts
    theta, value, look = best
    usable = np.isfinite(value) & (look.square > VANISHING * task.responses.yty)
    stopped = np.zeros(T, dtype=bool)
    return _State(
        theta, value, look, usable, stopped, np.full(T, np.inf), np.zeros(T, dtype=np.int64)
    )


def _merged(old: Look, new: Look, where: NDArray[np.bool_]) -> Look:
    """Return the looks, rows of the second one where said."""
    parts = []
    for field in fields(Look):
        a, b = getattr(old, field.name), getattr(new, field.name)
        parts.append(np.where(where.reshape(-1, *[1] * (a.ndim - 1)), b, a))
    return Look(*parts)


def _curvature(task: _Task, theta: Float, at: Int, unit: Float) -> tuple[Float, Float, Float]:
    """Return central differences in theta: of the two slopes, (m, k, k), and of the spread."""
    count, k = theta.shape
    logs, squares = np.empty((count, k, k)), np.empty((count, k, k))
    spread = np.empty((count, k, len(task.L)))
    for i in range(k):
        step = np.zeros_like(theta)
        step[:, i] = STEP * unit[:, i]
        up, down = task.look(theta + step, at), task.look(theta - step, at)
        width = 2.0 * step[:, i, None]
        logs[:, i] = (up.of_log - down.of_log) / width
        squares[:, i] = (up.of_square - down.of_square) / width
        spread[:, i] = (task.spread(up.inverse) - task.spread(down.inverse)) / width
    return logs, squares, spread


def _profile_hessian(task: _Task, look: Look, at: Int, logs: Float, squares: Float) -> Float:
    """Return the curvature of the profiled -2l."""
    ratio = (task.m[at] / look.square)[:, None, None]
    inner = look.of_square[:, :, None] * look.of_square[:, None, :]
    H = logs + ratio * squares - ratio / look.square[:, None, None] * inner
    out: Float = 0.5 * (H + H.swapaxes(1, 2))
    return out


def _iterated(task: _Task, state: _State, unit: Float) -> _State:
    """Return the state after one Newton step of every response that has not stopped."""
    at = np.flatnonzero(state.active)
    theta = state.theta[at]
    look = Look(*(getattr(state.look, field.name)[at] for field in fields(Look)))
    logs, squares, _ = _curvature(task, theta, at, unit[at])
    slope = task.slope(look, at)
    H = _profile_hessian(task, look, at, logs, squares)
    step, decrement, definite = _newton(H, slope, unit[at], theta)
    state.decrement[at] = decrement
    state.iterations[at] += 1
    near = definite & (decrement < DECREMENT)
    state.converged[at] = near
    done = definite & (decrement < POLISHED)
    state.active[at[done | ~np.isfinite(decrement)]] = False
    gain = ARMIJO * np.einsum("ti,ti->t", slope, step)
    _searched(task, state, at[~done], _Search(step[~done], gain[~done], near[~done]))
    return state


def _newton(
    H: Float, slope: Float, unit: Float, theta: Float
) -> tuple[Float, Float, NDArray[np.bool_]]:
    """Return -H^-1 g, negative curvatures turned round; g'H^-1g / 2; whether H was definite."""
    scaled = H * unit[:, :, None] * unit[:, None, :]
    bad = ~np.isfinite(scaled).all(axis=(1, 2))
    scaled[bad] = np.eye(H.shape[1])
    values, vectors = np.linalg.eigh(scaled)
    top = np.abs(values).max(axis=1, keepdims=True)
    definite = (values > 1e-10 * top).all(axis=1) & ~bad
    size = np.maximum(np.abs(values), 1e-8 * top)
    turned = np.einsum("tji,tj->ti", vectors, slope * unit)
    step = -np.einsum("tij,tj->ti", vectors, turned / size)
    decrement = 0.5 * np.einsum("ti,ti->t", turned, turned / size)
    longest = LONGEST * np.maximum(1.0, np.abs(theta / unit).max(axis=1))
    length = np.abs(step).max(axis=1)
    step *= np.where(length > longest, longest / length, 1.0)[:, None]
    return step * unit, np.where(bad, np.nan, decrement), definite


@dataclass(frozen=True, slots=True)
class _Search:
    """Steps, (m, k); the change of -2l that they must bring, (m,); whether rounding is let pass."""

    step: Float
    gain: Float
    near: NDArray[np.bool_]


def _searched(task: _Task, state: _State, at: Int, search: _Search) -> None:
    """Move the responses along their steps, halved where -2l does not fall enough."""
    left, size = np.arange(len(at)), 1.0
    for _ in range(HALVINGS):
        if not len(left):
            return
        who = at[left]
        theta = state.theta[who] + size * search.step[left]
        look = task.look(theta, who)
        value = task.objective(look, who)
        rounding = 1e-12 * np.abs(state.value[who])
        allowed = np.where(search.near[left], rounding, size * search.gain[left])
        good = (value <= state.value[who] + allowed) & (look.square > 0)
        took = who[good]
        state.theta[took], state.value[took] = theta[good], value[good]
        for field in fields(Look):
            getattr(state.look, field.name)[took] = getattr(look, field.name)[good]
        exact = look.square[good] <= VANISHING * task.responses.yty[took]
        state.active[took[exact]] = False
        state.converged[took[exact]] = False
        left, size = left[~good], 0.5 * size
    state.active[at[left]] = False


def _settled(task: _Task, state: _State, unit: Float) -> _State:
    """Return the state with pivots of zero where they are as good, and no pivot below zero."""
    entries = task.entries
    for i in np.flatnonzero(entries.diagonal):
        at = np.flatnonzero(
            (np.abs(state.theta[:, i]) < SMALL_PIVOT * unit[:, i]) & np.isfinite(state.value)
        )
        if not len(at):
            continue
        theta = state.theta[at]
        theta[:, i] = 0.0
        look = task.look(theta, at)
        value = task.objective(look, at)
        good = value <= state.value[at] + SLACK + 1e-12 * np.abs(state.value[at])
        took = at[good]
        state.theta[took], state.value[took] = theta[good], value[good]
        for field in fields(Look):
            getattr(state.look, field.name)[took] = getattr(look, field.name)[good]
    return state


def _by_ratio(task: _Task, units: Float) -> tuple[_State, tuple[Float, Float, Float]]:
    """Return where every response ends and the curvature there; units are (D,)."""
    from mixedflow.sweeps.one_ratio import search_ratio
    from mixedflow.sweeps.one_ratio_kernels import Rules

    rules = Rules(
        STARTS, LONGEST, ARMIJO, HALVINGS, DECREMENT, POLISHED, MOST, SMALL_PIVOT, SLACK, VANISHING
    )
    found = search_ratio(task.designs, task.responses, task.m, units, rules, reml=task.reml)
    stopped = np.zeros(len(found.value), dtype=bool)
    state = _State(
        found.theta, found.value, found.look, stopped, found.converged, np.zeros(len(stopped)),
        found.iterations,
    )  # fmt: skip
    return state, (found.logs, found.squares, task.spread(found.inverse_slope)[:, None, :])


def _finished(task: _Task, state: _State, curvature: tuple[Float, Float, Float]) -> OneFactorFits:
    """Return estimates and curvature at the end."""
    logs, squares, spread = curvature
    sigma2 = state.look.square / task.m
    T, k = state.theta.shape
    hessian = np.empty((T, k + 1, k + 1))
    inner = logs + squares / sigma2[:, None, None]
    hessian[:, :k, :k] = 0.5 * (inner + inner.swapaxes(1, 2))
    hessian[:, :k, k] = hessian[:, k, :k] = -state.look.of_square / sigma2[:, None] ** 2
    hessian[:, k, k] = task.m / sigma2**2
    exact = state.look.square <= VANISHING * task.responses.yty
    minus2ll = (
        state.value
        + task.m * (np.log(2.0 * np.pi) + 1.0 - np.log(task.m))
        - task.designs.sum_log_weight[task.responses.which]
    )
    theta, slopes, hessian = _upright(task.entries, state.theta, spread, hessian)
    return OneFactorFits(
        theta=theta,
        sigma2=sigma2,
        minus2ll=minus2ll,
        look=state.look,
        hessian=hessian,
        spread=task.spread(state.look.inverse),
        slopes=slopes,
        converged=state.converged & ~exact,
        singular=(theta[:, task.entries.diagonal] == 0).any(axis=1),
        aliased=np.isnan(state.look.logdet) & ~exact,
        exact=exact,
        iterations=state.iterations,
    )


def _upright(
    entries: Entries, theta: Float, spread: Float, hessian: Float
) -> tuple[Float, Float, Float]:
    """Return the parameters with pivots that are not negative: columns of Lambda turned round."""
    sign = np.ones_like(theta)
    pivot = {
        int(c): int(p)
        for r, c, p in zip(entries.rows, entries.cols, entries.places, strict=True)
        if r == c
    }
    for column, place in zip(entries.cols, entries.places, strict=True):
        sign[:, place] = np.where(theta[:, pivot[int(column)]] < 0, -1.0, 1.0)
    whole = np.concatenate([sign, np.ones((len(sign), 1))], axis=1)
    return theta * sign, spread * sign[:, :, None], hessian * whole[:, :, None] * whole[:, None, :]
