"""What every peer's sweep has in common: read what is asked, fit, keep the -2 log L of every trait.

A peer's module gives ``fit(request)``, which returns the traits and their -2 log L. A request has
``data``, ``formula`` (its right side), ``traits``, ``fixed``, ``group``, ``way`` and ``keep``, the file that
-2 log L are written to.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from importlib.metadata import version
from pathlib import Path
from typing import Any

Request = dict[str, Any]


def main(fit: Callable[[Request], tuple[list[str], list[float]]], *packages: str) -> None:
    """Run what is asked and print one line of JSON."""
    request = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    traits, values = fit(request)
    Path(request["keep"]).write_text(json.dumps(dict(zip(traits, values, strict=True))))
    print(
        json.dumps({"count": len(traits), "versions": {name: version(name) for name in packages}})
    )
