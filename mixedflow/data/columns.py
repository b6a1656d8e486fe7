"""What a column is for a model, and how it is brought to its declared type.

Two kinds can be used: numbers and categories. Stands before "Rows become columns" in
``docs/algorithm.md``; every message names the source, the row, the value and what is allowed.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Literal, TypeAlias, get_args

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from mixedflow.errors import ConfigError, DataError, did_you_mean, listing

ColumnKind = Literal["numeric", "categorical", "other"]
DeclaredType = Literal["category", "float", "int", "string"]
LevelOrder = Literal["none", "declared", "category", "number"]
Level: TypeAlias = str | int

DECLARED_TYPES: tuple[str, ...] = get_args(DeclaredType)
_FIXED_TARGETS: dict[str | None, tuple[ColumnKind, pa.DataType]] = {
    "float": ("numeric", pa.float64()),
    "int": ("numeric", pa.int64()),
    "string": ("categorical", pa.string()),
}


@dataclass(frozen=True, slots=True)
class Place:
    """Where a partition starts: its source, its first row (0-based), lines before the first row."""

    name: str
    first_row: int
    header_lines: int = 0

    def row(self, index: int) -> str:
        """Return ``"data.csv, data row 12 (line 13)"`` for the partition's row ``index``."""
        number = self.first_row + index + 1
        line = f" (line {number + self.header_lines:,})" if self.header_lines else ""
        return f"{self.name}, data row {number:,}{line}"


@dataclass(frozen=True, slots=True)
class ColumnRule:
    """What one column becomes when it is read.

    Attributes
    ----------
    name : the column
    kind : what a model can do with it
    target : Arrow type of the values that ``read`` gives
    found : what the source holds, for messages
    order : where its level order comes from
    levels : the declared levels, of the type of ``target``
    coded : whether ``read`` gives a dictionary: the column was declared, or is held, as categories;
        text that nobody declared stays text, and may be judged as misread numbers
    """

    name: str
    kind: ColumnKind
    target: pa.DataType
    found: str
    order: LevelOrder = "none"
    levels: tuple[Level, ...] = ()
    coded: bool = False


@dataclass(frozen=True, slots=True)
class Declarations:
    """Types and levels that the user declared for columns of a source."""

    types: Mapping[str, str] = field(default_factory=dict)
    levels: Mapping[str, tuple[object, ...]] = field(default_factory=dict)

    def of(self, column: str) -> str | None:
        """Return the declared type of a column; declared levels make it a category."""
        if column in self.levels:
            return "category"
        return self.types.get(column)


def make_declarations(
    types: Mapping[str, str] | None, levels: Mapping[str, Sequence[object]] | None
) -> Declarations:
    """Check declared types and levels by themselves and freeze them."""
    for column, name in (types or {}).items():
        if name not in DECLARED_TYPES:
            raise ConfigError(
                f"types: column '{column}' is declared as '{name}'"
                f"{did_you_mean(str(name), DECLARED_TYPES)} (allowed: {listing(DECLARED_TYPES)})"
            )
    frozen = {column: _check_levels(column, values) for column, values in (levels or {}).items()}
    for column in frozen:
        declared = (types or {}).get(column, "category")
        if declared in {"float", "int"}:
            raise ConfigError(
                f"levels: column '{column}' has levels but is declared as '{declared}'; "
                "a column with levels is a 'category'"
            )
    return Declarations(dict(types or {}), frozen)


def _check_levels(column: str, values: Sequence[object]) -> tuple[object, ...]:
    if isinstance(values, str) or not isinstance(values, Iterable):
        raise ConfigError(f"levels: column '{column}' needs a list of levels, not '{values}'")
    listed = tuple(values)
    if not listed:
        raise ConfigError(f"levels: column '{column}' has an empty list of levels")
    seen: set[str] = set()
    for value in listed:
        label = level_label(value)
        if label in seen:
            raise ConfigError(f"levels: column '{column}' lists the level '{label}' twice")
        seen.add(label)
    return listed


def level_label(value: object) -> str:
    """Return a level as text: whole floats without their ``.0``, as R labels them."""
    if isinstance(value, float | np.floating):
        return str(pc.cast(pa.scalar(float(value)), pa.string()).as_py())
    return str(value)


def plan_columns(
    schema: pa.Schema, declarations: Declarations, name: str, *, categories: Iterable[str] = ()
) -> dict[str, ColumnRule]:
    """Decide what every column becomes.

    Parameters
    ----------
    schema : the types that the source holds
    declarations : what the user declared
    name : the source, for messages
    categories : dictionary columns whose order of levels is meant (pandas' category)
    """
    check_unique(schema.names, name)
    for column in [*declarations.types, *declarations.levels]:
        if column not in schema.names:
            raise DataError(
                f"{name} has no column '{column}' to declare a type for"
                f"{did_you_mean(column, schema.names)} (it has {listing(schema.names)})"
            )
    meant = set(categories)
    return {f.name: _rule(f.name, f.type, declarations, f.name in meant) for f in schema}


