"""A stage belongs to what made it: its plan, written once, compared before anything is traced.

The plan is a flat dictionary: for every leaf, static field and function of the arguments its path
and a short text (`kernel.step_size` -> `float64 0.1`). It is the same in every process: arrays are
compared by CRC-32, functions and classes by name, those outside installed packages also by the
checksum of their code, constants and the plain global values they read. The code of an installed
package is named only, so a stage can be continued after an upgrade.
"""

import dataclasses
import functools
import json
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from zlib import crc32

import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError, StageMismatch, StorageError
from .._typing import PRNGKey
from ..formats.durable import write_bytes
from ..formats.strict_json import dumps
from ..runs import Stage, as_stage
from .keys import stream

FILE, RESULT = "plan.json", "result.safetensors"
PLAIN = (type(None), bool, int, float, complex, str, bytes, Path)
SHORT = 3  # entries up to which an array is written out
SAMPLED = 1 << 28  # bytes above which only some rows of an array are read


@contextmanager
def opened(folder: str | Path | Stage | None, name: str) -> Iterator[Stage | None]:
    """Open the stage that a verb writes to; one that was handed over stays open afterwards."""
    stage = as_stage(folder, name)
    try:
        yield stage
    finally:
        if stage is not None and stage is not folder:
            stage.close()


def stage_key(key: PRNGKey, stage: Stage | None, verb: str) -> PRNGKey:
    """Return the key of a verb in its stage; without a folder the stage is named like the verb."""
    return stream(key, stage.name if stage else verb, verb)


def write_plan(stage: Stage, plan: dict[str, str]) -> None:
    """Write what a stage is begun with; it has no checkpoint yet."""
    write_bytes(stage.path / FILE, dumps(plan).encode())


def compared(
    stage: Stage | None, steps: int, **arguments: Any
) -> tuple[dict[str, str], Stage | None]:
    """Return the plan of a call, and the stage if it has all its steps and its result on disk.

    Raises
    ------
    StageMismatch
        The stage was begun with something else.
    InputError
        It holds more steps than asked for.
    """
    if stage is None:
        return {}, None
    plan, done = fingerprints(**arguments), stage.done()
    if done is not None or any((stage.path / "checkpoints").glob("[0-9b]*")):
        _compare(stage, plan)
    if done is None or done["steps"] < steps:
        return plan, None
    check_length(stage, done["steps"], steps)
    return plan, stage if (stage.path / RESULT).exists() else None


def check_length(stage: Stage, have: int, wanted: int) -> None:
    """Refuse to shorten a stage."""
    if have > wanted:
        raise InputError(
            f"{stage.path} holds {have} steps, asked for {wanted}: a run cannot be shortened, ask "
            f"for {have} or more"
        )


def _compare(stage: Stage, plan: dict[str, str]) -> None:
    path = stage.path / FILE
    try:
        begun = json.loads(path.read_bytes()) if path.exists() else {}
    except (OSError, ValueError) as error:
        raise StorageError(f"cannot read {path}: {error}") from error
    differs = [name for name in {**plan, **begun} if begun.get(name) != plan.get(name)]
    if not differs:
        return
    both = [f"{n} ({begun.get(n, 'absent')}, now {plan.get(n, 'absent')})" for n in differs[:4]]
    both += [f"{len(differs) - 4} more"] if len(differs) > 4 else []
    error = StageMismatch(
        f"{stage.path} was begun with another {'; '.join(both)}. To go on, make the call with what "
        "the stage was begun with; to begin anew, choose a new folder"
    )
    error.differs = differs
    raise error


def fingerprints(**arguments: Any) -> dict[str, str]:
    """Return path and text of everything that the arguments consist of."""
    out: dict[str, str] = {}
    for name, value in arguments.items():
        _describe(name, value, out)
    return out


def _describe(
    path: str, value: Any, out: dict[str, str], above: tuple = (), used: set[str] | None = None
) -> None:
    """Add the parts of `value` to `out`.

    `above` are the objects that contain it. In the closure of a function, `used` are the names in
    its code: of a configuration it holds, only the keys that it reads are compared.
    """
    parts: Mapping[str, Any] = {}
    if isinstance(value, PLAIN):
        out[path] = repr(value)
    elif isinstance(value, jax.Array | np.ndarray | np.generic):
        out[path] = _array(value)
    elif isinstance(value, Mapping):
        parts = {f"[{key!r}]": value[key] for key in sorted(value, key=str)}
    elif isinstance(value, tuple | list):
        parts = {f"[{k}]": part for k, part in enumerate(value)}
    elif isinstance(value, type):
        out[path] = _type_name(value)
    elif dataclasses.is_dataclass(value):  # all Modules are
        out[path], used = _type_name(type(value)), None
        fields = [field.name for field in dataclasses.fields(value)]
        parts = {f".{name}": getattr(value, name, None) for name in fields}
    elif isinstance(value, functools.partial):
        parts = {".func": value.func, ".args": value.args, ".keywords": value.keywords}
    elif hasattr(value, "__wrapped__"):
        parts = {"": value.__wrapped__}
    elif isinstance(value, types.MethodType):
        parts = {"": value.__func__, ".self": value.__self__}
    elif isinstance(value, types.FunctionType):
        out[path], used = _function_name(value), _names(value.__code__)
        parts = {f".{k}": v for k, v in _closure(value).items()}
        parts |= {".defaults": value.__defaults__} if value.__defaults__ else {}
    elif isinstance(value, types.BuiltinFunctionType | np.ufunc | np.dtype):
        out[path] = repr(getattr(value, "__name__", value))
    else:
        out[path] = _type_name(type(value))
        parts = {f".{k}": v for k, v in sorted(_attributes(value, used).items())}
    if id(value) not in above:
        for name, part in parts.items():
            _describe(path + name, part, out, (*above, id(value)), used)


