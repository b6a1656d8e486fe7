"""The page of structures is in step with the registry."""

from __future__ import annotations

from pathlib import Path

from mixedflow.covariance import page
from mixedflow.covariance.registry import residual_structures, structures

ROOT = Path(__file__).parents[2]


def test_the_page_is_in_step():
    assert not page.update(ROOT, fix=False), "run `python -m mixedflow.covariance.page --fix`"


def test_writing_it_twice_changes_nothing(tmp_path):
    assert page.update(tmp_path, fix=False)
    assert not list(tmp_path.iterdir())
    assert page.update(tmp_path, fix=True)
    assert not page.update(tmp_path, fix=False)


def test_it_names_every_structure_of_ours():
    text = page.page()
    for one in [*structures().values(), *residual_structures().values()]:
        if type(one).__module__.startswith("mixedflow."):
            assert f"| `{one.name}` | {one.title} |" in text
