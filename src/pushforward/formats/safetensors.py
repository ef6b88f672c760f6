"""The one place where arrays become safetensors bytes and come back.

safetensors is a header and raw numbers: nothing in it can run. The format knows fewer types than
we use, so every leaf is first *packed*: made C-ordered and little-endian, and shown as a type that
any reader of the format knows. The true types stand in the metadata entry `dtypes`.

| true type                     | stored as                                     |
|-------------------------------|-----------------------------------------------|
| bfloat16, float8, int4, ...   | unsigned integers of the same width           |
| complex128                    | float64 with a trailing axis (re, im)         |
| typed PRNG keys               | their uint32 key data                         |
| Python bool, int, float, ...  | a scalar array                                |

The format has no checksum. Our files carry one of the whole file, header included: the sha256 of
its bytes with 64 zeros in the place of that sha256. We write the bytes ourselves because the
NumPy side of the library (0.8.0) scrambles transposed arrays without a word, puts metadata in a
random order and copies everything; it reads them, and refuses what is hostile.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
from safetensors import SafetensorError, deserialize

from pushforward._errors import CheckpointDamaged, InputError, MissingData
from pushforward.formats.durable import write_bytes
from pushforward.formats.strict_json import loads

_MALFORMED = (SafetensorError, ValueError, LookupError, TypeError, AttributeError, RecursionError)
CHECKSUM = "sha256_of_this_file_with_zeros_here"
_LONGEST_HEADER = 100 * 2**20  # bytes, as in the library
_NATIVE = {
    **{"BOOL": "bool", "F64": "float64", "F32": "float32", "F16": "float16", "C64": "complex64"},
    **{f"{kind[0].upper()}{n}": f"{kind}{n}" for kind in ("int", "uint") for n in (8, 16, 32, 64)},
}
_CODES = {name: code for code, name in _NATIVE.items()}
_FOREIGN = {"BF16": "bfloat16", "F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}
_NARROW = {
    name: np.dtype(getattr(ml_dtypes, name))
    for name in (
        *("bfloat16", "float8_e3m4", "float8_e4m3", "float8_e4m3b11fnuz", "float8_e4m3fn"),
        *("float8_e4m3fnuz", "float8_e5m2", "float8_e5m2fnuz", "float8_e8m0fnu"),
        *("int4", "uint4"),
    )
}
_PYTHON = {"python.bool": "bool", "python.int": "int64", "python.float": "float64"}
_KEYS = {"key<threefry2x32>": 2, "key<rbg>": 4, "key<unsafe_rbg>": 4}  # length of the key data


def _storage(dtype: str) -> tuple[str, tuple[int, ...]]:
    """Return how a true type is stored, type and trailing axis; `KeyError` for an unknown one."""
    if dtype in ("complex128", "python.complex"):
        return "float64", (2,)
    if dtype.startswith("key<"):
        return "uint32", (_KEYS[dtype],)
    if dtype in _NARROW:
        return f"uint{8 * _NARROW[dtype].itemsize}", ()
    return _NATIVE[_CODES[_PYTHON.get(dtype, dtype)]], ()


@dataclass(frozen=True)
class Packed:
    """One leaf as safetensors holds it: `array` in a native type, `dtype` its true type."""

    array: np.ndarray
    dtype: str

    @property
    def shape(self) -> tuple[int, ...]:
        """The true shape."""
        return self.array.shape[: self.array.ndim - len(_storage(self.dtype)[1])]

    def unpack(self) -> Any:
        """Return the leaf in its true type: a NumPy array, a JAX key or a Python number."""
        if self.dtype.startswith("key<"):
            import jax

            return jax.random.wrap_key_data(jax.numpy.asarray(self.array), impl=self.dtype[4:-1])
        value = self.array
        if _storage(self.dtype)[1]:
            value = value.view(np.complex128)[..., 0]
        if self.dtype.startswith("python."):
            return value.item()
        return value.view(_NARROW.get(self.dtype, value.dtype))


def pack(name: str, leaf: Any) -> Packed:
    """Pack one array, key or Python number; `name` is for the error."""
    dtype = signature(leaf)[1]
    try:
        stored, trailing = _storage(dtype)
        if dtype.startswith("key<"):
            import jax

            return Packed(np.asarray(jax.random.key_data(leaf), order="C"), dtype)
        array = np.asarray(leaf, _PYTHON.get(dtype), order="C")
    except KeyError:
        raise InputError(
            f"leaf {name} has type {dtype}, which no safetensors file can hold; expected booleans, "
            "integers, floats up to 64 bits, complex numbers or PRNG keys"
        ) from None
    except OverflowError:
        raise InputError(f"leaf {name} = {leaf} does not fit into 64 bits") from None
    array = array.astype(array.dtype.newbyteorder("="), copy=False)
    return Packed((array[..., None] if trailing else array).view(stored), dtype)


def signature(leaf: Any) -> tuple[tuple[int, ...], str]:
    """Return the shape and the true type of a leaf (or of a shape-and-type struct)."""
    if type(leaf).__module__ == "builtins":
        return (), f"python.{type(leaf).__name__}"
    shape = tuple(int(n) for n in leaf.shape)
    if str(leaf.dtype).startswith("key<"):
        import jax

        return shape, f"key<{jax.random.key_impl(leaf)}>"
    return shape, np.dtype(leaf.dtype).name


def to_parts(packed: Mapping[str, Packed], metadata: Mapping[str, str] | None = None) -> list[Any]:
    """Serialise packed leaves as a header and their bytes; the same leaves give the same bytes."""
    entries, offset = {}, 0
    for name in sorted(packed, key=lambda n: (-packed[n].array.itemsize, n)):  # keeps alignment
        array = packed[name].array
        entries[name] = {
            "dtype": _CODES[array.dtype.name],
            "shape": list(array.shape),
            "data_offsets": [offset, offset := offset + array.nbytes],
        }
    dtypes = {k: p.dtype for k, p in sorted(packed.items()) if p.dtype != p.array.dtype.name}
    own = {"dtypes": json.dumps(dtypes, separators=(",", ":"))} if dtypes else {}
    known = {**(metadata or {}), **own, CHECKSUM: "0" * 64}
    content = {"__metadata__": dict(sorted(known.items())), **entries}
    text = json.dumps(content, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % 8)
    parts = [len(text).to_bytes(8, "little") + text, *(_raw(packed[n].array) for n in entries)]
    digest = hashlib.sha256()
    for part in parts:
        digest.update(part)
    place = f'"{CHECKSUM}":"'.encode()
    parts[0] = parts[0].replace(place + b"0" * 64, place + digest.hexdigest().encode(), 1)
    return parts


def verified_metadata(path: Path, *, checksum: bool = True) -> dict[str, str]:
    """Compare a file with the sha256 it carries, reading it in pieces; return its metadata.

    A file without a sha256, one of another program, is refused unless `checksum` is False.
    """
    with _reading(path), open(path, "rb") as file:
        start = file.read(8)
        text = file.read(min(int.from_bytes(start, "little"), _LONGEST_HEADER))
        found = re.search(rf'"{CHECKSUM}":"([0-9a-f]{{64}})"'.encode(), text)
        if found is None and checksum:
            raise CheckpointDamaged(f"{path} is damaged: it has no readable sha256 of itself")
        if found is not None:
            zeroed = text[: found.start(1)] + b"0" * 64 + text[found.end(1) :]
            digest = hashlib.sha256(start + zeroed)
            while piece := file.read(2**20):
                digest.update(piece)
            if digest.hexdigest() != found[1].decode():
                raise CheckpointDamaged(f"{path} is damaged: its sha256 differs")
        return dict(json.loads(text).get("__metadata__", {}))


def read_packed(
    path: str | Path, *, checksum: bool = False
) -> tuple[dict[str, Packed], dict[str, str]]:
    """Read a safetensors file into packed leaves and its metadata, verified as above."""
    path = Path(path)
    metadata = verified_metadata(path, checksum=checksum)
    with _reading(path):
        dtypes, data = loads(metadata.get("dtypes", "{}")), deserialize(path.read_bytes())
        return {name: _packed(spec, dtypes.get(name)) for name, spec in data}, metadata


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Translate what goes wrong with a file into our tree."""
    try:
        yield
    except FileNotFoundError:
        raise MissingData(f"there is no file {path}") from None
    except CheckpointDamaged:
        raise
    except OSError as error:
        raise CheckpointDamaged(f"cannot read {path}: {error.strerror}") from error
    except _MALFORMED as error:
        raise CheckpointDamaged(f"{path} is not a whole safetensors file: {error}") from error


