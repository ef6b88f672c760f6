"""Any JSON value as a table: the page shows what a summary holds whatever its keys."""

from typing import Any, NamedTuple

from .facts import mapping, text
from .notation import DASH, format_count, format_number, format_seconds, number

MOST_ROWS = 300
PARTS = ("compile", "train", "sample", "evaluate")  # in the order in which they happen


class Table(NamedTuple):
    """A heading (may be empty), the heads of the columns (may be empty), rows of texts."""

    heading: str
    columns: list[str]
    rows: list[list[str]]


def as_tables(value: Any, heading: str = "") -> list[Table]:
    """Return the tables that show `value`.

    A list of dicts has one row per entry; a dict of dicts is a matrix with one row per outer key;
    a dict of numbers and texts has two columns. In a mixed dict the plain entries come first and
    each nested one gets its own table.
    """
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        columns = _keys(value)
        return [Table(heading, columns, [_cells(row, columns) for row in value[:MOST_ROWS]])]
    if not isinstance(value, dict):
        entries = value if isinstance(value, list) else [value]
        rows = [[cell(entry)] for entry in entries[:MOST_ROWS] if entry is not None]
        return [Table(heading, [], rows)] if rows else []
    inner = [v for v in value.values() if isinstance(v, dict)]
    flat = all(not isinstance(v, dict) for entry in inner for v in entry.values())
    if inner and flat and len(inner) == len(value):
        columns = _keys(inner)
        rows = [[key, *_cells(entry, columns)] for key, entry in value.items()]
        return [Table(heading, ["", *columns], rows[:MOST_ROWS])]
    plain = [[key, cell(v)] for key, v in value.items() if not _is_nested(v)]
    tables = [Table(heading, [], plain[:MOST_ROWS])] if plain else []
    for key, entry in value.items():
        if _is_nested(entry):
            tables += as_tables(entry, f"{heading}: {key}" if heading else key)
    return tables


def time_rows(seconds: Any) -> list[tuple[str, str, float]]:
    """Return (part, duration, share of the longest in per cent) of the summary's seconds."""
    parts = [(k, number(v)) for k, v in mapping(seconds).items() if k != "total"]
    known = [(k, v) for k, v in parts if v is not None and 0 <= v < 1e12]
    known.sort(key=lambda part: PARTS.index(part[0]) if part[0] in PARTS else len(PARTS))
    longest = max((v for _, v in known), default=0.0) or 1.0
    return [(k, format_seconds(v), round(100 * v / longest, 1)) for k, v in known]


def flat_items(config: dict[str, Any], prefix: str = "") -> list[tuple[str, str]]:
    """Return the dotted keys of a configuration with their values as text."""
    items: list[tuple[str, str]] = []
    for key, value in config.items():
        if isinstance(value, dict):
            items += flat_items(value, f"{prefix}{key}.")
        else:
            items.append((f"{prefix}{key}", cell(value)))
    return items[:MOST_ROWS]


def cell(value: Any) -> str:
    """Return one value as the text of a table cell."""
    if isinstance(value, list):
        return text(", ".join(cell(v) for v in value[:50]), 400) or DASH
    if isinstance(value, dict):
        return text(", ".join(f"{k} = {cell(v)}" for k, v in value.items()), 400) or DASH
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10_000:
        return format_count(value)
    return text(value, 400) if isinstance(value, str) else format_number(value)


def _is_nested(value: Any) -> bool:
    rows = value if isinstance(value, list) else [value]
    return bool(rows) and all(isinstance(row, dict) for row in rows)


def _keys(entries: list[dict[str, Any]]) -> list[str]:
    return list(dict.fromkeys(key for entry in entries for key in entry))[:30]


def _cells(entry: dict[str, Any], columns: list[str]) -> list[str]:
    return [cell(entry.get(column)) for column in columns]
