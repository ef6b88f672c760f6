"""Logs of JSON lines, appended.

A log may end in a torn line after a kill: readers ignore it, the next writer cuts it; a bad line
anywhere else is damage and is named.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pushforward._errors import CheckpointDamaged
from pushforward.formats.durable import append_bytes, sync
from pushforward.formats.strict_json import dumps, loads


class JsonLines:
    """An append-only file of JSON objects, one a line; iterating reads them."""

    def __init__(self, path: Path):
        self.path = path
        self._size: int | None = None  # bytes in whole lines, once this writer knows them

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows; all of them or none."""
        data = "".join(dumps(row) + "\n" for row in rows).encode()
        if data:
            size = self.size()
            if self._size is None:
                self.cut(size)
            append_bytes(self.path, data)
            self._size = size + len(data)

    def size(self) -> int:
        """Return the number of bytes in whole lines."""
        if self._size is not None:
            return self._size
        return self.path.read_bytes().rfind(b"\n") + 1 if self.path.exists() else 0

    def cut(self, size: int) -> None:
        """Forget everything after the first `size` bytes."""
        if self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)
            sync(self.path)
        self._size = min(size, self.size())

    def sync(self) -> None:
        """Force the file to disk."""
        if self.path.exists():
            sync(self.path)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        if not self.path.exists():
            return
        with open(self.path, "rb") as file:
            for number, line in enumerate(file, start=1):
                if line.endswith(b"\n"):
                    yield self._parse(line, number)

    def _parse(self, line: bytes, number: int) -> dict[str, Any]:
        try:
            row = loads(line)
            if not isinstance(row, dict):
                raise ValueError("not a JSON object")
        except ValueError as error:
            raise CheckpointDamaged(f"{self.path}, line {number} is damaged: {error}") from error
        return row
