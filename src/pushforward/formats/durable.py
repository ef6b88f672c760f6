"""Writes that are all there or not there at all.

A file is written under a temporary name, flushed, fsynced and renamed; the rename is atomic and
the folder is fsynced after it, so that neither a kill nor a power cut leaves half a file under
the final name. Flush and fsync happen inside the `try`: a buffered write that fails raises only
there, and an error at garbage collection would look like success.
"""

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from pushforward._errors import DiskFull, PushforwardError, StorageError

TEMPORARY = ".tmp-"
_FULL = (errno.ENOSPC, errno.EFBIG, errno.EDQUOT)


def storage_error(error: OSError, path: Path) -> StorageError:
    """Translate an `OSError` met while writing `path` into our tree."""
    if error.errno in _FULL:
        return DiskFull(
            f"no space to write {path} ({error.strerror}); earlier files are intact: "
            "free some space and run the same command again"
        )
    return StorageError(f"cannot write {path}: {error.strerror or error}")


def sync(path: Path) -> None:
    """Force a file or a folder to disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network filesystems cannot fsync a folder
            raise
    finally:
        os.close(descriptor)


def _opener(name: str, flags: int) -> int:
    return os.open(name, flags, 0o644)


@contextmanager
def writing(
    path: Path, *, check: Callable[[Path], Any] | None = None, durable: bool = True
) -> Iterator[BinaryIO]:
    """Open `path` for writing: on success the whole file appears, on any error nothing does.

    `check` is called with the temporary file before it gets its name; what it raises cancels the
    write. `durable=False` spares the fsyncs: a kill still leaves a whole file, a power cut may not.
    """
    temporary = path.with_name(f"{TEMPORARY}{path.name}-{os.getpid()}")
    try:
        with open(temporary, "wb", opener=_opener) as file:
            yield file
            file.flush()
            if durable:
                os.fsync(file.fileno())
        if check is not None:
            check(temporary)
        os.replace(temporary, path)
        if durable:
            sync(path.parent)
    except PushforwardError:  # met while producing the bytes
        raise
    except OSError as error:
        raise storage_error(error, path) from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)


def write_bytes(path: Path, *parts: Any, **options: Any) -> None:
    """Write bytes-like `parts` to `path` one after the other; `options` are those of `writing`."""
    with writing(path, **options) as file:
        for part in parts:
            file.write(part)


def append_bytes(path: Path, data: bytes) -> None:
    """Append to a log; when that fails, nothing of `data` stays in the file."""
    try:
        with open(path, "ab", buffering=0, opener=_opener) as file:
            before = file.seek(0, os.SEEK_END)
            try:
                rest = memoryview(data)
                while rest:  # a raw write may stop early: at a full disk, or after 2 GB
                    rest = rest[file.write(rest) :]
            except OSError:
                file.truncate(before)
                raise
    except OSError as error:
        raise storage_error(error, path) from error


def remove_temporary(folder: Path) -> None:
    """Remove what a killed writer left half-written; only under the lock."""
    for path in [*folder.glob(f"{TEMPORARY}*"), *folder.glob(f"*/{TEMPORARY}*")]:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
