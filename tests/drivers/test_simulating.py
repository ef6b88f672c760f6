"""What `simulate` promises: stacks, populations, memory, indices, observables, draws."""

from typing import NamedTuple

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError, WeightCollapse
from pushforward.drivers import Keep, OfState, simulate
from pushforward.dynamics import (
    AbstractProcess,
    AbstractStationary,
    Langevin,
    Transport,
)
from pushforward.estimators import Systematic
from pushforward.mcmc import HMC
from pushforward.paths import Annealing, uniform_times
from pushforward.sources import NoInfo
from pushforward.targets import Normal

KEY = jax.random.key(0)
NORMAL = Normal((2,), 0.0, 1.0)
CHAIN = HMC(NORMAL, 0.4, 2)
TIMES = uniform_times(12)
WALK = Langevin(jobs.bumps(0.7), epsilon=2.0)


def pair(x):
    return {"x": x[0], "pair": jnp.stack([x[0], x[0] ** 2])}


def place_and_weight(state):
    return {"x": state.x[0], "a": state.log_weight.value}


ALL = Keep(what=OfState(place_and_weight))


def leaves_equal(a, b, rtol=0.0):
    for one, other in zip(jax.tree.leaves(a), jax.tree.leaves(b), strict=True):
        np.testing.assert_allclose(one, other, rtol=rtol, atol=rtol)


def test_lanes_are_the_same_to_the_last_digits():
    """The random numbers are the same; XLA rounds loops of other lengths differently (1e-15)."""
    whole = simulate(WALK, 16, times=TIMES, observe=jobs.first, key=KEY)
    for batch_size in (5, 64):
        some = simulate(WALK, 16, times=TIMES, observe=jobs.first, batch_size=batch_size, key=KEY)
        leaves_equal(jobs.everything(some), jobs.everything(whole), 1e-13)
        if batch_size >= 16:
            assert jobs.digest(jobs.everything(some)) == jobs.digest(jobs.everything(whole))


def test_a_stack_equals_single_runs():
    """By a filter, and with every array stacked."""
    sizes = jnp.array([0.2, 0.5, 0.9])
    options = {"steps": 20, "initial": NORMAL, "observe": jobs.whole, "key": KEY}
    by_filter = simulate(
        eqx.tree_at(lambda k: k.step_size, CHAIN, sizes),
        4,
        stacked=lambda k: k.step_size,
        **options,
    )
    members = [eqx.tree_at(lambda k: k.step_size, CHAIN, s) for s in sizes]
    stacked = jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *members)
    all_leaves = simulate(stacked, 4, stacked=True, **options)
    assert by_filter.x.shape == (3, 4, 2)
    assert by_filter.record["m"].shape == (20, 3, 4)
    assert by_filter.record["info.acceptance"].shape == (20, 3)
    leaves_equal(jobs.everything(all_leaves), jobs.everything(by_filter), 1e-12)
    for k, member in enumerate(members):
        single = simulate(member, 4, index=jnp.arange(4 * k, 4 * k + 4), **options)
        leaves_equal(single.x, by_filter.x[k], 1e-12)
        leaves_equal(single.record["m"], by_filter.record["m"][:, k], 1e-12)
        leaves_equal(
            single.record["info.acceptance"], by_filter.record["info.acceptance"][:, k], 1e-12
        )


