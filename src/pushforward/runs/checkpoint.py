"""Checkpoints: one file a step, written whole, proved before use, the last few kept.

`checkpoints/0000000600.safetensors` holds the leaves of a state by path and, in its metadata, the
record: step, versions, layout, what the caller gave. A sha256 in the file guards every byte of it.
Reading takes the newest checkpoint that proves itself. A damaged one is named, kept as `bad-...`,
and the one before it is used. A state of other shapes or types than asked for is no damage: it is
the caller's error, and nothing is touched.
"""

import os
import re
import shutil
import time
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from pushforward import __version__
from pushforward._errors import CheckpointDamaged, DiskFull, StorageError
from pushforward.formats.durable import storage_error, write_bytes
from pushforward.formats.model import assemble, pack_tree
from pushforward.formats.safetensors import Packed, read_packed, to_parts
from pushforward.formats.strict_json import FORMAT, check_format, dumps, loads

KEEP = 3
_MARGIN = 64 * 2**20  # free bytes to leave beside twice the state
_READ_BACK = 256 * 2**20  # states up to this size are read back and compared


class Found(NamedTuple):
    """A state, its record, and sentences about what was damaged."""

    state: Any
    record: dict[str, Any]
    notices: list[str]


def write(
    parent: Path, step: int, state: Any, record: Mapping[str, Any], *, milestone: int | None = None
) -> Path:
    """Write a checkpoint into `parent`; delete all but the newest few and multiples of `milestone`.

    `state` is a pytree of arrays, PRNG keys and Python numbers, `record` JSON that travels with it.
    """
    import jax

    packed = pack_tree(state)
    size = sum(leaf.array.nbytes for leaf in packed.values())
    _require_space(parent.parent, size)
    here = {
        "step": step,
        "versions": {"pushforward": __version__, "jax": jax.__version__},
        "layout": {"devices": jax.device_count(), "processes": jax.process_count()},
        "utc": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
    }
    parts = to_parts(packed, {"format": str(FORMAT), "record": dumps({**record, **here})})
    final = parent / f"{step:010d}.safetensors"
    try:
        parent.mkdir(exist_ok=True)
    except OSError as error:
        raise storage_error(error, final) from error
    check = (lambda path: _compare(path, step, packed)) if size <= _READ_BACK else None
    write_bytes(final, *parts, check=check)
    for path in _listed(parent)[0][KEEP:]:
        if not milestone or int(path.stem) % milestone:
            with suppress(OSError):
                path.unlink()
    return final


def newest(parent: Path, like: Any, *, rename: bool) -> Found | None:
    """Read the newest checkpoint that proves itself; None if there never was one.

    `rename`: a damaged one becomes `bad-...`, if a good one is left. If all are damaged, they
    stay: otherwise the next start would see an empty stage.
    """
    damaged: dict[Path, str] = {}
    steps, others = _listed(parent)
    ignored = [f"checkpoints/{name} is not named by its step: ignored" for name in others]
    for path in steps:
        try:
            record, packed = verify(path, int(path.stem))
        except CheckpointDamaged as error:
            damaged[path] = str(error)
            continue
        state = assemble(like, packed, where=str(path))
        if rename:
            for bad in damaged:
                _set_aside(bad)
        used = f"used step {record['step']} instead"
        notices = [f"recovered from a damaged checkpoint: {r}; {used}" for r in damaged.values()]
        return Found(state, record, notices + ignored)
    if damaged or ignored:
        reasons = "\n  ".join([*damaged.values(), *ignored])
        raise CheckpointDamaged(f"no good checkpoint is left in {parent}:\n  {reasons}")
    return None


def verify(path: Path, step: int) -> tuple[dict[str, Any], dict[str, Packed]]:
    """Prove every byte of a checkpoint; return its record and its packed leaves."""
    if path.is_symlink() or not path.is_file():
        raise CheckpointDamaged(f"{path} is a link or a folder, expected a file")
    packed, metadata = read_packed(path, checksum=True)
    try:
        check_format(path, int(metadata["format"]))
        record = loads(metadata["record"])
        if record["step"] != step:
            raise CheckpointDamaged(f"{path} is a checkpoint of step {record['step']}")
    except (KeyError, TypeError) as error:
        raise CheckpointDamaged(f"{path} is no checkpoint: {error!r}") from error
    return record, packed


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
        if not np.array_equal(_bits(leaf), _bits(found[name])) or leaf.shape != found[name].shape:
            raise StorageError(f"leaf {name} read back from {path} differs from the one written")


def _bits(leaf: Packed) -> np.ndarray:
    return leaf.array.reshape(-1).view(np.uint8)


def _listed(parent: Path) -> tuple[list[Path], list[str]]:
    """List the files named like a step, newest first, and the names of all others."""
    paths = parent.iterdir() if parent.is_dir() else ()
    paths = [path for path in paths if not re.match(r"bad-|\.", path.name)]
    steps = [path for path in paths if re.fullmatch(r"[0-9]{10,}\.safetensors", path.name)]
    others = sorted(path.name for path in paths if path not in steps)
    return sorted(steps, key=lambda path: int(path.stem), reverse=True), others


def _set_aside(path: Path) -> None:
    target, number = path.with_name(f"bad-{path.name}"), 1
    while target.exists():
        number += 1
        target = path.with_name(f"bad-{path.stem}-{number}.safetensors")
    with suppress(OSError):
        os.rename(path, target)
