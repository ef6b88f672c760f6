"""SiT against the published implementation, and its laws.

`sit_parity.npz`: two random networks (with and without learned sigma), run by the published code.
"""

import functools
from pathlib import Path

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import Frozen, scalar
from pushforward.formats import read_sit, sit_arrays, sit_from_arrays, write_sit
from pushforward.networks import SIT_SIZES, Guided, LabelDropout, SiT, Size
from pushforward.networks.embed import grid_positions

DATA = np.load(Path(__file__).parents[1] / "data" / "sit_parity.npz", allow_pickle=False)
NETS = ("sigma", "nosigma")
SMALL = Size(2, 16, 2)


def state(name):
    head = f"{name}/state/"
    return {key.removeprefix(head): DATA[key] for key in DATA.files if key.startswith(head)}


def known(name):
    return sit_from_arrays(state(name), heads=4)


@eqx.filter_jit
def batched(model, t, x, y):
    with jax.default_matmul_precision("highest"):
        return jax.vmap(lambda t, x, y: model(t, x, context=y))(t, x, y)


def inputs(name, what="in"):
    return tuple(jnp.asarray(DATA[f"{name}/{what}/{part}"]) for part in ("t", "x", "y"))


@pytest.mark.parametrize("name", NETS)
def test_outputs_and_intermediates_are_the_published_ones(name):
    model, (t, x, y) = known(name), inputs(name)
    np.testing.assert_allclose(batched(model, t, x, y), DATA[f"{name}/out"], rtol=0, atol=2e-6)

    @eqx.filter_jit
    def middle(t, x, y):
        with jax.default_matmul_precision("highest"):
            tokens, labels = model.tokens(x), model.labels[y]
            time = model.condition(t, y) - labels
            condition = jax.nn.silu(time + labels)
            first = jax.tree.map(lambda leaf: leaf[:1], model.blocks)
            short = eqx.tree_at(lambda m: m.blocks, model, first)
            return tokens, time, labels, short.transformed(tokens, condition)

    names = ("tokens_plus_pos", "t_emb", "y_emb", "block0")
    for part, found in zip(names, jax.vmap(middle)(t, x, y), strict=True):
        np.testing.assert_allclose(found, DATA[f"{name}/mid/{part}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("name", NETS)
def test_guidance_of_three_channels_is_the_published_one(name):
    t, x, y = inputs(name, "cfg")
    scale = DATA[f"{name}/cfg/scale"]
    # The file holds a double batch, labels then null labels; each half comes out the same.
    half = len(y) // 2
    guided = Guided(known(name), jnp.asarray(scale), 10, channels=3)
    found = batched(guided, t[:half], x[:half], y[:half])
    np.testing.assert_allclose(found, DATA[f"{name}/cfg/out"][:half], rtol=0, atol=2e-6)
    null = DATA[f"{name}/cfg/out"][half:, :3]
    np.testing.assert_allclose(found[:, :3], null, rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", NETS)
def test_loss_and_gradients_are_the_published_ones(name):
    (t, x, y), target = inputs(name), jnp.asarray(DATA[f"{name}/grad/target"])

    @eqx.filter_jit
    @eqx.filter_value_and_grad
    def loss(model):
        with jax.default_matmul_precision("highest"):
            out = jax.vmap(lambda t, x, y: model(t, x, context=y))(t, x, y)
        return jnp.mean((out - target) ** 2)

    value, gradient = loss(known(name))
    expected = {"sigma": 1.229984, "nosigma": 1.1081306}[name]
    assert abs(value - expected) < 1e-6
    assert abs(value - DATA[f"{name}/grad/loss"]) < 1e-6
    for key, found in sit_arrays(gradient).items():
        if f"{name}/grad/norm/{key}" in DATA.files:
            norm = DATA[f"{name}/grad/norm/{key}"]
            assert abs(jnp.linalg.norm(jnp.ravel(found)) / norm - 1) < 2e-5, key
    bias = DATA[f"{name}/grad/x_embedder.proj.bias"]
    np.testing.assert_allclose(gradient.patches.bias, bias, rtol=0, atol=2e-5 * np.abs(bias).max())
    assert not jnp.any(gradient.position.value)  # positions are never trained


def test_position_tables_are_the_published_ones():
    np.testing.assert_allclose(grid_positions(3, 8), DATA["sincos/d8_g3"], rtol=0, atol=1e-15)
    np.testing.assert_allclose(grid_positions(4, 64), DATA["sincos/d64_g4"], rtol=0, atol=1e-15)


@functools.cache
def network(shape=(1, 8, 8), size=SMALL, num_classes=3):
    return eqx.filter_jit(SiT)(shape, size, num_classes, key=jax.random.key(0))


def stirred(model, seed=1):
    """Return the model with random numbers where it starts at zero."""
    rng = np.random.default_rng(seed)
    return jax.tree.map(lambda leaf: jnp.asarray(leaf + 0.3 * rng.normal(size=leaf.shape)), model)


@eqx.filter_jit
def call(model, t, x, y):
    return model(t, x, context=y)


def test_untrained_it_returns_zero():
    x = jax.random.normal(jax.random.key(1), (1, 8, 8))
    assert not np.any(call(network(), jnp.asarray(0.3), x, jnp.asarray(1)))
    assert np.any(call(stirred(network()), jnp.asarray(0.3), x, jnp.asarray(1)))


def permuted(image, order):
    """Move the 4 x 4 patches of a (1, 8, 8) image."""
    rows = image.reshape(4, 2, 4, 2).transpose(0, 2, 1, 3).reshape(16, 2, 2)[order]
    return rows.reshape(4, 4, 2, 2).transpose(0, 2, 1, 3).reshape(1, 8, 8)


def test_tokens_are_a_set_but_for_their_positions():
    model, order = stirred(network()), np.random.default_rng(0).permutation(16)
    x = jax.random.normal(jax.random.key(1), (1, 8, 8))
    t, y = jnp.asarray(0.6), jnp.asarray(2)
    moved = eqx.tree_at(lambda m: m.position, model, Frozen(model.position.value[order]))
    there = permuted(call(model, t, x, y), order)
    np.testing.assert_allclose(call(moved, t, permuted(x, order), y), there, atol=1e-12)
    # Twin: without the positions' permutation it is another picture.
    assert np.abs(call(model, t, permuted(x, order), y) - there).max() > 1e-3


def test_one_trace_and_batched_is_looped():
    model, traces = stirred(network()), []

    @eqx.filter_jit
    def counted(model, t, x, y):
        traces.append(1)
        return model(t, x, context=y)

    x = jax.random.normal(jax.random.key(1), (5, 1, 8, 8))
    t, y = jnp.linspace(0.0, 1.0, 5), jnp.array([0, 1, 2, 3, 0])
    looped = jnp.stack([counted(model, *row) for row in zip(t, x, y, strict=True)])
    other = Guided(model, 1.5, 3)
    counted(other, t[0], x[0], y[0])
    counted(eqx.tree_at(lambda g: g.scale, other, scalar(3.0)), t[1], x[1], y[1])
    assert len(traces) == 2
    np.testing.assert_allclose(batched(model, t, x, y), looped, rtol=0, atol=1e-12)


def test_stacked_blocks_are_the_blocks_one_after_another():
    model = stirred(network())
    x = jax.random.normal(jax.random.key(1), (1, 8, 8))
    tokens, condition = model.tokens(x), model.condition(jnp.asarray(0.2), jnp.asarray(1))
    by_hand = tokens
    for i in range(SMALL.depth):
        block = jax.tree.map(lambda leaf: leaf[i], model.blocks)  # noqa: B023
        by_hand = block(by_hand, block.modulation(condition))
    np.testing.assert_allclose(model.transformed(tokens, condition), by_hand, rtol=0, atol=1e-11)


@pytest.mark.parametrize(
    ("size", "patch", "count"),
    [("S", 2, 32865056), ("S", 8, 33142016), ("B", 4, 130426496), ("XL", 2, 674834720)],
)
def test_parameters_are_counted(size, patch, count):
    model = eqx.filter_eval_shape(
        lambda key: SiT((4, 32, 32), SIT_SIZES[size], 1000, patch=patch, learn_sigma=True, key=key),
        jax.random.key(0),
    )
    positions = (32 // patch) ** 2 * SIT_SIZES[size].width
    leaves = jax.tree.leaves(eqx.filter(model, lambda a: hasattr(a, "shape")))
    assert sum(int(np.prod(leaf.shape)) for leaf in leaves) == count + positions


def test_initial_spreads():
    """Xavier bounds of the fused qkv use fan_out 3D; labels and time MLP have std .02."""
    model = network(size=Size(2, 64, 2), num_classes=9)
    assert abs(jnp.max(jnp.abs(model.blocks.qkv.weight)) - np.sqrt(6 / 256)) < 1e-3
    assert abs(jnp.max(jnp.abs(model.patches.weight)) - np.sqrt(6 / 68)) < 2e-2
    assert abs(jnp.std(model.time[0].weight) / 0.02 - 1) < 0.05
    assert abs(jnp.std(model.labels) / 0.02 - 1) < 0.2
    for leaf in (model.blocks.modulation.weight, model.modulation.weight, model.output.weight):
        assert not jnp.any(leaf)


@pytest.mark.parametrize("name", NETS)
def test_files_come_back_bit_for_bit(name, tmp_path):
    model = known(name)
    write_sit(tmp_path / "model.safetensors", model)
    np.savez(tmp_path / "model.npz", **{f"module.{k}": v for k, v in state(name).items()})
    for file in ("model.safetensors", "model.npz"):
        again = read_sit(tmp_path / file, heads=4)
        assert eqx.tree_equal(again, model)
    for key, value in sit_arrays(model).items():
        np.testing.assert_array_equal(value, state(name)[key])


def test_other_files_are_refused():
    arrays = state("nosigma")
    with pytest.raises(InputError, match="expected keys such as"):
        sit_from_arrays({"weight": np.zeros(3)})
    short = {k: v for k, v in arrays.items() if k != "blocks.1.mlp.fc1.bias"}
    with pytest.raises(InputError, match=r"missing blocks.1.mlp.fc1.bias \(256,\)"):
        sit_from_arrays(short, heads=4)
    with pytest.raises(InputError, match="unknown extra"):
        sit_from_arrays(arrays | {"extra": np.zeros(2)}, heads=4)
    with pytest.raises(InputError, match=r"has shape \(3,\), expected \(64,\)"):
        sit_from_arrays(arrays | {"x_embedder.proj.bias": np.zeros(3)}, heads=4)


def test_what_a_network_refuses():
    model, t, y = network(), jnp.asarray(0.5), jnp.asarray(1)
    with pytest.raises(InputError, match="vmap over the batch"):
        model(t, jnp.zeros((7, 1, 8, 8)), context=y)
    with pytest.raises(InputError, match="expected one integer"):
        model(t, jnp.zeros((1, 8, 8)), context=jnp.asarray(1.0))
    with pytest.raises(InputError, match="does not divide"):
        network(shape=(1, 9, 9))
    with pytest.raises(InputError, match="channels first"):
        network(shape=(8, 8, 1))
    with pytest.raises(InputError, match="multiple of 4 and of heads"):
        network(size=Size(2, 18, 3))


class Counted(eqx.Module):
    """A network that counts its evaluations on the device."""

    calls: list = eqx.field(static=True)

    def __call__(self, t, x, *, context, key=None):
        jax.debug.callback(lambda _: self.calls.append(1), context)
        return x * (1.0 + context.astype(x.dtype)) + t


def evaluations(guided, t, x, labels):
    @eqx.filter_jit
    def run(guided, t, x, labels):
        return jax.vmap(lambda x, y: guided(t, x, context=y))(x, labels)  # t is not batched

    calls = guided.model.calls
    calls.clear()
    out = run(guided, t, x, labels)
    jax.effects_barrier()
    return out, len(calls)


def test_guidance_costs_a_second_evaluation_only_where_it_guides():
    x, labels = jnp.ones((1, 2)), jnp.array([3])
    net = Counted([])
    guided = Guided(net, 2.0, 0, interval=(0.3, 0.8))
    out, calls = evaluations(guided, jnp.asarray(0.5), x, labels)
    assert calls == 2
    np.testing.assert_allclose(out, 1.5 + 2 * (4.5 - 1.5))
    for t, scale in ((0.1, 2.0), (0.9, 2.0), (0.5, 1.0)):
        out, calls = evaluations(Guided(net, scale, 0, (0.3, 0.8)), jnp.asarray(t), x, labels)
        assert calls == 1
        np.testing.assert_allclose(out, 4 + t)


def test_guiding_any_prediction_is_guiding_all():
    """Conversions are affine in the raw output, so guidance commutes with them."""
    from pushforward.paths import Predictor, Trigonometric

    path, x, t, label = Trigonometric(0.8), jnp.array([0.3, -1.2]), jnp.asarray(0.37), 3
    net = Counted([])
    guided = Predictor(Guided(net, 2.5, 0), path)(t, x, context=jnp.asarray(label))
    one = Predictor(net, path)(t, x, context=jnp.asarray(label))
    none = Predictor(net, path)(t, x, context=jnp.asarray(0))
    for part in ("noise", "data", "velocity"):
        a, b = getattr(one, part), getattr(none, part)
        np.testing.assert_allclose(getattr(guided, part), b + 2.5 * (a - b), rtol=0, atol=1e-12)


def test_label_dropout():
    drop = LabelDropout(10, 0.3)
    keys = jax.random.split(jax.random.key(0), 4000)
    labels = jax.vmap(lambda k: drop(jnp.asarray(4), key=k))(keys)
    assert set(np.unique(labels)) == {4, 10}
    assert abs(float(jnp.mean(labels == 10)) - 0.3) < 4.5 * np.sqrt(0.21 / 4000)
    with pytest.raises(InputError, match="give the source labels"):
        drop(None, key=keys[0])
    with pytest.raises(InputError, match="needs a label"):
        Guided(network(), 2.0, 3)(jnp.asarray(0.5), jnp.zeros((1, 8, 8)))
    with pytest.raises(InputError, match="low < high"):
        Guided(network(), 2.0, 3, interval=(0.8, 0.3))
