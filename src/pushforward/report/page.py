"""The page of one run: what was found, whether it is as expected, how it was made.

`report.html` is one file without scripts or remote parts, written from the files of the run
folder alone: a dead run can be reported as well as a live one, on any machine. Everything that
comes from a file is escaped; missing and torn files make the page shorter, never fail it.
"""

import datetime
import functools
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe

from pushforward._errors import NotARun
from pushforward.formats.durable import write_bytes

from .facts import Facts, Stage, clean, listing, mapping, read_facts, read_stage, text
from .notation import format_count, format_number, format_seconds, number
from .pictures import LARGEST_PAGE, Picture, encode, fill, read_pictures, save_figures
from .tables import as_tables, cell, flat_items, time_rows
from .verdict import Verdict, judge, results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
REFRESH = 10  # seconds between two looks at a live page
CURVES = ("loss", "grad_norm", "gradient_norm", "learning_rate", "ess", "log_z", "acceptance")
COUNTERS = ("step", "seconds", "skipped", "time", "t", "index")
MOST_STAGES = 8


def write_report(
    path: Path | str, *, figures: "Mapping[str, Figure | Exception] | None" = None
) -> Path:
    """Write `path/report.html` from the files of a run folder and return its path.

    Parameters
    ----------
    path
        A run folder: alive, finished, failed, killed or empty.
    figures
        `{name: figure}` to save into `path/figures/` first, in the order of the page. The
        caption is `figure.pushforward_caption`; an exception in place of a figure becomes a
        panel with its text.

    Raises
    ------
    NotARun
        `path` is not a folder.
    StorageError
        The page cannot be written; an earlier page is intact.
    """
    path = Path(path)
    if not path.is_dir():
        raise NotARun(f"{path} is not a folder. Expected a run folder, e.g. runs/nets-gmm40")
    if figures:
        save_figures(path, figures)
    page = path / "report.html"
    write_bytes(page, render(read_facts(path)).encode("utf-8", errors="replace"))
    return page


def render(facts: Facts, now: datetime.datetime | None = None) -> str:
    """Return the page of a run as text."""
    now = now or datetime.datetime.now(datetime.UTC)
    rows = results(facts)
    verdict = judge(facts, rows, now)
    training = [(stage.name, p) for stage in facts.stages if (p := stage_picture(stage))]
    room = LARGEST_PAGE - sum(len(p.source) for _, p in training)
    return _template().render(
        name=facts.name,
        preset=text(facts.about.get("preset"), 60),
        facts_line=_facts_line(facts),
        verdict=verdict,
        progress=_progress(verdict),
        refresh=REFRESH if verdict.live else None,
        updated=f"{now:%H:%M:%S} UTC",
        date=f"{now:%d %B %Y}",
        rows=rows,
        notes=[text(note) for note in listing(facts.summary.get("notes"))][:30],
        pictures=read_pictures(facts, room),
        training=training,
        stages=[_stage_row(stage) for stage in facts.stages],
        diagnostics=as_tables(facts.summary.get("diagnostics")),
        times=time_rows(facts.summary.get("seconds")),
        cost=as_tables(facts.summary.get("cost")),
        config=flat_items(facts.config),
        config_text="" if facts.config else text(facts.config_text),
        changed=_changed(facts),
        starts=[_environment(start) for start in reversed(facts.starts)][:20],
        command=_command(facts),
        again=_again(facts),
        references=text(facts.summary.get("references"), 20_000),
        crash=facts.crash,
    )


def stage_picture(stage: Stage) -> Picture | None:
    """Draw the training curves of a stage, or return None if it recorded too little."""
    if len(stage.rows) < 2:
        return None
    try:
        stat = stage.metrics.stat()
        return _drawn(stage.metrics, stat.st_size, stat.st_mtime_ns)
    except OSError:
        return None


@functools.lru_cache(maxsize=MOST_STAGES)
def _drawn(metrics: Path, size: int, modified: int) -> Picture | None:
    """Draw a stage once for every state of its file: a live page redraws what has changed."""
    stage = read_stage(metrics.parent)
    names = curve_names(stage)
    if not names:
        return None
    picture = Picture(f"Recorded scalars of stage {stage.name}")
    try:
        from .figures import training_curves

        figure = training_curves(stage.rows, names)
        picture.caption = vars(figure)["pushforward_caption"]
        fill(picture, *encode(figure))
    except Exception as error:  # a curve must not cost the page
        picture.reason = f"This figure could not be drawn: {clean(f'{error}')}"
    return picture


