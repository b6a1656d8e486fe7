"""A configuration file becomes a :class:`Config`, or one sentence about what is wrong with it.

Stands outside the equations of ``docs/algorithm.md``.
"""

from __future__ import annotations

import types
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any, TypeVar, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from mixedflow.config.models import Config
from mixedflow.errors import ConfigError, did_you_mean, listing

Model = TypeVar("Model", bound=BaseModel)

LONGEST_SHOWN = 60
"""Characters of a wrong value that a message repeats."""


class _UniqueKeyLoader(yaml.SafeLoader):
    """Safe YAML loader for which a repeated key is an error instead of the last one winning."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        seen: dict[Any, int] = {}
        for key_node, _ in node.value:
            if key_node.tag == "tag:yaml.org,2002:merge":
                continue
            key = self.construct_object(key_node, deep=True)
            line = key_node.start_mark.line + 1
            if isinstance(key, Hashable) and seen.setdefault(key, line) != line:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key}' stands twice, first in line {seen[key]}",
                    key_node.start_mark,
                )
        return super().construct_mapping(node, deep=deep)


def read_yaml(path: Path | str) -> Any:
    """Return what a YAML file holds; a repeated key, like any fault of the syntax, is an error."""
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise ConfigError(
            f"there is no configuration file '{path}'; write one with"
            " 'mixedflow init DATA FORMULA' or name another with --config"
        ) from None
    except UnicodeDecodeError as fault:
        raise ConfigError(f"{path} is not a UTF-8 text file (byte {fault.start})") from None
    except OSError as fault:
        raise ConfigError(f"{path} cannot be read: {fault.strerror}") from None
    return _parsed(text, str(path))


def _parsed(text: str, where: str) -> Any:
    try:
        # A subclass of SafeLoader: it builds plain values only.
        return yaml.load(text, Loader=_UniqueKeyLoader)  # noqa: S506
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark
        line = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise ConfigError(f"{where}{line}: {fault.problem or 'not valid YAML'}") from None
    except yaml.YAMLError as fault:
        reason = " ".join(str(fault).split())
        raise ConfigError(f"{where} is not valid YAML: {reason}") from None


def load_config(path: Path | str) -> Config:
    """Return the configuration that a file holds."""
    return check_config(read_yaml(path), str(path))


def check_config(content: Any, where: str = "the configuration") -> Config:
    """Return the configuration that a mapping holds; ``where`` opens the message of an error."""
    if content is None:
        raise ConfigError(f"{where} is empty; it needs the keys 'data' and 'models'")
    if not isinstance(content, Mapping):
        raise ConfigError(f"{where} holds {_kind(content)}; it must be a mapping of keys to values")
    return checked(Config, _named(content, where), where)


def parse_config(text: str, where: str) -> Config:
    """Return the configuration that a text holds."""
    return check_config(_parsed(text, where), where)


def config_text(config: Config) -> str:
    """Return the keys that were given as YAML, without ``dask``, which changes no result."""
    content = config.model_dump(mode="json", exclude_unset=True, exclude={"dask"})
    return yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _named(content: Any, where: str) -> Any:
    """Return the content with all keys as text: a data set may be called ``2024``."""
    if isinstance(content, list):
        return [_named(item, where) for item in content]
    if not isinstance(content, Mapping):
        return content
    for key in content:
        if not isinstance(key, (str, int, float)) or isinstance(key, bool):
            raise ConfigError(
                f"{where}: YAML reads the key '{key}' as {type(key).__name__}; put it in quotes"
            )
    return {str(key): _named(item, where) for key, item in content.items()}


def checked(model: type[Model], content: Any, where: str) -> Model:
    """Return ``content`` as ``model``, or raise the first fault as one sentence."""
    try:
        return model.model_validate(content)
    except ValidationError as failure:
        faults = failure.errors(include_url=False)
        fault = min(faults, key=_urgency)
        others = len({_value_place(list(item["loc"]), model) for item in faults}) - 1
        more = f" (and {others} more)" if others else ""
        raise ConfigError(f"{where}: {_sentence(fault, model)}{more}") from None


def _urgency(fault: ErrorDetails) -> int:
    """Order faults: a misspelt key explains the key that is then missing."""
    return {"extra_forbidden": 0, "missing": 2}.get(fault["type"], 1)


def _sentence(fault: ErrorDetails, root: type[BaseModel]) -> str:
    """Return one fault as a sentence with key path, what was found and what is allowed."""
    location = [part for part in fault["loc"] if part != "[key]"]
    found = fault["input"]
    if fault["type"] == "extra_forbidden":
        keys = _section(root, location[:-1])
        key = str(location[-1])
        parent = _dotted(location[:-1])
        place = f"'{parent}' has" if parent else "there is"
        return f"{place} no key '{key}'{did_you_mean(key, keys)}; allowed: {listing(keys)}"
    if fault["type"] == "missing":
        parent = _dotted(location[:-1]) or "the file"
        return f"{parent} lacks the key '{location[-1]}'"
    if fault["type"] == "value_error":
        place = _dotted(location)
        message = str(fault["ctx"]["error"]) if "ctx" in fault else fault["msg"]
        return f"{place}: {message}" if place else message
    if fault["type"] == "too_short":
        return f"{_value_place(location, root)} is empty; it needs at least one entry"
    return f"{_value_place(location, root)} {_expectation(fault, found)}"


def _expectation(fault: ErrorDetails, found: Any) -> str:
    """Return what a value is and what it should be."""
    context = fault.get("ctx", {})
    if fault["type"] == "literal_error":
        allowed = str(context["expected"]).replace(" or ", ", ")
        names = [name.strip(" '") for name in allowed.split(",")]
        near = did_you_mean(str(found), names)
        return f"is {_shown(found)}{near}; allowed: {allowed}"
    wanted = _WANTED.get(fault["type"])
    if wanted is not None:
        return f"is {_shown(found)}; it must be {wanted.format(**context)}"
    return f"is {_shown(found)}: {fault['msg']}"


_WANTED = {
    "string_type": "text (put it in quotes if it looks like a number or date)",
    "string_too_short": "text that is not empty",
    "bool_type": "true or false",
    "int_type": "a whole number",
    "float_type": "a number",
    "dict_type": "a mapping of keys to values",
    "model_type": "a mapping of keys to values",
    "tuple_type": "a list",
    "greater_than": "greater than {gt}",
    "greater_than_equal": "at least {ge}",
    "less_than": "less than {lt}",
    "finite_number": "a finite number",
}


def _section(root: type[BaseModel], location: list[Any]) -> list[str]:
    """Return the keys that the section at ``location`` may have."""
    here: Any = root
    for part in location:
        here = _below(here, part)
    return list(here.model_fields) if _is_section(here) else []


def _is_section(annotation: Any) -> bool:
    return isinstance(annotation, type) and issubclass(annotation, BaseModel)


def _below(annotation: Any, part: Any) -> Any:
    """Return the type of what stands at a key or place of a value, None where that is unknown."""
    if _is_section(annotation):
        field = annotation.model_fields.get(str(part))
        return None if field is None else plain_type(field.annotation)
    if get_origin(annotation) is dict:
        return plain_type(get_args(annotation)[1])
    if get_origin(annotation) is tuple and isinstance(part, int):
        return plain_type(get_args(annotation)[0])
    return None


def plain_type(annotation: Any) -> Any:
    """Return a type without what it is annotated by, and without the None that it may be."""
    if get_origin(annotation) is Annotated:
        return plain_type(get_args(annotation)[0])
    if get_origin(annotation) in (Union, types.UnionType):
        kept = [part for part in get_args(annotation) if part is not type(None)]
        return plain_type(kept[0]) if len(kept) == 1 else annotation
    return annotation


def _value_place(location: list[Any], root: type[BaseModel]) -> str:
    """Return the key path of a value, without the names of union members pydantic appends."""
    here: Any = root
    kept: list[Any] = []
    for part in location:
        known = _is_section(here) or get_origin(here) is dict
        if not known and not isinstance(part, int):
            continue
        here = _below(here, part)
        kept.append(part)
    return _dotted(kept) or "the file"


def _dotted(location: list[Any]) -> str:
    parts = [f"[{part + 1}]" if isinstance(part, int) else f".{part}" for part in location]
    return "".join(parts).lstrip(".")


def _shown(found: Any) -> str:
    if isinstance(found, str):
        return _quoted(found)
    if isinstance(found, bool):
        return str(found).lower()
    if found is None:
        return "empty"
    return _kind(found) if isinstance(found, (Mapping, list, tuple)) else str(found)


def _kind(found: Any) -> str:
    if isinstance(found, Mapping):
        return "a mapping"
    return "a list" if isinstance(found, (list, tuple)) else _quoted(str(found))


def _quoted(text: str) -> str:
    return f"'{text}'" if len(text) <= LONGEST_SHOWN else f"'{text[:LONGEST_SHOWN]}...'"
