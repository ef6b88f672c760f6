"""The rows of the results, and the one sentence at the top of a page with what stands under it."""

import datetime
import math
from dataclasses import dataclass
from typing import Any, NamedTuple

from .facts import Facts, listing, mapping, pick, text
from .notation import DASH, format_count, format_number, format_seconds, format_value, number

ALIVE = ("created", "compiling", "running", "saving")
BOUNDS = {"at least": "≥ ", "at most": "≤ "}
Row = dict[str, str]  # a line of the table: name, ours, expected, source, deviation, verdict, ...
TONES = {"failed": "bad", "dead": "bad", "preempted": "warn"} | dict.fromkeys(ALIVE, "info")


class Remark(NamedTuple):
    """What must be known about a run: the word and the colour it is said in, and the sentence."""

    tone: str  # bad or warn
    word: str  # do not trust, warning, recovered, ...
    text: str


@dataclass
class Verdict:
    """The state of a run in words."""

    state: str  # finished, running, ..., dead, empty
    tone: str  # good, bad, warn, info, plain: the colour, beside the word
    sentence: str
    remarks: list[Remark]
    error: str

    @property
    def is_live(self) -> bool:
        """True if the page must be looked at again."""
        return self.state in ALIVE


def results(facts: Facts) -> list[Row]:
    """Return the rows of the results table in the order of the summary, the judged ones first."""
    table = mapping(facts.summary["results"])
    rows = [_row(name, entry) for name, entry in table.items()]
    return sorted(rows, key=lambda row: row["verdict"] == "none")


def judge(facts: Facts, rows: list[Row], now: datetime.datetime) -> Verdict:
    """Return state, sentence and remarks of a run; a red remark forbids a green verdict."""
    state = text(facts.status["state"], 40) or ("unknown" if facts.is_run else "empty")
    remarks = _remarks(facts, rows)
    found = {remark.tone for remark in remarks if remark.word not in ("warning", "note")}
    if any(row["verdict"] == "MISSED" for row in rows):
        found.add("bad")
    tone = TONES.get(state, "plain")
    if state == "finished":
        tone = "warn" if found else "good"
    tone = "bad" if "bad" in found else tone
    error = text(facts.status["error"]) if state in ("failed", "dead") else ""
    if state == "failed" and not error:
        error = "The run gave no reason; log.txt in its folder may."
    return Verdict(state, tone, _sentence(state, facts, rows, remarks, now), remarks, error)


def seconds_since(value: Any, now: datetime.datetime) -> float | None:
    """Return the age of a time stamp in seconds since 1970; None if it is none."""
    stamp = number(value)
    return None if stamp is None or not math.isfinite(stamp) else now.timestamp() - stamp


def progress(facts: Facts) -> tuple[int, int] | None:
    """Return (step, total) of the stage that is running, if they make sense."""
    step, total = number(facts.status["step"]), number(facts.status["total"])
    if step is None or not total or not 0 <= step <= total < 1e15:
        return None
    return int(step), int(total)


def _row(name: str, entry: Any) -> Row:
    entry = pick("result", entry if isinstance(entry, dict) else {"value": entry})
    value, expected, verdict = entry["value"], entry["expected"], entry["verdict"]
    comparison = text(entry["comparison"], 60)
    bound = BOUNDS.get(comparison, "")
    is_number = value is None or isinstance(value, bool) or number(value) is not None
    ours = format_value(value, entry["error"]) if is_number else value
    return {
        "name": name,
        "ours": text(ours, 60) or DASH,
        "expected": DASH if expected is None else bound + text(format_number(expected), 60),
        "source": text(entry["source"], 300) or DASH,
        "deviation": _deviation(entry),
        "comparison": "" if bound else comparison,
        "verdict": verdict if verdict in ("within", "MISSED") else "none",
        "unit": text(entry["unit"], 60),
        "note": text(entry["note"], 600),
    }


def _deviation(entry: dict[str, Any]) -> str:
    """Deviation in standard errors if there is one, else the plain difference."""
    given = entry["deviation"]
    if isinstance(given, str) and number(given) is None:
        return text(given, 80).replace("sigma", "σ") or DASH
    v, e, x = (number(entry[key]) for key in ("value", "error", "expected"))
    scored = e is not None and math.isfinite(e) and e > 0
    amount = number(given)
    if amount is None and v is not None and x is not None:
        amount = (v - x) / e if e is not None and scored else v - x
    if amount is None or not math.isfinite(amount):
        return format_number(amount)
    if not scored:
        return "0" if amount == 0 else f"{amount:+.2g}"
    return f"{amount:+.1f} σ"