def test_a_stack_with_weights_and_resampling_equals_single_runs():
    epsilons = jnp.array([0.5, 4.0])
    options = {"times": TIMES, "resample": Systematic(0.9), "populations": 4, "key": KEY}
    options |= {"observe": jobs.first}
    stack = simulate(
        eqx.tree_at(lambda k: k.epsilon, WALK, epsilons), 32, stacked=lambda k: k.epsilon,
        initial=WALK.path.base, **options,
    )  # fmt: skip
    assert stack.ess.shape == stack.log_z.value.shape == stack.log_z.error.shape == (2,)
    assert stack.mean().value.shape == (2, 1)
    for k, epsilon in enumerate(epsilons):
        kernel = eqx.tree_at(lambda k: k.epsilon, WALK, epsilon)
        single = simulate(kernel, 32, index=jnp.arange(32 * k, 32 * k + 32), **options)
        leaves_equal(single.x, stack.x[k], 1e-12)
        leaves_equal(single.log_weight, stack.log_weight[k], 1e-12)
        leaves_equal(single.record["ess"], stack.record["ess"][:, k], 1e-12)
        leaves_equal(single.record["x"], stack.record["x"][:, k], 1e-12)
        for name in ("value", "error"):
            leaves_equal(getattr(single.log_z, name), getattr(stack.log_z, name)[k], 1e-10)
            leaves_equal(getattr(single.mean(), name), getattr(stack.mean(), name)[k], 1e-10)


def test_populations_equal_single_runs():
    options = {"times": TIMES, "resample": Systematic(0.9), "key": KEY}
    together = simulate(WALK, 40, populations=5, **options)
    assert together.record["resampled"].sum() > 5
    resampled = np.zeros(13, int)
    for k in range(5):
        one = simulate(WALK, 8, index=jnp.arange(8 * k, 8 * k + 8), **options)
        leaves_equal(one.x, together.x[8 * k : 8 * k + 8], 1e-12)
        leaves_equal(one.log_weight, together.log_weight[8 * k : 8 * k + 8], 1e-12)
        resampled += one.record["resampled"]
    np.testing.assert_array_equal(resampled, together.record["resampled"])


def test_indices_are_the_randomness():
    """Permuted with their index, walkers are only permuted; pairs are folded one after another."""
    order = np.random.default_rng(0).permutation(16)
    x0, options = (
        jax.random.normal(KEY, (16, 1)),
        {"times": TIMES, "observe": jobs.first, "key": KEY},
    )
    straight = simulate(WALK, x0, **options)
    permuted = simulate(WALK, x0[order], index=jnp.asarray(order), **options)
    np.testing.assert_array_equal(permuted.x, straight.x[order])
    np.testing.assert_array_equal(permuted.log_weight, straight.log_weight[order])
    pairs = jnp.stack([jnp.full(16, 7), jnp.arange(16)], axis=1)
    paired = simulate(WALK, x0, index=pairs, **options)
    assert not np.array_equal(paired.x, straight.x)
    again = simulate(WALK, x0[::-1], index=pairs[::-1], **options)
    np.testing.assert_array_equal(again.x, paired.x[::-1])


def test_the_march_is_the_one_of_the_floor_below():
    from pushforward.drivers.keys import sample_keys, stream

    samples = simulate(WALK, 20, times=TIMES, observe=pair, keep=ALL, key=KEY)
    key = stream(KEY, "simulate", "simulate")
    index = jnp.arange(20)[:, None]
    x = jax.vmap(lambda k: WALK.path.base.sample(key=k))(sample_keys(stream(key, "x0"), index))
    np.testing.assert_array_equal(samples.draws["x"][0], x[:, 0])
    state = jax.vmap(lambda x: WALK.init(x, TIMES[0], key=KEY))(x)
    step = jax.jit(jax.vmap(lambda s, t, u, k: WALK.step(s, t, u, key=k)[0], (0, None, None, 0)))
    for i in range(12):
        keys = sample_keys(jax.random.fold_in(key, i), index)
        state = step(state, TIMES[i], TIMES[i + 1], keys)
        leaves_equal(samples.draws["x"][i + 1], state.x[:, 0], 1e-12)
    leaves_equal(samples.log_weight, state.log_weight.value, 1e-12)


