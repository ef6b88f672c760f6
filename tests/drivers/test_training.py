"""P12 and what `fit` promises: averages, clipping, micro-batches, precision, leaves, feeds."""

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward._tree import Frozen
from pushforward.drivers import EMA, fit, simulate
from pushforward.dynamics import Transport
from pushforward.objectives import AbstractObjective
from pushforward.paths import Annealing, uniform_times
from pushforward.sources import AbstractFeed, AbstractSource, ArrayFeed, Arrays, NoInfo
from pushforward.targets import FreeField, Phi4

KEY = jax.random.key(0)
QUIET = {"key": KEY, "batch": 4}


class Climb(AbstractObjective):
    """−slope θ: SGD with rate 1 moves θ by the slope."""

    slope: jax.Array = eqx.field(default=1.0, converter=jnp.asarray)

    def __call__(self, model, sample, *, key):
        return -self.slope * model.bias, NoInfo()


class Seen(eqx.Module):
    progress: jax.Array
    total: jax.Array
    any: jax.Array


class Told(AbstractSource):
    """A source that tells its progress, an integer and a flag."""

    def init(self, model, *, key):
        return ()

    def draw(self, state, model, size, *, progress, key):
        x = jax.vmap(lambda j: jax.random.normal(jax.random.fold_in(key, j), (2,)))
        info = Seen(progress, jnp.asarray(2), progress > 0.4)
        return (x(jnp.arange(size)), jnp.zeros(size)), state, info


def climb(steps, **options):
    return fit(
        jobs.Linear(),
        Climb(),
        Told(),
        steps=steps,
        optimiser=jobs.SGD,
        clip=None,
        **QUIET | options,
    )


def test_the_average_in_numbers():
    for ramp, expected in ((False, 1.31441), (True, 4.4001998001998)):
        with (
            pytest.warns(UserWarning, match="sample the initial weights") if not ramp else _quiet()
        ):
            model, history = climb(5, ema=EMA(0.9, ramp))
        assert float(model.bias) == pytest.approx(expected, rel=1e-13)
        assert float(history.raw.bias) == 5.0
    assert float(climb(5)[0].bias) == 5.0


class _quiet:
    def __enter__(self): ...
    def __exit__(self, *_): ...


def test_clipping_logs_the_norm_before_it():
    options = {"steps": 3, "optimiser": jobs.SGD, **QUIET}
    model, history = fit(jobs.Linear(), Climb(4.0), Told(), clip=0.5, **options)
    np.testing.assert_allclose(history.metrics["grad_norm"], 4.0)
    assert float(model.bias) == pytest.approx(1.5)
    model, _ = fit(jobs.Linear(), Climb(4.0), Told(), clip=None, **options)
    assert float(model.bias) == pytest.approx(12.0)
    model, _ = fit(jobs.Linear(), Climb(0.25), Told(), clip=0.5, **options)
    assert float(model.bias) == pytest.approx(0.75)


def regress(**options):
    options = {"steps": 30, "batch": 16, "optimiser": jobs.ADAM, "key": KEY} | options
    return fit(jobs.Linear(), jobs.Regression(), jobs.Lines(), **options)


def test_micro_batches_change_nothing():
    results = [regress(micro_batch=m) for m in (1, 4, 16)]
    for model, history in results[1:]:
        np.testing.assert_allclose(model.weight, results[0][0].weight, rtol=1e-6)
        for name in ("loss", "grad_norm", "objective.residual"):
            np.testing.assert_allclose(
                history.metrics[name], results[0][1].metrics[name], rtol=1e-6, err_msg=name
            )


def test_rows_are_means_over_their_interval():
    _, fine = climb(24, log_every=1)
    _, coarse = climb(24, log_every=8)
    np.testing.assert_array_equal(coarse.metrics["step"], [8, 16, 24])
    for name in ("loss", "source.progress"):
        mean = fine.metrics[name].reshape(3, 8).mean(1)
        np.testing.assert_allclose(coarse.metrics[name], mean, rtol=1e-12)
    np.testing.assert_array_equal(coarse.metrics["source.total"], [16, 16, 16])
    np.testing.assert_array_equal(coarse.metrics["source.any"], [False, True, True])
    np.testing.assert_allclose(fine.metrics["source.progress"], np.arange(24) / 24, rtol=1e-12)


