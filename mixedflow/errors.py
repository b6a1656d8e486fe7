"""Every foreseen failure, by phase of the work.

A foreseen failure is a sentence for the person who runs the analysis: what is wrong, where (file, row,
column, config key), what was found, what is allowed. The command line prints the sentence and exits
with 2; the Python API raises the class. Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class MixedflowError(Exception):
    """Base of all foreseen failures; ``exit_code`` is what the command line returns."""

    exit_code = 2


class ConfigError(MixedflowError):
    """A key or value of the configuration file is not valid."""


class FormulaError(MixedflowError):
    """The formula cannot be read, or asks for something that formulas may not do."""


class DataError(MixedflowError):
    """The data cannot carry the model: a column, a value, a level or a row is wrong."""


class MissingValuesError(DataError):
    """Missing values were found where the policy is ``error``, or nothing is left after dropping."""


class UnknownLevelError(DataError):
    """New data hold a level that the fit has never seen."""


class SourceError(MixedflowError):
    """A data file cannot be found, opened or read."""


class StoredFileError(MixedflowError):
    """A file written by mixedflow is missing, damaged, or of another format version."""


class OutputError(MixedflowError):
    """A result cannot be written where it was asked for."""


class UnsupportedError(MixedflowError):
    """A combination that mixedflow does not offer; the message names what it does."""


class FitError(MixedflowError):
    """The numbers cannot be fitted at all (as opposed to a fit that did not converge)."""


class TerminatedError(BaseException):
    """The process was told to end; like an interrupt, nothing but the command line catches it."""


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"`` for the nearest choice, or an empty string."""
    pool = [str(choice) for choice in choices]
    folded = {choice.casefold(): choice for choice in reversed(pool)}
    near = difflib.get_close_matches(name.casefold(), list(folded), n=1, cutoff=0.6)
    return f"; did you mean '{folded[near[0]]}'?" if near else ""


def listing(choices: Iterable[str], limit: int = 12) -> str:
    """Return the choices as ``'a', 'b', 'c' and 4 more`` for a message."""
    pool = [f"'{choice}'" for choice in choices]
    shown = ", ".join(pool[:limit])
    return shown if len(pool) <= limit else f"{shown} and {len(pool) - limit} more"
