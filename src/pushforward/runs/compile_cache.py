"""A second start need not compile again.

JAX can keep compiled programs on disk. Entries are machine code, so the folder is private (mode
0700), it is keyed by the versions, the backend and the CPU's instruction set, and a folder that
belongs to someone else, or that others may write, is refused. A damaged entry fails JAX's
checksum and is compiled again. Importing the library never turns the cache on.
"""

import hashlib
import os
import platform
import stat
import warnings
from importlib.metadata import version
from pathlib import Path

LARGEST = 2 * 2**30  # bytes; the least recently used entries go first
# Start of JAX's warning about an entry that fails its checksum: harmless, it is compiled anew.
DAMAGED_ENTRY = "Error reading persistent compilation cache entry"


def enable_compile_cache(folder: Path | None = None) -> Path | None:
    """Turn JAX's compile cache on, for the whole process; call it before the first compilation.

    Parameters
    ----------
    folder
        Where caches live; by default `$PUSHFORWARD_CACHE`, else the user's cache folder.

    Returns
    -------
    The folder of this machine and these versions; None if the cache is switched off
    (`PUSHFORWARD_NO_CACHE=1`) or was refused, with a warning.
    """
    if os.environ.get("PUSHFORWARD_NO_CACHE", "0") not in ("", "0"):
        return None
    import jax

    path = (folder or _default()) / _key()
    reason = _prepare(path)
    if reason:
        warnings.warn(f"no compile cache: {reason}; set PUSHFORWARD_CACHE", stacklevel=2)
        return None
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.5)
    jax.config.update("jax_compilation_cache_max_size", LARGEST)
    warnings.filterwarnings("default", message=DAMAGED_ENTRY)  # never an error: one line
    return path


def _default() -> Path:
    if os.environ.get("PUSHFORWARD_CACHE"):
        return Path(os.environ["PUSHFORWARD_CACHE"])
    import platformdirs

    return platformdirs.user_cache_path("pushforward") / "jax"


def _key() -> str:
    import jax

    digest = hashlib.sha256(_cpu_flags().encode()).hexdigest()[:12]
    return f"{jax.__version__}-{version('jaxlib')}-{jax.default_backend()}-{digest}"


def _cpu_flags() -> str:
    """Describe the instruction set that compiled code may use."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    flags = next((line for line in lines if line.startswith(("flags", "Features"))), "")
    return f"{platform.machine()} {platform.processor()} {flags}"


def _prepare(path: Path) -> str:
    """Make the folder; return why it cannot be trusted, or nothing."""
    try:
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return _distrust(path.parent) or _distrust(path)
    except OSError as error:
        return f"cannot make {path} ({error.strerror})"


def _distrust(path: Path) -> str:
    found = path.lstat()
    if stat.S_ISLNK(found.st_mode):
        return f"{path} is a link"
    if found.st_uid != os.getuid():
        return f"{path} belongs to another user"
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        return f"{path} can be written by others"
    return ""
