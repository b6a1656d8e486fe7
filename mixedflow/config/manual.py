"""The manual of the configuration's keys and its JSON schema, written from the models.

``python -m mixedflow.config.manual --fix`` writes both; a test fails when they are out of step.
Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import inspect
import json
import sys
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from mixedflow.config.models import Config
from mixedflow.config.reading import plain_type
from mixedflow.config.section import LevelValue

MANUAL = Path("config/README.md")
SCHEMA = Path("workflow/schemas/config.schema.json")

_HEAD = """\
# The configuration file

*Written by `python -m mixedflow.config.manual --fix` from `mixedflow/config/models.py`: edit it.*

`config/config.yaml` says what is analysed. It is checked before anything runs: an unknown key, a
wrong value or a name that does not exist ends the run with one sentence. What changes only where
and how fast the work runs (`dask`) reruns nothing; any other change reruns what depends on it.
Another file is named with `mixedflow run --config FILE` or `snakemake --configfile FILE`, and is
then the whole configuration; `snakemake --configfile BASE CHANGES` merges two.

A small file:

```yaml
data:
  sleepstudy:
    path: config/data/sleepstudy.csv
    types: {Subject: category}
models:
  slope:
    data: sleepstudy
    formula: Reaction ~ Days + (Days | Subject)
```

Names of data sets and models become folders: letters, digits, `_`, `.` and `-`.
"""

_TAIL = """\
## The shipped data

`config/data/sleepstudy.csv` holds 180 rows: the mean reaction time (`Reaction`, ms) of 18 subjects
(`Subject`) on each of ten days (`Days`), sleep restricted to three hours a night from day 2 on.
Source: Belenky et al. (2003), *Patterns of performance degradation and restoration during sleep
restriction and subsequent recovery*, Journal of Sleep Research 12, 1–12; as distributed with the R
package lme4.
"""


def manual() -> str:
    """Return the text of ``config/README.md``."""
    sections = [_HEAD]
    for title, intro, model in _sections():
        sections.append(f"## {title}\n\n{intro}\n\n{_table(model)}")
    return "\n".join([*sections, _TAIL])


def schema() -> str:
    """Return the text of the JSON schema, which editors use to complete and check the file."""
    content = Config.model_json_schema()
    content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    content["title"] = "mixedflow configuration"
    return json.dumps(content, indent=2, ensure_ascii=False) + "\n"


def update(root: Path, *, fix: bool) -> list[Path]:
    """Return which of the two files below ``root`` are out of step; write them with ``fix``."""
    stale = []
    for path, text in ((root / MANUAL, manual()), (root / SCHEMA, schema())):
        if path.exists() and path.read_text(encoding="utf-8") == text:
            continue
        stale.append(path)
        if fix:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
    return stale


def _sections() -> list[tuple[str, str, type[BaseModel]]]:
    """Return heading, introduction and model of every section, the whole file first."""
    return [("Top level", _intro(Config), Config), *_below(Config, "")]


def _below(parent: type[BaseModel], name: str) -> Iterator[tuple[str, str, type[BaseModel]]]:
    """Yield the sections in a section, each followed by its own."""
    place = f", in `{name}`" if name else ""
    for key, field in parent.model_fields.items():
        model = _model_of(field.annotation)
        if model is not None:
            many = {dict: ", each name", tuple: ", each of the list"}
            each = many.get(get_origin(plain_type(field.annotation)), "")
            yield f"`{key}`{place}{each}", _intro(model), model
            yield from _below(model, key)


def _intro(model: type[BaseModel]) -> str:
    return inspect.cleandoc(model.__doc__ or "").replace("``", "`")


def _table(model: type[BaseModel]) -> str:
    lines = ["| key | value | when left out | meaning |", "|---|---|---|---|"]
    for key, field in model.model_fields.items():
        value = _value_text(field.annotation).replace("|", "\\|")
        meaning = (field.description or "").replace("|", "\\|")
        lines.append(f"| `{key}` | {value} | {_default_text(field)} | {meaning} |")
    return "\n".join(lines) + "\n"


def _default_text(field: FieldInfo) -> str:
    if field.is_required():
        return "**must be given**"
    default = field.get_default(call_default_factory=True, validated_data={})
    if isinstance(default, bool):
        return f"`{str(default).lower()}`"
    if default is None or default in ({}, ()) or isinstance(default, BaseModel):
        return "–"
    return f"`{default}`"


def _value_text(annotation: Any) -> str:
    """Return what a value may be, in words."""
    annotation = plain_type(annotation)
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is dict:
        return f"name to {_value_text(arguments[1])}"
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return "section"
    if origin is tuple:
        return f"list of {_plural(_value_text(arguments[0]))}"
    if annotation != LevelValue and origin in (Union, types.UnionType):
        texts = [_value_text(part) for part in arguments if part is not type(None)]
        return " or ".join(dict.fromkeys(texts))
    return _word(annotation)


def _plural(text: str) -> str:
    """Return several of a kind of value."""
    return {"section": "sections", "number": "numbers"}.get(text, text)


def _word(annotation: Any) -> str:
    """Return what a plain value may be: a type or a list of allowed words."""
    if annotation == LevelValue:
        return "text or number"
    if get_origin(annotation) is Literal:
        return ", ".join(f"`{name}`" for name in get_args(annotation))
    return _WORDS[annotation]


_WORDS = {str: "text", bool: "`true`, `false`", int: "whole number", float: "number"}


def _model_of(annotation: Any) -> type[BaseModel] | None:
    """Return the section that an annotation holds: itself, or as what a mapping or list holds."""
    annotation = plain_type(annotation)
    if get_origin(annotation) is dict:
        annotation = plain_type(get_args(annotation)[1])
    if get_origin(annotation) is tuple:
        annotation = plain_type(get_args(annotation)[0])
    is_model = isinstance(annotation, type) and issubclass(annotation, BaseModel)
    return annotation if is_model else None


def main(arguments: list[str]) -> int:
    """Name the files that are out of step, or write them with ``--fix``; 1 when any is left."""
    fix = "--fix" in arguments
    stale = update(Path(__file__).parents[2], fix=fix)
    for path in stale:
        print(f"{'wrote' if fix else 'out of step:'} {path}")  # noqa: T201
    return 1 if stale and not fix else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
