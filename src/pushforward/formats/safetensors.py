"""The one place where arrays become safetensors bytes and come back.

safetensors is a header and raw numbers: nothing in it can run. Its NumPy side knows fewer types
than we use and trusts the memory layout (0.8.0 writes a transposed array scrambled, without a
word), so every leaf is first *packed*: made C-ordered and little-endian, and shown as a type
that any reader of the format knows.

| true type                     | stored as                                     |
|-------------------------------|-----------------------------------------------|
| bfloat16, float8, int4, ...   | unsigned integers of the same width           |
| complex128                    | float64 with a trailing axis (re, im)         |
| typed PRNG keys               | their uint32 key data                         |
| Python bool, int, float, ...  | a scalar array                                |

The true types stand in the metadata entry `dtypes`, so that a file describes itself.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize
from safetensors.numpy import save as _serialise

from pushforward._errors import InputError, MissingData, StorageError
from pushforward.formats.durable import write_bytes
from pushforward.formats.strict_json import loads

_NATIVE = {
    **{"BOOL": "bool", "F64": "float64", "F32": "float32", "F16": "float16", "C64": "complex64"},
    **{f"{kind[0].upper()}{n}": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)},
}
_FOREIGN = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
_NARROW = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        *("bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn"),
        *("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("int4", "uint4"),
    )
}
_PYTHON = {"bool": bool, "int": np.int64, "float": np.float64, "complex": np.complex128}
_KEYS = {"threefry2x32": 2, "rbg": 4, "unsafe_rbg": 4}  # length of the key data


@dataclass(frozen=True)
class Packed:
    """One leaf as safetensors holds it: `array` in a native type, `dtype` its true type."""

    array: np.ndarray
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The true shape."""
        pairs = self.dtype in ("complex128", "python.complex") or self.dtype.startswith("key<")
        return self.array.shape[:-1] if pairs else self.array.shape

    def describe(self) -> dict[str, Any]:
        """Shape, true type and stored type, for a manifest."""
        return {"shape": list(self.shape), "dtype": self.dtype, "stored": self.array.dtype.name}

    def unpack(self) -> Any:
        """Return the leaf in its true type: a NumPy array, a JAX key or a Python number."""
        if self.dtype == self.array.dtype.name:
            return self.array
        if self.dtype in _NARROW:
            return self.array.view(_NARROW[self.dtype])
        if self.dtype in ("complex128", "python.complex"):
            value = self.array.view(np.complex128)[..., 0]
            return value if self.dtype == "complex128" else complex(value)
        if self.dtype.startswith("python."):
            return self.array.item()
        import jax

        return jax.random.wrap_key_data(jax.numpy.asarray(self.array), impl=self.dtype[4:-1])


def pack(name: str, leaf: Any) -> Packed:
    """Pack one array, key or Python number; `name` is for the error."""
    if type(leaf).__name__ in _PYTHON and type(leaf).__module__ == "builtins":
        return _pack_number(name, leaf)
    dtype = signature(leaf)[1]
    if dtype.startswith("key<"):
        import jax

        return Packed(np.asarray(jax.random.key_data(leaf), order="C"), dtype)
    array = np.asarray(leaf, order="C")
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    if dtype in _NARROW:
        return Packed(array.view(f"uint{8 * array.dtype.itemsize}"), dtype)
    if dtype == "complex128":
        return Packed(array[..., None].view(np.float64), dtype)
    if dtype in _NATIVE.values():
        return Packed(array, dtype)
    raise InputError(
        f"leaf {name} has type {dtype}, which no safetensors file can hold; expected booleans, "
        "integers, floats up to 64 bits, complex numbers or PRNG keys"
    )


