"""The configuration that ``mixedflow init`` writes: what is needed, and in comments what may be.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from mixedflow.config.models import RESERVED_NAMES

_TEMPLATE = """\
# Configuration of mixedflow. Next: `mixedflow check`, then `mixedflow run`.
# Every key is explained in config/README.md of mixedflow.

data:
  {name}:
    # File, folder or glob, relative to the folder in which the workflow runs.
    path: {path}
    # What the model reads: {columns}.
{types}
    # Levels in their order, the first is the reference; other values are errors.
    # levels:
    #   treatment: [placebo, drug]
    # Rows that lack a value in a column of the model: drop (and count) or error.
    missing: drop
    # Units for the axes of the report.
    # units:
    #   {response}: ms

models:
  model:
    data: {name}
    formula: {formula}
    # true: restricted likelihood (REML); false: likelihood (ML).
    reml: true
    # weights: column   # the residual variance is sigma² / weight
    # title: How the report calls the model
    # Tests and intervals, for the report and as files.
    # infer:
    #   ddf: satterthwaite   # or kenward-roger, for REML
    #   contrasts: {{name: {{coefficient: 1}}}}
    #   emmeans: [{{specs: variable, contrast: pairwise}}]
    #   intervals: {{method: profile}}
    #   random_tests: true
    #   variance_test: {{method: auto}}
    #   bootstrap: {{draws: 1000}}
    #   caic: true

# Add further models above; all models of a data set are compared, or say which:
# compare:
#   - [model, other]
#   - {{models: [model, other], refit: ml}}   # where their fixed parts differ

# Many traits by the same models, in one table with a page of its own:
# sweep:
#   traits:
#     data: {name}
#     traits: gene*      # names, patterns, re:^gene[0-9]+$, or a list of them
#     models: {{full: ~ x + (1 | group)}}

# Many covariates, one at a time, beside a model without them:
# scan:
#   covariates:
#     data: {name}
#     formula: {formula}
#     covariates: snp*   # names, patterns, re:^snp[0-9]+$, or a list of them

output: results

report:
  title: {title}
  # author: Your name

# Where the work runs; changes no result.
# dask:
#   kind: threads      # synchronous, threads, processes, address, srun or jobqueue
#   workers: 4
#   memory: 8 GB
"""


def template(path: str, formula: str, codes: Sequence[str], columns: Mapping[str, str]) -> str:
    """Return the file's text.

    Parameters
    ----------
    path : of the data
    formula : of the model
    codes : columns that hold numbers but are groups
    columns : column to kind, the response first
    """
    name = data_name(path)
    return _TEMPLATE.format(
        name=name,
        path=_quoted(path),
        formula=_quoted(formula),
        columns=", ".join(f"{column} ({kind})" for column, kind in columns.items()),
        types=_types(codes),
        response=next(iter(columns)),
        title=_quoted(f"Mixed models of {name}"),
    )


def data_name(path: str) -> str:
    """Return a data set's name made from its path."""
    stem = Path(path.rstrip("/")).name.split(".")[0]
    name = re.sub(r"[^A-Za-z0-9_-]+", "_", stem).strip("_-")
    return name if name and name not in RESERVED_NAMES else "data"


def _types(codes: Sequence[str]) -> str:
    if not codes:
        return "    # types:\n    #   site: category   # numbers that are codes"
    lines = [f"      {_quoted(column)}: category   # numbers that are codes" for column in codes]
    return "\n".join(["    types:", *lines])


def _quoted(text: str) -> str:
    """Return the text as a YAML value, in quotes only where it needs them."""
    import yaml

    plain = yaml.safe_dump(text, width=10**6, allow_unicode=True).removesuffix("\n...\n").strip()
    return plain if "\n" not in plain else json.dumps(text, ensure_ascii=False)
