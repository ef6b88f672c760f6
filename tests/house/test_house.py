"""The house rules hold, and each rule sees a house that breaks it (the twins)."""

import ast
import subprocess
import sys
from abc import abstractmethod

import equinox as eqx
import pytest
from pydantic import Field
from tests.house import abstract_or_final, exports, imports, laws, places, registry, sizes
from tests.house.checks import CHECKS
from tests.house.code import ROOT, SOURCE

from pushforward.harness import Config


@pytest.mark.parametrize("name", CHECKS)
def test_the_house_is_in_order(name):
    assert CHECKS[name]() == []


class AbstractToy(eqx.Module):
    @abstractmethod
    def step(self): ...

    def twice(self):
        return self.step() + self.step()


class Final(AbstractToy):
    size: int

    def step(self):
        return self.size


class Override(AbstractToy):
    def step(self):
        return 1

    def twice(self):
        return 2


class Child(Final):
    pass


class Scattered(Final):
    other: int

    def __init__(self):
        self.size, self.other = 1, 2


def test_an_override_is_seen():
    assert abstract_or_final.abstract_or_final([AbstractToy, Final]) == []
    (error,) = abstract_or_final.abstract_or_final([AbstractToy, Override])
    assert "Override.twice is concrete in" in error
    assert "AbstractToy" in error


def test_a_class_with_children_must_be_named_abstract():
    (error,) = abstract_or_final.abstract_or_final([Final, Child])
    assert "Final has subclasses" in error


def test_fields_and_init_in_two_classes_are_seen():
    assert "has fields or __init__ in" in abstract_or_final.abstract_or_final([Scattered])[0]


@pytest.mark.parametrize(
    "line",
    [
        "import pickle",
        "from jax import core",
        "from jax.experimental import pallas",
        "import jax.experimental.sparse as s",
        "import jax\njax.core.Tracer",
        "def f():\n    import yaml",
        "import socket\nsocket.create_connection(('a', 1))",
        "import socket as s",
        "from urllib.request import urlopen",
        "eval('1')",
        "import numpy as np\nnp.load('x', allow_pickle=True)",
    ],
)
def test_a_banned_import_is_seen(line):
    assert list(imports.in_tree(ast.parse(line)))


def test_what_is_allowed_passes():
    text = "import jax\njax.tree.map\nimport socket\nsocket.gethostname()\nfrom .core import yaml\n"
    assert list(imports.in_tree(ast.parse(text + "loader.exec_module(m)"))) == []


def test_a_foreign_place_is_seen():
    slash = "/"
    for line in (f"'{slash}home/me/data'", f"{slash}opt/x", "py" + "pi.org", f"https:{slash}/a.b"):
        assert places.in_line(line), line
    for line in ("runs/home/x", "a / home / b", "see https://arxiv.org/abs/2410.02711", "x/opt/y"):
        assert places.in_line(line) == [], line
    assert places.in_constraints("jax==0.10.2") == places.in_constraints("# a comment") == []
    assert places.in_constraints("jax @ file:x") != []
    assert places.in_constraints("jax>=0.10") != []


def test_a_key_without_words_is_seen():
    class Vague(Config):
        good: int = Field(default=1, ge=0, le=2, description="a number of things")
        title: str = Field(default="", max_length=9, description="a title")
        silent: int = Field(default=1, ge=0, le=2)
        endless: float = Field(default=1.0, description="anything")

    silent, endless = registry.keys_without_words(Vague)
    assert "silent has no description" in silent
    assert "endless accepts a number" in endless


def test_a_class_missing_from_the_laws_is_seen():
    assert "Funnel" in laws.members("AbstractEnergy")
    said = {"AbstractEnergy", *laws.members("AbstractEnergy")}
    assert laws.missing(said) == []
    assert laws.missing(said - {"Funnel"}) == [("AbstractEnergy", "Funnel")]
    assert laws.missing({"Normal"}) == []


def test_the_list_of_public_names_knows_every_room_and_no_private_name():
    text = exports.api_text()
    for name in ("`Normal`", "`Langevin`", "`gamma_method`", "`fit`", "`RunFolder`", "`Expected`"):
        assert name in text
    assert "| `_" not in text
    assert "`errors`" in text


def test_sizes_are_counted():
    files, functions = sizes.lengths()
    assert files["_tree.py"] == len((SOURCE / "_tree.py").read_text().splitlines())
    assert 1 <= max(functions.values())
    assert "files" in sizes.size_table()


@pytest.mark.slow  # `make lint` runs it
def test_the_command_runs_as_make_lint_calls_it():
    done = subprocess.run(
        [sys.executable, "-m", "tests.house"], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "abstract or final: ok" in done.stdout
