"""Draws, and the series recorded along the way, on disk: numbered shards that never change.

Rows wait in memory until a shard is full or a checkpoint is due, then they are written as
`draws/000123.safetensors`, a file that carries its own sha256. Nothing is lost by waiting: a
resumed run goes back to its last checkpoint, and drops what came after it.
"""

from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from safetensors import safe_open

from pushforward._errors import CheckpointDamaged, InputError
from pushforward.formats.durable import write_bytes
from pushforward.formats.safetensors import Packed, pack, to_parts, verified_metadata
from pushforward.formats.strict_json import loads

SHARD_BYTES = 64 * 2**20
Arrays = dict[str, np.ndarray]


class Draws:
    """Arrays of one stage whose leading axis counts draws (or steps, for a series).

    They live in `folder`, `draws/` or `series/` of the stage, which is made at the first write.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._pending: list[Arrays] = []
        self._start = 0  # global index of the first pending row
        self._kind: dict[str, Any] | None = None  # names, shapes and types of a row

    def append(self, arrays: Mapping[str, Any], index_start: int) -> None:
        """Add rows whose first has the global index `index_start`."""
        rows = {name: np.array(value, order="C") for name, value in arrays.items()}
        kind = _kind(rows)
        if self._kind not in (None, kind):
            raise InputError(f"draws changed within a stage: {self._kind} became {kind}")
        self._kind = kind
        if self._pending and self._start + _count(self._pending) != index_start:
            self.flush()
        if not self._pending:
            self._start = index_start
        self._pending.append(rows)
        if _bytes(self._pending) >= SHARD_BYTES:
            self.flush()

    def flush(self) -> None:
        """Write the waiting rows to shards."""
        while self._pending:
            rows = _join(self._pending)
            total = _count([rows])
            fit = max(1, SHARD_BYTES * total // max(_bytes([rows]), 1))
            self._write({name: value[:fit] for name, value in rows.items()})
            self._pending = [{k: v[fit:] for k, v in rows.items()}] if total > fit else []
            self._start += min(fit, total)

    def shards(self) -> int:
        """Return the number of shards on disk."""
        return len(self._files())

    def cut(self, shards: int) -> None:
        """Keep the shards with a number below `shards`, forget the rest and the waiting rows."""
        self._pending = []
        for path in reversed(self._files()):
            if int(path.stem) >= shards:
                path.unlink()

    def joined(self, least: int = 0) -> "JoinedDraws":
        """Return all draws by name, joined along the leading axis; of at least so many shards."""
        self.flush()
        files = self._files()
        if len(files) < least:
            raise CheckpointDamaged(f"{self.folder} holds {len(files)} files of {least}: some lost")
        return JoinedDraws(files)

    def _files(self) -> list[Path]:
        return sorted(self.folder.glob("[0-9]*.safetensors"), key=lambda path: int(path.stem))

    def _write(self, rows: Arrays) -> None:
        self.folder.mkdir(exist_ok=True)
        number = max((int(path.stem) + 1 for path in self._files()), default=0)
        place = {"number": number, "index_start": self._start, "rows": _count([rows])}
        packed = {name: pack(name, value) for name, value in rows.items()}
        parts = to_parts(packed, {name: str(value) for name, value in place.items()})
        write_bytes(self.folder / f"{number:06d}.safetensors", *parts)


class JoinedDraws(Mapping[str, np.ndarray]):
    """All draws of a stage by name; an array is read from disk each time it is asked for.

    `files` are the shards in order; the sha256 of each is compared once, at the first use.
    """

    def __init__(self, files: list[Path]):
        self._files = files

    def pieces(self) -> Iterator[Arrays]:
        """Yield the draws shard by shard, each verified, each array in its true type."""
        for number, path in enumerate(self._files):
            shard = _proved(path, number)
            yield {name: _read(shard, name) for name in shard.names}

    @cached_property
    def _shards(self) -> list["_Shard"]:
        return [_proved(path, number) for number, path in enumerate(self._files)]

    @property
    def _names(self) -> list[str]:
        return self._shards[0].names if self._shards else []

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self._names:
            raise KeyError(name)
        joined, start = _read(self._shards[0], name), 0
        if len(self._shards) > 1:
            rows = sum(shard.rows for shard in self._shards)
            joined = np.empty((rows, *joined.shape[1:]), joined.dtype)
            for shard in self._shards:
                joined[start : start + shard.rows] = _read(shard, name)
                start += shard.rows
        return joined

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)

    def __contains__(self, name: object) -> bool:
        return name in self._names


class _Shard(NamedTuple):
    path: Path
    rows: int
    names: list[str]
    dtypes: dict[str, str]  # true types, where they are stored as others


def _proved(path: Path, number: int) -> _Shard:
    """Compare a shard with its sha256 and with its place."""
    wanted = f"{number:06d}.safetensors"
    if path.name != wanted:
        raise CheckpointDamaged(f"{path.with_name(wanted)} is missing, {path.name} is there")
    about = verified_metadata(path)
    if about.get("number") != str(number):
        raise CheckpointDamaged(f"{path} is shard {about.get('number')} of the draws")
    with safe_open(path, "np") as file:
        return _Shard(
            path, int(about["rows"]), file.offset_keys(), loads(about.get("dtypes", "{}"))
        )


def _read(shard: _Shard, name: str) -> np.ndarray:
    with safe_open(shard.path, "np") as file:
        array = file.get_tensor(name)
    return Packed(array, shard.dtypes.get(name) or array.dtype.name).unpack()


def _count(parts: list[Arrays]) -> int:
    return sum(len(next(iter(rows.values()))) for rows in parts)


def _bytes(parts: list[Arrays]) -> int:
    return sum(value.nbytes for rows in parts for value in rows.values())


def _join(parts: list[Arrays]) -> Arrays:
    if len(parts) == 1:
        return parts[0]
    return {name: np.concatenate([rows[name] for rows in parts]) for name in parts[0]}


def _kind(rows: Arrays) -> dict[str, Any]:
    """Describe a row; refuse arrays that do not share one leading axis."""
    lengths = {value.shape[:1] for value in rows.values()}
    if len(lengths) != 1 or () in lengths:
        raise InputError(
            "draws need at least one array and one common leading axis (draws), got shapes "
            f"{ {name: value.shape for name, value in rows.items()} }"
        )
    return {name: (value.shape[1:], value.dtype.name) for name, value in rows.items()}
