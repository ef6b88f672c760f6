"""What a run stood on: versions, devices, memory, the commit, the command, the time.

One entry is added to `run.json` at each start, so that a number can be traced to the machine
that made it. The host's name is stored only as a hash.
"""

import hashlib
import os
import platform
import socket
import subprocess
import sys
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any

from .. import __version__

CORE = ("jax", "jaxlib", "equinox", "optax", "diffrax", "numpy", "scipy", "safetensors", "pydantic")


def environment(command: list[str]) -> dict[str, Any]:
    """Describe this process for `run.json`; JAX is imported and its devices are opened."""
    import jax

    devices = jax.devices()
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "command": command,
        "python": platform.python_version(),
        "versions": {"pushforward": __version__, **versions(CORE)},
        "devices": {"kind": devices[0].device_kind, "platform": devices[0].platform}
        | {"count": len(devices), "processes": jax.process_count()},
        "dtype": str(jax.numpy.result_type(float)),
        "flags": {"XLA_FLAGS": os.environ.get("XLA_FLAGS", "")},
        "platform": platform.platform(),
        "cores": cores(),
        "memory_bytes": memory(),
        "host": hashlib.sha256(socket.gethostname().encode()).hexdigest()[:12],
        "git": commit(Path(__file__).resolve().parents[3]),
    }


def versions(names: tuple[str, ...]) -> dict[str, str]:
    """Return the installed versions of distributions, those absent left out."""
    found = {}
    for name in names:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return found


def cores() -> int:
    """Return the number of cores this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def memory() -> int | None:
    """Return the bytes of main memory, None where the system does not say."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def commit(clone: Path) -> dict[str, Any] | None:
    """Return the commit of the clone this library runs from and whether it has changes."""
    if not (clone / ".git").exists():
        return None
    head, changes = _git(clone, "rev-parse", "HEAD"), _git(clone, "status", "--porcelain")
    return {"commit": head, "dirty": None if changes is None else bool(changes)}


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Say what changed between two starts that bit-identity depends on."""
    pairs = [
        ("jax", *(entry.get("versions", {}).get("jax") for entry in (before, now))),
        ("jaxlib", *(entry.get("versions", {}).get("jaxlib") for entry in (before, now))),
        ("devices", before.get("devices"), now.get("devices")),
    ]
    return [f"{what}: {old} then, {new} now" for what, old, new in pairs if old != new]


def command_line() -> list[str]:
    """Return the command as typed, the program by its name alone."""
    return [Path(sys.argv[0]).name, *sys.argv[1:]]


def _git(clone: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(clone), *arguments], capture_output=True, text=True, timeout=5
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
