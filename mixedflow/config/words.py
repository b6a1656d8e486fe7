"""Values of the configuration as words of a command line.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping

from mixedflow.config.section import Section


def keys_given(section: Section) -> dict[str, object]:
    """Return the keys of a section that were given."""
    return section.model_dump(mode="json", exclude_unset=True)


def in_a_line(value: object) -> str:
    """Return a value as YAML in one line."""
    return json.dumps(value, ensure_ascii=False)


def as_options(values: Mapping[str, object]) -> list[str]:
    """Return the values that are not None as ``--name=value``."""
    given = {name: value for name, value in values.items() if value is not None}
    return [f"--{name.replace('_', '-')}={value}" for name, value in given.items()]
