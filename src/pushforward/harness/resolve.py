"""From layers to one config: defaults < preset < file < `key=value`, all errors at once.

The layers are merged key by key, so that one override leaves every other key as it was, and the
experiment's `Config` judges the result. Every complaint names the key, what was read, what is
accepted and the file and line; all complaints come in one `ConfigError`.
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
from pydantic.fields import FieldInfo

from .. import __version__
from .._errors import ConfigError
from .config import Config, Group, describe, fields, group_of, kinds, leaves
from .files import line_of, read_file, shown

C = TypeVar("C", bound=Config)
OVERRIDE_BYTES = 4096


@dataclass(frozen=True)
class Resolved(Generic[C]):
    """A complete config, the preset it started from, and the keys set beyond that preset."""

    config: C
    preset: str
    changed: tuple[str, ...]


def resolve(
    model: type[C],
    name: str,
    presets: Mapping[str, Mapping[str, Any]],
    *,
    file: Path | None = None,
    text: str | None = None,
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
    file, text
        A TOML or JSON file, or its name and text; it may carry a `[pushforward]` header.
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
    tree, lines, header = read_file(file, name, text) if file else ({}, {}, {})
    preset = _preset(asked, header.get("preset"), name, presets, problems)
    known = dict(fields(model))
    places: dict[str, str] = {}  # where a value was written, if that was not the command line
    from_file = dict(leaves(model, tree))
    if header and header.get("version") != __version__:
        if accept_defaults:
            from_file = {k: v for k, v in from_file.items() if k in known}
        problems += [] if accept_defaults else _absent(file, header, known.keys() - from_file)
    written = {k: read_text(known[k].annotation, v) if k in known else v for k, v in typed.items()}
    given = dict(leaves(model, presets.get(preset, {})))
    places |= dict.fromkeys(given, f" (preset {preset})")
    places |= {k: f" ({file}{line_of(k, lines)})" for k in from_file} | dict.fromkeys(written, "")
    given |= from_file | written
    unknown = [_unknown(known, name, k, given[k]) + places[k] for k in given if k not in known]
    problems += [*unknown, f"the keys of {name}: {', '.join(known)}"] if unknown else []
    tree = _tree(dict(_defaults(model)) | {k: v for k, v in given.items() if k in known})
    try:
        config = model.model_validate(tree)
    except ValidationError as error:
        raise ConfigError(
            "\n".join([*problems, *_complaints(known, given, places, error)])
        ) from None
    if problems:
        raise ConfigError("\n".join(problems))
    return Resolved(config, preset, tuple(sorted({*from_file, *written})))


def _defaults(model: type[Group], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield the default of every key, those of a group from its default instance."""
    for name, field in model.model_fields.items():
        if isinstance(field.default, Group):
            yield from leaves(type(field.default), field.default.model_dump(), f"{prefix}{name}.")
        elif (group := group_of(field)) is not None:
            yield from _defaults(group, f"{prefix}{name}.")
        elif not field.is_required():
            yield prefix + name, field.default


def _tree(values: Mapping[str, Any]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for dotted, value in values.items():
        *groups, last = dotted.split(".")
        place = tree
        for group in groups:
            place = place.setdefault(group, {})
        place[last] = value
    return tree


def _preset(
    asked: str | None, made: Any, name: str, presets: Mapping[str, Any], problems: list[str]
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


# ------------------------------------------------------------------------------------ overrides


def _split(overrides: Sequence[str], problems: list[str]) -> dict[str, str]:
    typed: dict[str, str] = {}
    for item in overrides:
        name, equals, text = item.partition("=")
        name = name.strip()
        if not equals or not name:
            problems.append(f"{shown(item)}: write key=value, for example seed=1")
        elif len(item.encode(errors="replace")) > OVERRIDE_BYTES:
            problems.append(f"{shown(name)}: an override has at most {OVERRIDE_BYTES} bytes")
        elif name in typed:
            problems.append(f"{shown(name)} is given twice: {shown(typed[name])}, {shown(text)}")
        else:
            typed[name] = text
    return typed


def read_text(kind: Any, text: str) -> Any:
    """Read the characters typed for a field of type `kind`: its type decides, not TOML's rules."""
    arms = list(kinds(kind))
    if any(text in get_args(a) if get_origin(a) is Literal else _is_text(a) for a in arms):
        return text
    if text == "none" and type(None) in arms:
        return None
    sequence = next((arm for arm in arms if get_origin(arm) is tuple), None)
    if sequence is not None:
        return _read_list(get_args(sequence)[0], text.strip())
    found = _toml(text)
    if found is None and re.fullmatch(
        r"\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*", text, re.ASCII
    ):
        return float(text)
    return text if found is None else found


def _is_text(kind: Any) -> bool:
    return kind in (str, Path, timedelta)


def _read_list(item: Any, text: str) -> Any:
    inner = text[1:-1] if text.startswith("[") and text.endswith("]") else text
    found = _toml(f"[{inner}]")
    words = any(map(_is_text, kinds(item)))  # then 1,2 are two texts, not two numbers
    if isinstance(found, list) and (not words or all(isinstance(v, str) for v in found)):
        return found
    parts = [part.strip() for part in inner.split(",")]
    return [read_text(item, part) for part in (parts if parts[-1] else parts[:-1])]


def _toml(text: str) -> Any:
    try:
        tree = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        return None
    return tree["value"] if len(tree) == 1 else None


# ----------------------------------------------------------------------------------- complaints


def _complaints(
    known: Mapping[str, FieldInfo],
    given: Mapping[str, Any],
    places: Mapping[str, str],
    error: ValidationError,
) -> list[str]:
    """Return one line a key: what was read, what it must be, where it was written."""
    lines: dict[str, str] = {}
    for one in error.errors(include_url=False):
        name, index = "", ""
        for part in one["loc"]:
            if isinstance(part, int):
                index += f"[{part}]"
            elif name not in known:
                name = f"{name}.{part}".lstrip(".")
        place = places.get(name, "") if name in known else ""
        if name not in known or one["type"] in ("value_error", "assertion_error"):
            words = re.sub(r"^(Value error|Assertion failed), ", "", str(one["msg"]))
            line = f"{name + ': ' if name else ''}{words}{place}"
        elif one["type"] == "missing" and not index:
            line = f"{name}: is required and must be {describe(known[name])}"
        else:
            value = given[name] if index and name in given else one["input"]
            line = f"{name} = {shown(value)}: must be {describe(known[name])}{place}"
        lines.setdefault(name or line, line)
    return list(lines.values())


def _absent(file: Path | None, header: Mapping[str, Any], names: set[str]) -> list[str]:
    made = f"missing in {file}, made by version {header.get('version')}"
    return [f"{k}: {made}; --accept-defaults takes the default" for k in sorted(names)]


def _unknown(known: Mapping[str, FieldInfo], name: str, given: str, value: Any) -> str:
    inside = ", ".join(k for k in known if k.startswith(given + "."))
    if inside:
        return f"{given} = {shown(value)}: is a group; its keys are {inside}"
    close = max(known, key=lambda k: _likeness(given, k))
    hint = f" Did you mean {close!r}?" if _likeness(given, close) > 0.6 else ""
    plain = given if given.isprintable() and len(given) <= 80 else shown(given)[1:-1]
    return f"{name} has no key {plain!r}.{hint}"


def _likeness(a: str, b: str) -> float:
    def ratio(x: str, y: str) -> float:
        return difflib.SequenceMatcher(None, x[:100], y).ratio()

    return max(ratio(a, b), ratio(a.rpartition(".")[2], b.rpartition(".")[2]))
