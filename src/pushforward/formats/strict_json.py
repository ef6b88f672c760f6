"""Strict JSON: what we write, any parser reads; and the small documents of a run.

JSON has no NaN and no infinity, and Python's default output for them is not JSON. They are
written as the strings "nan", "inf" and "-inf", and `loads` turns exactly these three back into
floats. NumPy and JAX scalars and arrays become numbers and lists. A document is a JSON object in
a file of its own, replaced whole, with the number of its format.
"""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushforward._errors import CheckpointDamaged, InputError, StorageError
from pushforward.formats.durable import write_bytes

FORMAT = 2  # of run folders
_NON_FINITE = {"nan": math.nan, "inf": math.inf, "-inf": -math.inf}


def plain(value: Any) -> Any:
    """Turn `value` into what strict JSON can hold."""
    match value:
        case None | bool() | int() | str():
            return value
        case float():
            return float(value) if math.isfinite(value) else str(float(value))
        case Mapping():
            return {_key(key): plain(item) for key, item in value.items()}
        case list() | tuple():
            return [plain(item) for item in value]
    if hasattr(value, "tolist") and not isinstance(value.tolist(), complex):
        return plain(value.tolist())
    raise InputError(
        f"JSON cannot hold {value!r} of type {type(value).__name__}; expected numbers, strings, "
        "booleans, None, lists and dictionaries: write a complex number as [z.real, z.imag]"
    )


def dumps(value: Any, *, indent: int | None = None) -> str:
    """Serialise `value`: compact with sorted keys (one text for one value), indented in order."""
    return json.dumps(
        plain(value),
        sort_keys=indent is None,
        allow_nan=False,
        indent=indent,
        separators=(",", ":") if indent is None else (",", ": "),
    )


def loads(text: str | bytes) -> Any:
    """Parse strict JSON; raise `ValueError` for anything else."""
    try:
        return _restore(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deeply") from None


def write_document(path: Path, content: Mapping[str, Any], *, durable: bool = True) -> None:
    """Write a JSON document with our format number; `durable` as in `writing`."""
    text = dumps({**content, "format": FORMAT}, indent=1) + "\n"
    write_bytes(path, text.encode(), durable=durable)


def read_document(path: Path) -> dict[str, Any] | None:
    """Read a JSON document, without its format number; None if there is no such file."""
    try:
        content = loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointDamaged(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointDamaged(f"{path} is damaged: expected a JSON object")
    check_format(path, content.pop("format", FORMAT))
    return content


def check_format(path: str | Path, number: Any, *, known: int = FORMAT) -> None:
    """Refuse what a newer version wrote, and run folders of an older one."""
    if isinstance(number, int) and number > known:
        raise StorageError(
            f"{path} was written by a newer version (format {number}, this one reads up to "
            f"{known}): upgrade pushforward"
        )
    if number != known:
        raise StorageError(
            f"{path} was made by an older version (format {number}): its checkpoints cannot be "
            "read; start a new run"
        )


def _key(key: Any) -> str:
    if isinstance(key, str):
        return key
    raise InputError(f"JSON keys are strings, got {key!r}: write {{{str(key)!r}: ...}}")


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is not JSON")


def _restore(value: Any) -> Any:
    match value:
        case str():
            return _NON_FINITE.get(value, value)
        case dict():
            return {key: _restore(item) for key, item in value.items()}
        case list():
            return [_restore(item) for item in value]
    return value