def _sentence(
    state: str, facts: Facts, rows: list[Row], remarks: list[Remark], now: datetime.datetime
) -> str:
    status, again = facts.status, f"pushforward resume {facts.command_path}"
    silent = seconds_since(status["heartbeat"], now)
    step = number(status["step"])
    where = f"step {format_count(step)}" if step is not None else "an unknown step"
    where = f"stage {text(status['stage'], 64)}, {where}" if status["stage"] else where
    distrust = any(remark.tone == "bad" for remark in remarks)
    match state:
        case "finished":
            seconds = number(mapping(facts.summary["seconds"]).get("total"))
            parts = ["do not trust this run (see below)"] if distrust else []
            parts += [_agreement(rows), _ess(rows)]
            parts += ["finished" + (f" in {format_seconds(seconds)}" if seconds else "")]
        case "failed":
            lines = text(status["error"]).strip().splitlines()
            return f"Failed at {where}" + (f": {text(lines[0], 160)}" if lines else ".")
        case "dead":
            return f"Dead at {where}: no sign of life for {format_seconds(silent)}. Go on: {again}"
        case "preempted":
            return f"Stopped on request at {where}, everything saved. Go on: {again}"
        case "empty":
            strange = "This folder is no run that can be read; the reason is below."
            return strange if facts.problems else "Nothing has run in this folder yet."
        case "unknown":
            return "This run left no status; what its files say is below."
        case _:
            total, eta = number(status["total"]), number(status["eta"])
            parts = [f"{state}: {where}" + (f" of {format_count(total)}" if total else "")]
            parts += [f"about {format_seconds(eta)} to go"] if eta is not None else []
            parts += [f"last heard of {format_seconds(round(silent))} ago"] if silent else []
            parts += [f"so far {_agreement(rows)}"] if rows else []
    sentence = "; ".join(part for part in parts if part)
    return sentence[:1].upper() + sentence[1:] + "."


def _agreement(rows: list[Row]) -> str:
    judged = [row for row in rows if row["verdict"] != "none"]
    missed = [row["name"] for row in judged if row["verdict"] == "MISSED"]
    if not judged:
        return f"{len(rows)} numbers, none with an expectation" if rows else "no numbers"
    names = f" (MISSED: {', '.join(missed[:3])})" if missed else ""
    return f"{len(judged) - len(missed)} of {len(judged)} numbers as expected{names}"


def _ess(rows: list[Row]) -> str:
    """Return the first effective sample size of the table, for the sentence."""
    row = next((row for row in rows if row["name"].lower().startswith("ess")), None)
    return f"{row['name']} {row['ours']}" if row else ""


def _remarks(facts: Facts, rows: list[Row]) -> list[Remark]:
    """Return what must be known, the worst first: findings, what was recovered, warnings."""
    summary = facts.summary
    findings = [pick("finding", found) for found in listing(summary["findings"])]
    remarks = [_finding(found) for found in findings if any(found.values())]
    for row in rows:
        if row["ours"] in ("nan", "inf", "-inf"):
            remarks.append(Remark("bad", "do not trust", f"{row['name']} is {row['ours']}."))
    remarks.sort(key=lambda remark: remark.tone)  # bad before warn
    remarks += [Remark("warn", "recovered", text(n, 600)) for n in listing(summary["notices"])]
    remarks += [Remark("warn", "warning", text(w, 600)) for w in listing(summary["warnings"])]
    remarks += [Remark("warn", "damaged", problem) for problem in facts.problems]
    restarts = number(facts.status["restarts"]) or 0
    if restarts > 0:
        times = "once" if restarts == 1 else f"{format_count(restarts)} times"
        remarks.append(Remark("warn", "note", f"Restarted {times}."))
    return list(dict.fromkeys(remark for remark in remarks if remark.text))[:50]


def _finding(found: dict[str, Any]) -> Remark:
    tone, word = ("warn", "careful") if found["severity"] == "amber" else ("bad", "do not trust")
    where = ", ".join(text(found[key], 200) for key in ("stage", "subject") if found[key])
    return Remark(tone, word, f"{where}: " * bool(where) + text(found["text"], 600))
