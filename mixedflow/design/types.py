"""What the design room hands on: the names of the columns and one partition's numbers.

Stands at "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mixedflow.covariance.residual_types import ResidualDesign

Float = NDArray[np.float64]
Int = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FactorDesign:
    """One grouping factor and the Z columns that any of its terms uses.

    Attributes
    ----------
    name : the factor as the formula names it, ``"Subject"`` or ``"cask:batch"``
    variables : the data columns whose combination is the factor, ``("cask", "batch")``
    columns : names of the Z columns, the union over the factor's terms, without repeats
    n_levels : number of observed levels, L
    """

    name: str
    variables: tuple[str, ...]
    columns: tuple[str, ...]
    n_levels: int


@dataclass(frozen=True, slots=True)
class TermDesign:
    """One random term: u_l ~ N(0, G(theta)) for every level l of its factor.

    Attributes
    ----------
    label : how results name it, ``"Subject"``; a repeat is ``"Subject.1"`` as in lme4
    factor : index into the design's factors
    columns : indices into that factor's columns
    structure : name in the covariance registry, ``"us"`` or ``"diag"``
    """

    label: str
    factor: int
    columns: tuple[int, ...]
    structure: str = "us"


@dataclass(frozen=True, slots=True)
class Pilots:
    """Shift and scale that columns get before they are multiplied (DESIGN 3.1, "Shift first").

    A stored column is ``(column - shift) / scale``. Scales are powers of two. A shift is zero
    wherever the constant column is not there to take it back.

    Attributes
    ----------
    x_shift, x_scale : (p,)
    y_shift, y_scale : (t,)
    z_shift, z_scale : one (Q_f,) array a factor
    """

    x_shift: Float
    x_scale: Float
    y_shift: Float
    y_scale: Float
    z_shift: tuple[Float, ...]
    z_scale: tuple[Float, ...]


@dataclass(frozen=True, slots=True)
class DesignInfo:
    """The columns of a design; the same for every partition.

    Attributes
    ----------
    traits : names of the responses, t of them
    x_columns : names of the fixed-effect columns, p of them
    intercept : index of the constant column in X, or None
    factors : the grouping factors, in the order of first mention
    z_intercept : for each factor the index of its constant column, or None
    pilots : see :class:`Pilots`
    weighted : whether records carry known weights
    residual : structure of R; None where rows are independent and alike
    """

    traits: tuple[str, ...]
    x_columns: tuple[str, ...]
    intercept: int | None
    factors: tuple[FactorDesign, ...]
    z_intercept: tuple[int | None, ...]
    pilots: Pilots
    weighted: bool = False
    residual: ResidualDesign | None = None


@dataclass(frozen=True, slots=True, eq=False)
class RowPatterns:
    """Where the rows of a partition stand in R.

    Attributes
    ----------
    stratum : (n,) number of the stratum
    group : (n,) a number of the group, ascending as its value; None for independent rows
    position : (n,) number of the position, or its value on a scale; None for the order of the rows
    row : names a row, by its place among these
    who : names a row's group
    """

    stratum: Int
    group: Int | None
    position: Any
    row: Callable[[int], str]
    who: Callable[[int], str]


Pieces = tuple[Any, ...]
"""Arrays (n,) of any number type whose product is a column; none is the constant."""


@dataclass(frozen=True, slots=True, eq=False)
class LevelContrasts:
    """Contrast matrix C, (L, c), of a category with many levels; most of its rows have one 1.

    Treatment coding has nothing else but its base, sum coding one row of -1; others are dense.

    Attributes
    ----------
    column : (L,) the column in which a level's only entry, 1, stands; -1 where its row is another
    dense : levels whose rows are neither that nor zero
    rows : (len(dense), c) these rows
    """

    column: Int
    dense: Int
    rows: Float


@dataclass(frozen=True, slots=True, eq=False)
class CodedColumns:
    """Columns of X that are a category's contrasts times one number a row: kept as level codes.

    Column k is ``C[codes, k] * product(pieces)``.

    Attributes
    ----------
    category : the categorical expression; columns of the same one have the same codes
    places : (c,) where the columns stand in X
    contrasts : C
    codes : (n,) level codes
    pieces : factors of the number; none is 1
    """

    category: str
    places: Int
    contrasts: LevelContrasts
    codes: Int
    pieces: Pieces


@dataclass(frozen=True, slots=True)
class DesignBlock:
    """One partition's numbers, raw (no pilot applied), rows with missing values left out.

    Attributes
    ----------
    X : (n, p) columns that are not among the coded ones
    y : (n, t), the response minus its offset
    Z : one (n, Q_f) array a factor
    codes : one (n,) array of level indices a factor, in 0 .. L_f - 1
    weights : (n,) known weights, or None
    offset : (n,) the offset that y lost, or None
    rows_in : rows of the partition before missing values were dropped
    kept : (rows_in,) bool, which rows are here
    missing : column -> number of rows dropped in which it was missing
    coded : columns of X that are known by level codes
    pattern : where the rows stand in R, unless they are independent and alike
    """

    X: Float
    y: Float
    Z: tuple[Float, ...]
    codes: tuple[Int, ...]
    weights: Float | None
    offset: Float | None
    rows_in: int
    kept: NDArray[np.bool_]
    missing: dict[str, int]
    coded: tuple[CodedColumns, ...] = ()
    pattern: RowPatterns | None = None


@dataclass(frozen=True, slots=True, eq=False)
class DesignColumns:
    """One partition's columns before they are multiplied out, rows with missing values left out.

    Attributes
    ----------
    n : rows
    x : factors of every column of X that is not among the coded ones
    y : one (n,) array a trait, less its offset
    z : for every grouping factor the factors of its columns
    codes : one (n,) array of level indices a factor
    weights : (n,) known weights, or None
    rows_in : rows of the partition before missing values were dropped
    missing : column -> number of rows dropped in which it was missing
    coded : columns of X that are known by level codes
    pattern : where the rows stand in R, unless they are independent and alike
    """

    n: int
    x: tuple[Pieces, ...]
    y: tuple[Any, ...]
    z: tuple[tuple[Pieces, ...], ...]
    codes: tuple[Int, ...]
    weights: Float | None
    rows_in: int
    missing: dict[str, int]
    coded: tuple[CodedColumns, ...] = ()
    pattern: RowPatterns | None = None
