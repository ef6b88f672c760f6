"""Writes are whole or absent; JSON is strict."""

import json
import math
import resource
from contextlib import contextmanager

import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pushforward._errors import DiskFull, InputError, StorageError
from pushforward.formats import save, write_csv, write_npz
from pushforward.formats.durable import append_bytes, write_bytes, writing
from pushforward.formats.strict_json import dumps, loads


@contextmanager
def full_disk(size):
    """Let no file grow beyond `size` bytes (EFBIG; Python ignores the signal)."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


BIG = np.arange(5000.0)
WRITES = {
    "bytes": lambda path: write_bytes(path, BIG.tobytes()),
    "small bytes, below the buffer": lambda path: write_bytes(path, b"x" * 1500),
    "model": lambda path: save(path, {"a": BIG}),
    "npz": lambda path: write_npz(path, {"a": BIG}),
    "csv": lambda path: write_csv(path, [{"a": x} for x in BIG]),
}


@pytest.mark.parametrize("kind", WRITES)
def test_a_full_disk_leaves_the_old_file(tmp_path, kind):
    path = tmp_path / "file"
    path.write_bytes(b"old")
    with full_disk(1000), pytest.raises(DiskFull, match="earlier files are intact") as error:
        WRITES[kind](path)
    assert error.value.exit_code == 6
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
    WRITES[kind](path)  # and goes on when there is space again
    assert path.read_bytes() != b"old"


def test_a_failed_append_leaves_no_torn_line(tmp_path):
    path = tmp_path / "log"
    append_bytes(path, b"a" * 900)
    with full_disk(1000), pytest.raises(DiskFull):
        append_bytes(path, b"b" * 900)
    assert path.read_bytes() == b"a" * 900
    append_bytes(path, b"c")
    assert path.read_bytes() == b"a" * 900 + b"c"


def test_an_interrupted_write_leaves_nothing(tmp_path):
    def interrupted():
        with writing(tmp_path / "file") as file:
            file.write(b"half")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert not list(tmp_path.iterdir())


def test_other_errors_name_the_file(tmp_path):
    with pytest.raises(StorageError, match="cannot write .*missing/file"):
        write_bytes(tmp_path / "missing" / "file", b"")


values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)


def same(a, b):
    match a, b:
        case float(), float():
            return (math.isnan(a) and math.isnan(b)) or (
                a == b and math.copysign(1, a) == math.copysign(1, b)
            )
        case dict(), dict():
            return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
        case list(), list():
            return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@given(values.filter(lambda v: not {"nan", "inf", "-inf"} & set(json.dumps(v).split('"'))))
def test_json_round_trip(value):
    text = dumps(value)
    json.loads(text, parse_constant=lambda c: pytest.fail(f"{c} is not strict JSON"))
    assert same(loads(text), value)


def test_json_of_arrays_and_refusals():
    value = {"a": np.float32(0.5), "b": jnp.arange(2), "c": (1, np.bool_(True)), "d": np.nan}
    assert dumps(value) == '{"a":0.5,"b":[0,1],"c":[1,true],"d":"nan"}'
    assert math.isnan(loads(dumps(np.nan)))
    for bad in (1j, object(), {1: 2}, np.array(1j), {"a": {b"b": 1}}):
        with pytest.raises(InputError):
            dumps(bad)
    for text in ("NaN", "[Infinity]", "{", "[" * 100_000, "", b"\xff"):
        with pytest.raises(ValueError):  # noqa: PT011
            loads(text)
