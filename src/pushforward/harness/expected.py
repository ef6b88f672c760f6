"""Ours beside theirs: what an experiment found, what was expected, and who said so.

`expected(config, preset)` of an experiment yields `(name, Expected)` pairs, each with its source:
`exact` (a proof or a quadrature), `paper` (a printed number and its place), `measured` (a number
seen before, under stated conditions) or `GOAL` (to be reached, not yet seen). A comparison that
needs our error bar does not judge a number that has none; a value or an error that is not finite
has always missed.
"""

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .._errors import ConfigError, InputError

GOAL = "goal"


def exact(text: str) -> str:
    """Return the source of a number that is known exactly; `text` says from what."""
    return f"exact: {text}"


def measured(conditions: str) -> str:
    """Return the source of a number measured before, under `conditions`."""
    return f"measured: {conditions}"


def paper(reference: str, where: str) -> str:
    """Return the source of a number printed in `reference` (a key of `references.bib`)."""
    return f"{reference}, {where}"


@dataclass(frozen=True)
class Expected:
    """One expected number: its value, when ours counts as equal to it, and its source.

    `holds(value, error)` returns None where it cannot judge.
    """

    value: float
    comparison: str
    holds: Callable[[float, float | None], bool | None]
    source: str
    unit: str = ""
    note: str = ""


def within(sigma: float, value: float, source: str, **words: str) -> Expected:
    """Ours lies within `sigma` of our own standard errors; without an error bar: no verdict."""

    def holds(ours: float, error: float | None) -> bool | None:
        return None if error is None else abs(ours - value) <= sigma * error

    return Expected(value, f"within {sigma:g} sigma", holds, source, **words)


def at_least(value: float, source: str, **words: str) -> Expected:
    """Ours is not below the expected number."""
    return Expected(value, "at least", lambda ours, _: ours >= value, source, **words)


def at_most(value: float, source: str, **words: str) -> Expected:
    """Ours is not above the expected number."""
    return Expected(value, "at most", lambda ours, _: ours <= value, source, **words)


def relative(tolerance: float, value: float, source: str, **words: str) -> Expected:
    """Ours differs by at most `tolerance` of the expected number."""

    def holds(ours: float, _: float | None) -> bool:
        return abs(ours - value) <= tolerance * abs(value)

    return Expected(value, f"within {100 * tolerance:g} %", holds, source, **words)


def collected(pairs: Iterable[Any] | None, what: str, wanted: str) -> dict[str, Any]:
    """Return `(name, value)` pairs as a dict; refuse other things, and a name given twice."""
    found: dict[str, Any] = {}
    if pairs is None or isinstance(pairs, str | bytes) or not hasattr(pairs, "__iter__"):
        raise InputError(f"{what} gave {type(pairs).__name__}; expected {wanted}")
    for pair in pairs.items() if isinstance(pairs, Mapping) else pairs:
        if not (isinstance(pair, tuple) and len(pair) == 2 and isinstance(pair[0], str)):
            raise InputError(f"{what} gave {pair!r:.60}; expected {wanted}")
        if pair[0] in found:
            raise ConfigError(f"{what} gives {pair[0]!r} twice: every row needs a name of its own")
        found[pair[0]] = pair[1]
    return found


def judge(found: Mapping[str, Any], expected: Mapping[str, Expected]) -> list[dict[str, Any]]:
    """Return one row per result, and one per expected number that no result answers.

    Parameters
    ----------
    found
        `{name: number, (value, error) or Estimate}`.
    expected
        `{name: Expected}`, of this config and preset.

    Returns
    -------
    list of dict
        Keys `name value error unit expected comparison source deviation note verdict`; the
        verdict is "within", "MISSED", or "none" where nothing was expected or nothing can be
        judged. An expected number without a result is "MISSED", with value None.
    """
    names = [*expected, *(name for name in found if name not in expected)]
    return [_row(name, found.get(name), expected.get(name)) for name in names]


def missed(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the names of the rows that missed."""
    return [str(row["name"]) for row in rows if row["verdict"] == "MISSED"]


def _row(name: str, ours: Any, expected: Expected | None) -> dict[str, Any]:
    value, error, unit = _parts(name, ours)
    row: dict[str, Any] = {"name": name, "value": value, "error": error, "unit": unit}
    if expected is None:
        blank = {"expected": None, "comparison": "", "source": "", "deviation": "", "note": ""}
        return row | blank | {"verdict": "none"}
    return row | {
        "unit": unit or expected.unit,
        "expected": expected.value,
        "comparison": expected.comparison,
        "source": expected.source,
        "deviation": "" if value is None else _deviation(value, error, expected.value),
        "note": expected.note,
        "verdict": _verdict(value, error, expected),
    }


def _parts(name: str, ours: Any) -> tuple[float | None, float | None, str]:
    """Return value, error and unit of what an experiment found, as plain floats."""
    if ours is None:
        return None, None, ""
    try:
        if hasattr(ours, "value"):
            ours = (ours.value, ours.error, getattr(ours, "unit", ""))
        value, error, *unit = ours if isinstance(ours, tuple) else (ours, None)
        plain = None if error is None else float(error)
        return float(value), plain, unit[0] if unit else ""
    except (TypeError, ValueError) as problem:
        raise InputError(
            f"the result {name!r} is {ours!r:.60}; expected a number, (value, error) or an Estimate"
        ) from problem


def _verdict(value: float | None, error: float | None, expected: Expected) -> str:
    if value is None or not math.isfinite(value) or not math.isfinite(error or 0.0):
        return "MISSED"
    holds = expected.holds(value, error)
    return "none" if holds is None else "within" if holds else "MISSED"


def _deviation(value: float, error: float | None, expected: float) -> str:
    difference = value - expected
    if error is not None and error > 0:
        return f"{difference / error:+.1f} sigma"
    return f"{difference:+.2g}"
