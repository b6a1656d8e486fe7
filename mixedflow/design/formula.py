"""lme4's formula language: the response, the fixed part, offsets and the random terms.

Stands at "Rows become columns" in ``docs/algorithm.md``: y ~ X beta + sum_j Z_j u_j. The bars and
the calls are found here; what is left, names joined by ``+ - * / : ^``, is expanded by formulaic's
parser, which sees stand-ins for every name and so never evaluates anything of the user's.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache

from mixedflow.covariance.registry import get_structure, structure_names
from mixedflow.design.functions import FUNCTIONS
from mixedflow.design.safety import Expression, check_column_name, parse_expression
from mixedflow.design.tokens import (
    Token,
    closing,
    column_name,
    is_operator,
    join,
    split_top,
    tokenize,
)
from mixedflow.errors import FormulaError, UnsupportedError, did_you_mean, listing

MAX_POWER = 8
MAX_CROSSED = 12

Term = tuple[Expression, ...]


@dataclass(frozen=True, slots=True)
class LinearPart:
    """A sum of terms; each is a product of expressions, and the empty product is the intercept."""

    terms: tuple[Term, ...]

    @property
    def names(self) -> tuple[str, ...]:
        """Data columns that the part reads, in order of mention."""
        return tuple(dict.fromkeys(n for term in self.terms for e in term for n in e.names))

    @property
    def expressions(self) -> tuple[Expression, ...]:
        """The distinct expressions of the part."""
        return tuple(dict.fromkeys(e for term in self.terms for e in term))

    def __str__(self) -> str:
        labels = [":".join(e.text for e in term) or "1" for term in self.terms]
        return " + ".join(labels if () in self.terms else ["0", *labels])


@dataclass(frozen=True, slots=True)
class GroupingFactor:
    """The factor behind a bar: its name in lme4's spelling and the columns it combines."""

    name: str
    variables: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class RandomTerm:
    """One random term ``(lhs | factor)`` with the structure of its covariance matrix G."""

    lhs: LinearPart
    factor: GroupingFactor
    structure: str = "us"

    def __str__(self) -> str:
        name, _, argument = self.structure.partition("(")
        inside = f"{self.lhs} | {self.factor.name}"
        if argument:
            inside += f", {argument[:-1]}"
        return f"({inside})" if name == "us" else f"{name}({inside})"


@dataclass(frozen=True, slots=True)
class ParsedFormula:
    """A formula taken apart; ``random`` may be empty."""

    text: str
    response: Expression
    fixed: LinearPart
    offsets: tuple[Expression, ...]
    random: tuple[RandomTerm, ...]

    @property
    def factors(self) -> tuple[GroupingFactor, ...]:
        """The grouping factors, in order of first mention."""
        return tuple(dict.fromkeys(term.factor for term in self.random))


@lru_cache(maxsize=256)
def parse_formula(text: str) -> ParsedFormula:
    """Take ``y ~ x + (1 + x | g)`` apart; raise :class:`FormulaError` where it cannot be read."""
    if not str(text or "").strip():
        raise FormulaError("The formula is empty; write it like 'y ~ x + (1 | g)'.")
    sides = split_top(tokenize(text), "~")
    if len(sides) != 2:
        found = "no '~'" if len(sides) == 1 else f"{len(sides) - 1} '~'"
        raise FormulaError(f"The formula '{text}' has {found}; write it like 'y ~ x + (1 | g)'.")
    response = _response(sides[0][1], text)
    chunks = _signed_chunks(sides[1][1], text)
    random: list[RandomTerm] = []
    offsets: list[Expression] = []
    fixed: list[tuple[str, list[Token]]] = []
    for sign, chunk in chunks:
        if any(is_operator(token, "|", "||") for token in chunk):
            random += _random_terms(sign, chunk, text)
        elif _is_offset(chunk):
            offsets.append(_offset(sign, chunk))
        else:
            fixed.append((sign, chunk))
    parsed = ParsedFormula(text, response, _linear_part(fixed, text), tuple(offsets), tuple(random))
    _check_repeats(parsed)
    return parsed


