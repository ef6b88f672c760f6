"""Reading a run while believing nothing in it.

A run may be alive, killed, half written or made by somebody else. All files of a run are read by
`runs`; here a file that is torn, missing, far too large or a link out of the folder is an empty
part and a sentence on the page, and every text is stripped of characters that act instead of being
seen. Nothing here raises. `READ` names every key that the page looks at.
"""

import re
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pushforward._errors import InputError
from pushforward.runs import RunFolder, Stage

LONGEST_TEXT = 4_000
LONGEST_FILE = 8_000_000  # of a document; the metrics of a stage may be longer
MOST_ROWS = 4_000  # rows of metrics kept for a curve
# The keys that the page knows, by the document that holds them: a run writes all of them (`error`
# where it failed). What stands in `diagnostics`, `cost` and a start is shown whatever its keys.
READ: dict[str, tuple[str, ...]] = {
    "status": ("state", "stage", "step", "total", "eta", "heartbeat", "restarts", "error"),
    "summary": (
        "results", "findings", "notices", "warnings", "notes", "diagnostics", "seconds", "cost",
        "references",
    ),
    "result": (
        "value", "error", "unit", "expected", "comparison", "source", "deviation", "note",
        "verdict",
    ),
    "finding": ("severity", "subject", "text", "stage"),
    "start": ("started", "command", "python", "versions", "devices", "dtype", "cores", "git"),
    "header": ("experiment", "preset"),
    "done": ("steps", "seconds"),
    "caption": ("title", "caption", "error", "width", "height"),
}  # fmt: skip
# Controls, and the marks that reorder or hide text: they are written out as \u202e instead.
_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ud800-\udfff]"
)


@dataclass
class StageFacts:
    """One stage: its rows of metrics (thinned), and what it left at its end (None before)."""

    name: str
    rows: list[dict[str, Any]] = field(default_factory=list)
    done: dict[str, Any] | None = None


@dataclass
class Facts:
    """What a run folder says; every part may be empty."""

    path: Path
    is_run: bool = False
    config: dict[str, Any] = field(default_factory=dict)
    starts: list[dict[str, Any]] = field(default_factory=list)
    status: dict[str, Any] = field(default_factory=lambda: pick("status", {}))
    summary: dict[str, Any] = field(default_factory=lambda: pick("summary", {}))
    stages: list[StageFacts] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    @property
    def header(self) -> dict[str, Any]:
        """The `[pushforward]` table of the configuration."""
        return pick("header", self.config.get("pushforward"))

    @property
    def name(self) -> str:
        """The experiment's name, else the folder's."""
        return text(self.header["experiment"]) or clean(self.path.name) or "run"

    @property
    def command_path(self) -> str:
        """The folder as it stands in a command line."""
        return clean(f"{self.path.parent.name}/{self.path.name}")

    def attempt(self, read: Callable[[], Any], otherwise: Any = None) -> Any:
        """Return what `read` gives, all its texts clean; note why it gave nothing."""
        try:
            return cleaned(read())
        except Exception as error:  # whatever is wrong with a file, the rest is shown
            problem = clean(str(error) or type(error).__name__)[:600]
            self.problems += [problem] if problem not in self.problems else []
            return otherwise


def read_facts(path: Path | str) -> Facts:
    """Read everything a report shows from the run folder `path`."""
    facts = Facts(Path(path).resolve())
    run = facts.attempt(lambda: opened(facts.path))
    if run is None:
        return facts
    facts.is_run = True
    facts.config = mapping(facts.attempt(lambda: tomllib.loads(run.config())))
    facts.starts = [s for s in map(mapping, listing(facts.attempt(run.environment))) if s]
    facts.status = pick("status", facts.attempt(run.status))
    facts.summary = pick("summary", facts.attempt(run.summary))
    facts.stages = [_stage(facts, stage) for stage in facts.attempt(run.stages, [])]
    return facts


def opened(path: Path) -> RunFolder | None:
    """Return the run in a folder, None where nothing has run; refuse what is not its own."""
    if all(p.name in ("report.html", "figures") for p in path.iterdir()):
        return None
    require_own_files(path)
    return RunFolder.open(path)


def require_own_files(folder: Path) -> None:
    """Refuse a document of more than 8 MB, and a link that leads out of the folder."""
    for path in folder.iterdir():
        if path.suffix in (".json", ".jsonl", ".toml") and not inside(folder, path):
            raise InputError(f"{path.name} is a link that leads out of its folder: it is not read")
        if path.suffix in (".json", ".toml") and path.stat().st_size > LONGEST_FILE:
            raise InputError(f"{path.name} has more than {LONGEST_FILE} bytes: it is not read")


def _stage(facts: Facts, stage: Stage) -> StageFacts:
    """Read one stage; of very long metrics every k-th row and the last one are kept."""

    def read() -> list[dict[str, Any]]:
        require_own_files(stage.path)
        rows = stage.metrics()
        stride = -(-len(rows) // MOST_ROWS)
        return rows[:: max(stride, 1)] + (rows[-1:] if stride > 1 else [])

    rows = facts.attempt(read, [])
    done = facts.attempt(lambda: stage.done() or {}, {}) if stage.finished else None
    return StageFacts(clean(stage.name), rows, done if done is None else pick("done", done))


def inside(folder: Path, path: Path) -> bool:
    """Tell whether `path` is a file that really lies in `folder` (no link leads out)."""
    try:
        return path.is_file() and path.resolve().is_relative_to(folder.resolve())
    except (OSError, ValueError, RuntimeError):
        return False


def clean(content: str) -> str:
    r"""Write characters that act (escape sequences, bidi marks) as `\x1b`, `\u202e`."""
    return _ACTING.sub(
        lambda m: f"\\x{ord(m[0]):02x}" if ord(m[0]) < 256 else f"\\u{ord(m[0]):04x}", content
    )


def cleaned(value: Any, depth: int = 0) -> Any:
    """Clean all texts and keys of a JSON or TOML value; too deep or too long is cut."""
    match value:
        case str():
            return clean(value[: 10 * LONGEST_TEXT])
        case dict() if depth < 12:
            return {clean(str(k))[:200]: cleaned(v, depth + 1) for k, v in value.items()}
        case list() if depth < 12:
            return [cleaned(v, depth + 1) for v in value[:10_000]]
        case dict() | list():
            return "…"
    return value


def pick(document: str, value: Any) -> dict[str, Any]:
    """Return the keys of `READ[document]` and nothing else, None where they are missing."""
    return {key: mapping(value).get(key) for key in READ[document]}


def mapping(value: Any) -> dict[str, Any]:
    """Return `value` if it is a dict, else an empty one."""
    return value if isinstance(value, dict) else {}


def listing(value: Any) -> list[Any]:
    """Return a list as it is, a single value as a list of one, nothing as an empty list."""
    if isinstance(value, list):
        return value
    return [] if value is None or value == {} or value == "" else [value]


def text(value: Any, longest: int = LONGEST_TEXT) -> str:
    """Return `value` as text of bounded length; None and empty containers give an empty one."""
    if value is None or value == {} or value == []:
        return ""
    content = value if isinstance(value, str) else str(value)
    return content if len(content) <= longest else content[:longest] + " …"
