"""The one sentence at the top of a page, and the warnings under it, the worst first."""

import datetime
import math
import re
from dataclasses import dataclass, field
from typing import Any

from pushforward.runs.lock import is_held

from .facts import Facts, listing, mapping, text
from .notation import DASH, format_count, format_number, format_seconds, format_value, number

ALIVE = ("created", "compiling", "running", "saving")
BOUNDS = {"at least": "≥ ", "at most": "≤ "}
SILENCE = 60.0  # seconds without a heartbeat after which a run counts as dead
# The first group that matches ranks a warning: what matters most to trust stands first.
SEVERITY = (
    re.compile(r"do not trust|frozen|collaps|non-finite|\bnan\b|not reliable", re.IGNORECASE),
    re.compile(r"damaged|\btorn\b|unreadable|\blost\b|recovered|\bmissed", re.IGNORECASE),
    re.compile(r"skipped|diverge|too short|r-hat|\bess\b", re.IGNORECASE),
)


@dataclass
class Row:
    """One line of the table: ours, expected, source, deviation, verdict."""

    name: str
    ours: str
    expected: str
    source: str
    deviation: str
    comparison: str
    verdict: str
    unit: str
    note: str


@dataclass
class Verdict:
    """The state of a run in words."""

    state: str  # finished, running, ..., dead, empty
    tone: str  # good, bad, warn, info, plain: the colour, beside the word
    sentence: str
    warnings: list[str] = field(default_factory=list)
    error: str = ""
    step: float | None = None
    total: float | None = None
    live: bool = False


def results(facts: Facts) -> list[Row]:
    """Return the rows of the results table in the order of the summary, the judged ones first."""
    table = mapping(facts.summary.get("results"))
    rows = [_row(name, entry) for name, entry in table.items()]
    return sorted(rows, key=lambda row: row.verdict == "none")


def judge(facts: Facts, rows: list[Row], now: datetime.datetime) -> Verdict:
    """Return state, sentence and warnings of a run."""
    status = facts.status
    state = text(status.get("state"), 40) or ("empty" if facts.is_empty else "unknown")
    silent = seconds_since(status.get("heartbeat"), now)
    quiet = silent is not None and silent > SILENCE
    if state in ALIVE and quiet and not is_held(facts.path):
        state = "dead"
    step = number(status.get("step"))
    verdict = Verdict(
        state=state,
        tone=_tone(state, rows),
        sentence=_sentence(state, facts, rows, silent),
        warnings=_warnings(facts, rows),
        error=text(status.get("error")) if state in ("failed", "dead") else "",
        step=step,
        total=number(status.get("total")),
        live=state in ALIVE,
    )
    if state == "failed" and not verdict.error:
        verdict.error = "The run gave no reason; log.txt in its folder may."
    return verdict


def seconds_since(value: Any, now: datetime.datetime) -> float | None:
    """Return the age of a time stamp (ISO text or seconds since 1970), None if it is none."""
    seconds = number(value)
    try:
        if seconds is not None:
            then = datetime.datetime.fromtimestamp(seconds, datetime.UTC)
        else:
            then = datetime.datetime.fromisoformat(str(value))
        then = then if then.tzinfo else then.replace(tzinfo=datetime.UTC)
        return (now - then).total_seconds()
    except (ValueError, OverflowError, OSError):
        return None


def total_seconds(facts: Facts) -> float | None:
    """Return the run's wall time: the summary's total, else the sum of its parts."""
    seconds = mapping(facts.summary.get("seconds"))
    total = number(seconds.get("total"))
    parts = [v for v in map(number, seconds.values()) if v is not None and math.isfinite(v)]
    return total if total is not None else sum(parts) if parts else None


def _row(name: str, entry: Any) -> Row:
    entry = entry if isinstance(entry, dict) else {"value": entry}
    value, error, expected = entry.get("value"), entry.get("error"), entry.get("expected")
    comparison = text(entry.get("comparison"), 60)
    bound = BOUNDS.get(comparison, "")
    if isinstance(expected, dict):
        expected_text = format_value(expected.get("value"), expected.get("error"))
    else:
        expected_text = format_number(expected)
    verdict = text(entry.get("verdict"), 20)
    return Row(
        name=name,
        ours=_short(value if not number_like(value) else format_value(value, error)),
        expected=_short(expected_text if expected is None else bound + expected_text),
        source=text(entry.get("source"), 300) or DASH,
        deviation=_deviation(entry, number(value), number(error), number(expected)),
        comparison="" if bound else comparison,
        verdict=verdict if verdict in ("within", "MISSED") else "none",
        unit=text(entry.get("unit"), 60),
        note=text(entry.get("note"), 600),
    )


