"""Watchers look on between chunks: progress, logs, live reports, your own tracker.

A watcher is any object with `log(step, dict)`, `figure(step, name, figure)` and `close()`. They run
on the host, never inside a chunk, so a slow one costs time but changes no number.
"""

import json
import os
import sys
import time
from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any, TextIO


class AbstractWatcher(ABC):
    """Something that looks on."""

    @abstractmethod
    def log(self, step: int, values: dict[str, Any]) -> None:
        """Take the scalars of a step; `phase`, `total` and `seconds` are among them."""

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
        """Write a line and flush it."""
        row = {"step": step} | {k: _strict(v) for k, v in values.items()}
        self._file.write(json.dumps(row) + "\n")
        self._file.flush()

    def figure(self, step: int, name: str, figure: Any) -> None:
        """Ignore figures."""

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Progress(AbstractWatcher):
    """One line that is rewritten on a terminal, a plain line now and then elsewhere.

    Parameters
    ----------
    quiet
        Print nothing.
    headline
        Names of the numbers to show, at most three.
    every
        Seconds between lines when the stream is no terminal; `$PUSHFORWARD_PROGRESS_SECONDS`, 30.
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
        self._terminal = self._stream.isatty()
        self._last, self._phase, self._open = -float("inf"), "", False

    def log(self, step: int, values: dict[str, Any]) -> None:
        """Show step/total, rate, time left and the headline numbers."""
        if self._quiet:
            return
        now, phase, total = time.monotonic(), values.get("phase", ""), values.get("total", 0)
        if phase != self._phase:
            self._end_line()
            self._phase, self._last = phase, -float("inf")
        last_step = step >= total
        due = 0.1 if self._terminal else self._every
        if now - self._last < due and not last_step:
            return
        self._last = now
        self._write(self._line(step, total, values), end=last_step)

    def figure(self, step: int, name: str, figure: Any) -> None:
        """Ignore figures."""

    def close(self) -> None:
        """End the open line."""
        self._end_line()

    def _line(self, step: int, total: int, values: dict[str, Any]) -> str:
        seconds = values.get("seconds", 0.0)
        rate = values.get("rate")
        parts = [f"{self._phase} {step}/{total}", f"{_clock(seconds)}"]
        if rate:
            parts.append(f"{rate:.3g} steps/s")
            if step < total:
                parts.append(f"{_clock((total - step) / rate)} left")
        shown = [n for n in self._headline if isinstance(values.get(n), (int, float))]
        parts += [f"{name} {values[name]:.4g}" for name in shown[:3]]
        return "  ".join(parts)

    def _write(self, line: str, end: bool) -> None:
        if self._terminal:
            self._stream.write("\r\x1b[2K" + line)
            self._open = True
            if end:
                self._end_line()
        else:
            self._stream.write(line + "\n")
        self._stream.flush()

    def _end_line(self) -> None:
        if self._open:
            self._stream.write("\n")
            self._stream.flush()
        self._open = False


def _clock(seconds: float) -> str:
    minutes, seconds = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{seconds:02d}" if hours else f"{minutes}:{seconds:02d}"


def _strict(value: Any) -> Any:
    number = isinstance(value, float) and (value != value or value in (float("inf"), -float("inf")))
    return str(value) if number else value
