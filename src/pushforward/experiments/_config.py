"""The configuration of an experiment: a frozen model whose fields know type, range and unit.

An experiment subclasses `Config`, its nested groups subclass `Group`; pydantic checks every
field and reports all errors at once. What a TOML file, a JSON file or a preset can say is
brought to the field's type first (`natural`: a list becomes a tuple, 1e4 an integer, "none"
None), then judged strictly, so that `steps = "100"` is an error and not a hundred. `describe`
puts a field's type and range in words, `dump` writes a complete TOML file that loads back to
an equal config. How defaults, preset, file and overrides are merged is in `_resolve.py`.
"""

import math
import types
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

import tomlkit
from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo
from tomlkit.items import Item


class Group(BaseModel):
    """A nested group of keys: frozen, strict, closed to unknown keys."""

    model_config = ConfigDict(
        frozen=True,
        extra="forbid",
        strict=True,
        allow_inf_nan=False,
        validate_default=True,
        ser_json_inf_nan="constants",
    )

    @model_validator(mode="before")
    @classmethod
    def _bring_to_type(cls, values: Any) -> Any:
        if not isinstance(values, dict):
            return values
        fields = cls.model_fields
        return {
            k: natural(fields[k].annotation, v) if k in fields else v for k, v in values.items()
        }


class Config(Group):
    """The keys every experiment has; an experiment's own `Config` adds its fields."""

    seed: int = Field(
        default=0, ge=0, le=2**63 - 1, description="seed of every random number of the run"
    )
    x64: bool = Field(default=False, description="compute in float64")


class Fit(Group):
    """How a model is trained; `_choices.optimiser(config.fit)` makes the optax object."""

    steps: int = Field(default=1000, ge=1, le=10**9, description="optimiser steps in all")
    schedule_steps: int | None = Field(
        default=None, ge=1, le=10**9, description="steps the schedule spans (none: `steps`)"
    )
    batch: int = Field(default=256, ge=1, le=2**20, description="samples per step")
    optimiser: Literal["adam", "adamw", "radam", "sgd", "lion"] = Field(
        default="adam", description="rule of the update"
    )
    learning_rate: float = Field(default=1e-3, gt=0, le=10, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="warmup_cosine", description="learning rate along the steps"
    )
    warm_up: int = Field(default=100, ge=0, le=10**9, description="linear warm-up steps")
    decay: float = Field(
        default=1000.0,
        gt=0,
        le=1e12,
        description="scale of sqrt_decay and exponential",
        json_schema_extra={"unit": "steps"},
    )
    weight_decay: float = Field(default=0.0, ge=0, le=1, description="of adamw and lion")


# ---------------------------------------------------------------------------------------- types


def natural(kind: Any, value: Any) -> Any:
    """Bring a plain value to the type `kind`; leave what does not fit for pydantic to name."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        return natural(args[0], value)
    if origin in (Union, types.UnionType):
        if types.NoneType in args and (value is None or value == "none"):
            return None
        for arm in args:
            value = natural(arm, value)
        return value
    if origin is tuple and isinstance(value, list | tuple):
        items = [args[0]] * len(value) if args[-1] is ... else [*args, *[Any] * len(value)]
        return tuple(natural(item, v) for item, v in zip(items, value, strict=False))
    if kind is int and isinstance(value, float) and value.is_integer():
        return int(value)
    if kind is float and isinstance(value, float) and math.isnan(value):
        return "nan"  # inf is a number where a field allows it, nan never is
    if kind is Path and isinstance(value, str):
        return Path(value)
    if kind is timedelta and isinstance(value, str):
        return _time_span(value)
    return value


def kinds(kind: Any) -> Iterator[Any]:
    """Yield the arms of a union and the types under `Annotated`."""
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        yield from kinds(args[0])
    elif origin in (Union, types.UnionType):
        for arm in args:
            yield from kinds(arm)
    else:
        yield kind


def group_of(field: FieldInfo | None) -> type[Group] | None:
    """Return the `Group` that is a field's type, if it is one."""
    if field is None:
        return None
    found = (k for k in kinds(field.annotation) if isinstance(k, type) and issubclass(k, Group))
    return next(found, None)


