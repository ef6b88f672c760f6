"""From layers to a config: defaults < preset < file < `key=value`, all errors at once.

Each layer is opened into dotted keys that remember where they were written; the merged tree is
then judged by the experiment's `Config`. Every complaint names the key, what was read, what is
accepted and the file and line, and all complaints come in one `ConfigError`. Nothing here
imports JAX: a mistyped key is answered in a tenth of a second.
"""

import difflib
import re
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any, Generic, Literal, TypeVar, get_args, get_origin

from pydantic import ValidationError

from pushforward import __version__
from pushforward._errors import ConfigError
from pushforward.experiments._config import Config, Group, describe, fields, group_of, kinds
from pushforward.experiments._files import line_of, read_file, shown

C = TypeVar("C", bound=Config)

OVERRIDE_BYTES = 4096


@dataclass(frozen=True)
class Resolved(Generic[C]):
    """A complete config, the preset it started from, and the keys set beyond that preset."""

    config: C
    preset: str
    changed: tuple[str, ...]


@dataclass(frozen=True)
class _Given:
    value: Any
    origin: str = ""  # where it was written, if that was not the command line


def resolve(
    model: type[C],
    name: str,
    presets: Mapping[str, Mapping[str, Any]],
    *,
    file: Path | None = None,
    overrides: Sequence[str] = (),
    accept_defaults: bool = False,
) -> Resolved[C]:
    """Merge defaults, preset, file and overrides into one checked config.

    Parameters
    ----------
    model
        The experiment's `Config`.
    name
        The experiment's name, for messages and to check the file's header.
    presets
        The experiment's `PRESETS`.
    file
        A TOML or JSON file; it may carry a `[pushforward]` header.
    overrides
        `key=value` items; `preset=NAME` picks the preset (default `laptop`, if there is one).
    accept_defaults
        Whether a file of an older version may lack keys or carry keys that are gone.

    Raises
    ------
    ConfigError
        All problems at once.
    """
    problems: list[str] = []
    typed = _split(overrides, problems)
    asked = typed.pop("preset", None)
    tree, lines, header = read_file(file, name) if file else ({}, {}, {})
    preset = _preset(asked, header.get("preset"), name, presets, problems)

    layers = [
        _open(model, presets.get(preset, {}), lambda key: f"preset {preset}"),
        _open(model, tree, lambda key: f"{file}{line_of(key, lines)}"),
        {key: _typed(model, key, text) for key, text in typed.items()},
    ]
    given = {key: value for layer in layers for key, value in layer.items()}
    known = dict(fields(model))
    old = bool(header) and header.get("version") != __version__
    if old and accept_defaults:
        given = {k: g for k, g in given.items() if k in known or k not in layers[1]}
    elif old:
        problems += [
            f"{key}: missing in {file}, made by version {header.get('version')}; "
            "--accept-defaults takes the default"
            for key in known.keys() - layers[1].keys()
        ]
    unknown = [_unknown(model, name, key, g) for key, g in given.items() if key not in known]
    problems += [*unknown, f"the keys of {name}: {', '.join(known)}"] if unknown else []
    config, more = _judge(model, {k: g for k, g in given.items() if k in known})
    problems += more
    if problems or config is None:
        raise ConfigError("\n".join(problems))
    return Resolved(config, preset, tuple(sorted({**layers[1], **layers[2]})))


# ------------------------------------------------------------------------------------ overrides


def _split(overrides: Sequence[str], problems: list[str]) -> dict[str, str]:
    typed: dict[str, str] = {}
    for item in overrides:
        key, equals, text = item.partition("=")
        key = key.strip()
        if not equals or not key:
            problems.append(f"{shown(item)}: write key=value, for example seed=1")
        elif len(item.encode(errors="replace")) > OVERRIDE_BYTES:
            problems.append(f"{shown(key)}: an override has at most {OVERRIDE_BYTES} bytes")
        elif key in typed:
            problems.append(f"{shown(key)} is given twice: {shown(typed[key])}, {shown(text)}")
        else:
            typed[key] = text
    return typed


def _typed(model: type[Group], key: str, text: str) -> _Given:
    field = dict(fields(model)).get(key)
    return _Given(text if field is None else read_text(field.annotation, text))


def read_text(kind: Any, text: str) -> Any:
    """Read the characters typed for a field of type `kind`: its type decides, not TOML's rules."""
    arms = list(kinds(kind))
    if any(_is_text(arm, text) for arm in arms):
        return text
    if text == "none" and type(None) in arms:
        return None
    sequence = next((arm for arm in arms if get_origin(arm) is tuple), None)
    if sequence is not None:
        return _read_list(get_args(sequence)[0], text.strip())
    return _read_value(text)


def _is_text(arm: Any, text: str) -> bool:
    if get_origin(arm) is Literal:
        return text in get_args(arm)
    return arm in (str, Path, timedelta)


