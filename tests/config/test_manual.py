"""The manual and the schema are in step with the models."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from pydantic import BaseModel

from mixedflow.config import Config, manual

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize(
    ("path", "make"), [(manual.MANUAL, manual.manual), (manual.SCHEMA, manual.schema)]
)
def test_generated_files_are_in_step(path, make):
    assert (ROOT / path).read_text(encoding="utf-8") == make(), (
        "run `python -m mixedflow.config.manual --fix`"
    )


def test_writing_them_twice_changes_nothing(tmp_path):
    assert len(manual.update(tmp_path, fix=False)) == 2
    assert not list(tmp_path.iterdir())
    assert len(manual.update(tmp_path, fix=True)) == 2
    assert manual.update(tmp_path, fix=False) == []


def _sections(model: type[BaseModel]) -> list[type[BaseModel]]:
    return [section for _, _, section in manual._sections()] + [model]


def test_every_key_is_described():
    for section in _sections(Config):
        for name, field in section.model_fields.items():
            assert field.description, f"{section.__name__}.{name}"
            assert f"| `{name}` |" in manual.manual()


def test_the_example_of_the_manual_is_valid():
    text = manual.manual().split("```yaml\n")[1].split("```")[0]
    assert Config.model_validate(yaml.safe_load(text)).models


def test_the_shipped_configuration_fits_the_schema():
    jsonschema = pytest.importorskip("jsonschema")
    schema = json.loads((ROOT / manual.SCHEMA).read_text(encoding="utf-8"))
    content = yaml.safe_load((ROOT / "config/config.yaml").read_text(encoding="utf-8"))
    jsonschema.validate(content, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**content, "modles": {}}, schema)
