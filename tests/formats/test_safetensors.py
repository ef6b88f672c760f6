"""What goes into a safetensors file comes out, bit for bit, and hostile files are refused."""

from contextlib import suppress

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from pushforward._errors import CheckpointDamaged, InputError, MissingData, StorageError
from pushforward.formats import read_safetensors, write_safetensors
from pushforward.formats.safetensors import pack, read_packed, to_parts

RNG = np.random.default_rng(7)
SQUARE = RNG.standard_normal((3, 5))


def bits(array):
    array = np.asarray(array)
    return array.shape, array.dtype.name, np.ascontiguousarray(array).tobytes()


LEAVES = {
    "float64": SQUARE,
    "fortran": np.asfortranarray(SQUARE),
    "transposed": SQUARE.T,
    "strided": SQUARE[:, ::2],
    "reversed": SQUARE[::-1],
    "big-endian": SQUARE.astype(">f8"),
    "zero-dimensional": np.array(2.5),
    "numpy scalar": np.float32(1.25),
    "empty": np.zeros((0, 4), np.int16),
    "non-finite": np.array([np.nan, -np.inf, -0.0], np.float32),
    "bool": np.array([[True, False]]),
    "uint64": np.array([2**64 - 1], np.uint64),
    "complex64": (SQUARE + 1j * SQUARE**2).astype(np.complex64),
    "complex128": (SQUARE + 1j * SQUARE**2).T,
    "complex128 scalar": np.array(1 - 2j),
    "bfloat16": jnp.array(SQUARE, jnp.bfloat16),
    "bfloat16 transposed": SQUARE.astype(ml_dtypes.bfloat16).T,
    "float8": SQUARE.astype(ml_dtypes.float8_e4m3fn),
    "int4": np.array([-8, 7], ml_dtypes.int4),
    "half": SQUARE.astype(np.float16),
}


@pytest.mark.parametrize("name", LEAVES)
def test_round_trip_is_bit_equal(tmp_path, name):
    leaf = LEAVES[name]
    write_safetensors(tmp_path / "a.safetensors", {name: leaf})
    back = read_safetensors(tmp_path / "a.safetensors")[name]
    want = np.asarray(leaf)
    assert bits(back) == bits(want.astype(want.dtype.newbyteorder("=")))


def test_the_library_alone_scrambles_fortran_order():
    """The reason for `pack`; when this fails, the copy to C order may go."""
    scrambled = safetensors.numpy.load(safetensors.numpy.save({"a": np.asfortranarray(SQUARE)}))
    assert not np.array_equal(scrambled["a"], SQUARE)
    assert np.array_equal(np.sort(scrambled["a"], axis=None), np.sort(SQUARE, axis=None))


def test_the_library_alone_refuses_complex128_and_bfloat16():
    with pytest.raises(safetensors.SafetensorError, match="complex128"):
        safetensors.numpy.save({"a": np.ones(2, np.complex128)})
    with pytest.raises(KeyError, match="BF16"):
        safetensors.numpy.load(safetensors.numpy.save({"a": np.ones(2, ml_dtypes.bfloat16)}))
    with pytest.raises(AttributeError):
        safetensors.numpy.save({"a": np.float32(1)})  # pyright: ignore


def test_any_reader_opens_our_files(tmp_path):
    """Every stored type is known to the plain NumPy reader of the format."""
    write_safetensors(tmp_path / "a.safetensors", LEAVES)
    plain = safetensors.numpy.load_file(tmp_path / "a.safetensors")
    assert set(plain) == set(LEAVES)
    assert plain["complex128"].shape == (5, 3, 2)
    assert plain["bfloat16"].dtype == np.uint16


def test_a_narrow_type_of_another_writer_is_read(tmp_path):
    value = SQUARE.astype(ml_dtypes.bfloat16)
    safetensors.numpy.save_file({"w": value}, tmp_path / "a.safetensors")
    assert bits(read_safetensors(tmp_path / "a.safetensors")["w"]) == bits(value)


@pytest.mark.parametrize("impl", ["threefry2x32", "rbg"])
def test_keys_round_trip(tmp_path, impl):
    keys = jax.random.split(jax.random.key(3, impl=impl), 4)
    write_safetensors(tmp_path / "a.safetensors", {"keys": keys, "one": keys[0]})
    back = read_safetensors(tmp_path / "a.safetensors")
    assert back["keys"].dtype == keys.dtype
    assert back["one"].shape == ()
    assert np.array_equal(jax.random.key_data(back["keys"]), jax.random.key_data(keys))
    assert jax.random.normal(back["one"]) == jax.random.normal(keys[0])


