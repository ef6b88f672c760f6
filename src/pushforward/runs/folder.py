"""A run on disk: one folder that tells the whole story of one experiment.

One file decides what the folder means: `run.json` holds the configuration, one entry per start
with its environment, and how the run ended. It is replaced whole, so a kill leaves either the old
or the new meaning. All others follow from it or inform: `config.toml` is a copy for people,
`status.json` says how far a living run is, `summary.json` what came out. One process writes, under
a lock; anyone may read, also while it runs or after it died, without JAX.
"""

import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import AbstractContextManager, suppress
from pathlib import Path
from typing import Any

from pushforward._errors import InputError, NotARun, StorageError
from pushforward.formats.durable import TEMPORARY, append_bytes, remove_temporary, write_bytes
from pushforward.formats.strict_json import read_document, write_document
from pushforward.runs.lock import NAME, Lock, is_held
from pushforward.runs.opening import RUN, STAGE, about_stage, open_stage, strangers
from pushforward.runs.stages import Stage, require_name, require_writable

ENDED = ("finished", "preempted", "failed")
STATES = ("created", "compiling", "running", "saving", *ENDED)
_NOTHING = {
    **{"config": "", "config_before": None, "values": {}, "starts": []},
    **{"ended": None, "error": None, "extending": None, "written": 0.0},
}
_DEAD_AFTER = 60.0  # seconds without a heartbeat, and no process holds the lock


