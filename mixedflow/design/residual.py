"""What stands in ``residual=``: the structure of R, its positions, its groups and its strata.

Stands at "Structures" in ``docs/algorithm.md`` (DESIGN 3.1). Read here, as mmrm writes it:
``us(visit | arm/subject)``, ``ar1(1 | g)``, ``strata(sex) * ar1(t | g)``; nothing is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mixedflow.covariance.registry import get_residual, residual_structures
from mixedflow.covariance.residual_types import SEPARATOR, ResidualBasis
from mixedflow.design.tokens import Token, closing, column_name, is_operator, split_top, tokenize
from mixedflow.errors import FormulaError, UnsupportedError, did_you_mean, listing

MAX_POINTS = 4_000
"""Points of a structure over several coordinates: sums are named by which of them a group has."""

MAX_POSITIONS = 62
"""Positions of a structure over positions: a pattern is a number with a bit for each."""

WITHOUT_GROUPS = ("iid", "strata")
_EXAMPLE = "write it like 'us(visit | subject)', 'ar1(1 | g)', 'strata(sex)' or 'iid'"
_FUNCTION = (
    "no finite set of sums holds a variance that is a function of a number; strata(...) has a "
    "variance for every category, weights= are known ones"
)
_PLANE = (
    "sp_exp(x, y | g) falls exponentially with the distance, us(visit | g) is any covariance over few "
    "positions"
)
_ELSEWHERE = {
    **dict.fromkeys(("varpower", "varexp", "varconstpower", "varconstprop", "power"), _FUNCTION),
    **dict.fromkeys(("sp_gau", "corgaus", "corlin", "corratio", "corspher"), _PLANE),
    "varident": "write strata(...)",
    "varfixed": "write weights=",
    "corar1": "write ar1(t | g), or ar1(1 | g) for the order of the rows",
    "corcar1": "write car1(t | g)",
    "corexp": "write sp_exp(x, y | g), without a nugget",
    "sp_pow": "write car1(t | g)",
    "corsymm": "write us(visit | g)",
    "corcompsymm": "write cs(1 | g)",
}
"""What other programs call structures, in lower case: what to write, or why it cannot be."""

_PLAIN_NAME = re.compile(r"[^\W\d][\w.]*|_[\w.]*")


@dataclass(frozen=True, slots=True)
class ParsedResidual:
    """A residual structure taken apart.

    Attributes
    ----------
    structure : name in the registry of residual structures
    basis : which products are summed
    position : column of the positions, or None for the order of the rows within a group; of points
        the names of their coordinates with a comma between them
    group : columns whose combinations are the groups; empty for independent rows
    strata : columns whose combinations are the strata, constant within a group
    product : whether strata were written as a factor, ``strata(sex) * ar1(1 | g)``: they then have
        variances of their own and the correlations in common
    coordinates : columns of the coordinates, where there are several
    """

    structure: str
    basis: ResidualBasis
    position: str | None = None
    group: tuple[str, ...] = ()
    strata: tuple[str, ...] = ()
    product: bool = False
    coordinates: tuple[str, ...] = ()

    @property
    def places(self) -> tuple[str, ...]:
        """Data columns that positions are made of."""
        return self.coordinates or (() if self.position is None else (self.position,))

    @property
    def variables(self) -> tuple[str, ...]:
        """Data columns that it reads."""
        return tuple(dict.fromkeys((*self.group, *self.places, *self.strata)))

    @property
    def any_time(self) -> bool:
        """Whether positions are points in time, not steps of one."""
        return self.basis == "gaps" and get_residual(self.structure).over_distance

    @property
    def needs_largest(self) -> bool:
        """Whether the number of rows of the largest group has to be known."""
        return self.basis == "sizes" or (self.basis == "pairs" and self.position is None)

    @property
    def design(self) -> str:
        """What the sums depend on: structures with the same text share them."""
        if self.structure == "iid":
            return "iid"
        basis = "points" if self.coordinates else "times" if self.any_time else self.basis
        return f"{basis}({self.position or 1} | {':'.join(self.strata)}/{':'.join(self.group)})"

    def __str__(self) -> str:
        strata = [_quoted(name) for name in self.strata]
        if not self.group:
            return f"strata({', '.join(strata)})" if strata else "iid"
        group = ":".join(_quoted(name) for name in self.group)
        position = SEPARATOR.join(_quoted(name) for name in self.places) or "1"
        if self.product:
            return f"strata({', '.join(strata)}) * {self.structure}({position} | {group})"
        over = f"{':'.join(strata)}/{group}" if strata else group
        return f"{self.structure}({position} | {over})"


IID = ParsedResidual("iid", "strata")


@lru_cache(maxsize=256)
def parse_residual(text: str) -> ParsedResidual:
    """Take ``residual=`` apart.

    Raises
    ------
    FormulaError
        where it cannot be read, or asks for what no structure has.
    UnsupportedError
        for a structure that is not offered, naming the nearest and all that are.
    """
    if not isinstance(text, str) or not text.strip():  # type: ignore[redundant-expr]  # users pass anything
        raise FormulaError(f"residual={text!r} is no residual structure; {_EXAMPLE}.")
    if text.strip() == "iid":
        return IID
    try:
        tokens = tokenize(text)
    except FormulaError as error:
        raise FormulaError(str(error).replace("The formula '", "residual='", 1)) from None
    parts = [_part(piece, text) for _, piece in split_top(tokens, "*")]
    if len(parts) == 1:
        return parts[0]
    strata = [part for part in parts if part.structure == "strata"]
    others = [part for part in parts if part.structure not in WITHOUT_GROUPS]
    if len(parts) != 2 or len(strata) != 1 or len(others) != 1:
        raise UnsupportedError(
            f"residual='{text}': a product is offered of strata(...) and one structure within "
            "groups, like 'strata(sex) * ar1(1 | g)'."
        )
    inner = others[0]
    if inner.strata:
        raise FormulaError(
            f"residual='{text}' names strata twice; write strata(...) * {inner.structure}(... | "
            f"{':'.join(inner.group)}), or the strata before the '/' alone."
        )
    return _checked(
        ParsedResidual(
            inner.structure,
            inner.basis,
            inner.position,
            inner.group,
            strata[0].strata,
            True,
            inner.coordinates,
        ),
        text,
    )


def _part(tokens: Sequence[Token], text: str) -> ParsedResidual:
    if len(tokens) == 1 and tokens[0].kind == "name":
        name = tokens[0].text
        _check_offered(name, text)
        what = "strata(...) needs columns" if name == "strata" else f"'{name}' needs groups"
        found = "" if name == "iid" else f"{what}; "
        raise FormulaError(f"residual='{text}': {found}{_EXAMPLE}.")
    opens = len(tokens) > 1 and tokens[0].kind == "name" and is_operator(tokens[1], "(")
    if not opens or closing(tokens, 1) != len(tokens) - 1:
        raise FormulaError(f"residual='{text}' cannot be read; {_EXAMPLE}.")
    name, inside = tokens[0].text, tokens[2:-1]
    _check_offered(name, text)
    if name == "iid":
        raise FormulaError(f"residual='{text}': iid takes no columns.")
    if name == "strata":
        names = [_column(piece, text) for _, piece in split_top(inside, ",")]
        return _checked(ParsedResidual("strata", "strata", strata=tuple(names)), text)
    return _within_groups(name, inside, text)


def _check_offered(name: str, text: str) -> None:
    known = residual_structures()
    if name not in known:
        elsewhere = _ELSEWHERE.get(name.lower())
        hint = did_you_mean(name, known) if elsewhere is None else f": {elsewhere}"
        raise UnsupportedError(
            f"residual='{text}': the residual structure '{name}' is not offered{hint}; offered are "
            f"{listing(known, 30)}."
        )


def _within_groups(name: str, inside: Sequence[Token], text: str) -> ParsedResidual:
    pieces = split_top(inside, "|", "||")
    if len(pieces) != 2 or any(not piece for _, piece in pieces) or pieces[1][0] == "||":
        raise FormulaError(
            f"residual='{text}': inside {name}() stand positions, one bar and groups; write "
            f"'{name}(visit | subject)', or '{name}(1 | subject)' for the order of the rows."
        )
    coordinates = _coordinates(name, pieces[0][1], text)
    position = SEPARATOR.join(coordinates) if coordinates else _position(pieces[0][1], text)
    sides = split_top(pieces[1][1], "/")
    if len(sides) > 2:
        raise FormulaError(
            f"residual='{text}' has more than one '/'; right of the bar stand groups, or strata / "
            "groups, like 'us(visit | arm/subject)'."
        )
    columns = [_joined(side, text) for _, side in sides]
    strata = columns[0] if len(columns) == 2 else ()
    basis: ResidualBasis = "pairs" if coordinates else _basis(name, position, text)
    return _checked(
        ParsedResidual(name, basis, position, columns[-1], strata, False, coordinates), text
    )


def _coordinates(name: str, tokens: Sequence[Token], text: str) -> tuple[str, ...]:
    """Return the columns of several coordinates; none where there is one."""
    pieces = split_top(tokens, ",")
    if len(pieces) < 2:
        return ()
    if not get_residual(name).over_points:
        offered = [n for n, structure in residual_structures().items() if structure.over_points]
        raise UnsupportedError(
            f"residual='{text}': {name} takes one column left of the bar, and {len(pieces)} were found; "
            f"offered over points of several coordinates is {listing(offered)}."
        )
    return tuple(_column(piece, text) for _, piece in pieces)


def _basis(name: str, position: str | None, text: str) -> ResidualBasis:
    """Return the shortest basis for what stands left of the bar."""
    bases = get_residual(name).bases
    if position is None:
        if get_residual(name).over_distance:
            raise FormulaError(
                f"residual='{text}': {name} needs a column of times left of the bar; for the order "
                "of the rows write 'ar1(1 | g)'."
            )
        return bases[0]
    return next(basis for basis in bases if basis != "sizes")


def _position(tokens: Sequence[Token], text: str) -> str | None:
    if len(tokens) == 1 and tokens[0].kind == "number":
        if tokens[0].text == "1":
            return None
        raise FormulaError(
            f"residual='{text}': left of the bar stands a column, or 1 for the order of the rows; "
            f"{tokens[0].text} was found."
        )
    return _column(tokens, text)


def _joined(tokens: Sequence[Token], text: str) -> tuple[str, ...]:
    return tuple(_column(piece, text) for _, piece in split_top(tokens, ":"))


def _column(tokens: Sequence[Token], text: str) -> str:
    if len(tokens) == 1 and tokens[0].kind in ("name", "backtick"):
        return column_name(tokens[0])
    found = " ".join(token.text for token in tokens)
    what = f"'{found}' is none; make it a column of the data" if found else "nothing was found"
    raise FormulaError(f"residual='{text}': a column name is needed, but {what}.")


def _checked(parsed: ParsedResidual, text: str) -> ParsedResidual:
    """Refuse a column in two places."""
    names = [*parsed.group, *parsed.places, *parsed.strata]
    repeated = [name for k, name in enumerate(names) if name in names[:k]]
    if repeated:
        raise FormulaError(f"residual='{text}' names the column '{repeated[0]}' twice.")
    return parsed


def stratum_name(strata: Sequence[str]) -> str:
    """Return what the combinations of several columns are called among those of a summary."""
    return ":".join(strata)


def _quoted(name: str) -> str:
    return name if _PLAIN_NAME.fullmatch(name) else f"`{name}`"