def test_a_regression_is_learnt():
    model, history = regress(steps=2000)
    np.testing.assert_allclose(model.weight, [1.0, -2.0], atol=0.02)
    assert history.metrics["loss"][-1] < 0.02 < 1 < history.metrics["loss"][0]
    assert history.seconds >= history.compile_seconds >= 0
    assert "2000 rows" in repr(history)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_a_model_keeps_its_precision(dtype):
    """Beside float64 numbers of schedules and averages."""
    optimiser = optax.adam(optax.warmup_cosine_decay_schedule(0.0, 1e-2, 2, 20))

    class Narrow(AbstractObjective):
        def __call__(self, model, sample, *, key):
            x = sample[0].astype(dtype)
            return jnp.mean((model(x) - x[0]) ** 2), NoInfo()

    model, history = fit(
        jobs.Linear(dtype), Narrow(), jobs.Lines(), steps=20, ema=EMA(0.5, ramp=True),
        optimiser=optimiser, **QUIET,
    )  # fmt: skip
    assert model.weight.dtype == history.raw.weight.dtype == dtype
    assert float(model.weight[0]) > 0.01


def test_the_average_of_bfloat16_moves():
    """d = .999 leaves a bfloat16 average where it is: 1e-3 of 1 is below its resolution."""

    class Slow(AbstractObjective):
        def __call__(self, model, sample, *, key):
            return -model.bias * 2.0**-4, NoInfo()

    model = eqx.tree_at(lambda m: m.bias, jobs.Linear(), jnp.asarray(1.0, jnp.bfloat16))
    with pytest.warns(UserWarning, match="sample the initial"):
        model, _ = fit(
            model, Slow(), jobs.Lines(), steps=200, ema=EMA(0.999), clip=None, optimiser=jobs.SGD,
            **QUIET,
        )  # fmt: skip
    a, theta = 1.0, 1.0
    for _ in range(200):
        theta += 2.0**-4
        a = 0.999 * a + 0.001 * theta
    assert float(model.bias) == pytest.approx(a, rel=2**-8)


def test_only_what_is_asked_for_is_trained():
    class Model(eqx.Module):
        free: jax.Array
        scale: Frozen
        name: str
        count: jax.Array

    class Both(AbstractObjective):
        def __call__(self, model, sample, *, key):
            return jnp.sum(
                (model["a"].free - model["b"].free - model["b"].scale.value) ** 2
            ), NoInfo()

    def make(v):
        return Model(jnp.full(2, v), Frozen(jnp.ones(2)), "n", jnp.arange(2))

    model = {"a": make(3.0), "b": make(0.0)}
    both, _ = fit(model, Both(), jobs.Lines(), steps=3, **QUIET)
    mask = jax.tree.map(lambda _: False, model)
    mask["a"] = jax.tree.map(lambda _: True, model["a"])
    one, _ = fit(model, Both(), jobs.Lines(), steps=3, trainable_leaves=mask, **QUIET)
    big, _ = fit(
        model, Both(), jobs.Lines(), steps=3, **QUIET,
        trainable_leaves=lambda leaf: eqx.is_array(leaf) and bool((leaf == 3).all()),
    )  # fmt: skip
    for result in (both, one, big):
        assert not jnp.array_equal(result["a"].free, model["a"].free)
        np.testing.assert_array_equal(result["b"].scale.value, 1.0)
        np.testing.assert_array_equal(result["a"].count, [0, 1])
    assert not jnp.array_equal(both["b"].free, model["b"].free)
    for result in (one, big):
        np.testing.assert_array_equal(result["b"].free, 0.0)


# Feeds: the host side.


class Host(AbstractFeed):
    """Batches of `Told` made beforehand, a thread's name and every call noted."""

    def __init__(self, steps, size):
        rng = np.random.default_rng(1)
        self.x, self.calls, self.threads = rng.normal(size=(steps, size, 2)), [], set()

    def block(self, start, num, size):
        import threading

        self.calls.append((start, num))
        self.threads.add(threading.current_thread().name)
        rows = np.arange(start, start + num) % len(self.x)
        return self.x[rows], self.x[rows, :, 0] * 2


class Memory(AbstractSource):
    """The same batches in device memory."""

    x: jax.Array

    def init(self, model, *, key):
        return jnp.zeros((), jnp.int32)

    def draw(self, state, model, size, *, progress, key):
        return (self.x[state], self.x[state, :, 0] * 2), state + 1, NoInfo()


@pytest.fixture
def small_blocks(monkeypatch):
    import sys

    monkeypatch.setattr(sys.modules["pushforward.drivers.feed"], "BLOCK_BYTES", 10 * 4 * 24)