def number_like(value: Any) -> bool:
    """Tell whether `value` is a number or None (shown as a dash), not a text of its own."""
    return value is None or isinstance(value, bool) or number(value) is not None


def _short(value: Any) -> str:
    return text(value, 60) or DASH


def _deviation(entry: dict[str, Any], v: float | None, e: float | None, x: float | None) -> str:
    """Deviation in standard errors if there is one, else the plain difference."""
    given = entry.get("deviation")
    if isinstance(given, str) and number(given) is None:
        return text(given, 80).replace("sigma", "σ") or DASH
    scored = e is not None and math.isfinite(e) and e > 0
    if (amount := number(given)) is None:
        if v is None or x is None:
            return DASH
        amount = (v - x) / e if scored and e else v - x
    if not math.isfinite(amount):
        return format_number(amount)
    if not scored:
        return "0" if amount == 0 else f"{amount:+.2g}"
    return f"{amount:+.1f} σ"


def _tone(state: str, rows: list[Row]) -> str:
    if state == "finished":
        return "bad" if any(row.verdict == "MISSED" for row in rows) else "good"
    if state in ALIVE:
        return "info"
    return {"failed": "bad", "dead": "bad", "preempted": "warn"}.get(state, "plain")


def _sentence(state: str, facts: Facts, rows: list[Row], silent: float | None) -> str:
    status = facts.status
    step, total = number(status.get("step")), number(status.get("total"))
    where = f"step {format_count(step)}" if step is not None else "an unknown step"
    again = f"pushforward resume {facts.path.parent.name}/{facts.path.name}"
    match state:
        case "finished":
            parts = [_agreement(rows), _headline(facts, rows)]
            if (seconds := total_seconds(facts)) is not None:
                parts.append(f"finished in {format_seconds(seconds)}")
            else:
                parts.append("finished")
            return _sentence_of(parts)
        case "failed":
            lines = text(status.get("error")).strip().splitlines()
            return f"Failed at {where}" + (f": {text(lines[0], 160)}" if lines else ".")
        case "dead":
            return f"Dead at {where}: no sign of life for {format_seconds(silent)}. Go on: {again}"
        case "preempted":
            return f"Stopped on request at {where}, everything saved. Go on: {again}"
        case "empty":
            return "Nothing has run in this folder yet."
        case "unknown":
            return "This run left no status; what its files say is below."
    parts = [f"{state} at {where}" + (f" of {format_count(total)}" if total else "")]
    if (eta := number(status.get("eta"))) is not None and math.isfinite(eta):
        parts.append(f"about {format_seconds(eta)} to go")
    if rows:
        parts.append(f"so far {_agreement(rows)}")
    return _sentence_of(parts)


def _sentence_of(parts: list[str]) -> str:
    sentence = "; ".join(part for part in parts if part)
    return sentence[:1].upper() + sentence[1:] + "."


def _agreement(rows: list[Row]) -> str:
    judged = [row for row in rows if row.verdict != "none"]
    missed = [row.name for row in judged if row.verdict == "MISSED"]
    if not judged:
        return f"{len(rows)} numbers, none with an expectation" if rows else "no numbers"
    text_ = f"{len(judged) - len(missed)} of {len(judged)} numbers as expected"
    return text_ + (f" (MISSED: {', '.join(missed[:3])})" if missed else "")


def _headline(facts: Facts, rows: list[Row]) -> str:
    if given := text(facts.summary.get("headline"), 300):
        return given
    first = next((row for row in rows if "ess" in row.name.lower().split()), None)
    first = first or next((row for row in rows if row.name.lower().startswith("ess")), None)
    return f"{first.name} {first.ours}" if first else ""


def _warnings(facts: Facts, rows: list[Row]) -> list[str]:
    found = [
        text(w.get("text") or w.get("message") or w, 600) if isinstance(w, dict) else text(w, 600)
        for w in listing(facts.summary.get("warnings"))
    ]
    for row in rows:
        if row.ours in ("nan", "inf", "-inf"):
            found.append(f"{row.name} is non-finite: do not trust this run.")
    for stage in facts.stages:
        if stage.skipped:
            found.append(f"{format_count(stage.skipped)} steps skipped in stage {stage.name}.")
    found += facts.problems
    if (restarts := number(facts.status.get("restarts"))) and restarts > 0:
        times = "once" if restarts == 1 else f"{format_count(restarts)} times"
        found.append(f"Restarted {times}.")
    return sorted(dict.fromkeys(w for w in found if w), key=_severity)[:50]


def _severity(warning: str) -> int:
    return next((i for i, words in enumerate(SEVERITY) if words.search(warning)), len(SEVERITY))