def _response(tokens: Sequence[Token], text: str) -> Expression:
    if not tokens:
        raise FormulaError(f"The formula '{text}' has no response on the left of '~'.")
    if tokens[0].text == "cbind":
        raise UnsupportedError(
            f"The response '{join(tokens)}' is not offered: a model has one numeric response."
        )
    response = parse_expression(tokens)
    if response.kind not in ("column", "numeric"):
        raise FormulaError(f"The response '{response.text}' must be one numeric column.")
    return response


def _signed_chunks(tokens: Sequence[Token], text: str) -> list[tuple[str, list[Token]]]:
    """Cut the right-hand side at + and -, and check that each piece holds something."""
    pieces = split_top(tokens, "+", "-")
    if len(pieces) == 1 and not pieces[0][1]:
        raise FormulaError(f"The formula '{text}' has nothing on the right of '~'.")
    if not pieces[0][1]:
        pieces = pieces[1:]
    for index, (sign, piece) in enumerate(pieces):
        if not piece:
            at = "at its end" if index == len(pieces) - 1 else "before another operator"
            raise FormulaError(
                f"The formula '{text}' has a '{sign or '+'}' {at} with no term after it."
            )
    return [(sign or "+", piece) for sign, piece in pieces]


def _is_offset(chunk: Sequence[Token]) -> bool:
    return len(chunk) > 1 and chunk[0].text == "offset" and is_operator(chunk[1], "(")


def _offset(sign: str, chunk: Sequence[Token]) -> Expression:
    if sign == "-" or closing(chunk, 1) != len(chunk) - 1:
        raise FormulaError(f"'{join(chunk)}': offset() must be added as a term by itself.")
    expression = parse_expression(chunk[2:-1])
    if expression.kind not in ("column", "numeric"):
        raise FormulaError(f"'{join(chunk)}': an offset must be one numeric column.")
    return expression


def _linear_part(chunks: Sequence[tuple[str, Sequence[Token]]], text: str) -> LinearPart:
    """Expand ``+ a*b - a`` into terms by formulaic's parser, on stand-ins ``v0, v1, ...``."""
    table: dict[str, Expression] = {}
    skeleton = " ".join(f"{sign} {_skeleton(chunk, table, text)}" for sign, chunk in chunks)
    return LinearPart(_expand(skeleton.strip().removeprefix("+ ") or "1", table, text))


def _skeleton(chunk: Sequence[Token], table: dict[str, Expression], text: str) -> str:
    """Spell one chunk with a stand-in for every name and call; refuse operators no formula has."""
    parts: list[str] = []
    index, crossed = 0, set()
    while index < len(chunk):
        token = chunk[index]
        following = chunk[index + 1] if index + 1 < len(chunk) else None
        if token.kind in ("name", "backtick"):
            end = index + 1
            if token.kind == "name" and following is not None and is_operator(following, "("):
                end = closing(chunk, index + 1) + 1
            expression = parse_expression(chunk[index:end])
            stand_in = _stand_in(expression, table)
            crossed.add(stand_in)
            parts.append(stand_in)
            index = end
            continue
        _check_structure_token(token, parts, chunk, text)
        parts.append(token.text)
        index += 1
    multiplies = any(is_operator(token, "*", "/", "^", "**") for token in chunk)
    if multiplies and len(crossed) > MAX_CROSSED:
        raise FormulaError(
            f"'{join(chunk)}' crosses {len(crossed)} expressions; at most {MAX_CROSSED} are "
            "allowed."
        )
    return " ".join(parts)


