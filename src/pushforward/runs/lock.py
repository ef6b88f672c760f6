"""One writer a folder.

The lock is the operating system's (`flock` on the file `LOCK`): it dies with the process that
holds it, so a killed run leaves no stale lock. Who holds it stands beside it, for the message.
Readers take no lock.
"""

import errno
import os
import socket
import time
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from pushforward._errors import RunLocked, StorageError
from pushforward.formats.durable import write_bytes
from pushforward.formats.strict_json import dumps, loads

NAME, OWNER = "LOCK", "LOCK.json"
_PATIENCE = 0.5  # seconds: a reader that asks `is_held` holds the file for an instant


class Lock:
    """The right to write a folder, held from construction to `release`.

    Parameters
    ----------
    folder
        An existing folder.

    Raises
    ------
    RunLocked
        Another process, or another object of this one, writes the folder; known within 1 s.
    """

    def __init__(self, folder: Path):
        self._owner = folder / OWNER
        self._lock = FileLock(folder / NAME, timeout=_PATIENCE, thread_local=False)
        try:
            self._lock.acquire()
        except Timeout:
            raise RunLocked(_who(folder)) from None
        except OSError as error:
            raise StorageError(f"cannot lock {folder}: {error.strerror}") from error
        try:
            write_bytes(self._owner, dumps(_me()).encode())
        except BaseException:
            self._lock.release()
            raise

    def release(self) -> None:
        """Let others write."""
        if self._lock.is_locked:
            try:
                with suppress(OSError):
                    self._owner.unlink(missing_ok=True)
            finally:
                self._lock.release()


def is_held(folder: Path) -> bool:
    """Tell whether some process writes the folder now."""
    import fcntl

    try:
        descriptor = os.open(folder / NAME, os.O_RDONLY)
    except OSError:
        return False
    try:
        fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError as error:
        # ENOSYS: no flock here, and the lock is the existence of the file
        return error.errno in (errno.EAGAIN, errno.EACCES, errno.ENOSYS)
    finally:
        os.close(descriptor)
    return False


def _me() -> dict[str, str | int]:
    since = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    return {"host": socket.gethostname(), "pid": os.getpid(), "since": since}


def _who(folder: Path) -> str:
    try:
        owner = loads((folder / OWNER).read_bytes())
        mine = owner["pid"] == os.getpid() and owner["host"] == socket.gethostname()
        who = "this process" if mine else f"process {owner['pid']} on {owner['host']}"
        who = f"{who} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return (
        f"{folder} is being written by {who}; expected no other writer: wait for it, stop it, or "
        "choose another folder (readers such as `report` and `export` work meanwhile)"
    )
