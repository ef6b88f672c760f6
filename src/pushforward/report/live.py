"""The live report: a watcher that rewrites the page of a running job now and then."""

import logging
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .page import write_report

if TYPE_CHECKING:
    from matplotlib.figure import Figure

SHARE = 0.02  # largest part of the run's time spent on its page


class LiveReport:
    """Keep `path/report.html` up to date while a run goes on: a watcher for `fit` and `simulate`.

    The page is written at most every `every` seconds, and never so often that it takes more than
    two per cent of the run. A page that cannot be written is logged: it never ends a run. `close`
    writes what has not been shown yet; the watcher may then be used again by the next stage.

    Parameters
    ----------
    path
        The run folder.
    every
        Smallest time between two pages, in seconds.
    clock
        Where the time comes from (a test hands in its own).
    """

    def __init__(
        self, path: Path | str, every: float = 30.0, *, clock: Callable[[], float] = time.monotonic
    ):
        self._path, self._every, self._clock = Path(path), every, clock
        self._next = clock()
        self._figures: dict[str, Figure | Exception] = {}
        self._is_stale = False

    def log(self, step: int, scalars: Mapping[str, Any]) -> None:
        """Note that the run went on; rewrite the page if it is time."""
        self._is_stale = True
        if self._clock() >= self._next:
            self._write()

    def figure(self, step: int, name: str, figure: "Figure") -> None:
        """Show `figure` under `name` on the next page."""
        self._figures[name], self._is_stale = figure, True

    def close(self) -> None:
        """Write the page once more if something is not on it yet."""
        if self._is_stale:
            self._write()

    def _write(self) -> None:
        begin = self._clock()
        figures, self._figures, self._is_stale = self._figures, {}, False
        try:
            write_report(self._path, figures=figures)
        except Exception as error:  # the run matters more than its page
            logging.getLogger("pushforward").warning("the live report failed: %s", error)
        end = self._clock()
        self._next = end + max(self._every, (end - begin) / SHARE)
