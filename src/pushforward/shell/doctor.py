"""`pushforward doctor`: what this machine offers, and what to do about what it does not."""

import shutil
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .. import __version__
from ..harness.environment import CORE, cores, memory, versions

EXTRAS = {"blackjax": "blackjax", "xarray": "xarray", "h5netcdf": "xarray", "orbax": "orbax"}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")


@dataclass(frozen=True)
class Check:
    """One line of the doctor: what was looked at, what was found, what to do."""

    what: str
    good: bool
    found: str
    advice: str = ""

    def as_dict(self) -> dict[str, Any]:
        """Return the finding for `--json`."""
        return asdict(self)


def examine(fast: bool = False) -> Iterator[Check]:
    """Yield the findings; `fast` leaves out what needs JAX."""
    version = ".".join(map(str, sys.version_info[:3]))
    good = sys.version_info >= (3, 11)
    yield Check("Python", good, version, "" if good else "install Python 3.11 or newer")
    yield Check("pushforward", True, __version__)
    found = versions(CORE)
    absent = [name for name in CORE if name not in found]
    listed = ", ".join(f"{name} {number}" for name, number in found.items())
    yield Check("packages", not absent, listed, f"pip install {' '.join(absent)}" if absent else "")
    have = [package for package in EXTRAS if find_spec(package) is not None]
    yield Check("extras", True, ", ".join(have) or "none installed")
    yield Check("cores", True, str(cores()))
    if (size := memory()) is not None:
        good = size >= 2e9
        yield Check("memory", good, _gigabytes(size), "" if good else "2 GB are a minimum")
    free = shutil.disk_usage(Path.cwd()).free
    good = free > 1e9
    yield Check("free disk", good, _gigabytes(free), "" if good else "free 1 GB for runs")
    yield _lock()
    browser = next((name for name in BROWSERS if shutil.which(name)), None)
    yield Check("browser", True, browser or "none found (pages are drawn in any browser)")
    yield Check("self test", True, "pushforward run selftest preset=smoke")
    if not fast:
        yield from _slow()


def text(findings: Iterable[Check]) -> str:
    """Return the findings as lines, each that is not good with what to do."""
    lines = []
    for f in findings:
        lines.append(f"{'ok ' if f.good else 'BAD'}  {f.what.ljust(13)}  {f.found}")
        lines += [f"     -> {f.advice}"] if f.advice else []
    return "\n".join(lines)


def _lock() -> Check:
    from filelock import FileLock

    try:
        with tempfile.TemporaryDirectory(dir=Path.cwd()) as folder, FileLock(f"{folder}/lock"):
            return Check("file locks", True, "work here")
    except OSError as error:
        return Check("file locks", False, str(error), "use a folder you can write, on a local disk")


def _slow() -> Iterator[Check]:
    import jax
    import jax.numpy as jnp

    from ..runs import enable_compile_cache

    try:
        devices = jax.devices()
    except RuntimeError as error:
        yield Check("devices", False, str(error).splitlines()[0], "try --device cpu")
        return
    kinds = ", ".join(sorted({f"{d.platform}: {d.device_kind}" for d in devices}))
    yield Check("devices", True, f"{len(devices)} ({kinds})")
    folder = enable_compile_cache()
    advice = "" if folder else "set PUSHFORWARD_CACHE to a folder only you can write"
    yield Check("compile cache", folder is not None, _cache(folder), advice)
    start = time.perf_counter()
    jax.jit(lambda x: jnp.sin(x @ x).sum())(jnp.ones((64, 64))).block_until_ready()
    seconds = time.perf_counter() - start
    good = seconds < 10
    advice = "" if good else "the machine is busy, or slow"
    yield Check("compile test", good, f"{seconds:.2f} s", advice)


def _cache(folder: Path | None) -> str:
    if folder is None:
        return "off"
    size = sum(p.stat().st_size for p in Path(folder).rglob("*") if p.is_file())
    return f"{folder} ({size / 1e6:.0f} MB)"


def _gigabytes(size: float) -> str:
    return f"{size / 1e9:.1f} GB"
