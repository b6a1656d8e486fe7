"""What the columns of a CSV file are, decided over the whole file.

A column that holds whole numbers in its first million rows and a word in the next is text. Stands
before "Rows become columns" in ``docs/algorithm.md``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.data.columns import ColumnRule, Declarations, Place, to_number
from mixedflow.data.csv_text import MISSING

Guess = Literal["empty", "int", "float", "bool", "date", "text"]
_TYPES: dict[Guess, pa.DataType] = {
    "empty": pa.null(),
    "int": pa.int64(),
    "float": pa.float64(),
    "bool": pa.bool_(),
    "date": pa.timestamp("s"),
    "text": pa.string(),
}
_DATE = r"^\s*(\d{4}-\d{2}-\d{2}([ T]\d{2}:\d{2}.*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?)\s*$"
PROBE = 256
_LEADING_ZERO = r"^\s*[+-]?0[0-9xX]"


@dataclass(slots=True)
class ColumnVotes:
    """What a column can still be after the batches seen so far.

    Attributes
    ----------
    declared : the declared type, if any
    open : what no batch has ruled out, narrowest first
    any_value : whether anything but missing values was seen
    """

    declared: str | None
    open: list[Guess] = field(default_factory=lambda: ["int", "float", "bool", "date"])
    any_value: bool = False

    def __post_init__(self) -> None:
        """Leave only what the declared type allows."""
        if self.declared == "string":
            self.open = []
        elif self.declared == "category":
            self.open = ["int", "float"]

    @property
    def guess(self) -> Guess:
        """Return the narrowest type that holds all values so far."""
        if self.declared == "float":
            return "float"
        if self.declared == "int":
            return "int"
        if not self.open:
            return "text"
        return self.open[0] if self.any_value else "empty"

    def look(self, text: pa.Array) -> pa.Array:
        """Rule out what a batch of text cannot be, and return it as what is left."""
        seen = self.any_value
        self.any_value = seen or text.null_count < len(text)
        if self.declared == "category" and self.open and _any_match(text, _LEADING_ZERO):
            self.open = []
        while self.open:
            read = _read_as(self.open[0], text)
            if read is not None:
                return read if self.any_value else pa.nulls(len(text))
            ruled_out = self.open.pop(0)
            if seen:  # only whole numbers seen before are also something wider than text
                self.open = ["float"] if ruled_out == "int" else []
        return text


def _any_match(text: pa.Array, pattern: str) -> bool:
    return bool(pc.any(pc.match_substring_regex(text, pattern), min_count=0).as_py())


def _read_as(guess: Guess, text: pa.Array) -> pa.Array | None:
    """Return the values as what was guessed, None when one of them cannot be that."""
    if guess in {"int", "float"}:
        return _try_number(text, _TYPES[guess])
    if guess == "bool":
        lower = pc.utf8_lower(text)
        fits = pc.is_in(lower.drop_null(), value_set=pa.array(["true", "false"]))
        return lower.cast(pa.bool_()) if pc.all(fits, min_count=0).as_py() else None
    fits = pc.match_substring_regex(text.drop_null(), _DATE)
    return text if pc.all(fits, min_count=0).as_py() else None


def _try_number(text: pa.Array, target: pa.DataType) -> pa.Array | None:
    """Return the values as numbers, blanks around them ignored, or None.

    A few values are tried first: failing on a million takes ten times as long as reading them.
    """
    for values in (text.slice(0, PROBE), text):
        number = _cast_or_none(values, target)
        if number is None:
            number = _cast_or_none(blank_to_missing(values), target)
        if number is None:
            return None
    return number


def _cast_or_none(text: pa.Array, target: pa.DataType) -> pa.Array | None:
    try:
        return text.cast(target)
    except pa.ArrowInvalid:
        return None


def blank_to_missing(text: pa.Array) -> pa.Array:
    """Return the values without blanks around them; what is then a missing value's sign is null."""
    trimmed = pc.ascii_trim_whitespace(text)
    missing = pc.is_in(trimmed, value_set=pa.array(MISSING))
    return pc.if_else(missing, pa.scalar(None, pa.string()), trimmed)


def declared_number(text: pa.Array, rule: ColumnRule, place: Place) -> pa.Array:
    """Return a batch of text as the numbers that it was declared to be."""
    column = pa.chunked_array([blank_to_missing(text)])
    return to_number(column, rule, place).combine_chunks()


def nominal_schema(guesses: dict[str, Guess]) -> pa.Schema:
    """Return the Arrow types that stand for the guesses."""
    return pa.schema([pa.field(name, _TYPES[guess]) for name, guess in guesses.items()])


def declared_numbers(names: tuple[str, ...], declarations: Declarations) -> dict[str, ColumnRule]:
    """Return the rules of the columns that are declared as numbers."""
    targets = {"float": pa.float64(), "int": pa.int64()}
    found = {name: targets.get(declarations.of(name) or "") for name in names}
    return {
        name: ColumnRule(name, "numeric", target, "text")
        for name, target in found.items()
        if target is not None
    }


def loses_text(stored: Guess, final: Guess) -> bool:
    """Return whether values stored as ``stored`` cannot be had back as ``final``."""
    return stored != final and stored not in {"empty", "text", "date"} and final in {"text", "date"}