def _check_structure_token(
    token: Token, parts: Sequence[str], chunk: Sequence[Token], text: str
) -> None:
    before = parts[-1] if parts else ""
    if token.kind == "operator" and token.text in ("+", "-", "*", "/", ":", "^", "**", "(", ")"):
        return
    if token.kind == "number":
        if before in ("^", "**") and token.text.isdigit() and 1 <= int(token.text) <= MAX_POWER:
            return
        if before in ("^", "**"):
            raise FormulaError(f"'{join(chunk)}': the power of terms must be 1 to {MAX_POWER}.")
        if before in ("", "+", "-", "(") and token.text in ("0", "1"):
            return
        raise FormulaError(
            f"'{join(chunk)}' in '{text}': the number {token.text} is not a term; arithmetic on "
            "columns goes inside I(), such as I(2 * x)."
        )
    raise FormulaError(
        f"'{join(chunk)}' in '{text}': '{token.text}' has no meaning between terms; allowed are "
        "+ - * / : ^ and parentheses, and arithmetic goes inside I()."
    )


def _stand_in(expression: Expression, table: dict[str, Expression]) -> str:
    for name, known in table.items():
        if known == expression:
            return name
    name = f"v{len(table)}"
    table[name] = expression
    return name


def _expand(skeleton: str, table: dict[str, Expression], text: str) -> tuple[Term, ...]:
    """Return the terms of a skeleton: a plain sum as it stands, all else by formulaic."""
    plain = skeleton.split(" + ")
    if all(part in table or part == "1" for part in plain):
        own = [(table[part],) for part in plain if part != "1"]
        return tuple(dict.fromkeys([(), *own]))
    return _formulaic_terms(skeleton, table, text)


def _formulaic_terms(
    skeleton: str, table: dict[str, Expression], text: str
) -> tuple[Term, ...]:  # fmt: skip
    from formulaic import Formula
    from formulaic.errors import FormulaicError

    try:
        terms = list(Formula(skeleton))
    except (FormulaicError, ValueError, TypeError, AttributeError, RecursionError) as error:
        shown = str(error).split("\n")[0].rstrip(".")
        for name in reversed(table):
            shown = shown.replace(name, table[name].text)
        raise FormulaError(f"The formula '{text}' cannot be read: {shown}.") from None
    expanded = [tuple(table[f.expr] for f in term.factors if f.expr in table) for term in terms]
    return tuple(dict.fromkeys(expanded))


def _random_terms(sign: str, chunk: Sequence[Token], text: str) -> list[RandomTerm]:
    """Read ``(lhs | group)``, ``(lhs || group)`` or ``cs(lhs | group)`` into one term or more."""
    structure, inside = _structure(chunk, text)
    if sign == "-":
        raise FormulaError(f"'- {join(chunk)}' in '{text}': a random term cannot be subtracted.")
    pieces = split_top(inside, "|", "||")
    if len(pieces) != 2 or not pieces[0][1] or not pieces[1][1]:
        raise FormulaError(
            f"'{join(chunk)}' in '{text}' is not a random term; write it like (1 + x | g)."
        )
    (_, left), (bar, right) = pieces
    if bar == "||" and structure is not None:
        raise FormulaError(
            f"'{join(chunk)}': write either {structure.partition('(')[0]}(... | ...) or "
            "(... || ...), not both."
        )
    lhs = _linear_part(_signed_chunks(left, text), text)
    if not lhs.terms:
        raise FormulaError(f"'{join(chunk)}' has no column left of the bar.")
    parts = _split_double_bar(lhs) if bar == "||" else [lhs]
    return [
        RandomTerm(part, factor, structure or "us")
        for factor in _grouping_factors(right, text)
        for part in parts
    ]


