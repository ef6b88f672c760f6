"""A public class name is unique in the package, and no two modules import each other."""

import ast
from collections import Counter
from pathlib import Path

from pushforward.harness import Group

from .code import SOURCE, classes, name_of, parse


def ambiguous_names() -> list[str]:
    """Name each public class that shares its name with another one."""
    # groups of keys belong to the file of one experiment
    found = [c for c in classes() if not c.__name__.startswith("_") and not issubclass(c, Group)]
    count = Counter(cls.__name__ for cls in found)
    twice = [cls for cls in found if count[cls.__name__] > 1]
    return [f"{name_of(cls)}: another class has this name" for cls in twice]


def import_circles() -> list[str]:
    """Name the modules that import each other, imports inside functions included."""
    arrows = {name: _imported(name, path) for name, path in _modules().items()}
    circles = {frozenset(_circle(arrows, name)) for name in arrows} - {frozenset()}
    return [f"import each other: {', '.join(sorted(circle))}" for circle in circles]


def _modules() -> dict[str, Path]:
    paths = {path: path.relative_to(SOURCE).with_suffix("") for path in SOURCE.rglob("*.py")}
    return {".".join(p.parts).removesuffix(".__init__"): path for path, p in paths.items()}


def _imported(name: str, path: Path) -> set[str]:
    """Return the modules of the package that a module names in `from ... import`."""
    known, package = _modules(), name if path.name == "__init__.py" else name.rpartition(".")[0]
    found: set[str] = set()
    typing_only = {
        inner
        for node in ast.walk(parse(path))
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(parse(path)):
        if not isinstance(node, ast.ImportFrom) or node in typing_only:
            continue
        parts = package.split(".") if package else []
        base = parts[: len(parts) - node.level + 1] if node.level else None
        if base is None:
            continue
        home = ".".join([*base, *([node.module] if node.module else [])])
        inner = {f"{home}.{alias.name}".lstrip(".") for alias in node.names} & known.keys()
        found |= inner or ({home} & known.keys())
    return found - {name, "__init__", ""}


def _circle(arrows: dict[str, set[str]], start: str) -> set[str]:
    """Return the modules that `start` reaches and that reach `start`."""

    def reached(name: str) -> set[str]:
        seen, waiting = set(), [name]
        while waiting:
            new = arrows.get(waiting.pop(), set()) - seen
            seen |= new
            waiting += new
        return seen

    ahead = reached(start)
    return {name for name in ahead if start in reached(name)} if start in ahead else set()
