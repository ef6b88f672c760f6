"""Stopping on request: handlers only set a flag, drivers poll it between chunks.

A handler that raised would tear a loop at an arbitrary point. After the flag the chunk is finished,
the state saved and `Stopped` raised; a second Ctrl-C ends the process at once.
"""

import os
import signal
import time
from types import FrameType

from .._errors import Stopped
from ..runs import Stage

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
_flag: int | None = None
_limit: float | None = None
_deadline = float("inf")
_resume = ""


def install(time_limit: float | None = None, resume: str = "") -> None:
    """Set the handlers (main thread only).

    After `time_limit` seconds a driver stops as it does at SIGTERM; `resume` is the command that
    goes on with the run, for the message.
    """
    global _flag, _limit, _deadline, _resume
    _flag, _limit, _resume = None, time_limit, resume
    _deadline = float("inf") if time_limit is None else time.monotonic() + time_limit
    for number in SIGNALS:
        signal.signal(number, _handle)


def uninstall() -> None:
    """Give the signals back their default meaning and forget the flag and the limit."""
    global _flag, _limit, _deadline, _resume
    _flag, _limit, _deadline, _resume = None, None, float("inf"), ""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    for number in SIGNALS[1:]:
        signal.signal(number, signal.SIG_DFL)


def requested(margin: float = 0.0) -> int | None:
    """Return the number of the signal received, SIGTERM within `margin` s of the limit, or None."""
    if _flag is None and time.monotonic() + margin >= _deadline:
        return int(signal.SIGTERM)
    return _flag


def stopped(
    number: int, where: str, *, stage: Stage | None = None, saved: bool | None = None
) -> Stopped:
    """Build the error that says what stopped and how to go on."""
    reason = f"stopped on request ({signal.Signals(number).name})"
    if _flag is None and _limit is not None:
        reason = f"the time limit of {_duration(_limit)} was reached"
    then = "no folder was given, so nothing is saved: write folder='runs/mine'"
    if stage is not None or saved:
        then = f"everything is saved: {_again(stage)} goes on from here"
    error = Stopped(f"{reason} {where}; {then}")
    error.signal = number
    return error


def _again(stage: Stage | None) -> str:
    if _resume:
        return f"`{_resume}`"
    if stage is not None and stage.path.parent.name == "stages":  # of a run
        return f"`pushforward resume {stage.path.parent.parent}`"
    return "the same call with the same folder"


def _duration(seconds: float) -> str:
    """Write seconds as 3h50m, 10m or 45s."""
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    parts = ((hours, "h"), (minutes, "m"), (rest, "s"))
    return "".join(f"{n}{unit}" for n, unit in parts if n) or "0s"


def _handle(number: int, frame: FrameType | None) -> None:
    global _flag
    if number == signal.SIGINT and _flag == signal.SIGINT:
        os._exit(130)
    _flag = number