def _read_list(item: Any, text: str) -> Any:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    found = _toml(f"[{inner}]")
    if isinstance(found, list):
        return found
    parts = [part.strip() for part in inner.split(",")]
    return [read_text(item, part) for part in (parts if parts[-1] else parts[:-1])]


def _read_value(text: str) -> Any:
    found = _toml(text)
    if found is not None:
        return found
    if re.fullmatch(r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII):
        return float(text)
    return text


def _toml(text: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return None
    return tree["value"] if len(tree) == 1 else None


# ----------------------------------------------------------------------------------- judgement


def _preset(
    asked: str | None,
    made: Any,
    name: str,
    presets: Mapping[str, Any],
    problems: list[str],
) -> str:
    if asked is not None and made is not None and asked != made:
        problems.append(
            f"preset = {shown(asked)}: the file was made with preset {shown(made)} and holds "
            "every key; leave out preset= or the file"
        )
    chosen = asked if asked is not None else made
    if chosen is None or chosen == "":
        return "laptop" if "laptop" in presets else ""
    if chosen not in presets:
        names = ", ".join(presets) or "none"
        problems.append(f"preset = {shown(chosen)}: {name} has the presets {names}")
        return ""
    return str(chosen)


def _open(model: type[Group] | None, tree: Mapping[str, Any], origin: Any) -> dict[str, _Given]:
    return {key: _Given(value, origin(key)) for key, value in _flatten(model, tree)}


def _flatten(
    model: type[Group] | None, tree: Mapping[str, Any], prefix: str = ""
) -> Iterator[tuple[str, Any]]:
    for name, value in tree.items():
        field = model.model_fields.get(name) if model else None
        group = group_of(field)
        if isinstance(value, Mapping) and (group or (field is None and value)):
            yield from _flatten(group, value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _judge(model: type[C], given: Mapping[str, _Given]) -> tuple[C | None, list[str]]:
    tree: dict[str, Any] = {}
    for key, value in given.items():
        *groups, last = key.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value.value
    try:
        return model.model_validate(tree), []
    except ValidationError as error:
        return None, _complaints(model, given, error)


def _complaints(
    model: type[Group], given: Mapping[str, _Given], error: ValidationError
) -> list[str]:
    known, lines = dict(fields(model)), []
    for one in error.errors(include_url=False):
        key, index = "", ""
        for part in one["loc"]:
            if isinstance(part, int):
                index += f"[{part}]"
            elif key not in known:
                key = f"{key}.{part}".lstrip(".")
        origin = _place(given[key]) if key in given and key in known else ""
        if key not in known or one["type"] in ("value_error", "assertion_error"):
            message = (
                str(one["msg"]).removeprefix("Value error, ").removeprefix("Assertion failed, ")
            )
            lines.append(f"{key + ': ' if key else ''}{message}{origin}")
        elif one["type"] == "missing" and not index:
            lines.append(f"{key}: is required and must be {describe(known[key])}")
        else:
            value = given[key].value if index and key in given else one["input"]
            lines.append(f"{key} = {shown(value)}: must be {describe(known[key])}{origin}")
    return list(dict.fromkeys(lines))


def _unknown(model: type[Group], name: str, key: str, given: _Given) -> str:
    names = [k for k, _ in fields(model)]
    inside = ", ".join(k for k in names if k.startswith(key + "."))
    if inside:
        return f"{key} = {shown(given.value)}: is a group; its keys are {inside}{_place(given)}"
    close = max(names, key=lambda k: _likeness(key, k))
    hint = f" Did you mean {close!r}?" if _likeness(key, close) > 0.6 else ""
    plain = key if key.isprintable() and len(key) <= 80 else shown(key)[1:-1]
    return f"{name} has no key {plain!r}.{hint}{_place(given)}"


def _place(given: _Given) -> str:
    return f" ({given.origin})" if given.origin else ""


def _likeness(a: str, b: str) -> float:
    def ratio(x: str, y: str) -> float:
        return difflib.SequenceMatcher(None, x[:100], y).ratio()

    return max(ratio(a, b), ratio(a.rpartition(".")[2], b.rpartition(".")[2]))


def seconds(text: str) -> float:
    """Read a time span: `90`, `45s`, `3h50m`, `1:30:00`."""
    if re.fullmatch(r"\d+(\.\d+)?", text, re.ASCII):
        return float(text)
    if found := re.fullmatch(r"(?:(\d+):)?(\d+):(\d+)", text, re.ASCII):
        hours, minutes, rest = (int(part or 0) for part in found.groups())
        return 3600.0 * hours + 60.0 * minutes + rest
    found = re.fullmatch(r"(?:(\d+)d)?(?:(\d+)h)?(?:(\d+)m)?(?:(\d+)s)?", text, re.ASCII)
    if found and text:
        scale = (86400.0, 3600.0, 60.0, 1.0)
        return sum(s * int(part or 0) for s, part in zip(scale, found.groups(), strict=True))
    raise ConfigError(f"time limit {shown(text)}: write seconds, 3h50m or 1:30:00")