def curve_names(stage: Stage) -> list[str]:
    """Choose up to three scalars to draw: loss, gradient norm, learning rate come first."""
    keys = dict.fromkeys(key for row in stage.rows[:: len(stage.rows) // 50 + 1] for key in row)
    drawable = [
        key
        for key in keys
        if key not in COUNTERS
        and not key.endswith("_ema")
        and sum(number(row.get(key)) is not None for row in stage.rows) > 1
    ]
    known = [name for name in CURVES if name in drawable]
    return (known + [key for key in drawable if key not in known])[:3]


def _facts_line(facts: Facts) -> list[str]:
    """Device, precision and versions of the newest start, as far as the file names them."""
    start = facts.starts[-1] if facts.starts else {}
    version = mapping(start.get("versions"))
    words = [_date(start.get("start") or start.get("started") or start.get("utc"))]
    words += [_device(device) for device in listing(start.get("devices"))[:4]]
    words += [f"{cell(start['cores'])} cores"] if start.get("cores") else []
    words += [text(start.get("dtype"), 40)]
    for name in ("pushforward", "jax", "python"):
        found = version.get(name) or start.get(name)
        words += [f"{name} {text(found, 30)}"] if found else []
    if commit := text(mapping(start.get("git")).get("commit"), 10):
        words.append(f"commit {commit[:7]}{'+' if mapping(start['git']).get('dirty') else ''}")
    if "seed" in facts.config:
        words.append(f"seed {cell(facts.config['seed'])}")
    return [word for word in words if word]


def _environment(start: dict[str, Any]) -> list[tuple[str, str]]:
    """Return one start as keys and values, without the configuration shown above it."""
    return flat_items({k: v for k, v in start.items() if not k.startswith("config")})


def _date(value: Any) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(value):%d %B %Y, %H:%M}".lstrip("0")
    except (TypeError, ValueError):
        return text(value, 40)


def _device(device: Any) -> str:
    """Return `2 × cpu` of `{"kind": "cpu", "count": 2}`, anything else as text."""
    if isinstance(device, dict) and device.get("kind"):
        count = device.get("count", 1)
        return cell(device["kind"]) if count == 1 else f"{cell(count)} × {cell(device['kind'])}"
    return cell(device)


def _progress(verdict: Verdict) -> tuple[int, int] | None:
    step, total = verdict.step, verdict.total
    if step is None or not total or not 0 <= step <= total < 1e15 or verdict.state == "finished":
        return None
    return int(step), int(total)


def _stage_row(stage: Stage) -> list[str]:
    done = stage.done or {}
    last = stage.last
    step = done.get("steps", done.get("step", last.get("step")))
    seconds = done.get("seconds", last.get("seconds"))
    state = "done" if stage.done is not None else "open"
    loss = format_number(last.get("loss")) if number(last.get("loss")) is not None else ""
    return [stage.name, state, format_count(step), format_seconds(seconds), loss]


def _command(facts: Facts) -> str:
    """Return the command line as typed, from the newest start."""
    start = facts.starts[-1] if facts.starts else {}
    command = start.get("command") or start.get("command_line") or start.get("argv")
    if isinstance(command, list):
        command = " ".join(text(word, 400) for word in command)
    return text(command, 2000)


def _again(facts: Facts) -> str:
    """Return the command that makes the same run again from its configuration."""
    if not facts.about.get("experiment"):
        return ""
    folder = f"{facts.path.parent.name}/{clean(facts.path.name)}"
    return f"pushforward run {facts.name} --config {folder}/config.toml"


def _changed(facts: Facts) -> set[str]:
    """Keys that were given on the command line."""
    words = _command(facts).split()
    return {word.split("=", 1)[0] for word in words if "=" in word and not word.startswith("-")}


@functools.cache
def _template() -> jinja2.Template:
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.globals["style"] = markupsafe.Markup((HERE / "style.css").read_text("utf-8"))
    return environment.get_template("page.html.jinja")
