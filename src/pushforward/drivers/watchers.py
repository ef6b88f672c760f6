"""Watchers are called between chunks: progress, logs, live reports, your own tracker.

A watcher is any object with `log(step, dict)`, `figure(step, name, figure)` and `close()`. They run
on the host, never inside a chunk, so a slow one costs time but changes no number. Beside the last
numbers, `log` gets `phase` (the stage), `total`, `seconds`, `rate` and `state`: "compiling" before
the first chunk, "running" after each.
"""

import os
import sys
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TextIO

from ..formats.strict_json import dumps
from ..runs import RunFolder, Stage


class AbstractWatcher(ABC):
    """What is called between chunks with the step and the last numbers."""

    @abstractmethod
    def log(self, step: int, values: dict[str, Any]) -> None:
        """Take the numbers of a step."""

    @abstractmethod
    def figure(self, step: int, name: str, figure: Any) -> None:
        """Take a matplotlib figure."""

    @abstractmethod
    def close(self) -> None:
        """Finish: called once by whoever made the watcher."""


class Jsonl(AbstractWatcher):
    """Append one JSON object per line to a file."""

    def __init__(self, path: str | Path):
        self._file = Path(path).open("a", encoding="utf-8")

    def log(self, step: int, values: dict[str, Any]) -> None:
        self._file.write(dumps({"step": step} | values) + "\n")
        self._file.flush()

    def figure(self, step: int, name: str, figure: Any) -> None: ...

    def close(self) -> None:
        self._file.close()


class RunStatus(AbstractWatcher):
    """Write how a run is doing into its folder: state, stage, step, total, seconds left.

    Parameters
    ----------
    folder
        A run open for writing.
    every
        Smallest time between two writings, in seconds; a change of state or stage is written at
        once.
    """

    def __init__(self, folder: RunFolder, every: float = 1.0):
        self._folder, self._every = folder, every
        self._last, self._now = -float("inf"), ("", "")

    def log(self, step: int, values: dict[str, Any]) -> None:
        now, total, rate = (values["state"], values["phase"]), values["total"], values["rate"]
        clock = time.monotonic()
        if now == self._now and step < total and clock - self._last < self._every:
            return
        self._last, self._now = clock, now
        eta = (total - step) / rate if rate else None
        self._folder.set_status(state=now[0], stage=now[1], step=step, total=total, eta=eta)

    def figure(self, step: int, name: str, figure: Any) -> None: ...

    def close(self) -> None: ...


class Progress(AbstractWatcher):
    """One line that is rewritten on a terminal or in a notebook, a plain line now and then else.

    Parameters
    ----------
    quiet
        Print nothing.
    headline
        Names of the numbers to show, at most three.
    every
        Seconds between plain lines; `$PUSHFORWARD_PROGRESS_SECONDS`, 30.
    stream
        Default stderr.
    """

    def __init__(
        self,
        quiet: bool = False,
        headline: tuple[str, ...] = ("loss", "ess", "log_z"),
        every: float | None = None,
        stream: TextIO | None = None,
    ):
        self._quiet, self._headline = quiet, headline
        self._stream = sys.stderr if stream is None else stream
        self._every = float(os.environ.get("PUSHFORWARD_PROGRESS_SECONDS", 30))
        self._every = self._every if every is None else every
        self._rewrites = rewrites_lines(self._stream)
        self._last, self._phase, self._width = -float("inf"), "", 0

    def log(self, step: int, values: dict[str, Any]) -> None:
        now, phase, total = time.monotonic(), values.get("phase", ""), values.get("total", 0)
        compiling = values.get("state") == "compiling"
        if self._quiet or (compiling and not self._rewrites):
            return
        if phase != self._phase:
            self.close()
            self._phase, self._last = phase, -float("inf")
        due = 0.1 if self._rewrites else self._every
        if now - self._last < due and step < total and not compiling:
            return
        self._last = -float("inf") if compiling else now
        self._write("compiling ..." if compiling else self._numbers(step, total, values), step)
        if step >= total:
            self.close()

    def figure(self, step: int, name: str, figure: Any) -> None: ...

    def close(self) -> None:
        """End the open line; the watcher may be used again."""
        if self._width:
            self._put("\n")
        self._width = 0

    def _numbers(self, step: int, total: int, values: dict[str, Any]) -> str:
        parts, rate = [_clock(values.get("seconds", 0.0))], values.get("rate")
        if rate:
            parts.append(f"{rate:.3g} steps/s")
            if step < total:
                parts.append(f"{_clock((total - step) / rate)} left")
        shown = [n for n in self._headline if isinstance(values.get(n), (int, float))]
        parts += [f"{name} {values[name]:.4g}" for name in shown[:3]]
        return f"{step}/{total}  " + "  ".join(parts)

    def _write(self, text: str, step: int) -> None:
        line = f"{self._phase} {text}"
        if self._rewrites:
            self._put("\r" + line.ljust(self._width))
            self._width = len(line)
        else:
            self._put(line + "\n")

    def _put(self, text: str) -> None:
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        self._stream.write(text.encode(encoding, "replace").decode(encoding))
        self._stream.flush()


def rewrites_lines(stream: TextIO) -> bool:
    """Tell whether a stream is a terminal or the output of a notebook's cell."""
    notebook = type(stream).__module__.partition(".")[0] == "ipykernel"
    return notebook or bool(getattr(stream, "isatty", lambda: False)())


def all_watchers(
    watchers: Sequence[AbstractWatcher], stage: Stage | None, progress: bool | None
) -> tuple[AbstractWatcher, ...]:
    """Return the watchers of a call and of its stage, with a progress line where one is wanted.

    `progress` None shows one on a terminal and in a notebook. There is never a second one.
    """
    found = (*watchers, *(stage.watchers if stage else ()))
    wanted = rewrites_lines(sys.stderr) if progress is None else progress
    if wanted and not any(isinstance(watcher, Progress) for watcher in found):
        return (*found, Progress())
    return found


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"
