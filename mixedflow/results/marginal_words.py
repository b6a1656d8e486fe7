"""What is asked of marginal means in words, checked: variables, contrasts, adjustments.

Stands at "Marginal means" in ``docs/algorithm.md``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal, cast, get_args

from mixedflow.errors import ConfigError, DataError, did_you_mean, listing
from mixedflow.inference.adjustments import Adjustment
from mixedflow.inference.contrasts import DEFAULT_ADJUST, ContrastMethod

MeanWeights = Literal["equal", "proportional", "cells"]


def checked_specs(
    specs: object, by: object, variables: Sequence[str]
) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the variables of means and those that they are compared within.

    Parameters
    ----------
    specs : ``"a"``, ``["a", "b"]``, ``"a | b"``, ``"~ a * b | c"``; ``"1"`` or ``[]`` for one mean
    by : more of the latter
    variables : that there are
    """
    own: tuple[str, ...]
    within = () if by is None else named(by)
    if isinstance(specs, str):
        left, bar, right = specs.partition("|")
        head, tilde, after = left.partition("~")
        if tilde and head.strip():
            raise ConfigError(
                f"specs='{specs}' has something left of '~'; write '~ a' or 'a' for the means, and "
                "ask these for .pairs() or .contrast()"
            )
        own = _split(after if tilde else left)
        within = tuple(dict.fromkeys((*(_split(right) if bar else ()), *within)))
    else:
        own = named(specs)
    check_names((*own, *within), variables, "specs", "of the fixed part")
    return tuple(n for n in dict.fromkeys(own) if n not in within), within


def _split(text: str) -> tuple[str, ...]:
    parts = (part.strip().strip("`") for part in re.split(r"[*+:]", text))
    return tuple(part for part in parts if part not in ("", "1"))


def named(given: object) -> tuple[str, ...]:
    """Return names, given as one or as several."""
    if isinstance(given, str):
        return (given,)
    if not isinstance(given, Iterable):
        raise ConfigError(f"variables are given by name, one or a list; found {given!r}")
    return tuple(str(name) for name in given)


def check_names(names: Sequence[str], allowed: Sequence[str], what: str, of: str) -> None:
    """Raise for the first name that is not allowed."""
    for name in names:
        if name not in allowed:
            raise DataError(
                f"{what} names '{name}', which is no variable {of}; they are "
                f"{listing(allowed) or 'none'}{did_you_mean(str(name), allowed)}"
            )


def checked_contrast(method: str) -> ContrastMethod:
    """Return the contrasts that a word names."""
    offered = get_args(ContrastMethod)
    if method not in offered:
        raise ConfigError(
            f"the contrasts '{method}' are not offered; offered are {listing(offered)}, and weights"
            f"{did_you_mean(method, offered)}"
        )
    return cast("ContrastMethod", method)


def checked_adjustment(adjust: str | None, method: object) -> Adjustment:
    """Return the adjustment that a word names; that of the contrasts by default."""
    offered = get_args(Adjustment)
    if adjust is None:
        return DEFAULT_ADJUST[checked_contrast(method)] if isinstance(method, str) else "none"
    if adjust not in offered:
        raise ConfigError(
            f"adjust={adjust!r} is not offered; offered are {listing(offered)}"
            f"{did_you_mean(str(adjust), offered)}"
        )
    return cast("Adjustment", adjust)


def checked_weights(weights: str) -> MeanWeights:
    """Return the weights that a word names."""
    offered = get_args(MeanWeights)
    if weights not in offered:
        raise ConfigError(
            f"weights={weights!r} is not offered; offered are {listing(offered)}"
            f"{did_you_mean(str(weights), offered)}"
        )
    return cast("MeanWeights", weights)


def methods_by_variable(method: Any) -> dict[str, ContrastMethod] | None:
    """Return contrasts by variable, where that is what was given."""
    if not isinstance(method, Mapping) or not method:
        return None
    if not all(isinstance(one, str) for one in method.values()):
        return None
    return {str(name): checked_contrast(one) for name, one in method.items()}


def level_label(name: str, value: object) -> str:
    """Return a level in the name of a contrast; a number says what it is of, as in emmeans."""
    if isinstance(value, str):
        return value
    return f"{name}{value:g}" if isinstance(value, float) else f"{name}{value}"
