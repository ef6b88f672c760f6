"""Plain arrays and tables for other tools: npz, netCDF and csv.

An npz file is a zip of `.npy` members that `numpy.load(path, allow_pickle=False)` opens anywhere;
`write_npz` streams it shard by shard, so a file may be larger than memory. NumPy alone knows no
bfloat16 or float8, so these are written as float32, which holds their values exactly. A csv file
holds rows of scalars; numbers are written so that reading them gives the same bits. Every file is
replaced whole or not at all.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import InputError
from pushforward.formats.durable import write_bytes, writing

Shards = Callable[[], Iterable[Mapping[str, Any]]]


def write_npz(path: str | Path, arrays: Mapping[str, Any] | Shards) -> None:
    """Write named arrays to an npz file.

    `arrays` may be a function that yields such dictionaries in order (`stage.iter_draws`), whose
    arrays are joined along axis 0. It is called once per name, and once more to learn the shapes:
    memory holds one shard at a time.
    """
    shards: Shards = arrays if callable(arrays) else lambda: [arrays]
    members = _members(shards())
    with writing(Path(path)) as file, zipfile.ZipFile(file, "w", allowZip64=True) as archive:
        for name, (shape, dtype) in members.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                header = {"descr": dtype.str, "fortran_order": False, "shape": shape}
                np.lib.format.write_array_header_2_0(member, header)
                for shard in shards():
                    member.write(_portable(name, shard[name]).tobytes())


def write_netcdf(
    path: str | Path,
    arrays: Mapping[str, Any],
    *,
    dims: Mapping[str, Sequence[str]] | None = None,
) -> None:
    """Write named arrays to a classic netCDF file, with `scipy.io.netcdf_file`.

    The classic format has no booleans, 64-bit integers or complex numbers: booleans become bytes
    of 0 and 1, integers 32-bit ones, or float64 where they are larger (refused beyond 2^53,
    which float64 cannot hold), and `z` becomes the variables `z.re` and `z.im`.

    `dims` names the axes, such as `{"energy": ("step", "chain")}`; default `NAME_0`, `NAME_1`, ...
    Axes of one name have one length.
    """
    from scipy.io import netcdf_file

    sizes: dict[str, int] = {}
    variables: list[tuple[str, np.ndarray, tuple[str, ...]]] = []
    for name, value in arrays.items():
        array = _portable(name, value)
        axes = tuple((dims or {}).get(name) or [f"{name}_{i}" for i in range(array.ndim)])
        if len(axes) != array.ndim:
            raise InputError(f"{name} has shape {array.shape}, its dims are named {axes}")
        for axis, size in zip(axes, array.shape, strict=True):
            if sizes.setdefault(axis, size) != size:
                raise InputError(
                    f"{name}: its axis {axis!r} has {size} entries, elsewhere {sizes[axis]}: "
                    "give one of them another name in dims"
                )
        variables += [(label, part, axes) for label, part in _classic(name, array)]

    buffer = io.BytesIO()
    with netcdf_file(buffer, "w", version=2) as file:
        for axis, size in sizes.items():
            file.createDimension(axis, size)
        for label, part, axes in variables:
            file.createVariable(label, part.dtype, axes)[...] = part
        file.flush()
        write_bytes(Path(path), buffer.getvalue())


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of scalars as csv; the columns are all keys in order of appearance.

    Rows are for example `stage.metrics()` or `series_rows(stage.draws())`; a key that a row lacks
    gives an empty cell.
    """
    table = list(rows)
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, list(dict.fromkeys(k for row in table for k in row)), restval="")
    writer.writeheader()
    writer.writerows({key: _cell(item) for key, item in row.items()} for row in table)
    write_bytes(Path(path), text.getvalue().encode())


def series_rows(arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn scalar series into rows for `write_csv`.

    A series of shape `(draw,)` gives the column `name`, one of shape `(draw, chain)` gives
    `name[0]`, `name[1]`, ...; complex series give two columns, `.re` and `.im`.
    """
    columns: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        for label, series in _real(name, _portable(name, value)):
            if series.ndim not in (1, 2):
                raise InputError(
                    f"{name} has shape {series.shape}; csv takes series of shape (draw,) or "
                    "(draw, chain): export larger arrays with --to npz"
                )
            many = {f"{label}[{c}]": column for c, column in enumerate(np.atleast_2d(series.T))}
            columns |= many if series.ndim == 2 else {label: series}
    for i in range(max((len(column) for column in columns.values()), default=0)):
        yield {"draw": i, **{k: column[i] for k, column in columns.items() if i < len(column)}}


def _real(name: str, array: np.ndarray) -> list[tuple[str, np.ndarray]]:
    """Split a complex array into two real ones."""
    if not np.iscomplexobj(array):
        return [(name, array)]
    return [(f"{name}.re", np.real(array)), (f"{name}.im", np.imag(array))]


def _classic(name: str, array: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    """Show an array in the types of classic netCDF."""
    for label, part in _real(name, array):
        kind, largest = part.dtype.kind, np.abs(part.astype(float)).max(initial=0)
        if kind == "b":
            yield label, part.astype("i1")
        elif kind == "f":
            yield label, part.astype("f4" if part.dtype.itemsize < 8 else "f8")
        elif largest > 2**53:
            raise InputError(
                f"{name} has integers up to {largest:g}; classic netCDF holds them up to 2^53: "
                "export with --to npz"
            )
        else:
            yield label, part.astype("i4" if largest < 2**31 else "f8")


def _cell(value: Any) -> Any:
    """Show a number by its shortest exact form."""
    item = value.item() if hasattr(value, "item") else value
    return repr(item) if isinstance(item, float) else item


def _members(shards: Iterable[Mapping[str, Any]]) -> dict[str, tuple[tuple[int, ...], np.dtype]]:
    """Learn name, joined shape and type of each member."""
    members: dict[str, tuple[tuple[int, ...], np.dtype]] = {}
    for number, shard in enumerate(shards):
        if number and set(shard) != set(members):
            raise InputError(f"shards differ in names: {sorted(members)} and {sorted(shard)}")
        for name, value in shard.items():
            array = _portable(name, value)
            shape, dtype = members.get(name, ((0, *array.shape[1:]), array.dtype))
            if number and (array.shape[1:] != shape[1:] or array.dtype != dtype or not shape):
                raise InputError(
                    f"{name}: shards of {dtype}{list(shape)} and {array.dtype}{list(array.shape)} "
                    "cannot be joined"
                )
            joined = (shape[0] + array.shape[0], *shape[1:]) if array.shape else ()
            members[name] = joined, dtype
    return members


def _portable(name: str, value: Any) -> np.ndarray:
    """Return a C-ordered array of a type that NumPy alone can read."""
    if str(getattr(value, "dtype", "")).startswith("key<"):
        raise InputError(f"{name} holds PRNG keys: export jax.random.key_data of them")
    array = np.asarray(value, order="C")
    if array.dtype.kind in "biufc" and array.dtype.isbuiltin == 1:
        return array
    if np.can_cast(array.dtype, np.float32, "safe") and array.dtype.kind not in "OSUMm":
        return array.astype(np.float32)
    raise InputError(f"{name} has type {array.dtype}; npz and csv take numbers and booleans")
