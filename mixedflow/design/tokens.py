"""The words of a formula: names, numbers, quoted text, calls and operators.

Stands before "Rows become columns" in ``docs/algorithm.md``: nothing is evaluated here. Names may
hold dots, as R's do (``Sepal.Length``); a name in backticks may hold anything.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from mixedflow.errors import FormulaError

TokenKind = Literal["name", "backtick", "string", "number", "operator", "space"]
MAX_LENGTH = 10_000

_TOKEN = re.compile(
    r"""(?P<space>\s+)
      | (?P<backtick>`[^`]*`)
      | (?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
      | (?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)
      | (?P<name>[^\W\d][\w.]*|_[\w.]*)
      | (?P<operator>\*\*|\|\||==|!=|<=|>=|//|[-+*/^:()|~,=<>%\[\]])
      | (?P<other>.)""",
    re.VERBOSE | re.DOTALL,
)


@dataclass(frozen=True, slots=True)
class Token:
    """One word of a formula: its kind and its text as the user wrote it."""

    kind: TokenKind
    text: str


def tokenize(text: str) -> list[Token]:
    """Cut a formula into tokens, without the white space; refuse characters no formula has."""
    if len(text) > MAX_LENGTH:
        raise FormulaError(
            f"The formula has {len(text):,} characters; at most {MAX_LENGTH:,} are allowed."
        )
    tokens = []
    for match in _TOKEN.finditer(text):
        kind = match.lastgroup
        if kind == "other":
            raise FormulaError(_stray_character(match.group(), text))
        if kind != "space":
            tokens.append(Token(kind, match.group()))  # type: ignore[arg-type]
    _check_parentheses(tokens, text)
    return tokens


def _stray_character(character: str, text: str) -> str:
    quoting = {"`": "a backtick", '"': "a quotation mark", "'": "a quotation mark"}
    if character in quoting:
        return f"The formula '{text}' opens {quoting[character]} that is never closed."
    return (
        f"The formula '{text}' holds the character {character!r}, which has no meaning in a "
        "formula; a column whose name holds it is written in backticks."
    )


def _check_parentheses(tokens: Sequence[Token], text: str) -> None:
    depth = 0
    for token in tokens:
        depth += is_operator(token, "(", "[") - is_operator(token, ")", "]")
        if depth < 0:
            break
    if depth:
        what = "closes a parenthesis that was never opened" if depth < 0 else "lacks a ')'"
        raise FormulaError(f"The formula '{text}' {what}.")


def is_operator(token: Token, *texts: str) -> bool:
    """Whether the token is one of these operators."""
    return token.kind == "operator" and token.text in texts


def split_top(tokens: Sequence[Token], *operators: str) -> list[tuple[str, list[Token]]]:
    """Cut at operators outside any parenthesis; each piece comes with the operator before it."""
    pieces: list[tuple[str, list[Token]]] = [("", [])]
    depth = 0
    for token in tokens:
        depth += is_operator(token, "(", "[") - is_operator(token, ")", "]")
        if depth == 0 and is_operator(token, *operators):
            pieces.append((token.text, []))
        else:
            pieces[-1][1].append(token)
    return pieces


def closing(tokens: Sequence[Token], start: int) -> int:
    """Index of the parenthesis that closes the one at ``start``."""
    depth = 0
    for index in range(start, len(tokens)):
        depth += is_operator(tokens[index], "(", "[") - is_operator(tokens[index], ")", "]")
        if depth == 0:
            return index
    raise FormulaError(f"'{join(tokens[start:])}' lacks a ')'.")


def join(tokens: Sequence[Token]) -> str:
    """Write tokens as text again, spaced like a person would."""
    out = ""
    for index, token in enumerate(tokens):
        before = tokens[index - 1] if index else None
        out += _gap(before, token) + token.text
    return out


def _gap(before: Token | None, token: Token) -> str:
    if before is None or is_operator(before, "(", "[", ":", "^", "**"):
        return ""
    if is_operator(token, ")", "]", ",", ":", "^", "**"):
        return ""
    if is_operator(token, "(", "["):
        return "" if before.kind in ("name", "backtick") else " "
    return " "


def column_name(token: Token) -> str:
    """Return the column that a name or a backtick token stands for."""
    return token.text[1:-1] if token.kind == "backtick" else token.text
