"""Plain arrays and tables for other tools: npz and csv.

An npz file is a zip of `.npy` members that `numpy.load(path, allow_pickle=False)` opens anywhere;
`write_npz` streams it shard by shard, so a file may be larger than memory. NumPy alone knows no
bfloat16 or float8, so these are written as float32, which holds their values exactly. A csv file
holds rows of scalars; numbers are written so that reading them gives the same bits.
"""

import csv
import io
import zipfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from pushforward._errors import InputError
from pushforward.formats.durable import writing

Shards = Callable[[], Iterable[Mapping[str, Any]]]


def write_npz(path: str | Path, arrays: Mapping[str, Any] | Shards) -> None:
    """Write named arrays to an npz file.

    Parameters
    ----------
    path
        The file; replaced whole or not at all.
    arrays
        Name to array; or a function that yields such dictionaries in order, whose arrays are
        joined along axis 0 (`stage.iter_draws`). It is called once per name, and once more to
        learn the shapes: memory holds one shard at a time.
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


def write_csv(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Write rows of scalars as csv; the columns are all keys in order of appearance.

    Parameters
    ----------
    path
        The file; replaced whole or not at all.
    rows
        For example `stage.metrics()` or `series_rows(stage.draws())`; a key that a row lacks
        gives an empty cell.
    """
    table = list(rows)
    columns = list(dict.fromkeys(key for row in table for key in row))
    with writing(Path(path)) as file:
        text = io.TextIOWrapper(file, encoding="utf-8", newline="")
        writer = csv.DictWriter(text, columns, restval="")
        writer.writeheader()
        writer.writerows({key: _cell(item) for key, item in row.items()} for row in table)
        text.flush()
        text.detach()


def series_rows(arrays: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    """Turn scalar series into rows for `write_csv`.

    A series of shape `(draw,)` gives the column `name`, one of shape `(draw, chain)` gives
    `name[0]`, `name[1]`, ...; complex series give two columns, `.re` and `.im`.
    """
    columns: dict[str, np.ndarray] = {}
    for name, value in arrays.items():
        series = _portable(name, value)
        if series.ndim not in (1, 2):
            raise InputError(
                f"{name} has shape {series.shape}; csv takes series of shape (draw,) or "
                "(draw, chain): export larger arrays with --to npz"
            )
        for label, column in _columns(name, series):
            columns[label] = column
    length = max((len(column) for column in columns.values()), default=0)
    for i in range(length):
        yield {"draw": i, **{k: column[i] for k, column in columns.items() if i < len(column)}}


def _columns(name: str, series: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
    if np.iscomplexobj(series):
        yield from _columns(f"{name}.re", np.real(series))
        yield from _columns(f"{name}.im", np.imag(series))
    elif series.ndim == 1:
        yield name, series
    else:
        yield from ((f"{name}[{c}]", series[:, c]) for c in range(series.shape[1]))


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
            if not number:
                members[name] = array.shape, array.dtype
                continue
            shape, dtype = members[name]
            if array.shape[1:] != shape[1:] or array.dtype != dtype or not shape:
                raise InputError(
                    f"{name}: shards of {dtype}{list(shape)} and {array.dtype}{list(array.shape)} "
                    "cannot be joined"
                )
            members[name] = (shape[0] + array.shape[0], *shape[1:]), dtype
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
