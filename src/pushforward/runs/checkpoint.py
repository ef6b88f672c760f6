"""Checkpoints: written whole, proved before use, the last few kept.

A checkpoint is the folder `checkpoints/0000000600/` (see `manifest`). It is written into a
temporary folder, fsynced, read back, compared and renamed, so a folder with a step's name is
complete. Reading takes the newest one that proves itself. A damaged one is named, kept under
`bad-...`, and the one before it is used. A state of other shapes or types than asked for is not
damage: it is the caller's error, and nothing is touched.
"""

import os
import re
import shutil
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import CheckpointDamaged, DiskFull, StorageError
from pushforward.formats.durable import TEMPORARY, storage_error, sync, write_bytes
from pushforward.formats.model import assemble, pack_tree
from pushforward.formats.safetensors import Packed, to_bytes
from pushforward.runs.manifest import BLOB, MANIFEST, manifest_text, verify

KEEP = 3
_MARGIN = 64 * 2**20  # free bytes to leave beside twice the state
_READ_BACK = 256 * 2**20  # states up to this size are read back and compared


@dataclass(frozen=True)
class Found:
    """What `newest` found: a state, its manifest, and sentences about what was damaged."""

    state: Any
    manifest: dict[str, Any]
    notices: list[str] = field(default_factory=list)


def write(
    parent: Path, step: int, state: Any, record: Mapping[str, Any], *, milestone: int | None = None
) -> Path:
    """Write a checkpoint of `state` at `step`; then delete all but the newest few.

    Parameters
    ----------
    parent
        The folder `checkpoints/`.
    step
        Absolute step number; it names the folder.
    state
        Any pytree of arrays, PRNG keys and Python numbers.
    record
        JSON to stand in the manifest (`extra`, `metrics_bytes`, `shards`).
    milestone
        Steps that are multiples of it are never deleted.
    """
    packed = pack_tree(state)
    _require_space(parent.parent, sum(leaf.array.nbytes for leaf in packed.values()))
    blob = to_bytes(packed)
    manifest = manifest_text(step, packed, blob, record)
    final, temporary = parent / f"{step:010d}", parent / f"{TEMPORARY}{step}-{os.getpid()}"
    try:
        parent.mkdir(exist_ok=True)
        shutil.rmtree(temporary, ignore_errors=True)
        temporary.mkdir()
        write_bytes(temporary / BLOB, blob)
        write_bytes(temporary / MANIFEST, manifest)
        if len(blob) <= _READ_BACK:
            _compare(temporary, step, packed)
        _rename(temporary, final)
    except StorageError:
        raise
    except OSError as error:
        raise storage_error(error, final) from error
    finally:
        shutil.rmtree(temporary, ignore_errors=True)
    _prune(parent, milestone)
    return final


def newest(parent: Path, like: Any, *, rename: bool) -> Found | None:
    """Read the newest checkpoint that proves itself into the structure of `like`.

    Parameters
    ----------
    parent
        The folder `checkpoints/`.
    like
        A state of the same structure, shapes and types.
    rename
        Whether a damaged checkpoint is renamed to `bad-...` (only under the lock, and only if
        a good one is left: otherwise the next start would see an empty stage).

    Returns
    -------
    The state, the manifest and notices; None if there never was a checkpoint.

    Raises
    ------
    CheckpointDamaged
        There are checkpoints, all of them damaged.
    InputError
        The state does not fit `like`.
    """
    damaged: dict[Path, str] = {}
    strangers = _strangers(parent)
    for path in _steps(parent):
        try:
            manifest, packed = verify(path, int(path.name))
        except CheckpointDamaged as error:
            damaged[path] = f"{path.name}: {error}"
            continue
        state = assemble(like, packed, where=str(path))
        if rename:
            for bad in damaged:
                _set_aside(bad)
        used = f"used step {manifest['step']} instead"
        notices = [f"recovered from a damaged checkpoint: {r}; {used}" for r in damaged.values()]
        return Found(state, manifest, notices + strangers)
    if damaged or strangers:
        reasons = "\n  ".join([*damaged.values(), *strangers])
        raise CheckpointDamaged(f"no good checkpoint is left in {parent}:\n  {reasons}")
    return None


def _require_space(folder: Path, size: int) -> None:
    needed, free = 2 * size + _MARGIN, shutil.disk_usage(folder).free
    if free < needed:
        raise DiskFull(
            f"a checkpoint in {folder} needs {needed} free bytes, the disk has {free}; earlier "
            "checkpoints are intact: free some space and run the same command again"
        )


def _compare(path: Path, step: int, packed: Mapping[str, Packed]) -> None:
    """Read a checkpoint back and compare arrays: a hash cannot see a scrambled one."""
    found = verify(path, step)[1]
    for name, leaf in packed.items():
        if not _same_bits(leaf.array, found[name].array):
            raise StorageError(f"leaf {name} read back from {path} differs from the one written")


def _same_bits(a: np.ndarray, b: np.ndarray) -> bool:
    if a.shape != b.shape or a.dtype != b.dtype:
        return False
    width = np.dtype(f"u{a.dtype.itemsize}")
    return bool(np.array_equal(a.view(width), b.view(width)))


def _rename(temporary: Path, final: Path) -> None:
    sync(temporary)
    replaced = temporary.with_name(f"{temporary.name}-replaced")
    if final.exists():  # the same step saved twice: the later one stands
        os.rename(final, replaced)
    os.rename(temporary, final)
    sync(final.parent)
    shutil.rmtree(replaced, ignore_errors=True)


def _steps(parent: Path) -> list[Path]:
    """List the folders named like a step, newest first."""
    paths = parent.iterdir() if parent.is_dir() else ()
    steps = [path for path in paths if re.fullmatch(r"[0-9]{10,}", path.name)]
    return sorted(steps, key=lambda path: int(path.name), reverse=True)


def _strangers(parent: Path) -> list[str]:
    """Name the checkpoints whose folder has a name that is none of ours."""
    known = r"[0-9]{10,}|bad-.*|" + re.escape(TEMPORARY) + ".*"
    found = {file.parent for kind in (MANIFEST, BLOB) for file in parent.glob(f"*/{kind}")}
    names = sorted(path.name for path in found if not re.fullmatch(known, path.name))
    return [f"checkpoints/{name} is not named by its step: ignored" for name in names]


def _set_aside(path: Path) -> None:
    target, number = path.with_name(f"bad-{path.name}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"bad-{path.name}-{number}")
    with suppress(OSError):
        os.rename(path, target)


def _prune(parent: Path, milestone: int | None) -> None:
    for path in _steps(parent)[KEEP:]:
        if not milestone or int(path.name) % milestone:
            shutil.rmtree(path, ignore_errors=True)
