"""A run on disk: one folder that tells the whole story of one experiment.

`config.toml` makes a folder a run. Beside it stand where it ran (`env.json`), how it is doing
(`status.json`), what came out (`summary.json`) and the stages. One process writes, under a lock;
anyone may read, also while it runs or after it died, without JAX.
"""

import os
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pushforward._errors import InputError, NotARun, StorageError
from pushforward.formats.durable import append_bytes, remove_temporary, write_bytes
from pushforward.runs.json_files import read_document, write_document
from pushforward.runs.lock import NAME, OWNER, Lock, is_held
from pushforward.runs.opening import card, open_stage
from pushforward.runs.stages import Stage, require_name

ENDED = ("finished", "preempted", "failed")
STATES = ("created", "compiling", "running", "saving", *ENDED)
_DEAD_AFTER = 60.0  # seconds without a heartbeat, and no process holds the lock


class RunFolder:
    """A run on disk; made by `create` or `open`, a context manager.

    Parameters
    ----------
    path
        The folder.
    lock
        The lock of a writer; None for a reader.
    watchers
        Objects that the drivers add to their own, handed on to every stage.
    """

    def __init__(self, path: Path, *, lock: Lock | None, watchers: tuple = ()):
        self.path, self.watchers = path, watchers
        self._lock = lock
        self._open: dict[str, Stage] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        config: str,
        environment: Mapping[str, Any],
        watchers: tuple = (),
    ) -> "RunFolder":
        """Make a new run.

        Parameters
        ----------
        path
            A folder that is empty or does not exist.
        config
            Text of `config.toml`, complete.
        environment
            Versions, devices, command line: see `add_environment`.
        watchers
            See the class.

        Raises
        ------
        InputError
            The folder is not empty.
        RunLocked
            Another process is writing it.
        """
        path = Path(path)
        require_name(path.resolve().name)
        if not (path / NAME).exists():
            _require_empty(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, lock=Lock(path), watchers=watchers)
        try:
            _require_empty(path)
            write_bytes(path / "config.toml", config.encode())
            run.add_environment(environment)
            run.set_status(state="created")
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path, *, write: bool = False, watchers: tuple = ()) -> "RunFolder":
        """Open an existing run, to read it or (`write=True`) to go on with it."""
        path = Path(path)
        if not (path / "config.toml").is_file():
            raise NotARun(f"{path} holds no run (no config.toml); expected a folder like runs/NAME")
        lock = Lock(path) if write else None
        if write:
            remove_temporary(path)
        return cls(path, lock=lock, watchers=watchers)

    def __enter__(self) -> "RunFolder":
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def stage(self, name: str) -> Stage:
        """Return the stage of that name; a writer makes it if it does not exist."""
        require_name(name)
        if name not in self._open:
            path = self.path / "stages" / name
            if self._lock is None:
                self._open[name] = Stage(name, path, writable=False, watchers=self.watchers)
            else:
                path.parent.mkdir(exist_ok=True)
                self._open[name] = open_stage(
                    path, name, index=len(self._stage_names()), watchers=self.watchers
                )
        return self._open[name]

    def stages(self) -> list[Stage]:
        """Return the existing stages, in order of creation."""
        return [self.stage(name) for name in self._stage_names()]

    def set_status(self, **fields: Any) -> None:
        """Update `status.json`: state, step, total, eta, error; the heartbeat is added."""
        self._require_writable()
        state = fields.get("state", "created")
        if state not in STATES:
            raise InputError(f"state {state!r}; expected one of {', '.join(STATES)}")
        status = (read_document(self.path / "status.json") or {}) | fields
        status |= {"heartbeat": time.time(), "pid": os.getpid()}
        write_document(self.path / "status.json", status)

    def status(self) -> dict[str, Any]:
        """Return the status; its state is "dead" if the writer vanished without a word."""
        status = {"state": "created", "restarts": 0} | (
            read_document(self.path / "status.json") or {}
        )
        silent = time.time() - status.get("heartbeat", 0.0) > _DEAD_AFTER
        if status["state"] not in ENDED and silent and not is_held(self.path):
            status["state"] = "dead"
        return status

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`: results, diagnostics, warnings, seconds, cost."""
        self._require_writable()
        write_document(self.path / "summary.json", dict(summary))

    def summary(self) -> dict[str, Any]:
        """Return the summary; {} while there is none."""
        return read_document(self.path / "summary.json") or {}

    def add_environment(self, environment: Mapping[str, Any]) -> None:
        """Add one entry to `env.json`, at the start and at every restart."""
        self._require_writable()
        starts = [*self.environment(), dict(environment)]
        write_document(self.path / "env.json", {"starts": starts})
        if len(starts) > 1:
            self.set_status(restarts=len(starts) - 1)

    def environment(self) -> list[dict[str, Any]]:
        """Return one entry per (re)start."""
        return (read_document(self.path / "env.json") or {}).get("starts", [])

    def config(self) -> str:
        """Return the text of `config.toml`."""
        try:
            return (self.path / "config.toml").read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise StorageError(f"cannot read {self.path / 'config.toml'}: {error}") from error

    def log(self, line: str) -> None:
        """Append one line to `log.txt`."""
        self._require_writable()
        append_bytes(self.path / "log.txt", (" ".join(line.splitlines()) + "\n").encode())

    def close(self) -> None:
        """Close the stages and give the lock back; a second call does nothing."""
        try:
            for stage in self._open.values():
                stage.close()
        finally:
            if self._lock is not None:
                self._lock.release()
                self._lock, self._open = None, {}

    def _stage_names(self) -> list[str]:
        folder = self.path / "stages"
        paths = [p for p in folder.iterdir() if p.is_dir()] if folder.is_dir() else []
        return [p.name for p in sorted(paths, key=lambda p: (card(p).get("index", 0), p.name))]

    def _require_writable(self) -> None:
        if self._lock is None:
            raise StorageError(
                f"{self.path} is open for reading only: write RunFolder.open(path, write=True)"
            )


def next_free(root: str | Path, name: str) -> Path:
    """Return `root/name-NNN` with the number after the highest that exists."""
    require_name(name)
    root = Path(root)
    pattern = re.compile(rf"{re.escape(name)}-(\d{{3,}})")
    entries = root.iterdir() if root.is_dir() else ()
    numbers = [int(m[1]) for entry in entries if (m := pattern.fullmatch(entry.name))]
    return root / f"{name}-{max(numbers, default=0) + 1:03d}"


def _require_empty(path: Path) -> None:
    """Refuse a folder with anything in it but the traces of a lock."""
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a new folder: choose another --name")
    entries = {entry.name for entry in path.iterdir()} if path.exists() else set()
    rest = sorted(name for name in entries - {NAME, OWNER} if not name.startswith(".tmp-"))
    if rest:
        raise InputError(
            f"{path} is not empty ({', '.join(rest[:4])}); expected a new folder: continue it with "
            f"`pushforward resume {path}`, or choose another --name"
        )
