"""Strict JSON: what we write, any parser reads.

JSON has no NaN and no infinity, and Python's default output for them is not JSON. They are
written as the strings "nan", "inf" and "-inf", and `loads` turns exactly these three back into
floats. NumPy and JAX scalars and arrays become numbers and lists.
"""

import json
import math
from collections.abc import Mapping
from typing import Any

from pushforward._errors import InputError

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
    separators = (",", ":") if indent is None else (",", ": ")
    return json.dumps(
        plain(value),
        sort_keys=indent is None,
        allow_nan=False,
        indent=indent,
        separators=separators,
    )


def loads(text: str | bytes) -> Any:
    """Parse strict JSON; raise `ValueError` for anything else."""
    try:
        return _restore(json.loads(text, parse_constant=_refuse))
    except RecursionError:
        raise ValueError("nested too deeply") from None


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
