"""What all sections of the configuration have in common.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, ConfigDict, model_validator

LevelValue = str | int | float


def as_tuple(value: Any) -> Any:
    """Return a list as the tuple that a frozen section holds; anything else as it is."""
    return tuple(value) if isinstance(value, list) else value


Names = Annotated[tuple[str, ...], BeforeValidator(as_tuple)]
Levels = Annotated[tuple[LevelValue, ...], BeforeValidator(as_tuple)]


class Section(BaseModel):
    """Common to all sections: frozen, no unknown keys, no silent conversions."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    @model_validator(mode="before")
    @classmethod
    def _empty_means_default(cls, value: Any) -> Any:
        """Read a key without a value (``weights:``) as a key that is left out."""
        if not isinstance(value, dict):
            return value
        optional = {key for key, field in cls.model_fields.items() if not field.is_required()}
        return {key: item for key, item in value.items() if item is not None or key not in optional}