def test_records_along_times_are_weighted_means():
    samples = simulate(WALK, 20, times=TIMES, observe=pair, keep=ALL, key=KEY)
    x, a = samples.draws["x"], samples.draws["a"]
    w = np.exp(a - a.max(1, keepdims=True))
    np.testing.assert_array_equal(samples.record["t"], TIMES)
    np.testing.assert_allclose(samples.record["x"], (w * x).sum(1) / w.sum(1), rtol=1e-12)
    square = (w * x**2).sum(1) / w.sum(1)
    np.testing.assert_allclose(samples.record["pair"][:, 1], square, rtol=1e-12)
    np.testing.assert_allclose(
        samples.record["ess"], w.sum(1) ** 2 / (20 * (w**2).sum(1)), rtol=1e-12
    )
    np.testing.assert_allclose(samples.record["log_z"], np.log(np.exp(a).mean(1)), atol=1e-12)
    assert samples.record["info.cost.gradient"].tolist() == [0] + 12 * [20]
    assert samples.info["cost.gradient"] == 20
    assert samples.record["resampled"].tolist() == 13 * [0]


def row(x):
    return {"row": x[0]}


@pytest.mark.parametrize("n", [1, 4, 1000])
def test_series_draws_and_moments_of_chains(n, cut):
    """Against the whole trajectory, kept at every step."""
    cut(n)
    start = Normal((9, 9), 0.0, 0.5)
    kernel = HMC(Normal((9, 9), 1.0, 0.7), 0.2, 2)
    options = {"initial": start, "key": KEY}
    full = simulate(kernel, 3, steps=37, keep=Keep(), **options).draws["x"]
    assert full.shape == (37, 3, 9, 9)
    samples = simulate(
        kernel, 3, steps=30, burn_in=7, observe=jobs.whole,
        keep=Keep(4, row, particles=2), **options,
    )  # fmt: skip
    late = full[7:]
    np.testing.assert_array_equal(samples.x, full[-1])
    np.testing.assert_allclose(samples.record["m"], late.mean((2, 3)), rtol=1e-12)
    assert "field" not in samples.record
    np.testing.assert_array_equal(samples.draws["row"], late[::4, :2, 0])
    moments = samples.moments["field"]
    flat = late.reshape(-1, 9, 9)
    assert moments.count == 90
    np.testing.assert_allclose(moments.mean, flat.mean(0), rtol=1e-12, atol=1e-13)
    np.testing.assert_allclose(moments.M2, ((flat - flat.mean(0)) ** 2).sum(0), rtol=1e-12)


def test_moments_of_a_stack_and_of_complex_observables():
    start = Normal((9, 9), 0.0, 0.5)
    sizes = jnp.array([0.1, 0.3])
    kernel = eqx.tree_at(lambda k: k.step_size, HMC(start, 0.1, 2), sizes)
    samples = simulate(
        kernel, 3, steps=11, stacked=lambda k: k.step_size, initial=start, keep=Keep(),
        observe=lambda x: {"spectrum": x * jnp.exp(1j * x)}, key=KEY,
    )  # fmt: skip
    x = samples.draws["x"]
    values = np.moveaxis(x * np.exp(1j * x), 1, 2).reshape(-1, 2, 9, 9)
    moments = samples.moments["spectrum"]
    assert moments.count == 33
    np.testing.assert_allclose(moments.mean, values.mean(0), rtol=1e-10, atol=1e-12)
    spread = (np.abs(values - values.mean(0)) ** 2).sum(0)
    np.testing.assert_allclose(moments.M2, spread, rtol=1e-10)


def test_buffers_of_huge_rows_lose_nothing(monkeypatch):
    """A row larger than the budget still leaves room for the start and one step."""
    import sys

    module = sys.modules["pushforward.drivers.simulation"]
    real = module.capacity_for
    monkeypatch.setattr(module, "capacity_for", lambda row, limit=4096: real(row, limit, 1))
    options = {"times": uniform_times(9), "keep": Keep(2), "observe": jobs.first, "key": KEY}
    tiny = simulate(WALK, 5, **options)
    monkeypatch.undo()
    assert jobs.digest(jobs.everything(tiny)) == jobs.digest(
        jobs.everything(simulate(WALK, 5, **options))
    )


