"""Draws, and the series recorded along the way, on disk: immutable shards and an index.

Rows wait in memory until a shard is full or a checkpoint is due, then they are written as
`draws/000123.safetensors` and a line with the sha256 is added to `draws/index.jsonl`. Nothing is
lost by waiting: a resumed run goes back to its last checkpoint, and drops what came after it.
"""

import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import CheckpointDamaged, InputError, StorageError
from pushforward.formats.durable import write_bytes
from pushforward.formats.safetensors import Packed, from_bytes, pack, to_bytes
from pushforward.runs.json_files import Lines

SHARD_BYTES = 64 * 2**20
Arrays = dict[str, np.ndarray]


class Draws:
    """Arrays of one stage whose leading axis counts draws (or steps, for a series).

    Parameters
    ----------
    folder
        `draws/` or `series/` of the stage; made at the first write.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._index = Lines(folder / "index.jsonl")
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
        return len(_lines(self._index.path))

    def cut(self, shards: int) -> int:
        """Keep the first `shards` shards, forget the rest; return how many are left."""
        self._pending = []
        lines = _lines(self._index.path)[:shards]
        self._index.cut(sum(len(line) for line in lines))
        for path in self.folder.glob("[0-9]*.safetensors"):
            if path.stem.isdecimal() and int(path.stem) >= shards:
                path.unlink()
        return len(lines)

    def sync(self) -> None:
        """Force the index to disk (shards are, once written)."""
        self._index.sync()

    def __iter__(self) -> Iterator[Arrays]:
        """Yield the shards in order, each verified, each array in its true type."""
        self.flush()
        for number, line in enumerate(self._index):
            yield {name: leaf.unpack() for name, leaf in self._read(number, line).items()}

    def joined(self) -> Arrays:
        """Return all draws, joined along the leading axis."""
        shards = list(self)
        return _join(shards) if shards else {}

    def _write(self, rows: Arrays) -> None:
        self.folder.mkdir(exist_ok=True)
        file = _file(self.shards())
        packed = {name: pack(name, value) for name, value in rows.items()}
        blob = to_bytes(packed, {"index_start": str(self._start)})
        write_bytes(self.folder / file, blob)
        line = {"file": file, "rows": _count([rows]), "index_start": self._start}
        self._index.append([line | {"sha256": hashlib.sha256(blob).hexdigest()}])

    def _read(self, number: int, line: dict[str, Any]) -> dict[str, Packed]:
        file = _file(number)
        if line.get("file") != file:
            raise CheckpointDamaged(f"{self._index.path} names {line.get('file')!r}, not {file!r}")
        path = self.folder / file
        try:
            blob = path.read_bytes()
        except OSError as error:
            raise StorageError(f"cannot read {path}: {error.strerror}") from error
        if hashlib.sha256(blob).hexdigest() != line.get("sha256"):
            raise CheckpointDamaged(f"{path} is damaged: its sha256 differs from the index")
        packed, metadata = from_bytes(blob, str(path))
        rows = {leaf.shape[0] for leaf in packed.values()}
        start = str(line.get("index_start"))
        if rows != {line.get("rows")} or metadata.get("index_start") != start:
            raise CheckpointDamaged(f"{self._index.path} does not describe {path}")
        return packed


def _file(number: int) -> str:
    return f"{number:06d}.safetensors"


def _lines(path: Path) -> list[bytes]:
    """Return the whole lines of a file, unread."""
    lines = path.read_bytes().split(b"\n") if path.exists() else []
    return [line + b"\n" for line in lines[:-1]]


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
