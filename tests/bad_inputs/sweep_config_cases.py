"""Configuration files with a sweep that is wrong."""

from __future__ import annotations

from bad_inputs.config_cases import config

from mixedflow.errors import ConfigError, DataError, FormulaError

SWEPT = """\
data:
  trial:
    path: data.csv
sweep:
  many:
    data: trial
    traits: y
    models: {base: ~ 1 + (1 | g), full: ~ x + (1 | g)}
"""


def swept(found: str, instead: str) -> str:
    """Return the good configuration of a sweep with a piece of it replaced."""
    assert found in SWEPT
    return SWEPT.replace(found, instead)


CASES = [
    config(
        "unknown data set of a sweep",
        "data: trail",
        ConfigError,
        "sweep.many.data is 'trail'",
        "did you mean 'trial'?",
        text=swept("data: trial", "data: trail"),
    ),
    config(
        "no traits of a sweep",
        "no traits",
        ConfigError,
        "sweep.many",
        "at least one trait",
        text=swept("    traits: y\n", ""),
    ),
    config(
        "regular expression of traits that is none",
        "traits: 're:['",
        ConfigError,
        "sweep.many.traits",
        "'re:['",
        "no regular expression",
        until="regular expression",
        text=swept("traits: y", "traits: 're:['"),
    ),
    config(
        "response in a sweep's formula",
        "full: y ~ x + (1 | g)",
        ConfigError,
        "sweep.many.models.full",
        "must begin with '~'",
        text=swept("full: ~", "full: y ~"),
    ),
    config(
        "formula of a sweep that cannot be read",
        "full: ~ x + (1 | g",
        FormulaError,
        "sweep.many.models.full",
        text=swept("x + (1 | g)", '"x + (1 | g"').replace('~ "', '"~ '),
        read=False,
    ),
    config(
        "test of an unknown model",
        "tests: {x: [base, ful]}",
        ConfigError,
        "tests.x names 'ful'",
        "did you mean 'full'?",
        text=SWEPT + "    tests: {x: [base, ful]}\n",
    ),
    config(
        "test of three models",
        "tests: {x: [base, full, base]}",
        ConfigError,
        "tests.x must name two models",
        text=SWEPT + "    tests: {x: [base, full, base]}\n",
    ),
    config(
        "matrix and long data at once",
        "matrix: ..., long: ...",
        ConfigError,
        "'matrix' and 'long'",
        text=SWEPT
        + "    matrix: {path: m.npy, names: n.txt}\n    long: {trait: t, value: v, row: [s]}\n",
    ),
    config(
        "matrix beside rows that are sorted",
        "data.trial.group: g, matrix: ...",
        ConfigError,
        "sweep.many.matrix",
        "data.trial.group",
        text=swept("path: data.csv", "path: data.csv\n    group: g")
        + "    matrix: {path: m.npy, names: n.txt}\n",
    ),
    config(
        "trait that no column is",
        "traits: yy",
        DataError,
        "sweep.many.traits",
        "did you mean 'y'?",
        text=swept("traits: y", "traits: yy"),
        read=False,
        verb="run",
    ),
    config(
        "column that a sweep's model lacks",
        "full: ~ xx + (1 | g)",
        DataError,
        "sweep.many.models.full",
        "did you mean 'x'?",
        text=swept("~ x +", "~ xx +"),
        read=False,
        verb="run",
    ),
]
SWEEP_CONFIGS = {"Configuration of a sweep": CASES}
