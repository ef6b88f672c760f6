"""What the checks look at: all modules, all classes, all files that are kept."""

import ast
import functools
import importlib
import inspect
import pkgutil
import subprocess
from pathlib import Path
from types import ModuleType

import pushforward

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT / "src" / "pushforward"
ROOMS = pushforward._ROOMS


@functools.cache
def modules() -> tuple[ModuleType, ...]:
    """Import every module of the package (never `__main__`, which would run)."""
    names = [m.name for m in pkgutil.walk_packages(pushforward.__path__, "pushforward.")]
    return tuple(importlib.import_module(n) for n in names if not n.endswith("__main__"))


@functools.cache
def classes() -> tuple[type, ...]:
    """List every class written in the package, in order of name."""
    found = {
        value
        for module in modules()
        for value in vars(module).values()
        if inspect.isclass(value) and value.__module__ == module.__name__
    }
    return tuple(sorted(found, key=name_of))


@functools.cache
def parse(path: Path) -> ast.Module:
    """Parse a Python file."""
    return ast.parse(path.read_text(encoding="utf-8"), str(path))


@functools.cache
def tracked() -> tuple[Path, ...]:
    """List the files that git keeps and that exist, relative to the root."""
    done = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
    paths = [Path(name) for name in done.stdout.decode().split("\0") if name]
    return tuple(path for path in paths if (ROOT / path).is_file())


def python_files() -> list[Path]:
    """List the Python files that are kept."""
    return [ROOT / path for path in tracked() if path.suffix == ".py"]


def where(path: Path, line: int) -> str:
    """Name a place: `src/pushforward/x.py:12`."""
    return f"{path.relative_to(ROOT)}:{line}"


def name_of(cls: type) -> str:
    """Name a class with its module: `targets.gaussian.Normal`."""
    return f"{cls.__module__.removeprefix('pushforward.')}.{cls.__qualname__}"
