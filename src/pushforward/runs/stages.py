"""Stages: what one `fit` or one `simulate` leaves on disk.

A stage owns a log of metrics, checkpoints, draws, and `done.json` at its end. The checkpoint is
the clock of all three: it records how long the log and how many the shards were, and `restore`
cuts both back to that, so that a killed and resumed stage ends with the same bytes as one that
was never killed.
"""

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import InputError, StorageError
from pushforward.formats.durable import remove_temporary
from pushforward.runs.draws import Draws
from pushforward.runs.json_files import Lines, read_document, write_document
from pushforward.runs.lock import NAME, OWNER, Lock

_CARD = "stage.json"


class Stage:
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
        self._metrics = Lines(path / "metrics.jsonl")
        self._draws = Draws(path / "draws")

    def __enter__(self) -> "Stage":
        return self

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
        """Write a checkpoint, after everything it refers to is on disk.

        Parameters
        ----------
        step
            Absolute step number.
        state
            Pytree of arrays (also bfloat16, complex), typed PRNG keys and Python numbers.
        extra
            JSON that `restore` gives back.
        milestone_every
            Multiples of it are kept for ever; otherwise the newest three are.
        """
        from pushforward.runs import checkpoint

        self._require_writable()
        self._draws.flush()
        self._draws.sync()
        self._metrics.sync()
        record = {"extra": extra or {}, "metrics_bytes": self._metrics.size()}
        record["shards"] = self._draws.shards()
        return checkpoint.write(
            self.path / "checkpoints", step, state, record, milestone=milestone_every
        )

    def restore(self, like: Any) -> tuple[Any, int, dict[str, Any]] | None:
        """Read the newest good checkpoint; bring metrics and draws back to its moment.

        Parameters
        ----------
        like
            A state of the same structure, shapes and types; nothing is cast.

        Returns
        -------
        `(state, step, extra)`, or None if the stage has no checkpoint yet. Damaged checkpoints
        are renamed `bad-...` and named in `notices`. A finished stage, and one opened for
        reading, is left as it is.

        Raises
        ------
        CheckpointDamaged
            All checkpoints are damaged.
        InputError
            The state does not fit `like`.
        """
        from pushforward.runs import checkpoint

        found = checkpoint.newest(self.path / "checkpoints", like, rename=self._writable)
        if found is None:
            self._rewind(0, 0)
            return None
        self.notices += found.notices
        self._rewind(found.manifest["metrics_bytes"], found.manifest["shards"])
        return found.state, found.manifest["step"], found.manifest["extra"]

    def append_metrics(self, rows: list[dict[str, Any]]) -> None:
        """Append rows of scalars (with their absolute `step`) to the log."""
        self._require_writable()
        self._metrics.append(rows)

    def metrics(self) -> list[dict[str, Any]]:
        """Return all rows of the log; a torn last line is ignored."""
        return list(self._metrics)

    def append_draws(self, arrays: dict[str, np.ndarray], index_start: int) -> None:
        """Add draws: arrays with one common leading axis, the first row number `index_start`.

        They reach the disk when 64 MB have gathered, and with the next `save`.
        """
        self._require_writable()
        self._draws.append(arrays, index_start)

    def draws(self) -> dict[str, np.ndarray]:
        """Return all draws, joined along the leading axis ({} if there are none)."""
        return self._draws.joined()

    def iter_draws(self) -> Iterator[dict[str, np.ndarray]]:
        """Yield the draws shard by shard, each verified."""
        return iter(self._draws)

    def finish(self, info: dict[str, Any]) -> None:
        """Mark the stage as finished; `info` is what `done` gives back."""
        self._require_writable()
        self._draws.flush()
        self._draws.sync()
        self._metrics.sync()
        write_document(self.path / "done.json", info)

    def done(self) -> dict[str, Any] | None:
        """Return what `finish` was given; None while unfinished."""
        return read_document(self.path / "done.json")

    def reopen(self) -> None:
        """Take the mark of `finish` away, to extend the stage."""
        self._require_writable()
        (self.path / "done.json").unlink(missing_ok=True)

    def close(self) -> None:
        """Write waiting draws and give the stage's own lock back."""
        try:
            if self._writable:
                self._draws.flush()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._writable = False

    def _rewind(self, metrics_bytes: int, shards: int) -> None:
        if not self._writable or self.finished:
            return
        size, left = self._metrics.size(), self._draws.shards()
        if not metrics_bytes and not shards and (size or left):
            self.notices.append(f"stage {self.name} had no checkpoint yet: it starts at step 0")
        if size < metrics_bytes or left < shards:
            self.notices.append(f"stage {self.name} lost metrics or draws since its checkpoint")
        self._metrics.cut(metrics_bytes)
        self._draws.cut(shards)

    def _require_writable(self) -> None:
        if not self._writable:
            raise StorageError(
                f"{self.path} is open for reading only: write RunFolder.open(path, write=True)"
            )


def as_stage(folder: "str | Path | Stage | None", name: str) -> Stage | None:
    """Return the stage a driver writes to.

    Parameters
    ----------
    folder
        None (write nothing), a stage, or a path: then one stage lives directly in that folder,
        locked until its `close`.
    name
        Name of the stage when `folder` is a path.
    """
    if folder is None or isinstance(folder, Stage):
        return folder
    if not isinstance(folder, str | os.PathLike):
        raise InputError(
            f"folder: got {type(folder).__name__}, expected a path, a stage or None; of a run "
            "write folder=run.stage('train')"
        )
    path = Path(folder)
    _require_own(path, name)
    path.mkdir(parents=True, exist_ok=True)
    lock = Lock(path)
    try:
        return open_stage(path, name, lock=lock)
    except BaseException:
        lock.release()
        raise


def open_stage(
    path: Path, name: str, *, index: int = 0, watchers: tuple = (), lock: Lock | None = None
) -> Stage:
    """Open a stage for writing, under a lock that the caller holds."""
    path.mkdir(exist_ok=True)
    remove_temporary(path)
    if not (path / _CARD).exists():
        write_document(path / _CARD, {"name": name, "index": index})
    return Stage(name, path, writable=True, watchers=watchers, lock=lock)


def card(path: Path) -> dict[str, Any]:
    """Return the name and the place of a stage among its run's."""
    return read_document(path / _CARD) or {}


def _require_own(path: Path, name: str) -> None:
    """Refuse to mix a bare stage with files that are not its own."""
    if (path / "config.toml").exists():
        raise InputError(
            f"{path} is a run: write RunFolder.open({str(path)!r}, write=True).stage({name!r})"
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a folder")
    entries = {p.name for p in path.iterdir()} if path.exists() else set()
    if entries - {NAME, OWNER} and _CARD not in entries:
        raise InputError(f"{path} is not empty and holds no stage: choose a new folder")
    found = card(path).get("name", name)
    if found != name:
        raise InputError(f"{path} holds the stage {found!r}, expected {name!r}: choose another")
