"""Stopping on request: handlers only set a flag, drivers poll it between chunks.

A handler that raised would tear a loop at an arbitrary point. After the flag the chunk is finished,
the state saved and `Stopped` raised; a second Ctrl-C ends the process at once.
"""

import os
import signal
import time
from types import FrameType

from .._errors import Stopped

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_flag: int | None = None
_deadline: float | None = None


def install(time_limit: float | None = None) -> None:
    """Set the handlers (main thread only) and, if given, a time limit in seconds from now."""
    global _flag, _deadline
    _flag = None
    _deadline = None if time_limit is None else time.monotonic() + time_limit
    for number in SIGNALS:
        signal.signal(number, _handle)


def uninstall() -> None:
    """Give the signals back their default meaning and forget the flag and the limit."""
    global _flag, _deadline
    _flag = _deadline = None
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def requested(margin: float = 0.0) -> int | None:
    """Return the number of the signal received, SIGTERM within `margin` s of the limit, or None."""
    if _flag is None and _deadline is not None and time.monotonic() + margin >= _deadline:
        return int(signal.SIGTERM)
    return _flag


def stopped(number: int, where: str, *, saved: bool = True) -> Stopped:
    """Build the error that says what stopped and how to go on."""
    then = "no folder was given, so nothing is saved: write folder='runs/mine'"
    if saved:
        then = (
            "everything is saved: `pushforward resume RUN` (or the same call with the same "
            "folder) goes on from here"
        )
    error = Stopped(f"stopped on request ({signal.Signals(number).name}) {where}; {then}")
    error.signal = number
    return error


def _handle(number: int, frame: FrameType | None) -> None:
    global _flag
    if number == signal.SIGINT and _flag == signal.SIGINT:
        os._exit(130)
    _flag = number
