"""Portable models: names and numbers only, and errors that show the way."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

from pushforward._errors import InputError, StorageError
from pushforward.formats import load, read_metadata, save


class Old(eqx.Module):
    weight: jax.Array
    scale: jax.Array


class New(eqx.Module):
    scale: jax.Array
    kernel: jax.Array


def mlp(seed=0, width=8):
    return eqx.nn.MLP(3, 2, width, 2, activation=jnp.tanh, key=jax.random.key(seed))


def leaves(model):
    return [np.asarray(leaf) for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_array))]


def test_a_model_comes_back(tmp_path):
    model = mlp()
    save(tmp_path / "m.safetensors", model, metadata={"width": 8, "lr": float("nan")})
    back = load(tmp_path / "m.safetensors", mlp(seed=1))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(model), leaves(back), strict=True))
    assert back.activation is jnp.tanh  # code comes from `like`
    assert jax.tree.structure(back) == jax.tree.structure(model)
    config = read_metadata(tmp_path / "m.safetensors")
    assert config["width"] == 8
    assert np.isnan(config["lr"])
    assert set(safetensors.numpy.load_file(tmp_path / "m.safetensors")) >= {".layers[0].weight"}


def test_shapes_alone_are_enough_as_like(tmp_path):
    save(tmp_path / "m", mlp())
    back = load(tmp_path / "m", eqx.filter_eval_shape(mlp))
    assert all(np.array_equal(a, b) for a, b in zip(leaves(mlp()), leaves(back), strict=True))


def test_order_of_fields_does_not_matter_and_names_can_change(tmp_path):
    old = Old(jnp.arange(3.0), jnp.array(2.0))
    like = New(jnp.zeros(()), jnp.zeros(3))
    save(tmp_path / "m", old)
    with pytest.raises(InputError) as error:
        load(tmp_path / "m", like)
    assert "missing in the file: .kernel" in str(error.value)
    assert "not in `like`: .weight" in str(error.value)
    assert "rename=" in str(error.value)
    new = load(tmp_path / "m", like, rename={".weight": ".kernel"})
    assert np.array_equal(new.kernel, old.weight)
    assert new.scale == old.scale


def test_not_strict_keeps_what_the_file_lacks(tmp_path):
    save(tmp_path / "m", {"a": np.ones(2), "gone": np.ones(3)})
    back = load(tmp_path / "m", {"a": np.zeros(2), "b": np.full(2, 7.0)}, strict=False)
    assert np.array_equal(back["a"], np.ones(2))
    assert np.array_equal(back["b"], np.full(2, 7.0))


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize(
    "like", [np.zeros(3, np.float32), np.zeros(2), np.zeros((2, 1), np.float32)]
)
def test_shapes_and_types_are_never_cast(tmp_path, like, strict):
    save(tmp_path / "m", {"a": np.ones(2, np.float32)})
    with pytest.raises(InputError, match=r"\['a'\]: stored float32\[2\], like float"):
        load(tmp_path / "m", {"a": like}, strict=strict)


def test_nearest_names_are_offered(tmp_path):
    save(tmp_path / "m", {"encoder_weight": np.ones(2)})
    with pytest.raises(InputError, match=r"nearest name on the other side: \['encoder_weight'\]"):
        load(tmp_path / "m", {"encoder_weights": np.ones(2)})


def test_long_lists_are_cut(tmp_path):
    save(tmp_path / "m", {f"a{i}": i for i in range(40)})
    with pytest.raises(InputError, match="and 32 more") as error:
        load(tmp_path / "m", {})
    assert len(str(error.value).splitlines()) < 15


def test_renaming_what_is_not_there_or_twice(tmp_path):
    save(tmp_path / "m", {"weight": np.ones(2), "b": np.ones(2)})
    with pytest.raises(InputError, match="has no leaf"):
        load(tmp_path / "m", {"w": np.ones(2)}, rename={"['weigth']": "['w']"})
    with pytest.raises(InputError, match="two leaves"):
        load(tmp_path / "m", {"b": np.ones(2)}, rename={"['weight']": "['b']"})


def test_kinds_of_leaves_follow_like(tmp_path):
    tree = {"n": np.ones(2), "j": jnp.ones(2), "s": np.float64(3), "i": 4, "k": jax.random.key(1)}
    save(tmp_path / "m", tree)
    back = load(tmp_path / "m", tree)
    assert isinstance(back["n"], np.ndarray)
    assert isinstance(back["j"], jax.Array)
    assert type(back["s"]) is np.float64
    assert type(back["i"]) is int
    assert jnp.issubdtype(back["k"].dtype, jax.dtypes.prng_key)


def test_a_bare_array_is_a_model(tmp_path):
    save(tmp_path / "m", jnp.arange(3))
    assert np.array_equal(load(tmp_path / "m", jnp.zeros(3, jnp.arange(3).dtype)), np.arange(3))


def test_a_foreign_file_and_a_newer_one(tmp_path):
    safetensors.numpy.save_file({"['a']": np.ones(2)}, tmp_path / "foreign")
    assert np.array_equal(load(tmp_path / "foreign", {"a": np.zeros(2)})["a"], np.ones(2))
    assert read_metadata(tmp_path / "foreign") == {}
    safetensors.numpy.save_file({"['a']": np.ones(2)}, tmp_path / "newer", metadata={"format": "2"})
    with pytest.raises(StorageError, match="newer version"):
        load(tmp_path / "newer", {"a": np.zeros(2)})


def test_saving_twice_gives_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        save(tmp_path / name, mlp(), metadata={"b": 1, "a": 2})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()