def _structure(chunk: Sequence[Token], text: str) -> tuple[str | None, Sequence[Token]]:
    """Split ``name( ... )`` or ``( ... )`` into the structure's name and what is inside."""
    named = chunk[0].kind == "name"
    start = 1 if named else 0
    opens = start < len(chunk) and is_operator(chunk[start], "(")
    if not opens or closing(chunk, start) != len(chunk) - 1:
        raise FormulaError(
            f"'{join(chunk)}' in '{text}': a random term stands in parentheses and is added by "
            "'+', like y ~ x + (1 | g)."
        )
    inside = chunk[start + 1 : -1]
    if not any(bar for bar, _ in split_top(inside, "|", "||")):
        raise FormulaError(
            f"'{join(chunk)}' in '{text}': a random term cannot stand inside another term."
        )
    if not named:
        return None, inside
    name = chunk[0].text
    if name in FUNCTIONS and name != "cs":
        raise FormulaError(f"'{join(chunk)}' in '{text}': a bar cannot stand inside {name}().")
    offered = structure_names()
    if name not in offered:
        near = did_you_mean(name, offered)
        raise UnsupportedError(
            f"'{join(chunk)}': the covariance structure '{name}' is not offered for random "
            f"terms{near}; offered are {listing(offered)}."
        )
    return _with_argument(name, inside, chunk)


def _with_argument(
    name: str, inside: Sequence[Token], chunk: Sequence[Token]
) -> tuple[str, Sequence[Token]]:
    """Split ``0 + site | g, 2`` into the structure ``fa(2)`` and the term before the comma."""
    (_, term), *rest = split_top(inside, ",")
    if len(rest) > 1:
        raise FormulaError(
            f"'{join(chunk)}': {name}(... | ...) takes one argument at most, found {len(rest)}."
        )
    argument = "".join(token.text for token in rest[0][1]) if rest else "None"
    try:
        if not rest and name == get_structure(name).spelled:
            return name, term
        return get_structure(f"{name}({argument})").spelled, term
    except FormulaError as error:
        raise FormulaError(f"'{join(chunk)}': {error}.") from None


def _split_double_bar(lhs: LinearPart) -> list[LinearPart]:
    """Expand ``(1 + x || g)`` to ``(1 | g) + (0 + x | g)``, a term each, as lme4 1.x does."""
    return [LinearPart((term,)) for term in lhs.terms]


def _grouping_factors(tokens: Sequence[Token], text: str) -> list[GroupingFactor]:
    """Expand ``a/b`` to ``b:a`` and ``a``, innermost first, as lme4 names them."""
    factors: list[GroupingFactor] = []
    for _, piece in split_top(tokens, "/"):
        inner = _interaction(piece, tokens, text)
        if factors:
            outer = factors[-1]
            shown = f"({outer.name})" if len(outer.variables) > 1 else outer.name
            both = dict.fromkeys((*inner.variables, *outer.variables))
            inner = GroupingFactor(f"{inner.name}:{shown}", tuple(both))
        factors.append(inner)
    return factors[::-1]


def _interaction(piece: Sequence[Token], whole: Sequence[Token], text: str) -> GroupingFactor:
    names = []
    for _, part in split_top(piece, ":"):
        if len(part) != 1 or part[0].kind not in ("name", "backtick"):
            raise FormulaError(
                f"'{join(whole)}' in '{text}': right of the bar stand columns, joined by ':' "
                "(combinations) or '/' (nesting)."
            )
        name = column_name(part[0])
        check_column_name(name, backtick=part[0].kind == "backtick")
        names.append(name)
    if len(set(names)) < len(names):
        raise FormulaError(f"'{join(whole)}' in '{text}' names a column twice.")
    return GroupingFactor(":".join(names), tuple(names))


def _check_repeats(parsed: ParsedFormula) -> None:
    """Refuse a term that two random terms of the same factor share: their variances have no answer."""
    seen: dict[tuple[frozenset[str], Term], RandomTerm] = {}
    for random in parsed.random:
        for term in random.lhs.terms:
            key = (frozenset(random.factor.variables), term)
            label = ":".join(e.text for e in term) or "(Intercept)"
            if key in seen:
                raise FormulaError(
                    f"The model is not identified: '{label}' varies by '{random.factor.name}' "
                    f"both in {seen[key]} and in {random}; write 0 + in one of them, or leave one "
                    "out."
                )
            seen[key] = random
