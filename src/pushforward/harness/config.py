"""The configuration of an experiment: a frozen model whose fields know type, range and unit.

An experiment subclasses `Config`; its groups of keys subclass `Group`, and a training is a `Fit`.
Pydantic judges every field strictly, after what TOML can say was brought to the field's type
(`natural`: a list becomes a tuple, 1e4 an integer, "none" None), so that `steps = "100"` is an
error and not a hundred. Nothing here imports JAX: a mistyped key is answered at once.
"""

import math
import types
from collections.abc import Iterator, Mapping
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, Union, get_args, get_origin

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    model_validator,
)
from pydantic.fields import FieldInfo


def key(default: Any, doc: str, *, unit: str = "", **rules: Any) -> Any:
    """Return a field: its default, one line on what it means, and its range.

    Parameters
    ----------
    default
        The value where nothing else is said; it is checked too.
    doc
        What the key means, for `pushforward show`.
    unit
        Shown in brackets.
    rules
        `ge gt le lt multiple_of min_length max_length` and what else pydantic's `Field` takes.
    """
    return Field(default=default, description=doc, json_schema_extra={"unit": unit}, **rules)


def _distinct(values: tuple[float, ...]) -> tuple[float, ...]:
    if len({f"{v:g}" for v in values}) < len(values):
        raise ValueError(f"must be distinct, for rows are named after them: {list(values)}")
    return values


# Couplings of a run whose rows are named after them.
Couplings = Annotated[
    tuple[Annotated[float, Field(gt=0, le=1e4)], ...],
    Field(min_length=1),
    AfterValidator(_distinct),
]


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
        known = cls.model_fields
        return {k: natural(known[k].annotation, v) if k in known else v for k, v in values.items()}


class Config(Group):
    """The keys every experiment has; an experiment's own `Config` adds its fields."""

    seed: int = key(0, "seed of every random number of the run", ge=0, le=2**63 - 1)
    x64: bool = key(False, "compute in float64")


class Fit(Group):
    """How a model is trained by `Lab.train`; use an instance, `Fit(steps=4000, ema=0.99)`."""

    steps: int = key(1000, "optimiser steps in all", ge=1, le=10**9)
    schedule_steps: int | None = key(
        None, "steps the schedule spans (none: `steps`)", ge=1, le=10**9
    )
    batch: int = key(256, "samples per step", ge=1, le=2**20)
    optimiser: Literal["adam", "adamw", "radam", "sgd", "lion"] = key("adam", "rule of the update")
    learning_rate: float = key(1e-3, "peak learning rate", gt=0, le=10)
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = key(
        "warmup_cosine", "learning rate along the steps"
    )
    warm_up: int = key(100, "linear warm-up of the learning rate", unit="steps", ge=0, le=10**9)
    decay: float = key(1000.0, "scale of sqrt_decay and exponential", unit="steps", gt=0, le=1e12)
    weight_decay: float = key(0.0, "of adamw and lion", ge=0, le=1)
    ema: float | None = key(None, "decay of the averaged weights (none: no average)", ge=0, lt=1)


# ---------------------------------------------------------------------------------------- types


def natural(kind: Any, value: Any) -> Any:
    """Bring what TOML or JSON can say to the type `kind`; leave the rest for pydantic to name."""
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
        try:
            return TypeAdapter(timedelta).validate_python(value)
        except ValidationError:
            return value
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
    found = kinds(field.annotation) if field is not None else ()
    return next((k for k in found if isinstance(k, type) and issubclass(k, Group)), None)


def fields(model: type[Group], prefix: str = "") -> Iterator[tuple[str, FieldInfo]]:
    """Yield `(dotted key, field)` of every key that holds a value, groups opened."""
    for name, field in model.model_fields.items():
        group = group_of(field)
        if group is None:
            yield prefix + name, field
        else:
            yield from fields(group, f"{prefix}{name}.")


def flat(config: Group) -> dict[str, Any]:
    """Return `{dotted key: plain value}` of a config, groups opened, None as "none"."""
    plain = dict(leaves(type(config), config.model_dump(mode="json")))
    return {name: "none" if value is None else value for name, value in plain.items()}


def leaves(model: type[Group] | None, tree: Any, prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield `(dotted key, value)` of a tree, opened where the model has groups."""
    for name, value in tree.items():
        field = model.model_fields.get(name) if model else None
        group = group_of(field)
        if isinstance(value, Mapping) and (group or (field is None and value)):
            yield from leaves(group, value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


# ---------------------------------------------------------------------------------------- words

_WORDS = {
    bool: "true or false",
    int: "an integer",
    float: "a number",
    str: "text",
    Path: "a path",
    timedelta: "a time span such as 06:00:00",
    types.NoneType: "none",
}


def describe(field: FieldInfo) -> str:
    """Say in words what a field accepts: `an integer in [1, 1048576] or none`."""
    return _words(field.annotation, field.metadata)


def doc_line(field: FieldInfo) -> str:
    """Say what a key means, accepts and is measured in, on one line."""
    extra = field.json_schema_extra
    unit = str(extra.get("unit", "")) if isinstance(extra, dict) else ""
    return f"{field.description or ''}{f' [{unit}]' if unit else ''}: {describe(field)}"


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
    return _WORDS.get(kind, str(kind)) + (_range(metadata) if kind in (int, float) else "")


def _range(metadata: list[Any]) -> str:
    names = ("ge", "gt", "le", "lt", "multiple_of")
    found = [(k, getattr(m, k)) for m in metadata for k in names if getattr(m, k, None) is not None]
    bounds = dict(found)
    low, high = bounds.get("ge", bounds.get("gt")), bounds.get("le", bounds.get("lt"))
    of = f", a multiple of {bounds['multiple_of']}" if "multiple_of" in bounds else ""
    if low is not None and high is not None:
        left, right = "[" if "ge" in bounds else "(", "]" if "le" in bounds else ")"
        return f" in {left}{low}, {high}{right}{of}"
    if low is not None:
        return f" {'>=' if 'ge' in bounds else '>'} {low}{of}"
    if high is not None:
        return f" {'<=' if 'le' in bounds else '<'} {high}{of}"
    return of


def _lengths(metadata: list[Any]) -> str:
    low = next((m.min_length for m in metadata if hasattr(m, "min_length")), None)
    high = next((m.max_length for m in metadata if hasattr(m, "max_length")), None)
    words = [f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None)
    return f" ({' and '.join(words)})" if words else ""