def check_unique(names: Sequence[str], source: str) -> None:
    """Raise when two columns carry the same name."""
    seen: set[str] = set()
    for column in names:
        if column in seen:
            raise DataError(f"{source} has two columns named '{column}'; names must differ")
        seen.add(column)


def _rule(name: str, held: pa.DataType, declarations: Declarations, meant: bool) -> ColumnRule:
    found = describe(held)
    declared = declarations.of(name)
    if is_nested(held):
        return ColumnRule(name, "other", held, found)
    if name in declarations.levels:
        return _levels_rule(name, held, declarations.levels[name])
    if declared in _FIXED_TARGETS:
        return ColumnRule(name, *_FIXED_TARGETS[declared], found, coded=declared == "string")
    return _held_rule(name, held, declared == "category", meant)


def _held_rule(name: str, held: pa.DataType, category: bool, meant: bool) -> ColumnRule:
    """Return the rule that follows from the stored type, ``category`` when it was declared so."""
    found = describe(held)
    if pa.types.is_dictionary(held):
        order: LevelOrder = "category" if meant or held.ordered else "none"
        return ColumnRule(
            name, "categorical", _category_target(held.value_type), found, order, (), True
        )
    if category:
        target = _category_target(held)
        order = "number" if is_fractional(held) else "none"
        return ColumnRule(name, "categorical", target, found, order, (), True)
    if is_text(held):
        return ColumnRule(name, "categorical", pa.string(), found)
    number = _number_target(held)
    return ColumnRule(name, "numeric" if number is not None else "other", number or held, found)


@lru_cache(maxsize=256)
def _number_target(held: pa.DataType) -> pa.DataType | None:
    """Return the type that ``read`` gives numbers of a held type in, None when they are none."""
    tests: tuple[tuple[Callable[[pa.DataType], bool], pa.DataType], ...] = (
        (pa.types.is_boolean, pa.int8()),
        (pa.types.is_unsigned_integer, pa.int64()),
        (pa.types.is_integer, held),
        (pa.types.is_float16, pa.float32()),
        (pa.types.is_floating, held),
        (pa.types.is_decimal, pa.float64()),
        (pa.types.is_null, pa.float64()),
    )
    return next((target for test, target in tests if test(held)), None)


def _category_target(values: pa.DataType) -> pa.DataType:
    return pa.int64() if pa.types.is_integer(values) else pa.string()


def _levels_rule(name: str, held: pa.DataType, levels: tuple[object, ...]) -> ColumnRule:
    values = held.value_type if pa.types.is_dictionary(held) else held
    whole = all(isinstance(v, int | np.integer) and not isinstance(v, bool) for v in levels)
    if whole and pa.types.is_integer(values):
        numbers = tuple(int(str(v)) for v in levels)
        return ColumnRule(
            name, "categorical", pa.int64(), describe(held), "declared", numbers, True
        )
    labels = tuple(level_label(v) for v in levels)
    return ColumnRule(name, "categorical", pa.string(), describe(held), "declared", labels, True)


def is_text(held: pa.DataType) -> bool:
    """Return whether a type is text in any of Arrow's layouts."""
    return bool(
        pa.types.is_string(held) or pa.types.is_large_string(held) or pa.types.is_string_view(held)
    )


def is_fractional(held: pa.DataType) -> bool:
    """Return whether a type can hold fractions."""
    return bool(pa.types.is_floating(held) or pa.types.is_decimal(held))


@lru_cache(maxsize=256)
def is_nested(held: pa.DataType) -> bool:
    """Return whether values are lists, records, bytes or of a library's own type."""
    if pa.types.is_dictionary(held):
        return is_nested(held.value_type)
    binary = pa.types.is_binary(held) or pa.types.is_large_binary(held)
    binary = binary or pa.types.is_fixed_size_binary(held) or held == pa.binary_view()
    return bool(pa.types.is_nested(held) or binary or isinstance(held, pa.BaseExtensionType))


@lru_cache(maxsize=256)
def describe(held: pa.DataType) -> str:
    """Return a type in words, for messages."""
    if pa.types.is_dictionary(held):
        return "categories"
    tests: tuple[tuple[Callable[[pa.DataType], bool], str], ...] = (
        (is_text, "text"),
        (pa.types.is_date, "dates"),
        (pa.types.is_timestamp, "dates"),
        (pa.types.is_time, "times"),
        (pa.types.is_duration, "durations"),
        (pa.types.is_boolean, "true/false values"),
        (pa.types.is_integer, "whole numbers"),
        (is_fractional, "numbers"),
        (pa.types.is_null, "nothing but missing values"),
        (pa.types.is_nested, "nested values or other objects"),
    )
    return next((words for test, words in tests if test(held)), f"values of type {held}")


