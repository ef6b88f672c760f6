"""Portable models: one safetensors file, leaves keyed by their path.

A file holds names and numbers, no classes and no order of fields: `load(path, like)` takes the
types from `like`, a model built by your own code, so a renamed field is one entry of `rename`
and nothing in a file is ever imported or run. Leaves that are not numbers (activation functions,
strings) come from `like`.
"""

import difflib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from pushforward._errors import InputError
from pushforward.formats.durable import write_bytes
from pushforward.formats.safetensors import Packed, pack, read_packed, signature, to_parts
from pushforward.formats.strict_json import check_format, dumps, loads

FORMAT = 1
T = TypeVar("T")
_SHOWN = 8


def save(path: str | Path, model: Any, *, metadata: dict[str, Any] | None = None) -> None:
    """Write the numbers of a model to one safetensors file.

    Parameters
    ----------
    path
        The file, usually `model.safetensors`; replaced whole or not at all.
    model
        Any pytree; its arrays, PRNG keys and Python numbers are stored by path.
    metadata
        A JSON dictionary to travel with it (a configuration); see `read_metadata`.
    """
    entries = {"format": str(FORMAT), "config": dumps(metadata or {})}
    write_bytes(Path(path), *to_parts(pack_tree(model), entries))


def load(
    path: str | Path, like: T, *, rename: dict[str, str] | None = None, strict: bool = True
) -> T:
    """Read a model written by `save`, or any safetensors file with fitting names.

    Parameters
    ----------
    path
        The file.
    like
        A model of the same structure: it gives classes, shapes and types; its numbers are
        replaced. Nothing is cast.
    rename
        `{name in the file: name in like}` for leaves that were renamed since.
    strict
        If False, leaves missing in the file keep the numbers of `like`, and leaves unknown to
        `like` are ignored; shapes and types must fit in any case.

    Raises
    ------
    InputError
        The leaves do not fit; the message lists missing, extra and reshaped ones.
    """
    stored, _ = _read(path)
    renamed = _renamed(stored, rename or {}, str(path))
    return assemble(like, renamed, where=str(path), strict=strict)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the dictionary that `save` was given as `metadata` ({} for foreign files)."""
    return loads(_read(path)[1].get("config", "{}"))


def pack_tree(tree: Any) -> dict[str, Packed]:
    """Pack every number-like leaf of a pytree, keyed by its path."""
    return {name: pack(name, leaf) for name, leaf in _leaves(tree) if _is_number(leaf)}


def assemble(like: T, stored: Mapping[str, Packed], *, where: str, strict: bool = True) -> T:
    """Put stored leaves into the structure of `like`; raise `InputError` where they do not fit."""
    import jax

    leaves = _leaves(like)
    wanted = {name: signature(leaf) for name, leaf in leaves if _is_number(leaf)}
    problems = _problems(stored, wanted, strict)
    if problems:
        raise InputError("\n".join([f"{where} does not fit `like`:", *problems]))
    found = [
        _as(leaf, stored[name].unpack()) if name in wanted and name in stored else leaf
        for name, leaf in leaves
    ]
    return jax.tree.unflatten(jax.tree.structure(like), found)


def _read(path: str | Path) -> tuple[dict[str, Packed], dict[str, str]]:
    stored, metadata = read_packed(path)
    number = metadata.get("format", "")
    check_format(path, int(number) if number.isdecimal() else FORMAT, known=FORMAT)
    return stored, metadata


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    from pushforward._tree import named_leaves

    return named_leaves(tree)


def _is_number(leaf: Any) -> bool:
    import jax

    kinds = (jax.Array, jax.ShapeDtypeStruct, np.ndarray, np.generic, bool, int, float, complex)
    return isinstance(leaf, kinds)


def _as(like: Any, value: Any) -> Any:
    """Give `value` the kind of array that `like` is; its bits do not change."""
    import jax

    if isinstance(like, np.generic):
        return value[()]
    if isinstance(like, jax.Array | jax.ShapeDtypeStruct) and isinstance(value, np.ndarray):
        array = jax.numpy.array(value)  # a copy: the result may be donated
        if array.dtype != value.dtype:
            raise InputError(f"JAX cannot hold {value.dtype} now: set jax_enable_x64")
        return array
    return np.array(value) if isinstance(like, np.ndarray) else value


def _renamed(
    stored: Mapping[str, Packed], rename: Mapping[str, str], where: str
) -> dict[str, Packed]:
    unknown = [name for name in rename if name not in stored]
    if unknown:
        hints = ", ".join(unknown[:_SHOWN])
        raise InputError(f"rename: {where} has no leaf {hints}{_nearest(unknown[0], stored)}")
    result = {rename.get(name, name): leaf for name, leaf in stored.items()}
    if len(result) < len(stored):
        raise InputError(f"rename gives two leaves of {where} one name: {dict(rename)}")
    return result


def _problems(stored: Mapping[str, Packed], wanted: Mapping[str, tuple], strict: bool) -> list[str]:
    """List what does not fit, in sentences."""
    found = {name: (leaf.shape, leaf.dtype) for name, leaf in stored.items()}
    missing = [name for name in wanted if name not in found]
    extra = [name for name in found if name not in wanted]
    other = [name for name in wanted if name in found and found[name] != wanted[name]]
    lines: list[str] = []
    if strict:
        lines += _listed("missing in the file", missing, lambda n: _nearest(n, extra))
        lines += _listed("not in `like`", extra, lambda n: _nearest(n, missing))
    if other:
        both = {n: f": stored {_show(*found[n])}, like {_show(*wanted[n])}" for n in other}
        lines += _listed("other shape or type", other, lambda n: both[n])
        lines.append(
            "  nothing is cast: build `like` with the stored shapes and types (32/64 bits?)"
        )
    elif lines:
        lines.append("  write rename={'name in the file': 'name in like'}, or strict=False")
    return lines


def _listed(title: str, names: list[str], note: Callable[[str], str]) -> list[str]:
    lines = [f"  {title}: {name or '(the root)'}{note(name)}" for name in names[:_SHOWN]]
    if len(names) > _SHOWN:
        lines.append(f"  {title}: ... and {len(names) - _SHOWN} more")
    return lines


def _nearest(name: str, candidates: Any) -> str:
    near = difflib.get_close_matches(name, list(candidates)[:500], n=1)
    return f" (nearest name on the other side: {near[0]})" if near else ""


def _show(shape: tuple[int, ...], dtype: str) -> str:
    return f"{dtype}{list(shape)}"
