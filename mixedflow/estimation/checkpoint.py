"""Where a search stands, as plain values: enough for another process to go on with the same bits.

Stands at "The driver" in ``docs/algorithm.md``. Parameters, trace, EM's last points and the curvature
that Newton's moves have shown are all that the loop remembers; likelihood, score and information are
found again. Who keeps the values, and how often, is told from outside: no files here.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, astuple, dataclass
from typing import Any, Protocol

import numpy as np

import mixedflow
from mixedflow.crossproducts.storage import digest_of_sums
from mixedflow.crossproducts.types import CrossProducts
from mixedflow.data.fingerprint import sha256_of_text
from mixedflow.design.types import Float, TermDesign
from mixedflow.estimation.control import FitControl
from mixedflow.estimation.driver import FitState, TraceRow
from mixedflow.estimation.parameters import VarianceParameters
from mixedflow.estimation.problem import Problem
from mixedflow.estimation.secants import Look, Secant

Plain = Mapping[str, Any]


class Keeper(Protocol):
    """Keeps where a search stands, every so often."""

    def found(self, key: Callable[[], str]) -> Plain | None:
        """Return what was kept of a search of the same key, None where there is nothing."""

    def keep(self, make: Callable[[], Plain]) -> None:
        """Keep what ``make`` returns, if it is time."""


def key_of(
    sums: CrossProducts,
    terms: Sequence[TermDesign],
    how: Sequence[object],
    control: FitControl,
) -> str:
    """Return one digest of all that the bits of a search depend on."""
    settings = {k: v for k, v in asdict(control).items() if k != "threads"}
    plain = [mixedflow.__version__, np.__version__, repr(tuple(terms)), repr(tuple(how)), settings]
    return sha256_of_text(json.dumps([*plain, digest_of_sums(sums)]))


@dataclass(frozen=True, slots=True)
class Going:
    """A search that may go on from where one was broken off.

    Attributes
    ----------
    keeper : what keeps where it stands; None for a search that nobody keeps
    before : what was kept
    near : where estimates led that went before the search, None where none did
    """

    keeper: Keeper | None = None
    before: Plain | None = None
    near: VarianceParameters | None = None

    def begun(self, problem: Problem) -> FitState | None:
        """Return the state that was kept."""
        return None if self.before is None else _state_from(self.before, problem)

    def keep(self, state: FitState) -> None:
        """Keep a state, if it is time."""
        if self.keeper is not None:
            self.keeper.keep(lambda: {**_plain(state), "near": _vector(self.near)})

    def keep_plain(self, make: Callable[[], Plain]) -> None:
        """Keep plain values, if it is time."""
        if self.keeper is not None:
            self.keeper.keep(make)


def _vector(params: VarianceParameters | None) -> list[float] | None:
    return None if params is None else params.vector().tolist()


def plain_trace(trace: Sequence[TraceRow]) -> list[list[Any]]:
    """Return the rows of a trace as lists."""
    return [list(astuple(row)) for row in trace]


def trace_from(rows: Sequence[Sequence[Any]]) -> tuple[TraceRow, ...]:
    """Undo :func:`plain_trace`."""
    return tuple(TraceRow(*row) for row in rows)


def _plain(state: FitState) -> dict[str, Any]:
    look = state.look
    return {
        "point": state.evaluation.params.vector().tolist(),
        "trace": plain_trace(state.trace),
        "history": [point.tolist() for point in state.history],
        "look": None
        if look is None
        else {
            "point": look.point.tolist(),
            "score": look.score.tolist(),
            "decrement": look.decrement,
            "secants": [[s.step.tolist(), s.fall.tolist()] for s in look.secants],
        },
    }


def _state_from(plain: Plain, problem: Problem) -> FitState:
    params = problem.start().with_vector(_array(plain["point"]))
    look = plain["look"]
    return FitState(
        problem.evaluate_at(params),
        trace_from(plain["trace"]),
        history=tuple(_array(point) for point in plain["history"]),
        look=None
        if look is None
        else Look(
            _array(look["point"]),
            _array(look["score"]),
            look["decrement"],
            tuple(Secant(_array(step), _array(fall)) for step, fall in look["secants"]),
        ),
    )


def _array(values: Sequence[float]) -> Float:
    return np.array(values, dtype=np.float64)
