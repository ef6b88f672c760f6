"""What is written about a run whatever happens to it: summary, figures, page, crash.

Nothing here may end a run that has its numbers, or hide the error that ended it.
"""

import traceback
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from pushforward._errors import PushforwardError, Stopped
from pushforward.experiments._load import Experiment


def write_summary(folder: Any, rows: list[dict[str, Any]], warned: list[str], s: float) -> None:
    """Write the judged rows beside what the experiment itself left in the summary."""
    left = folder.summary() or {}  # what the experiment itself left: diagnostics, cost, seconds
    before = left.get("warnings") or []
    table = {str(row["name"]): {k: v for k, v in row.items() if k != "name"} for row in rows}
    folder.write_summary(
        {
            **left,
            "results": table,
            "warnings": list(dict.fromkeys([*before, *warned])),
            "seconds": {**(left.get("seconds") or {}), "total": s},
        }
    )


def write_page(experiment: Experiment, folder: Any) -> Path | None:
    """Draw the figures and write the page; return None, and log why, where it cannot be."""
    from pushforward import report

    try:
        return report.write_report(folder.path, figures=draw_figures(experiment, folder))
    except Exception as error:  # the numbers are safe; the page can be made again
        folder.log(f"no report: {type(error).__name__}: {error}; pushforward report {folder.path}")
        return None


def record_failure(
    experiment: Experiment, folder: Any, error: BaseException, warned: list[str], seconds: float
) -> None:
    """Write what is known; nothing here may hide the error itself."""
    stopped = isinstance(error, Stopped | KeyboardInterrupt | SystemExit)
    message = str(error) or type(error).__name__
    if not stopped and not isinstance(error, PushforwardError):
        message = f"{type(error).__name__}: {message}"
        with suppress(Exception):
            error.add_note(f"traceback and environment: {_write_crash(folder, error)}")
    with suppress(Exception):
        folder.set_status(state="preempted" if stopped else "failed", error=message)
    with suppress(Exception):
        folder.log(message)
    with suppress(Exception):
        write_summary(folder, [], warned, seconds)
    with suppress(Exception):
        write_page(experiment, folder)


def draw_figures(experiment: Experiment, folder: Any) -> "dict[str, Any]":
    """Return the experiment's figures of a folder; an exception stands in for what it broke."""
    draw = getattr(experiment.module, "figures", None)
    if draw is None:
        return {}
    try:
        import matplotlib as mpl

        mpl.use("Agg")
        return dict(draw(folder))
    except Exception as error:  # a figure never ends a run
        return {"figures": error}


@contextmanager
def collected_warnings(
    folder: Any, say: Callable[[str], None], warned: list[str]
) -> Iterator[None]:
    """Send warnings to the screen, the log and the summary, each once."""
    with warnings.catch_warnings():

        def show(message: Warning | str, category: type[Warning], *_: Any, **__: Any) -> None:
            text = str(message) if category is UserWarning else f"{category.__name__}: {message}"
            if text not in warned:
                warned.append(text)
                folder.log(f"warning: {text}")
                say(f"warning: {text}")

        warnings.showwarning = show
        yield


@contextmanager
def closed(watchers: Sequence[Any]) -> Iterator[None]:
    """Close the watchers at the end, whatever it is: we made them."""
    try:
        yield
    finally:
        for watcher in watchers:
            with suppress(Exception):
                watcher.close()


def _write_crash(folder: Any, error: BaseException) -> Path:
    number, name = 1, folder.path / "crash.txt"
    while name.exists():  # an older crash is evidence too
        number += 1
        name = folder.path / f"crash-{number}.txt"
    text = "".join(traceback.format_exception(error))
    lines = [f"{key}: {value}" for key, value in folder.environment()[-1].items()]
    name.write_text("\n".join([text, *lines, ""]), encoding="utf-8")
    return name