def fields(model: type[Group], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield `(dotted key, field)` of every key that holds a value, groups opened."""
    for name, field in model.model_fields.items():
        group = group_of(field)
        if group is None:
            yield prefix + name, field
        else:
            yield from fields(group, f"{prefix}{name}.")


def describe(field: FieldInfo) -> str:
    """Say in words what a field accepts: `an integer in [1, 1048576] or none`."""
    return _words(field.annotation, field.metadata)


def unit(field: FieldInfo) -> str:
    """Return the unit of a field, if it has one."""
    extra = field.json_schema_extra
    return str(extra.get("unit", "")) if isinstance(extra, dict) else ""


_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    timedelta: "a time span such as 06:00:00",
    types.NoneType: "none",
}


def _words(kind: Any, metadata: list[Any]) -> str:
    origin, args = get_origin(kind), get_args(kind)
    if origin is Annotated:
        inner = [m for a in args[1:] for m in (a.metadata if isinstance(a, FieldInfo) else [a])]
        return _words(args[0], inner + metadata)
    if origin in (Union, types.UnionType):
        return " or ".join(_words(arm, metadata) for arm in args)
    if origin is Literal:
        return "one of " + ", ".join(str(a) for a in args)
    if origin is tuple:
        items = "entries" if args[-1] is ... else f"{len(args)} entries"
        each = args[0] if len(set(args) - {...}) == 1 else None
        each = f", each {_words(each, [])}" if each else ""
        return f"a list of {items}{_lengths(metadata)}{each}"
    if isinstance(kind, type) and issubclass(kind, Group):
        return "a group of keys"
    return _WORDS.get(kind, str(kind)) + (_range(metadata) if kind in (int, float) else "")


def _range(metadata: list[Any]) -> str:
    bounds = {
        k: v
        for m in metadata
        for k in ("ge", "gt", "le", "lt")
        if (v := getattr(m, k, None)) is not None
    }
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    if low is not None and high is not None:
        return f" in {'[' if 'ge' in bounds else '('}{low}, {high}{']' if 'le' in bounds else ')'}"
    if low is not None:
        return f" {'>=' if 'ge' in bounds else '>'} {low}"
    if high is not None:
        return f" {'<=' if 'le' in bounds else '<'} {high}"
    return ""


def _lengths(metadata: list[Any]) -> str:
    low = next((m.min_length for m in metadata if hasattr(m, "min_length")), None)
    high = next((m.max_length for m in metadata if hasattr(m, "max_length")), None)
    words = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return f" ({' and '.join(words)})" if words else ""


def _time_span(text: str) -> Any:
    try:
        return TypeAdapter(timedelta).validate_python(text)
    except ValidationError:
        return text


# ----------------------------------------------------------------------------------------- TOML


def flat(config: Group) -> dict[str, Any]:
    """Return `{dotted key: plain value}` of a config, groups opened, None as "none"."""
    plain = config.model_dump(mode="json")
    values: dict[str, Any] = {}
    for key, _ in fields(type(config)):
        value: Any = plain
        for part in key.split("."):
            value = value[part]
        values[key] = "none" if value is None else value
    return values


def dump(config: Group, *, header: dict[str, Any] | None = None, comments: bool = False) -> str:
    """Write the complete config as TOML, keys in the order of the fields.

    Parameters
    ----------
    config
        The config to write.
    header
        The table `[pushforward]`: version, experiment, preset, format.
    comments
        Whether each key is preceded by its doc line, range and unit.
    """
    document = tomlkit.document()
    _fill(document, type(config), config.model_dump(mode="json"), comments)
    if header is not None:
        document["pushforward"] = _table(header)
    return tomlkit.dumps(document)


def _fill(table: Any, model: type[Group], plain: dict[str, Any], comments: bool) -> None:
    # a scalar after a table would belong to that table: scalars first
    for name, field in sorted(model.model_fields.items(), key=lambda f: group_of(f[1]) is not None):
        group = group_of(field)
        if group is None:
            if comments:
                table.add(tomlkit.comment(doc_line(field)))
            table.add(name, _item(plain[name]))
        else:
            inner = tomlkit.table()
            _fill(inner, group, plain[name], comments)
            table.add(name, inner)


def doc_line(field: FieldInfo) -> str:
    """Say what a key means, accepts and is measured in, on one line."""
    suffix = f" [{unit(field)}]" if unit(field) else ""
    return f"{field.description or ''}{suffix}: {describe(field)}"


def _table(values: dict[str, Any]) -> Any:
    table = tomlkit.table()
    for key, value in values.items():
        table.add(key, _item(value))
    return table


def _item(value: Any) -> Item:
    return tomlkit.item("none" if value is None else value)
