"""The small files of a run: JSON documents, replaced whole, and logs of JSON lines, appended.

A document carries the number of its format. A log may end in a torn line after a kill: readers
ignore it, the next writer cuts it; a bad line anywhere else is damage and is named.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from pushforward._errors import CheckpointDamaged, StorageError
from pushforward.formats.durable import append_bytes, sync, write_bytes
from pushforward.formats.strict_json import dumps, loads

FORMAT = 1


def write_document(path: Path, content: dict[str, Any]) -> None:
    """Write a JSON document with our format number."""
    text = dumps({**content, "format": FORMAT}, indent=1) + "\n"
    write_bytes(path, text.encode())


def read_document(path: Path) -> dict[str, Any] | None:
    """Read a JSON document, without its format number; None if there is no such file."""
    try:
        content = loads(path.read_bytes())
    except FileNotFoundError:
        return None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise CheckpointDamaged(f"{path} is damaged: {error}") from error
    if not isinstance(content, dict):
        raise CheckpointDamaged(f"{path} is damaged: expected a JSON object")
    check_format(path, content.pop("format", FORMAT))
    return content


def check_format(path: Path, number: Any) -> None:
    """Refuse what a newer version wrote."""
    if isinstance(number, int) and number > FORMAT:
        raise StorageError(
            f"{path} was written by a newer version (format {number}, this one reads up to "
            f"{FORMAT}): upgrade pushforward"
        )


class Lines:
    """An append-only file of JSON objects, one a line.

    Parameters
    ----------
    path
        The file; it need not exist.
    """

    def __init__(self, path: Path):
        self.path = path
        self._whole = False  # whether this writer knows that the file ends with a line

    def append(self, rows: Iterable[dict[str, Any]]) -> None:
        """Append rows; all of them or none."""
        text = "".join(dumps(row) + "\n" for row in rows)
        if text:
            if not self._whole:
                self.cut(self.size())
            append_bytes(self.path, text.encode())

    def size(self) -> int:
        """Return the number of bytes in whole lines."""
        if not self.path.exists():
            return 0
        with open(self.path, "rb") as file:
            end = file.seek(0, os.SEEK_END)
            while end > 0:
                start = max(0, end - 4096)
                file.seek(start)
                newline = file.read(end - start).rfind(b"\n")
                if newline >= 0:
                    return start + newline + 1
                end = start
        return 0

    def cut(self, size: int) -> None:
        """Forget everything after the first `size` bytes."""
        if self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)
            sync(self.path)
        self._whole = True

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
        except ValueError as error:
            raise CheckpointDamaged(f"{self.path}, line {number} is damaged: {error}") from error
        if not isinstance(row, dict):
            raise CheckpointDamaged(f"{self.path}, line {number} is damaged: not a JSON object")
        return row
