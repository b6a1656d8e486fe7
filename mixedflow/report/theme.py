"""Templates, style and scripts of the pages.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path

import jinja2
from markupsafe import Markup


def environment() -> jinja2.Environment:
    """Return where the templates are found; what is put into them is escaped."""
    return jinja2.Environment(
        loader=jinja2.PackageLoader("mixedflow.report"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def asset(name: str) -> Markup:
    """Return a file of the templates folder, to be put on the page as it is."""
    text = (Path(__file__).parent / "templates" / name).read_text(encoding="utf-8")
    return Markup(text)  # noqa: S704 - a file of this package, not user input