def _array(value: Any) -> str:
    if jnp.issubdtype(value.dtype, jax.dtypes.prng_key):
        value = jax.random.key_data(value)
    shape = list(value.shape) if value.shape else ""
    if value.size <= SHORT:
        return f"{value.dtype}{shape} {np.asarray(value).tolist()}"
    if value.nbytes > SAMPLED and value.shape[0] > 1:
        value = value[:: min(value.shape[0], 1 + value.nbytes // SAMPLED)]
    return f"{value.dtype}{shape} crc32 {crc32(np.ascontiguousarray(value).tobytes()):08x}"


def _attributes(value: Any, used: set[str] | None) -> dict[str, Any]:
    """Return what a host object is: its lists and sets hold what it did, and are left out."""
    kinds = (*PLAIN, np.ndarray, jax.Array, dict, tuple, types.FunctionType)
    found = getattr(value, "__dict__", {})
    if used is not None:
        return {k: v for k, v in found.items() if k in used}
    return {k: v for k, v in found.items() if isinstance(v, kinds) or dataclasses.is_dataclass(v)}


def _closure(function: types.FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    empty = types.CellType()  # of a name that is defined later, or never
    held = {name: cell.cell_contents for name, cell in cells if cell != empty}
    # a schedule of optax makes an int of its closure a float when it is traced
    return {name: float(v) if type(v) is int else v for name, v in held.items()}


def _type_name(kind: type) -> str:
    total = 0
    for base in kind.__mro__:
        if not _is_installed(base.__module__):
            for _, member in sorted(vars(base).items()):
                if isinstance(function := _unwrapped(member), types.FunctionType):
                    total = crc32(_checksum(function, set()).to_bytes(4, "big"), total)
    return f"{kind.__module__}.{kind.__qualname__}" + (f" crc32 {total:08x}" if total else "")


def _function_name(function: types.FunctionType) -> str:
    name = f"{function.__module__}.{function.__qualname__}"
    if _is_installed(function.__module__):
        return name
    return f"{name} crc32 {_checksum(function, set()):08x}"


def _unwrapped(member: Any) -> Any:
    for name in ("method", "fget", "__func__", "__wrapped__"):  # of Equinox, property, functools
        if not isinstance(member, type) and hasattr(member, name):
            return _unwrapped(getattr(member, name))
    return member


@functools.cache
def _is_installed(module: str) -> bool:
    """Tell whether a module belongs to Python or to an installed package, this one included."""
    root = module.partition(".")[0]
    file = getattr(sys.modules.get(root), "__file__", None) or ""
    return root in (*sys.stdlib_module_names, __name__.partition(".")[0]) or "-packages" in file


def _checksum(function: types.FunctionType, seen: set[int]) -> int:
    """Return the checksum of a function's code, constants and plain globals."""
    if id(function) in seen:
        return 0
    seen.add(id(function))
    parts: list[Any] = [_code(function.__code__, function.__doc__)]
    for name in sorted(_names(function.__code__)):
        value = function.__globals__.get(name)
        if isinstance(value, types.FunctionType) and not _is_installed(value.__module__):
            parts.append((name, _checksum(value, seen)))
        elif isinstance(value, np.ndarray | jax.Array):
            parts.append((name, _array(value)))
        elif isinstance(value, (*PLAIN, tuple)) and value is not None and "0x" not in repr(value):
            parts.append((name, repr(value)))
    return crc32(repr(parts).encode())


def _names(code: types.CodeType) -> set[str]:
    inner = [_names(const) for const in code.co_consts if isinstance(const, types.CodeType)]
    return set(code.co_names).union(*inner)


def _code(code: types.CodeType, doc: str | None = None) -> tuple:
    constants = [
        _code(const) if isinstance(const, types.CodeType)
        else sorted(map(repr, const)) if isinstance(const, frozenset)
        else repr(const)
        for const in code.co_consts
        if doc is None or const != doc
    ]  # fmt: skip
    return code.co_code.hex(), code.co_names, code.co_freevars, constants
