"""BibTeX for exactly the methods used."""

import functools
import re
from dataclasses import dataclass
from types import ModuleType
from typing import Any, ClassVar

import pytest

from pushforward._cite import BIBTEX, FOUNDATIONS, cite
from pushforward._errors import InputError


class Walk:
    references: ClassVar[tuple[str, ...]] = ("roberts1996",)


class Run(Walk):
    references: ClassVar[tuple[str, ...]] = ("duane1987",)


@dataclass
class Pair:
    first: Any
    name: str = "neal2001"  # a value, not a reference


def keys(text):
    return set(re.findall(r"^@\w+\{(\w+),", text, re.MULTILINE)) - set(FOUNDATIONS)


def run(): ...


run.references = ("jarzynski1997",)


@pytest.mark.parametrize(
    ("thing", "expected"),
    [
        ((), set()),
        ((Walk,), {"roberts1996"}),
        ((Run(),), {"roberts1996", "duane1987"}),
        ((Pair([{"a": Walk()}]),), {"roberts1996"}),
        ((functools.partial(run, Run),), {"jarzynski1997", "roberts1996", "duane1987"}),
        (("neal2001", "neal2001"), {"neal2001"}),
        ((3, None, b"neal2001", [1.5]), set()),
    ],
)
def test_what_is_walked(thing, expected):
    text = cite(*thing)
    assert keys(text) == expected
    assert all(text.count(f"{{{key},") == 1 for key in [*expected, *FOUNDATIONS])


def test_modules_and_cycles():
    module = ModuleType("experiment")
    module.REFERENCES = ("nets",)
    loop = [module]
    loop.append(loop)
    assert keys(cite(loop)) == {"nets"}


def test_unknown_keys_are_named():
    with pytest.raises(InputError, match="'nobody1900'"):
        cite("nobody1900")


@pytest.mark.parametrize("key", BIBTEX)
def test_entries_are_whole(key):
    entry = BIBTEX[key]
    assert re.match(rf"@\w+\{{{key},\n", entry)
    assert entry.count("{") == entry.count("}")
    assert all(f"  {field} = {{" in entry for field in ("title", "author", "year"))


def _classes(cls):
    for sub in cls.__subclasses__():
        yield sub
        yield from _classes(sub)


def test_every_reference_of_the_library_has_an_entry():
    import importlib

    import equinox as eqx

    import pushforward
    from pushforward.experiments import REGISTRY
    from pushforward.harness.experiment import find

    for room in pushforward._ROOMS:
        importlib.import_module(f"pushforward.{room}")
    named = {
        (cls.__qualname__, key)
        for cls in _classes(eqx.Module)
        if cls.__module__.startswith("pushforward")
        for key in vars(cls).get("references", ())
    }
    docs = {name: find(name, REGISTRY).module.__doc__ for name in REGISTRY}
    named |= {(n, key) for n, doc in docs.items() for key in re.findall(r"\[([a-z]+\d{4})\]", doc)}
    assert {(name, key) for name, key in named if key not in BIBTEX} == set()
