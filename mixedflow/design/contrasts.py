"""Coding of categories: the contrast matrix, rows of levels by columns of X.

Stands at "Rows become columns" in ``docs/algorithm.md``. The matrices and their names are
formulaic's; the default is treatment coding, ``Sex[T.Male]``, or one column a level,
``Sex[Male]``, where no constant is there to take the first level's place.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from mixedflow.design.types import Float
from mixedflow.errors import DataError, did_you_mean, listing


@dataclass(frozen=True, slots=True)
class Coding:
    """Contrast matrix, (L, c), with the names of its columns."""

    names: tuple[str, ...]
    matrix: Float


def contrast_coding(
    name: str, labels: Sequence[str], contrast: Mapping[str, Any] | None, *, reduced: bool
) -> Coding:
    """Contrast matrix of a category's levels."""
    from formulaic.transforms.contrasts import ContrastsRegistry

    arguments = dict(contrast or {"name": "treatment"})
    kind = arguments.pop("name")
    if kind in ("treatment", "SAS"):
        arguments = {"base": _base(name, labels, arguments.get("base"), last=kind == "SAS")}
        if not reduced or kind == "treatment":
            return _treatment(name, labels, arguments["base"], reduced=reduced)
    contrasts = getattr(ContrastsRegistry, kind)(**arguments)
    try:
        frame = contrasts.get_coding_matrix(list(labels), reduced_rank=reduced)
        fields = contrasts.get_coding_column_names(list(labels), reduced_rank=reduced)
    except ValueError as error:
        raise DataError(f"'{name}' cannot be coded: {error}") from None
    form = contrasts.get_factor_format(list(labels), reduced_rank=reduced)
    names = tuple(form.format(name=name, field=field) for field in fields)
    return Coding(names, np.asarray(frame, dtype=np.float64))


def _base(name: str, labels: Sequence[str], base: object, *, last: bool) -> str:
    if base is None:
        return labels[-1] if last else labels[0]
    if str(base) not in labels:
        near = did_you_mean(str(base), labels)
        raise DataError(
            f"'{name}': the base '{base}' is not a level{near}; they are {listing(labels)}."
        )
    return str(base)


def _treatment(name: str, labels: Sequence[str], base: str, *, reduced: bool) -> Coding:
    keep = [k for k, label in enumerate(labels) if not reduced or label != base]
    matrix = np.zeros((len(labels), len(keep)))
    matrix[keep, np.arange(len(keep))] = 1.0
    mark = "T." if reduced else ""
    return Coding(tuple(f"{name}[{mark}{labels[k]}]" for k in keep), matrix)
