"""What the command line prints: plain text, 80 columns, no colour but for a missed number."""

import textwrap
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

RED, RESET = "\x1b[31m", "\x1b[0m"


def safe(text: str) -> str:
    r"""Write characters that act on a terminal as what they are: `\x1b`."""
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def grid(rows: Iterable[Sequence[str]], indent: str = "") -> str:
    """Align rows of texts in columns."""
    rows = [[safe(cell) for cell in row] for row in rows]
    if not rows:
        return ""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) for row in rows)
    return "\n".join((indent + line).rstrip() for line in lines)


def selected(registry: Mapping[str, Any], word: str) -> dict[str, Any]:
    """Return the registered experiments whose name, summary or tags contain `word`."""
    return {
        name: entry
        for name, entry in registry.items()
        if not entry.hidden and word.lower() in " ".join((name, entry.summary, *entry.tags)).lower()
    }


def list_text(entries: Mapping[str, Any], tags: bool) -> str:
    """Return the table of `list`: name and time, then one line each, tags if asked for."""
    lines = []
    for name, entry in entries.items():
        needs = f"; needs {', '.join(entry.needs)}" if entry.needs else ""
        time = f" ({entry.time})" if entry.time else ""
        lines += [f"{name}{time}{needs}", *_wrapped(entry.summary)]
        lines += _wrapped("tags: " + ", ".join(entry.tags)) if tags and entry.tags else []
    return "\n".join(lines) or "no experiment matches; `pushforward list` shows all"


def show_text(experiment: Any, resolved: Any) -> str:
    """Return what an experiment computes, its keys with ranges, and what is expected of it."""
    from ..harness.config import doc_line, fields, flat

    values = flat(resolved.config)
    lines = [f"{experiment.name}, preset {resolved.preset or 'none'}", ""]
    lines += (experiment.module.__doc__ or "").strip().splitlines()
    lines += ["", f"presets: {', '.join(experiment.module.PRESETS) or 'none'}", "", "keys:"]
    for key, field in fields(experiment.module.Config):
        lines += [f"  {key} = {_plain(values[key])}", *_wrapped(doc_line(field), "      ")]
    expected = experiment.expected(resolved)
    lines += ["", "expected:"] if expected else []
    for name, e in expected.items():
        lines += [f"  {name}: {_bound(e.comparison)}{e.value:g} {e.unit}".rstrip()]
        lines += _wrapped(f"{e.comparison}; {e.source}; {e.note}".rstrip("; "), "      ")
    return safe("\n".join(lines))


def toml(experiment: Any, resolved: Any, *, comments: bool = True) -> str:
    """Return the complete config as TOML."""
    from ..harness.files import dump

    return dump(resolved.config, header=experiment.header(resolved.preset), comments=comments)


def results_text(rows: Sequence[Mapping[str, Any]], colour: bool = False) -> str:
    """Return the table of ours against expected; a missed number says MISSED, in red if it may."""
    from ..report import format_value

    cells = [("", "ours", "expected", "deviation", "")]
    for row in rows:
        expected = row["expected"]
        wanted = "" if expected is None else f"{_bound(row['comparison'])}{expected:.6g}"
        ours = f"{format_value(row['value'], row['error'])} {row['unit']}".rstrip()
        verdict = "" if row["verdict"] == "none" else row["verdict"]
        cells.append((row["name"], ours, wanted, row["deviation"], verdict))
    lines = grid(cells).splitlines()
    if colour:
        lines = [f"{RED}{line}{RESET}" if line.endswith("MISSED") else line for line in lines]
    sources = {str(row["name"]): str(row["source"]) for row in rows if row["source"]}
    width = max(map(len, sources), default=0)
    lines += [""] if sources else []
    for name, source in sources.items():
        lines += textwrap.wrap(
            safe(f"{name.ljust(width)}  {source}"), 78, subsequent_indent=" " * (width + 2)
        )
    return "\n".join(lines)


def outcome_text(outcome: Any, colour: bool) -> str:
    """Return the table of a run, what cannot be trusted in it, and where its page is."""
    note = f"{outcome.path} was finished before\n\n" if outcome.already else ""
    page = outcome.report or f"none; pushforward report {outcome.path}"
    lines = [f"{note}{results_text(outcome.rows, colour)}", ""]
    for finding in outcome.findings:
        line = f"{finding['severity']}: {finding['stage']}: {finding['text']}"
        text = textwrap.wrap(safe(line), 78)
        red = colour and finding["severity"] == "red"
        lines += [f"{RED}{line}{RESET}" if red else line for line in text]
    lines += [""] if outcome.findings else []
    return "\n".join([*lines, f"report: {safe(str(page))}"])


def sizes_text(facts: Mapping[str, Any]) -> str:
    """Return what `run --dry-run` found."""
    rows = [(k, str(v)) for k, v in facts.items() if k != "largest"]
    return "\n".join([grid(rows), *(f"  {line}" for line in facts["largest"])])


def comparison_text(facts: Mapping[str, Any], page: Any) -> str:
    """Return the settings that differ and the numbers of runs side by side, with z."""
    from ..report import format_value

    runs = facts["runs"]
    settings = [("", *runs), *((k, *map(str, v)) for k, v in facts["settings"].items())]
    numbers = [("", *runs, *(f"z of {run}" for run in runs[1:]))]
    for name, found in facts["numbers"].items():
        values = map(format_value, found["values"], found["errors"])
        z = ("" if z is None else f"{z:+.1f}" for z in found["z"][1:])
        numbers.append((name, *values, *z))
    return "\n\n".join([grid(settings), grid(numbers), f"page: {safe(str(page))}"])


def _wrapped(text: str, indent: str = "    ") -> list[str]:
    return textwrap.wrap(text, 78, initial_indent=indent, subsequent_indent=indent)


def _plain(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _bound(comparison: Any) -> str:
    return {"at least": ">= ", "at most": "<= "}.get(str(comparison), "")
