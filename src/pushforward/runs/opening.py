"""Opening a stage for writing: inside a run, or alone in a folder of its own.

A bare library call with `folder=PATH` is one stage that lives directly in that folder and holds
its own lock. The file `stage.json` makes the folder its own: other files, a run, or a stage of
another name (whose random keys would differ) are refused.
"""

import os
from pathlib import Path
from typing import Any

from pushforward._errors import InputError
from pushforward.formats.durable import TEMPORARY, remove_temporary, storage_error
from pushforward.formats.strict_json import read_document, write_document
from pushforward.runs.lock import NAME, OWNER, Lock
from pushforward.runs.stages import Stage

RUN, STAGE = "run.json", "stage.json"


def as_stage(folder: str | Path | Stage | None, name: str) -> Stage | None:
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
    try:
        path.mkdir(parents=True, exist_ok=True)
        remove_temporary(path)
    except OSError as error:
        raise storage_error(error, path) from error
    if not (path / STAGE).exists():
        write_document(path / STAGE, {"name": name, "index": index})
    return Stage(name, path, writable=True, watchers=watchers, lock=lock)


def about_stage(path: Path) -> dict[str, Any]:
    """Return the name of the stage in a folder and its place among its run's; {} if none."""
    return read_document(path / STAGE) or {}


def strangers(path: Path) -> list[str]:
    """List what is in a folder but the traces of a lock and of a killed write."""
    names = (entry.name for entry in (path.iterdir() if path.is_dir() else ()))
    return sorted(n for n in names if n not in (NAME, OWNER) and not n.startswith(TEMPORARY))


def _require_own(path: Path, name: str) -> None:
    """Refuse to mix a bare stage with files that are not its own."""
    present = strangers(path)
    if RUN in present or "config.toml" in present:
        raise InputError(
            f"{path} is a run: write RunFolder.open({str(path)!r}, write=True).stage({name!r})"
        )
    if path.exists() and not path.is_dir():
        raise InputError(f"{path} is a file; expected a folder")
    if present and STAGE not in present:
        raise InputError(f"{path} is not empty and holds no stage: choose a new folder")
    found = about_stage(path).get("name", name)
    if found != name:
        raise InputError(f"{path} holds the stage {found!r}, expected {name!r}: choose another")