def test_a_feed_equals_the_same_data_in_memory(small_blocks, tmp_path, cut):
    host = Host(50, 4)
    options = {"steps": 43, "optimiser": jobs.ADAM, **QUIET}
    fed, fed_history = fit(jobs.Linear(), jobs.Regression(), host, **options)
    expected, history = fit(
        jobs.Linear(), jobs.Regression(), Memory(jnp.asarray(host.x)), **options
    )
    assert jobs.digest(fed) == jobs.digest(expected)
    np.testing.assert_array_equal(fed_history.metrics["loss"], history.metrics["loss"])
    assert host.calls == [(0, 1), *((k, 10) for k in (0, 10, 20, 30, 40, 50))]  # each block once
    assert any(name.startswith("feed") for name in host.threads)

    cut(7)
    options |= {"folder": tmp_path / "a", "schedule_steps": 43}
    fit(jobs.Linear(), jobs.Regression(), host, **options | {"steps": 26})
    resumed, _ = fit(jobs.Linear(), jobs.Regression(), host, **options)
    assert jobs.digest(resumed) == jobs.digest(expected)


def test_a_broken_feed_raises_its_own_error(small_blocks):
    class Broken(Host):
        def block(self, start, num, size):
            if start >= 20:
                raise OSError("the disk is gone")
            return Host.block(self, start, num, size)

    with pytest.raises(OSError, match="the disk is gone"):
        fit(jobs.Linear(), jobs.Regression(), Broken(50, 4), steps=30, optimiser=jobs.ADAM, **QUIET)


def test_an_array_feed_goes_through_epochs():
    feed = ArrayFeed({"x": np.arange(10)}, seed=3)
    whole = feed.block(0, 8, 5)["x"].reshape(4, 10)
    for epoch in whole:
        np.testing.assert_array_equal(np.sort(epoch), np.arange(10))
    assert len({tuple(epoch) for epoch in whole}) > 1
    np.testing.assert_array_equal(feed.block(3, 2, 5)["x"], feed.block(0, 8, 5)["x"][3:5])


def test_arrays_draw_rows_by_step_and_index_alone():
    source = Arrays({"x": jnp.arange(1000)})
    draw = source.draw((), None, 6, progress=0.0, key=KEY)[0]["x"]
    more = source.draw((), None, 9, progress=0.0, key=KEY)[0]["x"]
    np.testing.assert_array_equal(more[:6], draw)
    other = source.draw((), None, 6, progress=0.0, key=jax.random.key(1))[0]["x"]
    assert not jnp.array_equal(other, draw)


def test_evaluations_come_at_their_steps_with_their_keys():
    seen = []

    def evaluate(model, *, key):
        seen.append((float(model.bias), jax.random.key_data(key).tolist()))
        return {"bias": model.bias}

    told = []
    climb(
        10, evaluate=evaluate, evaluate_every=4,
        watchers=[jobs.Watch(lambda i, v: told.append((i, v["phase"], v.get("bias"))))],
    )  # fmt: skip
    assert [bias for bias, _ in seen] == [4.0, 8.0]
    assert seen[0][1] != seen[1][1]
    assert (4, "fit", 4.0) in told
    assert told[-1] == (10, "fit", None)


def test_single_precision_agrees_with_double():
    """P26: the same batches, 100 steps; and log weights of 64 sites over 50 steps."""
    host, losses, weights = Host(100, 8), [], []
    x0 = np.random.default_rng(2).normal(size=(5, 8, 8)) * 0.5
    for x64 in (True, False):
        with jax.enable_x64(x64):
            dtype = jnp.float64 if x64 else jnp.float32
            still = jobs.Regression(noise=0.0)
            model, history = fit(
                jobs.Linear(dtype), still, Cast(host, dtype), steps=100, batch=8,
                optimiser=optax.adam(1e-2), key=jax.random.key(0),
            )  # fmt: skip
            losses.append(history.metrics["loss"])
            path = Annealing(FreeField((8, 8), 1.0), Phi4((8, 8), 1.0, 0.5))
            samples = simulate(
                Transport(path),
                jnp.asarray(x0, dtype),
                times=uniform_times(50),
                key=jax.random.key(0),
            )
            weights.append(np.asarray(samples.log_weight))
    assert model.weight.dtype == weights[1].dtype == np.float32
    assert np.max(np.abs(losses[1] / losses[0] - 1)) < 1e-4
    assert np.max(np.abs(weights[1] - weights[0])) < 1e-3 * np.sqrt(64)
    assert np.max(np.abs(weights[1] - weights[0])) < 1e-4  # compensated sums do much better


class Cast(AbstractFeed):
    """A feed in another precision."""

    def __init__(self, feed, dtype):
        self.feed, self.dtype = feed, dtype

    def block(self, start, num, size):
        return jax.tree.map(lambda a: a.astype(self.dtype), self.feed.block(start, num, size))
