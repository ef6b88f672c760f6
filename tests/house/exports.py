"""What a room exports is documented: every public name has a docstring and a line in docs/api.md.

`docs/api.md` is written by `python -m tests.house --write-api` from the exports and the first
lines of their docstrings, so it can be behind but never wrong.
"""

import inspect
from importlib import import_module
from types import ModuleType
from typing import Any

import pushforward

from .code import ROOMS, ROOT

API = ROOT / "docs" / "api.md"
HEAD = """\
# Public names

Written by `python -m tests.house --write-api`; do not edit. `help(pf.targets.Normal)` says more:
formula, shapes, good values, errors, reference.
"""


def exports(room: ModuleType) -> dict[str, Any]:
    """Return the public names of a room, `__init__`'s own lazy ones included."""
    names = [name for name in dir(room) if not name.startswith("_")]
    values = {name: getattr(room, name) for name in names}
    return {name: value for name, value in values.items() if not inspect.ismodule(value)}


def rooms() -> dict[str, ModuleType]:
    """Return the rooms by name, bottom floor first."""
    return {name: import_module(f"pushforward.{name}") for name in ROOMS}


def undocumented() -> list[str]:
    """Name each room, class, method or function of the public house without a docstring.

    A method may have the docstring of a base instead of its own.
    """
    errors = []
    for room_name, room in rooms().items():
        if not room.__doc__:
            errors.append(f"pushforward.{room_name} has no docstring: say the idea of the room")
        for name, value in exports(room).items():
            if not _is_documented(value):
                errors.append(f"{room_name}.{name} has no docstring")
            if inspect.isclass(value):
                errors += [
                    f"{room_name}.{name}.{method} has no docstring"
                    for method, part in list(vars(value).items())
                    if _is_public_method(method, part) and not _inherited_doc(value, method)
                ]
    return errors


def api_text() -> str:
    """Return what docs/api.md must say."""
    lines = [HEAD, "## pushforward", "", *_table({n: getattr(pushforward, n) for n in _verbs()})]
    for name, room in rooms().items():
        lines += ["", f"## pushforward.{name}", "", _first_line(room), "", *_table(exports(room))]
    return "\n".join(lines) + "\n"


def api_is_up_to_date() -> list[str]:
    """Say so if docs/api.md is behind the code."""
    text = API.read_text(encoding="utf-8") if API.exists() else ""
    return (
        [] if text == api_text() else ["docs/api.md is behind: python -m tests.house --write-api"]
    )


def _verbs() -> list[str]:
    return [n for n in pushforward._HOMES if n not in ROOMS]


def _table(values: dict[str, Any]) -> list[str]:
    rows = [f"| `{name}` | {_cell(value)} |" for name, value in sorted(values.items())]
    return ["| name | what |", "|---|---|", *rows]


def _cell(value: Any) -> str:
    return _first_line(value).replace("|", "\\|") if _is_documented(value) else "(data)"


def _first_line(value: Any) -> str:
    text = inspect.getdoc(value) or ""
    return " ".join(text.split("\n\n")[0].split())


def _is_documented(value: Any) -> bool:
    """Tell whether a name has a docstring of its own; plain data (a tuple, a dict) needs none."""
    if not (inspect.isclass(value) or inspect.isroutine(value) or inspect.ismodule(value)):
        return type(value).__module__ in ("builtins", "typing")
    return bool(value.__doc__) and not value.__doc__.startswith(f"{value.__name__}(")


def _inherited_doc(cls: type, method: str) -> bool:
    """Tell whether a method has a docstring in its class or in a base, or is a base's field."""
    return any(
        getattr(vars(base).get(method), "__doc__", None)
        or method in vars(base).get("__annotations__", ())
        for base in cls.__mro__
    )


def _is_public_method(name: str, part: Any) -> bool:
    if name.startswith("_") or getattr(part, "__name__", "") == "<lambda>":  # a field's default
        return False
    return inspect.isfunction(part) or isinstance(part, property)
