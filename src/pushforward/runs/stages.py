"""Stages: what one `fit` or one `simulate` leaves on disk.

A stage owns a log of metrics, checkpoints, draws, the series recorded along the way, and
`done.json` at its end. The checkpoint is the clock of them all: it records how long the log and
how many the shards were, and `restore` cuts them back to that, so that a killed and resumed stage
ends with the same bytes as one that was never killed.
"""

import re
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import InputError, StorageError
from pushforward.formats.strict_json import read_document, write_document
from pushforward.runs.draws import Draws, JoinedDraws
from pushforward.runs.json_lines import JsonLines
from pushforward.runs.lock import Lock


class Stage(AbstractContextManager):
    """One stage of a run; made by `RunFolder.stage` or `as_stage`.

    Parameters
    ----------
    name
        Its name; it enters the random keys of the stage.
    path
        Its folder.
    writable
        Whether this process holds the lock.
    watchers
        Objects that the drivers add to their own.
    lock
        The stage's own lock, released by `close`.
    """

    def __init__(
        self,
        name: str,
        path: Path,
        *,
        writable: bool,
        watchers: tuple = (),
        lock: Lock | None = None,
    ):
        self.name, self.path, self.watchers = name, path, watchers
        self.notices: list[str] = []  # sentences for the headline of the report
        self._writable, self._lock = writable, lock
        self._metrics = JsonLines(path / "metrics.jsonl")
        self._draws = Draws(path / "draws")
        self._series = Draws(path / "series")

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def finished(self) -> bool:
        """Whether the stage has come to its end."""
        return (self.path / "done.json").exists()

    def save(
        self,
        step: int,
        state: Any,
        extra: dict[str, Any] | None = None,
        *,
        milestone_every: int | None = None,
    ) -> Path:
        """Write a checkpoint of a pytree, after everything it refers to is on disk.

        `restore` gives back `extra`, which is JSON. The newest three checkpoints are kept, and
        those whose step is a multiple of `milestone_every`.
        """
        from pushforward.runs import checkpoint

        require_writable(self.path, self._writable)
        self._flush()
        record = {"extra": extra or {}, "written": self._written()}
        return checkpoint.write(
            self.path / "checkpoints", step, state, record, milestone=milestone_every
        )

    def restore(self, like: Any) -> tuple[Any, int, dict[str, Any]] | None:
        """Read the newest good checkpoint; bring metrics and draws back to its moment.

        `like` is a state of the same structure, shapes and types, for nothing is cast
        (`InputError`). The result is `(state, step, extra)`, or None if the stage has no checkpoint
        yet. Damaged checkpoints are renamed `bad-...` and named in `notices`; if all are damaged,
        `CheckpointDamaged` names them. A finished stage, and one opened for reading, is left as it
        is.
        """
        from pushforward.runs import checkpoint

        found = checkpoint.newest(self.path / "checkpoints", like, rename=self._writable)
        if found is None:
            if any(self._written()):
                self.notices.append(f"stage {self.name} had no checkpoint yet: it starts at step 0")
            self._rewind([0, 0, 0])
            return None
        self.notices += found.notices
        self._rewind(found.record["written"])
        return found.state, found.record["step"], found.record["extra"]

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Append rows of scalars (with their absolute `step`) to the log."""
        require_writable(self.path, self._writable)
        self._metrics.append(rows)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all rows of the log; a torn last line is ignored."""
        return list(self._metrics)

    def append_draws(self, arrays: dict[str, np.ndarray], index_start: int) -> None:
        """Add draws: arrays with one common leading axis, the first row number `index_start`.

        They reach the disk when 64 MB have gathered, and with the next `save`.
        """
        require_writable(self.path, self._writable)
        self._draws.append(arrays, index_start)

    def draws(self) -> JoinedDraws:
        """Return all draws by name, joined along the leading axis (empty if there are none).

        An array is read from disk each time it is asked for; `dict(stage.draws())` reads all.
        """
        return self._draws.joined(self._at_the_end()[1])

    def iter_draws(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the draws shard by shard, each verified."""
        return self.draws().pieces()

    def append_series(self, arrays: dict[str, np.ndarray], index_start: int) -> None:
        """Add rows of the record (one a step or a time), kept apart from the draws."""
        require_writable(self.path, self._writable)
        self._series.append(arrays, index_start)

    def series(self) -> JoinedDraws:
        """Return the whole record, joined along the rows, as `draws` does."""
        return self._series.joined(self._at_the_end()[2])

    def finish(self, info: dict[str, Any]) -> None:
        """Mark the stage as finished; `info` is what `done` gives back."""
        require_writable(self.path, self._writable)
        self._flush()
        write_document(self.path / "done.json", {**info, "written": self._written()})

    def done(self) -> dict[str, Any] | None:
        """Return what `finish` was given; None while unfinished."""
        found = read_document(self.path / "done.json")
        return None if found is None else {k: v for k, v in found.items() if k != "written"}

    def reopen(self) -> None:
        """Take the mark of `finish` away, to extend the stage."""
        require_writable(self.path, self._writable)
        (self.path / "done.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Write waiting draws and give the stage's own lock back."""
        try:
            if self._writable:
                self._flush()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._writable = False

    def _flush(self) -> None:
        self._draws.flush()
        self._series.flush()
        self._metrics.sync()

    def _written(self) -> list[int]:
        """Return how much is on disk: bytes of metrics, shards of draws and of the series."""
        return [self._metrics.size(), self._draws.shards(), self._series.shards()]

    def _at_the_end(self) -> list[int]:
        """Return what a finished stage had written, zeros for one that is unfinished."""
        return (read_document(self.path / "done.json") or {}).get("written", [0, 0, 0])

    def _rewind(self, written: list[int]) -> None:
        if not self._writable or self.finished:
            return
        if any(have < want for have, want in zip(self._written(), written, strict=True)):
            self.notices.append(f"stage {self.name} lost metrics or draws since its checkpoint")
        for part, size in zip((self._metrics, self._draws, self._series), written, strict=True):
            part.cut(size)


def require_writable(path: Path, writable: bool) -> None:
    """Refuse to write what is open for reading."""
    if not writable:
        raise StorageError(
            f"{path} is open for reading only: write RunFolder.open(path, write=True)"
        )


def require_name(name: str) -> None:
    """Refuse names that would not be safe as a folder."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}", name):
        raise InputError(
            f"{name!r} cannot name a run or a stage; expected 1 to 64 letters, digits, '.', '_' "
            "or '-', beginning with a letter or a digit"
        )