class RunFolder(AbstractContextManager):
    """A run on disk; made by `create` or `open`, a context manager.

    A folder that `fit(folder=)` or `simulate(folder=)` made is read as a run of one stage.

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
        self._known: dict[str, Any] = {}  # run.json, as this writer knows it

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        config: str,
        environment: Mapping[str, Any],
        values: Mapping[str, Any] | None = None,
        watchers: tuple = (),
    ) -> "RunFolder":
        """Make a new run in a folder that is empty, absent, or left by a killed `create`.

        Parameters
        ----------
        path
            The folder. It is refused if something is in it (`InputError`), or if another process
            is writing it (`RunLocked`).
        config, values
            The complete configuration: as text for `config.toml`, and as JSON by key.
        environment
            Versions, devices, command line: see `add_environment`.
        watchers
            See the class.
        """
        path = Path(path)
        require_name(path.resolve().name)
        if not (path / NAME).exists():
            _require_empty(path)
        path.mkdir(parents=True, exist_ok=True)
        run = cls(path, lock=Lock(path), watchers=watchers)
        try:
            _require_empty(path)
            remove_temporary(path)
            starts = [dict(environment)]
            run._decide({"config": config, "values": dict(values or {}), "starts": starts})
            run._copy_config()
        except BaseException:
            run.close()
            raise
        return run

    @classmethod
    def open(cls, path: str | Path, *, write: bool = False, watchers: tuple = ()) -> "RunFolder":
        """Open an existing run, to read it or (`write=True`) to go on with it."""
        path = Path(path)
        _require_run(path, write)
        run = cls(path, lock=Lock(path) if write else None, watchers=watchers)
        try:
            if write:
                remove_temporary(path)
                run._copy_config()
        except BaseException:
            run.close()
            raise
        return run

    def __exit__(self, *_: object) -> None:
        self.close()

    def stage(self, name: str) -> Stage:
        """Return the stage of that name; a writer makes it if it does not exist."""
        require_name(name)
        if name not in self._open:
            path = self._place(name)
            if self._lock is None:
                self._open[name] = Stage(name, path, writable=False, watchers=self.watchers)
            else:
                number = len(self._stage_names())
                self._open[name] = open_stage(path, name, index=number, watchers=self.watchers)
        return self._open[name]

    def stages(self) -> list[Stage]:
        """Return the existing stages, in order of creation."""
        return [self.stage(name) for name in self._stage_names()]

    def notices(self) -> list[str]:
        """Return what the stages opened here found damaged or lost, and what they did about it."""
        return [notice for stage in self._open.values() for notice in stage.notices]

    def set_status(self, **fields: Any) -> None:
        """Say how the run is doing: state, step, total, eta, error; a heartbeat is added.

        It costs about a millisecond, so it may follow every chunk. A state or error that begins
        or ends the run is forced to disk.
        """
        require_writable(self.path, self._lock is not None)
        state = fields.get("state", "created")
        if state not in STATES:
            raise InputError(f"state {state!r}; expected one of {', '.join(STATES)}")
        known = self._content()
        new = known | {"error": fields.pop("error", known["error"])}
        if "state" in fields:
            new["ended"] = state if state in ENDED else None
            new |= {"extending": None} if state == "finished" else {}
        if new != known:
            self._decide(new)
        live = self._live() | fields | {"heartbeat": time.time(), "pid": os.getpid()}
        write_document(self.path / "status.json", live, durable=False)

    def status(self) -> dict[str, Any]:
        """Return the status; its state is "dead" if the writer vanished without a word."""
        known, live = self._content(), self._live()
        state = known["ended"] or live.get("state")
        if state is None or known["ended"] is None and state in ENDED:  # killed in a restart
            state = "running" if self._bare() else "created"
        status = {**live, "state": state, "error": known["error"]}
        status["restarts"] = max(len(known["starts"]) - 1, 0)
        silent = time.time() - live.get("heartbeat", known["written"]) > _DEAD_AFTER
        if state not in ENDED and silent and not is_held(self.path):
            status["state"] = "dead"
        return status

    def write_summary(self, summary: Mapping[str, Any]) -> None:
        """Write `summary.json`: results, diagnostics, warnings, seconds, cost."""
        require_writable(self.path, self._lock is not None)
        write_document(self.path / "summary.json", dict(summary))

    def summary(self) -> dict[str, Any]:
        """Return the summary; {} while there is none."""
        return read_document(self.path / "summary.json") or {}

    def add_environment(self, environment: Mapping[str, Any]) -> None:
        """Add one entry to the starts, at every restart."""
        require_writable(self.path, self._lock is not None)
        known = self._content()
        self._decide(known | {"starts": [*known["starts"], dict(environment)]})

    def environment(self) -> list[dict[str, Any]]:
        """Return one entry per (re)start."""
        return self._content()["starts"]

    def config(self) -> str:
        """Return the text of the configuration, as the run was made or extended with it."""
        return self._content()["config"]

    def config_values(self) -> dict[str, Any]:
        """Return the configuration as `create` or `extend` was given it by key."""
        return self._content()["values"]

    def extend(self, *, config: str, values: Mapping[str, Any]) -> None:
        """Take a longer configuration: the run is `extending` until it has finished again.

        One file is replaced, so that a kill leaves the old configuration or the new one.
        """
        require_writable(self.path, self._lock is not None)
        known = self._content()
        new = {"config": config, "values": dict(values), "config_before": known["config"]}
        self._decide(known | new | {"extending": True, "ended": None, "error": None})
        self._copy_config()

    @property
    def extending(self) -> bool:
        """Whether the run got a longer configuration and has not finished since."""
        return bool(self._content()["extending"])

    def discard_stage(self, name: str) -> None:
        """Remove a stage, at once: it is made again when it is asked for."""
        require_writable(self.path, self._lock is not None)
        self._open.pop(name, None)
        gone = self._place(f"{TEMPORARY}{name}")
        os.rename(self._place(name), gone)
        shutil.rmtree(gone)

    def log(self, line: str) -> None:
        """Append one line to `log.txt`."""
        require_writable(self.path, self._lock is not None)
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

    def edited(self) -> bool:
        """Tell whether somebody changed `config.toml` by hand, so that it is no copy any more."""
        known = self._content()
        return self._copy() not in (None, known["config"], known["config_before"])

    def _content(self) -> dict[str, Any]:
        """Return what `run.json` says; of a bare stage, what it would say."""
        if self._lock is None or not self._known:
            self._known = read_document(self.path / RUN) or {}
            if not self._known and (self.path / "done.json").exists():
                self._known = {"ended": "finished"}
        return _NOTHING | self._known

    def _decide(self, content: dict[str, Any]) -> None:
        """Give the folder its new meaning, at once and for good."""
        self._known = content | {"written": time.time()}
        write_document(self.path / RUN, self._known)

    def _copy(self) -> str | None:
        path = self.path / "config.toml"
        return path.read_text(encoding="utf-8", errors="replace") if path.exists() else None

    def _copy_config(self) -> None:
        """Make `config.toml` the copy it should be; one that somebody edited stays."""
        if self._copy() in (None, self._content()["config_before"]):
            write_bytes(self.path / "config.toml", self.config().encode())

    def _live(self) -> dict[str, Any]:
        with suppress(StorageError):  # it only informs, and a power cut may tear it
            return read_document(self.path / "status.json") or {}
        return {}

    def _bare(self) -> bool:
        """Tell whether this is the single stage of a library call."""
        return not is_run(self.path)

    def _place(self, name: str) -> Path:
        alone = self._bare() and about_stage(self.path).get("name") == name
        return self.path if alone else self.path / "stages" / name

    def _stage_names(self) -> list[str]:
        if self._bare():
            return [about_stage(self.path)["name"]]
        folders = [path.parent for path in (self.path / "stages").glob(f"*/{STAGE}")]
        folders = [path for path in folders if not path.name.startswith(TEMPORARY)]
        order = {path.name: about_stage(path).get("index", 0) for path in folders}
        return sorted(order, key=lambda name: (order[name], name))


def is_run(path: str | Path) -> bool:
    """Tell whether a folder holds a run that `RunFolder.create` made."""
    return (Path(path) / RUN).is_file()


def next_free(root: str | Path, name: str) -> Path:
    """Return `root/name-NNN` with the number after the highest that exists."""
    require_name(name)
    root = Path(root)
    pattern = re.compile(rf"{re.escape(name)}-(\d{{3,}})")
    entries = root.iterdir() if root.is_dir() else ()
    numbers = [int(m[1]) for entry in entries if (m := pattern.fullmatch(entry.name))]
    return root / f"{name}-{max(numbers, default=0) + 1:03d}"


def _require_run(path: Path, write: bool) -> None:
    if is_run(path) or ((path / STAGE).is_file() and not write):
        return
    if (path / STAGE).is_file():
        raise InputError(
            f"{path} holds the stage {about_stage(path)['name']!r} of a library call, not a run of "
            f"`pushforward run`: give folder={str(path)!r} to that call to go on with it"
        )
    if (path / "env.json").is_file():
        raise NotARun(
            f"{path} was made by an older version (format 1): its checkpoints cannot be read; "
            "start a new run"
        )
    raise NotARun(f"{path} holds no run (no {RUN}); expected a folder like runs/NAME")


def _require_empty(path: Path) -> None:
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a new folder: choose another --name")
    if strange := strangers(path):
        raise InputError(
            f"{path} is not empty ({', '.join(strange[:4])}); expected a new folder: continue it "
            f"with `pushforward resume {path}`, or choose another --name"
        )
