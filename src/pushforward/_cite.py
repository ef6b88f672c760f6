"""Who to thank: BibTeX for exactly the methods an object is made of.

A class, function or module that implements a published method names it by its key in
`references.bib`: in a class attribute `references: ClassVar[tuple[str, ...]]`, an experiment in
`REFERENCES`.
"""

import dataclasses
import functools
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import ModuleType
from typing import Any

from pushforward._errors import InputError

FOUNDATIONS = ("jax2018", "equinox2021", "optax2020")
_ENTRIES = Path(__file__).with_name("references.bib").read_text(encoding="utf-8").strip()
BIBTEX = {re.split(r"[{,]", entry)[1]: entry for entry in _ENTRIES.split("\n\n")}


def cite(*objects: Any) -> str:
    """Return the BibTeX entries of the methods that `objects` are made of.

    Parameters
    ----------
    objects
        Modules, classes, functions, pytrees of them, experiments, or keys of `references.bib`.

    Raises
    ------
    InputError
        For a key without an entry.
    """
    found = [key for item in objects for key in _keys(item, set())]
    return "\n\n".join(_entry(key) for key in dict.fromkeys([*found, *FOUNDATIONS]))


def _entry(key: str) -> str:
    if key not in BIBTEX:
        raise InputError(
            f"no reference is called {key!r}; the keys are {', '.join(BIBTEX)}; "
            "of an experiment: pf.cite(pf.experiments.find(NAME))"
        )
    return BIBTEX[key]


def _keys(item: Any, seen: set[int]) -> Iterator[str]:
    if isinstance(item, str):
        yield item
    elif id(item) not in seen:
        seen.add(id(item))
        yield from _own(item)
        for part in _parts(item):
            if not isinstance(part, str):  # strings inside a container are values, never keys
                yield from _keys(part, seen)


def _own(item: Any) -> Iterator[str]:
    """Yield the keys an object names itself, base classes included."""
    if isinstance(item, ModuleType):
        yield from vars(item).get("REFERENCES", ())
        return
    classes = item.__mro__ if isinstance(item, type) else [*type(item).__mro__, item]
    for holder in classes:
        own = getattr(holder, "__dict__", {}).get("references", ())
        yield from own if isinstance(own, tuple) else ()  # a property of that name is no list


def _parts(item: Any) -> list[Any]:
    if isinstance(item, functools.partial):
        return [item.func, *item.args, *item.keywords.values()]
    if dataclasses.is_dataclass(item) and not isinstance(item, type):
        return [getattr(item, field.name, None) for field in dataclasses.fields(item)]
    if isinstance(item, Mapping):
        return list(item.values())
    return list(item) if isinstance(item, tuple | list | set | frozenset) else []
