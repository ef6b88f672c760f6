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

from pushforward._errors import InputError, StorageError
from pushforward.formats.durable import write_bytes
from pushforward.formats.safetensors import Packed, pack, read_packed, signature, to_bytes
from pushforward.formats.strict_json import dumps, loads

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
    write_bytes(Path(path), to_bytes(pack_tree(model), entries))


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
    stored, metadata = read_packed(path)
    _check_format(path, metadata)
    return assemble(like, stored, where=str(path), rename=rename or {}, strict=strict)


def read_metadata(path: str | Path) -> dict[str, Any]:
    """Return the dictionary that `save` was given as `metadata` ({} for foreign files)."""
    metadata = read_packed(path)[1]
    _check_format(path, metadata)
    return loads(metadata.get("config", "{}"))


def pack_tree(tree: Any) -> dict[str, Packed]:
    """Pack every number-like leaf of a pytree, keyed by its path."""
    return {name: pack(name, leaf) for name, leaf in _numbers(tree)}


def assemble(
    like: T,
    stored: Mapping[str, Packed],
    *,
    where: str,
    rename: Mapping[str, str] | None = None,
    strict: bool = True,
) -> T:
    """Put stored leaves into the structure of `like`; raise `InputError` where they do not fit."""
    import jax

    stored = _renamed(stored, rename or {}, where)
    wanted = {name: signature(leaf) for name, leaf in _numbers(like)}
    problems = _problems(stored, wanted, strict)
    if problems:
        raise InputError("\n".join([f"{where} does not fit `like`:", *problems]))

    paths, structure = jax.tree_util.tree_flatten_with_path(like)
    names = _names(paths)
    leaves = [
        _as(leaf, stored[name].unpack()) if name in wanted and name in stored else leaf
        for name, (_, leaf) in zip(names, paths, strict=True)
    ]
    return jax.tree_util.tree_unflatten(structure, leaves)


def _names(paths: list[tuple[Any, Any]]) -> list[str]:
    from pushforward._tree import leaf_name

    return [leaf_name(path) for path, _ in paths]


def _numbers(tree: Any) -> list[tuple[str, Any]]:
    """List `(path, leaf)` of the leaves that are stored."""
    import jax

    from pushforward._tree import named_leaves

    kinds = (jax.Array, jax.ShapeDtypeStruct, np.ndarray, np.generic, bool, int, float, complex)
    return [(name, leaf) for name, leaf in named_leaves(tree) if isinstance(leaf, kinds)]


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
    missing = [name for name in wanted if name not in stored]
    extra = [name for name in stored if name not in wanted]
    other = [n for n in wanted if n in stored and (stored[n].shape, stored[n].dtype) != wanted[n]]
    lines: list[str] = []
    if strict:
        lines += _listed("missing in the file", missing, lambda n: _nearest(n, extra))
        lines += _listed("not in `like`", extra, lambda n: _nearest(n, missing))
    lines += _listed(
        "other shape or type",
        other,
        lambda n: f": stored {_show(stored[n].shape, stored[n].dtype)}, like {_show(*wanted[n])}",
    )
    if lines and not other:
        lines.append("  write rename={'name in the file': 'name in like'}, or strict=False")
    if other:
        lines.append(
            "  nothing is cast: build `like` with the stored shapes and types (32/64 bits?)"
        )
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


def _check_format(path: str | Path, metadata: Mapping[str, str]) -> None:
    text = metadata.get("format", str(FORMAT))
    if text.isdecimal() and int(text) > FORMAT:
        raise StorageError(
            f"{path} was written by a newer version (format {text}, this one reads up to "
            f"{FORMAT}): upgrade pushforward"
        )
