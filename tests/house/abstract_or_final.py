"""Abstract or final: a class is subclassed or finished, never both.

1. A method that is concrete somewhere is defined once in an MRO: wrap, do not override.
2. A class with subclasses is named `Abstract...`, and such a name belongs to a class that
   cannot be made (`abc`).
3. Fields and `__init__` stand in one class.

Equinox calls `__check_init__` of every base, so that one may repeat.
"""

import ast
import functools
import inspect
import textwrap
from collections.abc import Iterable

import equinox as eqx

from .code import classes, name_of

REPEATABLE = {"__check_init__"}


def modules_of_equinox() -> list[type]:
    """List our Equinox modules."""
    return [cls for cls in classes() if issubclass(cls, eqx.Module)]


def abstract_or_final(found: Iterable[type] | None = None) -> list[str]:
    """Return one sentence for each violation."""
    found = modules_of_equinox() if found is None else list(found)
    errors = [error for cls in found for error in (*_overridden(cls), *_scattered(cls))]
    return errors + _misnamed(found)


def names_that_cannot_be_made() -> list[str]:
    """Name each `Abstract...` of ours that Python would make an object of."""
    named = [c for c in classes() if c.__name__.startswith("Abstract")]
    return [
        f"{name_of(c)} is named Abstract... but can be made: derive it from ABC, mark its methods"
        for c in named
        if not inspect.isabstract(c) and not getattr(c, "__abstractvars__", None)
    ]


def written(cls: type) -> dict[str, bool]:
    """Return the methods written in the body of a class: name -> is it concrete?"""
    names = _body(cls)
    return {
        name: not getattr(value, "__isabstractmethod__", False)
        for name, value in vars(cls).items()
        if name in names
    }


def _overridden(cls: type) -> list[str]:
    owners: dict[str, list[str]] = {}
    for base in _line(cls):
        for name, concrete in written(base).items():
            if concrete and name not in REPEATABLE:
                owners.setdefault(name, []).append(name_of(base))
    return [
        f"{name_of(cls)}.{name} is concrete in {' and '.join(bases)}: keep one, wrap instead"
        for name, bases in owners.items()
        if len(bases) > 1
    ]


def _scattered(cls: type) -> list[str]:
    with_fields = [c for c in _line(cls) if _fields(c)]
    with_init = [c for c in _line(cls) if "__init__" in written(c)]
    homes = list(dict.fromkeys([*with_fields, *with_init]))
    if len(homes) <= 1:
        return []
    names = ", ".join(name_of(c) for c in homes)
    return [f"{name_of(cls)} has fields or __init__ in {names}: put them into one class"]


def _misnamed(found: list[type]) -> list[str]:
    bases = {base for cls in found for base in cls.__mro__[1:] if base in found}
    return [
        f"{name_of(base)} has subclasses: name it Abstract..., or wrap it"
        for base in sorted(bases, key=name_of)
        if not base.__name__.lstrip("_").startswith("Abstract")
    ]


def _line(cls: type) -> list[type]:
    """Return the classes of an MRO that are written by us (or by a test)."""
    return [c for c in cls.__mro__ if c is not eqx.Module and issubclass(c, eqx.Module)]


def _fields(cls: type) -> list[str]:
    """Return the fields that a class adds: annotated, not ClassVar, not abstract."""
    body = _class_body(cls)
    lines = [node for node in body if isinstance(node, ast.AnnAssign)]
    words = ("ClassVar", "AbstractVar", "AbstractClassVar")
    return [
        ast.unparse(node.target)
        for node in lines
        if not any(word in ast.unparse(node.annotation) for word in words)
    ]


def _body(cls: type) -> set[str]:
    functions = (ast.FunctionDef, ast.AsyncFunctionDef)
    return {node.name for node in _class_body(cls) if isinstance(node, functions)}


@functools.cache
def _class_body(cls: type) -> list[ast.stmt]:
    tree = ast.parse(textwrap.dedent(inspect.getsource(cls)))
    assert isinstance(tree.body[0], ast.ClassDef)
    return tree.body[0].body