def signature(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape and the true type of a leaf (or of a shape-and-type struct)."""
    if type(leaf).__module__ == "builtins":
        return (), f"python.{type(leaf).__name__}"
    shape = tuple(int(n) for n in leaf.shape)
    if str(leaf.dtype).startswith("key<"):
        import jax

        return shape, f"key<{jax.random.key_impl(leaf)}>"
    return shape, np.dtype(leaf.dtype).name


def to_bytes(packed: Mapping[str, Packed], metadata: Mapping[str, str] | None = None) -> bytes:
    """Serialise packed leaves; the same leaves give the same bytes."""
    disguised = {k: p.dtype for k, p in sorted(packed.items()) if p.dtype != p.array.dtype.name}
    entries = dict(metadata or {})
    if disguised:
        entries["dtypes"] = json.dumps(disguised, separators=(",", ":"))
    blob = _serialise({k: packed[k].array for k in sorted(packed)}, metadata=entries or None)
    return _sort_metadata(blob) if len(entries) > 1 else blob


def from_bytes(data: bytes, where: str) -> tuple[dict[str, Packed], dict[str, str]]:
    """Parse a blob into packed leaves and metadata; `where` names it in errors."""
    try:
        tensors = deserialize(data)
        metadata = _header(data).get("__metadata__", {})
        dtypes = loads(metadata.get("dtypes", "{}"))
        return {name: _view(spec, dtypes.get(name)) for name, spec in tensors}, metadata
    except (SafetensorError, ValueError, LookupError, TypeError, AttributeError) as error:
        raise StorageError(f"{where} is not a whole safetensors file: {error}") from error


def write_safetensors(
    path: str | Path, arrays: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays to one safetensors file, atomically.

    Parameters
    ----------
    path
        The file; replaced whole or not at all.
    arrays
        Name to array: NumPy or JAX, any layout, also complex128, bfloat16, PRNG keys and numbers.
    metadata
        Text entries for the header.
    """
    packed = {name: pack(name, leaf) for name, leaf in arrays.items()}
    write_bytes(Path(path), to_bytes(packed, metadata))


def read_packed(path: str | Path) -> tuple[dict[str, Packed], dict[str, str]]:
    """Read a safetensors file, ours or foreign, into packed leaves and its metadata."""
    try:
        data = Path(path).read_bytes()
    except FileNotFoundError:
        raise MissingData(f"there is no file {path}") from None
    except OSError as error:
        raise StorageError(f"cannot read {path}: {error.strerror}") from error
    return from_bytes(data, str(path))


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read named arrays from a safetensors file, each in its true type."""
    return {name: leaf.unpack() for name, leaf in read_packed(path)[0].items()}


def _pack_number(name: str, leaf: Any) -> Packed:
    kind = type(leaf).__name__
    try:
        array = np.asarray(leaf, dtype=_PYTHON[kind])
    except OverflowError:
        raise InputError(f"leaf {name} = {leaf} does not fit into 64 bits") from None
    return Packed(
        array[..., None].view(np.float64) if kind == "complex" else array, f"python.{kind}"
    )


def _view(spec: dict[str, Any], dtype: str | None) -> Packed:
    """View the bytes of one tensor; `dtype` is the true type if it is disguised."""
    stored = spec["dtype"]
    if stored in _FOREIGN:  # written by another library in its own narrow type
        dtype = _FOREIGN[stored]
        array = np.frombuffer(spec["data"], f"uint{8 * _NARROW[dtype].itemsize}")
    else:
        array = np.frombuffer(spec["data"], _NATIVE[stored])
    packed = Packed(array.reshape(spec["shape"]), dtype or array.dtype.name)
    if not _consistent(packed):
        raise ValueError(f"{stored}{spec['shape']} cannot hold {packed.dtype}")
    return packed


def _consistent(packed: Packed) -> bool:
    """Tell whether the stored array can be what its true type claims."""
    stored, dtype, pair = packed.array.dtype.name, packed.dtype, packed.array.shape[-1:] == (2,)
    if dtype in _NARROW:
        return stored == f"uint{8 * _NARROW[dtype].itemsize}"
    if dtype.startswith("key<"):
        return stored == "uint32" and packed.array.shape[-1:] == (_KEYS.get(dtype[4:-1], 0),)
    if dtype == "complex128":
        return stored == "float64" and pair
    if dtype.startswith("python."):
        kind = dtype.removeprefix("python.")
        wanted = "float64" if kind == "complex" else np.dtype(_PYTHON[kind]).name
        return stored == wanted and packed.array.shape == ((2,) if kind == "complex" else ())
    return dtype == stored


def _header(data: bytes) -> dict[str, Any]:
    return json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])


def _sort_metadata(blob: bytes) -> bytes:
    """Sort the metadata entries, which safetensors 0.8.0 writes in a random order."""
    header = _header(blob)
    header["__metadata__"] = dict(sorted(header["__metadata__"].items()))
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    rest = blob[8 + int.from_bytes(blob[:8], "little") :]
    return len(text).to_bytes(8, "little") + text + rest
