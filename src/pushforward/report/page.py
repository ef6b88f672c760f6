"""The page of one run: what was found, whether it is as expected, how it was made.

`report.html` is one file without scripts or remote parts, written from the files of the run
folder alone: a dead run can be reported as well as a live one, on any machine. Everything that
comes from a file is escaped; missing and torn files make the page shorter, never fail it.
"""

import datetime
import functools
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jinja2
import markupsafe
import numpy as np

from pushforward._errors import NotARun
from pushforward.formats.durable import write_bytes

from .facts import Facts, StageFacts, clean, listing, mapping, pick, read_facts, text
from .notation import format_count, format_number, format_seconds, number
from .pictures import LARGEST_PAGE, Picture, drawn, read_pictures, save_figures
from .tables import as_tables, cell, flat_items, time_rows
from .verdict import judge, progress, results

if TYPE_CHECKING:
    from matplotlib.figure import Figure

HERE = Path(__file__).parent
REFRESH = 10  # seconds between two looks at a live page
LONG = 15  # rows of results above which the figures come first
CURVES = ("loss", "grad_norm", "learning_rate", "ess", "log_z", "acceptance")
COUNTERS = ("step", "seconds", "skipped", "time", "t", "index", "evaluation")


def write_report(
    path: Path | str,
    *,
    figures: "Mapping[str, Figure | Exception] | None" = None,
    state: str | None = None,
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
    state
        Shown in place of the run's own: a run writes its page as "finished", and is finished then,
        so that no kill leaves a finished run whose page says "running".

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
    page, facts = path / "report.html", read_facts(path)
    facts.status["state"] = state or facts.status["state"]
    write_bytes(page, render(facts).encode("utf-8", errors="replace"))
    return page


def render(facts: Facts, now: datetime.datetime | None = None) -> str:
    """Return the page of a run as text."""
    now = now or datetime.datetime.now(datetime.UTC)
    rows, summary = results(facts), facts.summary
    verdict = judge(facts, rows, now)
    curves = [picture for stage in facts.stages if (picture := stage_picture(stage))]
    room = LARGEST_PAGE - sum(len(p.source) for p in curves)
    starts = [pick("start", start) for start in facts.starts]
    return fill_page(
        name=facts.name,
        preset=text(facts.header["preset"], 60),
        facts_line=_facts_line(facts, starts[-1]) if starts else [],
        verdict=verdict,
        progress=progress(facts) if verdict.state != "finished" else None,
        crash=clean(_crash(facts.path)),
        rows=rows,
        is_long=len(rows) > LONG,
        notes=[text(note) for note in listing(summary["notes"])][:30],
        pictures=read_pictures(facts.path / "figures", room),
        curves=curves,
        stages=[_stage_row(stage) for stage in facts.stages],
        diagnostics=as_tables(summary["diagnostics"]),
        times=time_rows(summary["seconds"]),
        cost=as_tables(summary["cost"]),
        config=flat_items(facts.config),
        changed=_changed(starts),
        starts=[flat_items(_shown(start)) for start in reversed(facts.starts)][:20],
        command=_command(starts),
        again=f"pushforward run {facts.name} --config {facts.command_path}/config.toml"
        if facts.header["experiment"]
        else "",
        references=text(summary["references"], 20_000),
        now=now,
    )


def fill_page(*, now: datetime.datetime, verdict: Any, **parts: Any) -> str:
    """Fill the template; parts that are not given are left out."""
    return _template().render(
        verdict=verdict,
        refresh=REFRESH if verdict.is_live else None,
        updated=f"{now:%H:%M:%S} UTC",
        date=f"{now:%d %B %Y}",
        **parts,
    )


def stage_picture(stage: StageFacts) -> Picture | None:
    """Draw the scalars that a stage recorded, or return None if there is nothing to see."""
    names = curve_names(stage.rows)
    columns = ("step", "t", *names)
    rows = tuple(tuple(number(row.get(key)) for key in columns) for row in stage.rows)
    return _drawn(stage.name, columns, rows) if names else None


@functools.lru_cache(maxsize=8)
def _drawn(name: str, columns: tuple[str, ...], values: tuple) -> Picture:
    """Draw a stage once for every state of its metrics: a live page redraws what has changed."""
    rows = [dict(zip(columns, row, strict=True)) for row in values]
    names, xlabel = columns[2:], None if "loss" in columns else "step"
    if xlabel and any(row["t"] is not None for row in rows):
        rows, xlabel = [row | {"step": row["t"]} for row in rows], "time $t$"
    title = f"Recorded scalars of stage {name}"
    try:
        from . import plots

        return drawn(plots.curves(rows, axis_names(names), xlabel=xlabel), title)
    except Exception as error:  # a curve must not cost the page
        return Picture(title, reason=f"This figure could not be drawn: {clean(f'{error}')}")


def curve_names(rows: list[dict[str, Any]]) -> list[str]:
    """Choose up to three scalars that change; the loss comes first, and no series twice."""
    chosen: dict[str, np.ndarray] = {}
    keys = dict.fromkeys(key for row in rows for key in row)
    for key in [*(name for name in CURVES if name in keys), *keys]:
        values = np.array([number(row.get(key)) for row in rows], dtype=float)
        told = values[np.isfinite(values)]
        is_new = not any(np.array_equal(values, other, equal_nan=True) for other in chosen.values())
        if key not in COUNTERS and told.size > 1 and np.ptp(told) > 0 and is_new:
            chosen[key] = values
    return list(chosen)[:3]


def axis_names(names: Iterable[str]) -> dict[str, str]:
    """Return names for the axes: what comes from a file is text, never a formula."""
    return {name: name[:60].replace("$", r"\$") for name in names}


def _facts_line(facts: Facts, start: dict[str, Any]) -> list[str]:
    """Device, precision and versions of the newest start, as far as the file names them."""
    device, versions, git = (mapping(start[key]) for key in ("devices", "versions", "git"))
    words = [_date(start["started"])]
    if device.get("kind"):
        words.append(f"{cell(device.get('count', 1))} × {cell(device['kind'])}")
    words += [f"{cell(start['cores'])} cores"] if start["cores"] else []
    words.append(text(start["dtype"], 40))
    for name in ("pushforward", "jax"):
        words += [f"{name} {text(versions[name], 30)}"] if versions.get(name) else []
    words += [f"python {text(start['python'], 30)}"] if start["python"] else []
    if commit := text(git.get("commit"), 40):
        words.append(f"commit {commit[:7]}{'+' if git.get('dirty') else ''}")
    if "seed" in facts.config:
        words.append(f"seed {cell(facts.config['seed'])}")
    return [word for word in words if word]


def _shown(start: dict[str, Any]) -> dict[str, Any]:
    """Return one start without the configuration, which is shown above it."""
    return {k: v for k, v in start.items() if not k.startswith("config")}


def _date(value: Any) -> str:
    try:
        return f"{datetime.datetime.fromisoformat(value):%d %B %Y, %H:%M}".lstrip("0")
    except (TypeError, ValueError):
        return text(value, 40)


def _stage_row(stage: StageFacts) -> list[str]:
    done, last = stage.done or {}, stage.rows[-1] if stage.rows else {}
    step = done.get("steps") or last.get("step")
    seconds = done.get("seconds") or last.get("seconds")
    loss = format_number(last["loss"]) if number(last.get("loss")) is not None else ""
    state = "open" if stage.done is None else "done"
    return [stage.name, state, format_count(step), format_seconds(seconds), loss]


def _command(starts: list[dict[str, Any]]) -> str:
    """Return the command line as typed, from the newest start."""
    words = listing(starts[-1]["command"]) if starts else []
    return text(" ".join(text(word, 400) for word in words), 2000)


def _changed(starts: list[dict[str, Any]]) -> set[str]:
    """Keys that were given on the command line."""
    words = _command(starts).split()
    return {word.split("=", 1)[0] for word in words if "=" in word and not word.startswith("-")}


def _crash(path: Path) -> str:
    """Return the end of `crash.txt`, if it is a file of this folder."""
    try:
        crash = path / "crash.txt"
        if crash.is_symlink():
            return ""
        return crash.read_text(encoding="utf-8", errors="replace")[-4000:]
    except OSError:
        return ""


@functools.cache
def _template() -> jinja2.Template:
    environment: Any = jinja2.Environment(
        loader=jinja2.FileSystemLoader(HERE), autoescape=True, trim_blocks=True, lstrip_blocks=True
    )
    environment.globals["style"] = markupsafe.Markup((HERE / "style.css").read_text("utf-8"))
    return environment.get_template("page.html.jinja")