def write_safetensors(
    path: str | Path, arrays: Mapping[str, Any], *, metadata: Mapping[str, str] | None = None
) -> None:
    """Write named arrays to one safetensors file, which is replaced whole or not at all.

    Arrays are NumPy's or JAX's of any layout, also complex128, bfloat16, PRNG keys and numbers;
    `metadata` are text entries for the header.
    """
    packed = {name: pack(name, leaf) for name, leaf in arrays.items()}
    write_bytes(Path(path), *to_parts(packed, metadata))


def read_safetensors(path: str | Path) -> dict[str, Any]:
    """Read named arrays from a safetensors file, each in its true type."""
    return {name: leaf.unpack() for name, leaf in read_packed(path)[0].items()}


def _raw(array: np.ndarray) -> memoryview:
    return array.reshape(-1).view(np.uint8).data


def _packed(spec: dict[str, Any], dtype: str | None) -> Packed:
    """View the bytes of one tensor; `dtype` is the true type if it is disguised."""
    dtype = dtype or _FOREIGN.get(spec["dtype"]) or _NATIVE[spec["dtype"]]
    stored, trailing = _storage(dtype)
    shape = tuple(spec["shape"])
    fits = spec["dtype"] == _CODES[stored] or _FOREIGN.get(spec["dtype"]) == dtype
    scalar = not dtype.startswith("python.") or shape == trailing
    if not (fits and scalar and shape[len(shape) - len(trailing) :] == trailing):
        raise ValueError(f"{spec['dtype']}{spec['shape']} cannot hold {dtype}")
    return Packed(np.frombuffer(spec["data"], stored).reshape(shape), dtype)
