"""Snakemake finds the executor in what is installed."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from dataclasses import fields
from pathlib import Path

import pytest

from mixedflow.plugins.settings import ExecutorSettings

ROOT = Path(__file__).parents[2]
SHIM = "snakemake_executor_plugin_mixedflow_dask"
FIND = """
import mixedflow
from snakemake_interface_executor_plugins.registry import ExecutorPluginRegistry
plugin = ExecutorPluginRegistry().get_plugin("mixedflow-dask")
print(mixedflow.__file__, sorted(item["cliarg"] for item in plugin.get_settings_info()))
"""


def built(to: Path, version: str) -> zipfile.ZipFile:
    wheel_module = pytest.importorskip("hatchling.builders.wheel")
    (wheel,) = wheel_module.WheelBuilder(str(ROOT)).build(directory=str(to), versions=[version])
    return zipfile.ZipFile(wheel)


def found_from(place: Path, cwd: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(place)}
    done = subprocess.run(
        [sys.executable, "-P", "-c", FIND], env=environment, cwd=cwd, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_is_discovered(tmp_path):
    wheel = built(tmp_path / "dist", "standard")
    names = set(wheel.namelist())
    assert f"{SHIM}/__init__.py" in names
    assert "mixedflow/plugins/supervisor.py" in names
    assert {name.split("/")[0] for name in names if ".dist-info" not in name} == {"mixedflow", SHIM}
    wheel.extractall(tmp_path / "site")
    said = found_from(tmp_path / "site", tmp_path)
    assert str(tmp_path / "site") in said
    assert "--mixedflow-dask-local-workers" in said


def test_an_editable_installation_is_discovered(tmp_path):
    """An editable installation puts the checkout on the path, where the package stands."""
    wheel = built(tmp_path / "dist", "editable")
    (pth,) = [name for name in wheel.namelist() if name.endswith(".pth")]
    assert set(wheel.read(pth).decode().split()) == {str(ROOT)}
    assert "--mixedflow-dask-address" in found_from(ROOT, tmp_path)


def test_no_switch_is_on_by_default():
    assert not [f.name for f in fields(ExecutorSettings) if f.default is True]
