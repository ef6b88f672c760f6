"""Exports that other tools read."""

import csv

import jax
import ml_dtypes
import numpy as np
import pytest
from scipy.io import netcdf_file

from pushforward._errors import CheckpointDamaged, InputError
from pushforward.formats import series_rows, write_csv, write_netcdf, write_npz

RNG = np.random.default_rng(3)


def arrays(rows=7):
    return {
        "x": RNG.standard_normal((rows, 3)),
        "z": RNG.standard_normal(rows) + 1j,
        "log_weight": RNG.standard_normal(rows).astype(np.float32),
        "ok": np.arange(rows) % 2 == 0,
        "half": RNG.standard_normal((rows, 2)).astype(ml_dtypes.bfloat16),
    }


def test_npz_opens_without_pickle(tmp_path):
    given = arrays()
    write_npz(tmp_path / "a.npz", given)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as back:
        assert set(back) == set(given)
        for name in ("x", "z", "log_weight", "ok"):
            assert back[name].dtype == given[name].dtype
            assert np.array_equal(back[name], given[name])
        exact = back["half"].astype(ml_dtypes.bfloat16)
        assert np.array_equal(exact.view(np.uint16), given["half"].view(np.uint16))


def test_npz_joins_shards_with_a_ragged_last_one(tmp_path):
    shards = [arrays(4), arrays(4), arrays(1)]
    write_npz(tmp_path / "a.npz", lambda: iter(shards))
    with np.load(tmp_path / "a.npz", allow_pickle=False) as back:
        for name in ("x", "z", "ok"):
            assert np.array_equal(back[name], np.concatenate([s[name] for s in shards]))


def test_npz_takes_scalars_fortran_order_and_nothing(tmp_path):
    given = {"n": np.array(3), "f": np.asfortranarray(RNG.standard_normal((3, 4)))}
    write_npz(tmp_path / "a.npz", given)
    with np.load(tmp_path / "a.npz", allow_pickle=False) as back:
        assert back["n"] == 3
        assert np.array_equal(back["f"], given["f"])
    write_npz(tmp_path / "b.npz", {})
    with np.load(tmp_path / "b.npz", allow_pickle=False) as back:
        assert list(back) == []


def test_shards_that_do_not_fit_together_leave_no_file(tmp_path):
    for second in ({"x": np.ones((2, 4))}, {"x": np.ones((2, 3), np.float32)}, {"y": np.ones(2)}):
        shards = [{"x": np.ones((2, 3))}, second]
        with pytest.raises(InputError):
            write_npz(tmp_path / "a.npz", lambda shards=shards: shards)
    assert not list(tmp_path.iterdir())


def test_an_error_of_the_shards_is_not_mistaken_for_one_of_the_disk(tmp_path):
    calls = []

    def shards():
        calls.append(1)
        yield {"x": np.ones(2)}
        if len(calls) > 1:
            raise CheckpointDamaged("shard 1 is damaged")

    with pytest.raises(CheckpointDamaged, match="shard 1"):
        write_npz(tmp_path / "a.npz", shards)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("value", [np.array([object()]), np.array(["a"]), jax.random.key(0)])
def test_only_numbers_are_exported(tmp_path, value):
    with pytest.raises(InputError):
        write_npz(tmp_path / "a.npz", {"a": value})


def read(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_csv_keeps_every_bit_and_leaves_gaps(tmp_path):
    rows = [{"step": 1, "loss": 0.1 + 0.2}, {"step": 2, "ess": np.float32(0.1), "note": 'a,"b"\n'}]
    write_csv(tmp_path / "a.csv", rows)
    back = read(tmp_path / "a.csv")
    assert list(back[0]) == ["step", "loss", "ess", "note"]
    assert float(back[0]["loss"]) == 0.1 + 0.2
    assert np.float32(back[1]["ess"]) == np.float32(0.1)
    assert back[0]["ess"] == ""
    assert back[1]["note"] == 'a,"b"\n'


def test_csv_of_series(tmp_path):
    given = {"q": RNG.standard_normal((5, 2)), "z": RNG.standard_normal(5) + 1j, "n": np.arange(3)}
    write_csv(tmp_path / "a.csv", series_rows(given))
    back = read(tmp_path / "a.csv")
    assert list(back[0]) == ["draw", "q[0]", "q[1]", "z.re", "z.im", "n"]
    assert [float(row["q[1]"]) for row in back] == given["q"][:, 1].tolist()
    assert [float(row["z.im"]) for row in back] == [1.0] * 5
    assert [row["n"] for row in back] == ["0", "1", "2", "", ""]
    with pytest.raises(InputError, match="npz"):
        list(series_rows({"x": np.ones((2, 2, 2))}))
    write_csv(tmp_path / "b.csv", [])
    assert read(tmp_path / "b.csv") == []


def test_netcdf_opens_elsewhere(tmp_path):
    large = np.array([2**40, -1])
    given = {**arrays(4), "n": np.arange(4), "large": large, "one": np.float64(0.5)}
    write_netcdf(tmp_path / "a.nc", given, dims={"x": ("draw", "axis"), "z": ("draw",)})
    with netcdf_file(tmp_path / "a.nc", mmap=False) as back:
        found = {
            name: v[...].astype(v.data.dtype.newbyteorder("="))
            for name, v in back.variables.items()
        }
        assert back.variables["x"].dimensions == ("draw", "axis")
        assert back.variables["half"].dimensions == ("half_0", "half_1")
    assert np.array_equal(found["x"], given["x"])
    assert np.array_equal(found["z.re"] + 1j * found["z.im"], given["z"])
    assert np.array_equal(found["log_weight"], given["log_weight"])
    assert np.array_equal(found["half"], given["half"].astype(np.float32))
    assert (found["ok"].dtype, found["n"].dtype, found["large"].dtype) == ("i1", "i4", "f8")
    assert np.array_equal(found["ok"], given["ok"])
    assert np.array_equal(found["large"], large)
    assert found["one"] == 0.5


@pytest.mark.parametrize(
    ("given", "dims", "words"),
    [
        ({"n": np.array([2**60])}, {}, r"classic netCDF holds them up to 2\^53"),
        ({"a": np.ones(2), "b": np.ones(3)}, {"a": ("t",), "b": ("t",)}, "another name in dims"),
        ({"a": np.ones((2, 3))}, {"a": ("t",)}, "shape .2, 3., its dims are named"),
        ({"s": np.array(["a"])}, {}, "numbers and booleans"),
    ],
)
def test_what_netcdf_cannot_hold_is_refused(tmp_path, given, dims, words):
    with pytest.raises(InputError, match=words):
        write_netcdf(tmp_path / "a.nc", given, dims=dims)
    assert not list(tmp_path.iterdir())