class Carrier(AbstractProcess):
    """Writes its context into the weight, and moves by it."""

    path: object

    def begin(self, x, t, energy, key):
        return None, None

    def step(self, state, t, t_next, *, key):
        move = state.context["shift"]
        return state.moved(state.x + move, increment=3 * (t_next - t) * move), NoInfo()

    def log_weight_rate(self, t, x, *, key=None):
        return jnp.zeros(())

    def reversed(self):
        return self


def test_context_is_handed_through_and_goes_with_its_walker():
    n = 24
    context = {"shift": jnp.linspace(0.0, 2.0, n), "label": jnp.arange(n)}
    kept = Keep(what=OfState(lambda s: {"label": s.context["label"], "x": s.x[0]}))
    options = {"times": uniform_times(6), "context": context, "keep": kept, "key": KEY}
    x0 = 100.0 * jnp.arange(n)[:, None]
    plain = simulate(Carrier(jobs.bumps()), x0, **options)
    np.testing.assert_allclose(plain.x[:, 0], x0[:, 0] + 6 * context["shift"])
    drawn = simulate(Carrier(jobs.bumps()), x0, resample=Systematic(0.95), **options)
    label, x = drawn.draws["label"][-1], drawn.draws["x"][-1]
    assert len(set(label.tolist())) < n
    np.testing.assert_allclose(x, 100.0 * label + 6 * np.linspace(0, 2, n)[label])


def test_numbers_are_refused_where_there_are_none():
    chains = simulate(CHAIN, 5, steps=3, initial=NORMAL, key=KEY)
    for name in ("ess", "log_z", "elbo"):
        with pytest.raises(InputError, match=f"carries no weight, so there is no {name}"):
            getattr(chains, name)
    assert len(chains) == 5
    assert repr(chains) == "Samples(n=5)"
    few = simulate(WALK, 8, times=TIMES, resample=Systematic(0.9), key=KEY)
    for name in ("log_z", "mean"):
        with pytest.warns(UserWarning, match=r"resampled in 1 population\(s\): no honest error"):
            value = few.log_z if name == "log_z" else few.mean(force=True)
        assert value.error is None


def test_a_collapsed_weight_has_no_mean():
    cold = Transport(jobs.bumps(1e-3))
    samples = simulate(cold, 200, times=[0.0, 1.0], key=KEY)
    with pytest.raises(WeightCollapse, match="of 200 walkers carry|one walker carries"):
        samples.mean()
    assert samples.mean(force=True).value.shape == (1,)


def test_means_of_large_log_z_are_finite():
    """Populations are weighted by Z: e^{1000} is no number, its ratios are."""
    context = {"shift": 400.0 + jax.random.normal(KEY, (80,))}
    samples = simulate(
        Carrier(jobs.bumps()), jnp.arange(80.0)[:, None], times=uniform_times(4), context=context,
        populations=8, resample=Systematic(1.0), key=KEY,
    )  # fmt: skip
    assert samples.log_z.value > 1000
    assert np.isfinite(samples.mean(force=True).value).all()
    assert np.isfinite(samples.mean(force=True).error).all()


def test_resampling_the_result_draws_by_weight():
    context = {"shift": jnp.where(jnp.arange(40) < 10, 1.0, -1.0)}
    samples = simulate(
        Carrier(jobs.bumps()), jnp.arange(40.0)[:, None], times=[0.0, 1.0], context=context, key=KEY
    )
    x = samples.resample(20_000, key=KEY)[:, 0]
    share = 10 * np.exp(3) / (10 * np.exp(3) + 30 * np.exp(-3))
    assert abs(float(jnp.mean(x < 11.5)) - share) < 4 * np.sqrt(share * (1 - share) / 20_000)


