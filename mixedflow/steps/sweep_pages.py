"""A stored sweep as the report shows it.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from pathlib import Path

from mixedflow.config import Config
from mixedflow.errors import ConfigError, did_you_mean
from mixedflow.report import SweepSection
from mixedflow.sweeps.result import load_sweep


def sweep_section(folder: Path, config: Config | None, generated: str) -> SweepSection:
    """Return what the pages show of the sweep in a folder; the folder's name is the sweep's."""
    name, result = folder.resolve().name, load_sweep(folder)
    page = f"sweep-{name}.html"
    if config is None:
        return SweepSection(name, result, page=page, generated=generated)
    if name not in config.sweep:
        raise ConfigError(
            f"the sweep '{name}' of '{folder}' is not in the configuration"
            f"{did_you_mean(name, config.sweep)}"
        )
    asked = config.sweep[name]
    wide = asked.matrix is None and asked.long is None
    return SweepSection(
        name,
        result,
        title=asked.title or "",
        page=page,
        data=f'"{config.data[asked.data].path}"' if wide else "",
        generated=generated,
    )
