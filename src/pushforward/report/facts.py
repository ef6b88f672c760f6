"""Reading a run folder while believing nothing in it.

A run may be alive, killed, half written or made by somebody else. So every file may be missing
or torn (then it is empty, and the page says so), every text is stripped of characters that act
instead of being seen, no link leads out of the folder, and nothing here raises.
"""

import json
import re
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .notation import number

LONGEST_TEXT = 4_000
LONGEST_FILE = 8_000_000
MOST_ROWS = 4_000  # metric rows kept for a curve
# Controls, and the marks that reorder or hide text: they are written out as \u202e instead.
_ACTING = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\xad\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff"
    r"\ud800-\udfff]"
)


@dataclass
class Stage:
    """One named stage of a run: its metric rows (thinned), its `done.json` if it has ended."""

    name: str
    metrics: Path
    rows: list[dict[str, Any]] = field(default_factory=list)
    done: dict[str, Any] | None = None
    damaged: int = 0
    skipped: float = 0.0

    @property
    def last(self) -> dict[str, Any]:
        """The newest metric row, or an empty one."""
        return self.rows[-1] if self.rows else {}


@dataclass
class Facts:
    """What the files of a run folder say; every part may be empty."""

    path: Path
    config: dict[str, Any]
    config_text: str
    starts: list[dict[str, Any]]
    status: dict[str, Any]
    summary: dict[str, Any]
    captions: dict[str, Any]
    stages: list[Stage]
    crash: str
    problems: list[str]

    @property
    def about(self) -> dict[str, Any]:
        """The `[pushforward]` table of the configuration: experiment, preset, version."""
        return mapping(self.config.get("pushforward"))

    @property
    def name(self) -> str:
        """The experiment's name, else the folder's."""
        return text(self.about.get("experiment")) or clean(self.path.name) or "run"

    @property
    def is_empty(self) -> bool:
        """True if no file tells of a run."""
        known = (self.config, self.config_text, self.starts, self.status, self.summary, self.stages)
        return not any(known)


def read_facts(path: Path) -> Facts:
    """Read everything a report shows from the run folder `path`."""
    path = Path(path).resolve()
    problems: list[str] = []
    config_text = read_text(path / "config.toml")
    try:
        config = mapping(cleaned(tomllib.loads(config_text)))
    except (tomllib.TOMLDecodeError, RecursionError, ValueError) as error:
        config = {}
        problems.append(f"config.toml is not readable: {clean(str(error))}")
    starts = read_json(path / "env.json", problems)
    starts = starts.get("starts", starts) if isinstance(starts, dict) else starts
    folders = _folders(path / "stages")
    if not folders and (path / "metrics.jsonl").exists():
        folders = [path]  # a library call with folder=PATH leaves one bare stage
    stages = [read_stage(folder) for folder in folders]
    for stage in stages:
        if stage.damaged:
            problems.append(f"stage {stage.name}: {stage.damaged} unreadable metric lines left out")
    return Facts(
        path=path,
        config=config,
        config_text=clean(config_text),
        starts=[start for start in map(mapping, listing(starts)) if start],
        status=mapping(read_json(path / "status.json", problems)),
        summary=mapping(read_json(path / "summary.json", problems)),
        captions=mapping(read_json(path / "figures" / "captions.json", problems)),
        stages=stages,
        crash=clean(read_text(path / "crash.txt"))[-LONGEST_TEXT:],
        problems=problems,
    )


def read_stage(folder: Path) -> Stage:
    """Read one stage; of very long metrics every k-th row and the last one are kept."""
    stage = Stage(clean(folder.name), folder / "metrics.jsonl")
    stride, count, newest, torn = 1, 0, None, False
    for line in _lines(stage.metrics):
        row = _parse(line)
        if not isinstance(row, dict):
            stage.damaged += bool(line.strip())
            torn = True
            continue
        newest, torn = mapping(cleaned(row)), False
        stage.skipped = max(stage.skipped, number(newest.get("skipped")) or 0.0)
        if count % stride == 0:
            stage.rows.append(newest)
            if len(stage.rows) == 2 * MOST_ROWS:
                stage.rows, stride = stage.rows[::2], 2 * stride
        count += 1
    if newest is not None and stage.rows[-1] is not newest:
        stage.rows.append(newest)
    stage.damaged -= torn and stage.damaged > 0  # a torn last line is how a killed run ends
    if inside(folder, folder / "done.json"):
        stage.done = mapping(read_json(folder / "done.json", []))
        stage.skipped = number(stage.done.get("skipped")) or stage.skipped
    return stage


def read_text(path: Path) -> str:
    """Return the text of a small file inside its run folder, or an empty string."""
    try:
        if not inside(path.parent, path) or path.stat().st_size > LONGEST_FILE:
            return ""
        return path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def read_json(path: Path, problems: list[str]) -> Any:
    """Return a cleaned JSON value, or an empty dict; an unreadable file is noted in `problems`."""
    content = read_text(path)
    if not content.strip():
        return {}
    value = _parse(content)
    if value is None:
        problems.append(f"{path.name} is torn or not JSON")
        return {}
    value = cleaned(value)
    if isinstance(value, dict):
        value.pop("format", None)  # the number of the file's format is not for readers
    return value


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


def _parse(content: str) -> Any:
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        return None


def _lines(path: Path) -> Iterator[str]:
    try:
        if not inside(path.parent, path):
            return
        with path.open(encoding="utf-8", errors="replace") as file:
            while line := file.readline(1_000_000):
                yield line
    except OSError:
        return


def _folders(path: Path) -> list[Path]:
    """Return the folders of the stages, in the order in which the run made them."""
    try:
        folders = [p for p in path.iterdir() if p.is_dir() and not p.is_symlink()]
        return sorted(folders, key=lambda p: (_place(p), p.name))
    except OSError:
        return []


def _place(folder: Path) -> float:
    card = mapping(read_json(folder / "stage.json", []))
    place = number(card.get("index"))
    return 0.0 if place is None or place != place else place