def test_backward_grids_give_the_weight_back():
    there = simulate(Transport(jobs.bumps()), 9, times=[0.0, 0.5, 1.0], key=KEY)
    back = simulate(Transport(jobs.bumps()), there.x, times=[1.0, 0.5, 0.0], key=KEY)
    np.testing.assert_allclose(back.log_weight, -there.log_weight, atol=1e-12)


def test_single_precision_is_kept():
    path = jax.tree.map(lambda a: a.astype(jnp.float32), jobs.bumps(0.7))
    with jax.enable_x64(False):
        samples = simulate(
            Langevin(path, epsilon=jnp.float32(2.0)), 8, times=uniform_times(5), observe=jobs.first,
            resample=Systematic(0.9), keep=Keep(), key=jax.random.key(0),
        )  # fmt: skip
    for leaf in (samples.x, samples.log_weight, samples.record["x"], samples.draws["x"]):
        assert leaf.dtype == np.float32


class Still(AbstractStationary):
    """Stands still and tells nothing."""

    path: Normal

    def begin(self, x, t, energy, key):
        return None, None

    def step(self, state, t, t_next, *, key):
        return state, NoInfo()


@pytest.mark.parametrize("keep", [None, Keep(2)])
def test_a_kernel_with_nothing_to_tell(keep, tmp_path):
    for folder in (None, tmp_path / "a", tmp_path / "a"):
        samples = simulate(
            Still(NORMAL), jnp.ones((3, 2)), steps=5, keep=keep, folder=folder, key=KEY
        )
        assert samples.record == {}
        assert samples.info == {}
        assert (samples.draws == {}) == (keep is None)
    np.testing.assert_array_equal(samples.x, 1.0)


def test_what_cannot_be_trusted_is_found():
    frozen = simulate(Still(NORMAL), jnp.ones((3, 2)), steps=50, observe=jobs.first, key=KEY)
    assert [f.severity for f in frozen.findings()] == ["red"]
    assert "frozen" in frozen.findings()[0].text or "never changed" in frozen.findings()[0].text
    far = Annealing(Normal((1,), 0.0, 0.1), Normal((1,), 9.0, 0.1))
    stack = jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], jobs.bumps(), far)
    collapsed = simulate(Transport(stack), 40, times=TIMES[-2:], stacked=True, key=KEY)
    found = collapsed.findings(["near", "far"])
    assert [(f.severity, f.subject) for f in found] == [("red", "log_weight")]
    assert "the weight of far" in found[0].text
    good = simulate(HMC(NORMAL, 0.9, 3), jnp.zeros((3, 2)), steps=900, observe=jobs.first, key=KEY)
    assert good.findings() == []


class Point(NamedTuple):
    x: jax.Array


def test_samples_of_a_class_of_their_own_are_found_by_the_same_call(tmp_path):
    for _ in range(2):
        samples = simulate(
            Still(None), Point(jnp.ones((4, 2))), steps=3, folder=tmp_path / "a", key=KEY
        )
        assert isinstance(samples.x, Point)
    assert not (tmp_path / "a" / "result.safetensors").exists()


def test_members_of_a_stack_draw_from_their_own_bases():
    """A stack whose bases differ is the runs it stands for, from an integer as from samples."""
    scales = (0.5, 3.0)
    kernels = [Transport(Annealing(Normal(2, 0.0, s), Normal(2))) for s in scales]
    stack = jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *kernels)
    both = simulate(stack, 6, times=[0.0, 1.0], stacked=True, key=jax.random.key(0))
    for k, kernel in enumerate(kernels):
        index = jnp.arange(6 * k, 6 * k + 6)
        one = simulate(kernel, 6, times=[0.0, 1.0], index=index, key=jax.random.key(0))
        np.testing.assert_allclose(both.x[k], one.x, rtol=1e-12)
        np.testing.assert_allclose(both.log_weight[k], one.log_weight, rtol=1e-10, atol=1e-12)