@pytest.mark.parametrize("number", [True, -3, 2**62, 0.1, float("inf"), 1 - 2j])
def test_python_numbers_keep_their_type(tmp_path, number):
    write_safetensors(tmp_path / "a.safetensors", {"n": number})
    back = read_safetensors(tmp_path / "a.safetensors")["n"]
    assert type(back) is type(number)
    assert back == number


def test_same_leaves_give_same_bytes(tmp_path):
    packed = {name: pack(name, leaf) for name, leaf in LEAVES.items()}
    metadata = {f"key{i}": "wörd" for i in range(6)}
    orders = [dict(list(packed.items())[::d]) for d in (1, -1)]
    blobs = {b"".join(to_parts(order, metadata)) for order in orders}
    assert len(blobs) == 1
    (tmp_path / "blob").write_bytes(blobs.pop())
    assert read_packed(tmp_path / "blob")[1].items() >= metadata.items()


def test_every_flipped_bit_of_our_files_is_found(tmp_path):
    path = tmp_path / "a.safetensors"
    write_safetensors(path, {"a": np.arange(3.0)}, metadata={"note": "x"})
    good, unseen = path.read_bytes(), []
    for bit in range(8 * len(good)):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        path.write_bytes(bad)
        with suppress(CheckpointDamaged):
            read_packed(path, checksum=True)
            unseen.append(bit)
    assert unseen == []
    for length in range(len(good)):
        path.write_bytes(good[:length])
        with pytest.raises(CheckpointDamaged):
            read_packed(path)


@pytest.mark.parametrize("leaf", [np.array([object()]), np.array(["a"]), np.ones(2, "f8,f8")])
def test_what_is_no_number_is_refused_by_name(tmp_path, leaf):
    with pytest.raises(InputError, match="leaf weird has type"):
        write_safetensors(tmp_path / "a.safetensors", {"weird": leaf})
    assert not list(tmp_path.iterdir())


def test_an_integer_beyond_64_bits_is_refused(tmp_path):
    with pytest.raises(InputError, match="64 bits"):
        write_safetensors(tmp_path / "a.safetensors", {"n": 2**64})


def header(text: bytes, body: bytes = b"") -> bytes:
    return len(text).to_bytes(8, "little") + text + body


HOSTILE = {
    "empty": b"",
    "one byte": b"\x05",
    "length 2^62": (2**62).to_bytes(8, "little") + b"{}",
    "bad JSON": header(b'{"a":'),
    "pickle": b"\x80\x04\x95\x10\x00\x00\x00\x00\x00\x00\x00\x8c\x05posix\x94.",
    "zip": b"PK\x03\x04" + bytes(40),
    "offsets beyond": header(b'{"a":{"dtype":"F32","shape":[4],"data_offsets":[0,16]}}', b"1234"),
    "unknown type": header(b'{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}', b"1234"),
    "lying about a type": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":\\"bfloat16\\"}"},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "a type that is code": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":\\"python.eval\\"}"},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "types that are a list": header(
        b'{"__metadata__":{"dtypes":"[1]"},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "types nested without end": header(
        b'{"__metadata__":{"dtypes":"' + b"[" * 100_000 + b'"},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "a type that is a list": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":[1]}"},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "a type that is a number": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":7}"},'
        b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
    "key of unknown kind": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":\\"key<os.system>\\"}"},'
        b'"a":{"dtype":"U32","shape":[2],"data_offsets":[0,8]}}',
        b"12345678",
    ),
    "key of a wrong shape": header(
        b'{"__metadata__":{"dtypes":"{\\"a\\":\\"key<threefry2x32>\\"}"},'
        b'"a":{"dtype":"U32","shape":[1],"data_offsets":[0,4]}}',
        b"1234",
    ),
}


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_refused_by_name(tmp_path, name):
    path = tmp_path / "hostile.safetensors"
    path.write_bytes(HOSTILE[name])
    with pytest.raises(StorageError, match=r"hostile\.safetensors is not a whole"):
        read_safetensors(path)


def test_a_missing_file_says_so(tmp_path):
    with pytest.raises(MissingData, match="there is no file"):
        read_safetensors(tmp_path / "nothing")
