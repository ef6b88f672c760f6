"""No public class is missing from the laws of its family.

The files of `tests/laws/` ask the same questions of all members of the families they name
(`AbstractEnergy`, `AbstractKernel`, ...). Every finished class that a room exports and that
descends from such a family must be named there too, or the function that makes it (`compose` for
`Compose`). Families that no file names are listed, not failed.
"""

import ast
import functools
import inspect

from .code import ROOT, parse
from .exports import exports, rooms

LAWS = ROOT / "tests" / "laws"


@functools.cache
def public_classes() -> dict[str, type]:
    """Return every exported class by name."""
    values = {name: value for room in rooms().values() for name, value in exports(room).items()}
    return {name: value for name, value in values.items() if inspect.isclass(value)}


def missing_from_laws() -> list[str]:
    """Name each public class that no law is asked of."""
    return [
        f"tests/laws speaks of {family} and never names {name}: add it to the members"
        for family, name in missing(said())
    ]


def missing(said: set[str]) -> list[tuple[str, str]]:
    """Return (family, member) for each member that is not said though its family is."""
    makers = said | {word.capitalize() for word in said}
    return [(f, m) for f in families() if f in said for m in members(f) if m not in makers]


def families() -> list[str]:
    """Return the exported `Abstract...` classes."""
    return sorted(name for name in public_classes() if name.startswith("Abstract"))


def members(family: str) -> list[str]:
    """Return the finished public classes of a family."""
    base = public_classes()[family]
    found = {name: cls for name, cls in public_classes().items() if issubclass(cls, base)}
    return sorted(name for name in found if not name.startswith("Abstract"))


def without_laws() -> list[str]:
    """Name the families with at least two members that no file of laws speaks of."""
    return [f for f in families() if f not in said() and len(members(f)) > 1]


@functools.cache
def said() -> set[str]:
    """Return every name that a file of laws uses."""
    return set().union(*(words(parse(path)) for path in sorted(LAWS.glob("*.py"))))


def words(tree: ast.Module) -> set[str]:
    """Return every name and attribute that a file uses, imports apart."""
    names = {node.id for node in ast.walk(tree) if isinstance(node, ast.Name)}
    return names | {node.attr for node in ast.walk(tree) if isinstance(node, ast.Attribute)}