def conform(
    column: pa.ChunkedArray, rule: ColumnRule, levels: tuple[Level, ...] | None, place: Place
) -> pa.ChunkedArray:
    """Bring a stored column to what its rule says.

    With ``levels`` the result is a dictionary of exactly these levels, in their order.
    """
    if levels is not None:
        return _encode(column, rule, levels, place)
    if rule.kind == "categorical":
        return as_dictionary(column, rule.target) if rule.coded else to_text(column)
    return to_number(column, rule, place)


def as_dictionary(column: pa.ChunkedArray, values: pa.DataType) -> pa.ChunkedArray:
    """Return a dictionary column with 32-bit codes, one dictionary, and values of one type."""
    held = column.type
    if pa.types.is_dictionary(held):
        if is_text(held.value_type) or pa.types.is_integer(held.value_type):
            return column.cast(pa.dictionary(pa.int32(), values)).unify_dictionaries()
        column = to_text(column)
    plain = column.cast(values) if pa.types.is_integer(values) else to_text(column)
    return plain.dictionary_encode().unify_dictionaries()


def to_text(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return the values as text: whole floats without ``.0``, truth values as True and False."""
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    if is_fractional(column.type):
        column = nan_to_null(column.cast(pa.float64()))
    if pa.types.is_boolean(column.type):
        return pc.if_else(column, "True", "False")
    return column.cast(pa.string())


def nan_to_null(column: pa.ChunkedArray) -> pa.ChunkedArray:
    """Return floats with NaN as missing."""
    return pc.if_else(pc.is_nan(column), pa.scalar(None, column.type), column)


def to_number(column: pa.ChunkedArray, rule: ColumnRule, place: Place) -> pa.ChunkedArray:
    """Return the values as numbers of the rule's type; a value that is none names its row."""
    if column.type == rule.target:
        return column
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)

    def attempt(part: pa.ChunkedArray) -> pa.ChunkedArray:
        if is_text(part.type):
            part = pc.ascii_trim_whitespace(part.cast(pa.string()))
        if pa.types.is_integer(rule.target) and not pa.types.is_integer(part.type):
            return nan_to_null(part.cast(pa.float64())).cast(rule.target)
        rounding = pa.types.is_integer(part.type) and not pa.types.is_integer(rule.target)
        return part.cast(rule.target, safe=not rounding)

    try:
        return attempt(column)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        row = first_failure(column, attempt)
        if row is None or isinstance(error, pa.ArrowNotImplementedError):
            raise DataError(
                f"{place.name}: column '{rule.name}' holds {rule.found}, "
                "which cannot be read as numbers"
            ) from error
        wanted = "a whole number of 64 bits" if pa.types.is_integer(rule.target) else "a number"
        raise DataError(
            f"{place.row(row)}: column '{rule.name}' has the value '{column[row].as_py()}', "
            f"which is not {wanted}"
        ) from error


def first_failure(
    column: pa.ChunkedArray, attempt: Callable[[pa.ChunkedArray], object]
) -> int | None:
    """Return the first row at which ``attempt`` fails, by bisection, or None."""

    def fails(start: int, stop: int) -> bool:
        try:
            attempt(column.slice(start, stop - start))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError):
            return True
        return False

    low, high = 0, len(column)
    if not fails(low, high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if fails(low, middle) else (middle, high)
    return low


def _encode(
    column: pa.ChunkedArray, rule: ColumnRule, levels: tuple[Level, ...], place: Place
) -> pa.ChunkedArray:
    """Return codes into the declared levels; a value outside names its row."""
    values = _comparable(column, rule.target)
    dictionary = pa.array(levels, type=rule.target)
    codes = pc.index_in(values, value_set=dictionary)
    if codes.null_count > values.null_count and {"True", "False"}.issuperset(levels):
        values = pc.utf8_capitalize(values)
        codes = pc.index_in(values, value_set=dictionary)
    if codes.null_count > values.null_count:
        outside = pc.and_(pc.is_null(codes), pc.is_valid(values))
        row = pc.index(outside, pa.scalar(True)).as_py()
        value = str(values[row].as_py())
        labels = [str(level) for level in levels]
        raise DataError(
            f"{place.row(row)}: column '{rule.name}' has the value '{value}', which is not among "
            f"its declared levels {listing(labels)}{did_you_mean(value, labels)}"
        )
    kind = pa.dictionary(pa.int32(), rule.target, ordered=True)
    chunks = [
        pa.DictionaryArray.from_arrays(chunk, dictionary, ordered=True) for chunk in codes.chunks
    ]
    return pa.chunked_array(chunks, type=kind)


def _comparable(column: pa.ChunkedArray, target: pa.DataType) -> pa.ChunkedArray:
    if target == pa.string():
        return to_text(column)
    if pa.types.is_dictionary(column.type):
        column = column.cast(column.type.value_type)
    return column.cast(target)
