"""`import pushforward` costs nothing, and still every public name is there."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import pushforward

HEAVY = ("jax", "numpy", "scipy", "matplotlib", "pydantic", "equinox")


def typed_names(module):
    """Return the names imported under `if TYPE_CHECKING` in a module's source."""
    tree = ast.parse(Path(module.__file__).read_text())
    blocks = [node for node in tree.body if isinstance(node, ast.If)]
    imports = [n for block in blocks for n in block.body if isinstance(n, ast.ImportFrom)]
    return {alias.asname for node in imports for alias in node.names}


def test_type_checkers_see_the_same_names():
    assert typed_names(pushforward) == set(pushforward._HOMES)


@pytest.mark.parametrize("name", sorted(pushforward._HOMES))
def test_every_public_name_resolves(name):
    assert getattr(pushforward, name) is not None
    assert name in dir(pushforward)


def test_every_room_is_public():
    root = Path(pushforward.__file__).parent
    rooms = {p.name for p in root.iterdir() if p.is_dir() and any(p.glob("*.py"))}
    assert rooms == set(pushforward._ROOMS)


def test_unknown_names_are_attribute_errors():
    with pytest.raises(AttributeError, match="'fitt'"):
        _ = pushforward.fitt


def test_importing_loads_nothing():
    code = (
        "import sys, pushforward, pushforward.shell.cli, pushforward.experiments;"
        f"print(*[m for m in {HEAVY} if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
    eager = code.replace("import sys,", "import sys, pushforward._tree,")  # the broken twin
    done = subprocess.run([sys.executable, "-c", eager], capture_output=True, text=True, check=True)
    assert "jax" in done.stdout.split()
