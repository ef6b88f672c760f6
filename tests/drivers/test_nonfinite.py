"""P10: a NaN stops within its chunk, is located, and the state before it is saved."""

from typing import ClassVar

import driver_jobs as jobs
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import NonFinite, StageMismatch
from pushforward.drivers import EMA, SkipNonFinite, fit, simulate
from pushforward.dynamics import AbstractProcess, AbstractStationary, Langevin
from pushforward.objectives import AbstractObjective
from pushforward.paths import Annealing, uniform_times
from pushforward.sources import AbstractFeed, AbstractSource, NoInfo
from pushforward.spaces import Euclidean
from pushforward.targets import Energy, Normal

BAD = 7  # the step at which things go wrong
STEPS = 20


@jax.custom_jvp
def broken_gradient(x, bad):
    """The identity, whose gradient is NaN where `bad`."""
    return x


@broken_gradient.defjvp
def _(primals, tangents):
    x, bad = primals
    return x, jnp.where(bad, jnp.nan, 1) * tangents[0]


class SourceInfo(eqx.Module):
    failed: jax.Array


class Counting(AbstractSource):
    """Samples (x, is the step BAD?); with `fails`, the source itself fails at BAD."""

    fails: bool = eqx.field(static=True, default=False)

    def init(self, model, *, key):
        return jnp.zeros((), jnp.int32)

    def draw(self, state, model, size, *, progress, key):
        x = jax.random.normal(key, (size, 2))
        now = jnp.round(progress * STEPS) == BAD
        bad = now & (jnp.arange(size) >= 2)
        return (x, bad), state + 1, SourceInfo(jnp.asarray(self.fails) & now)


class Feed(AbstractFeed):
    """Host data with a NaN in samples 3 and 5 of step BAD."""

    def block(self, start, num, size):
        x = np.random.default_rng(0).normal(size=(100, size, 2))
        x[BAD, [3, 5], 1] = np.nan
        return x[start : start + num], np.zeros((num, size), bool)


class Poisoned(AbstractObjective):
    """(w·x + b)², with a NaN where the sample is bad: in the loss or in one gradient only."""

    where: str = eqx.field(static=True)

    def __call__(self, model, sample, *, key):
        x, bad = sample
        weight = broken_gradient(model.weight, bad) if self.where == "gradient" else model.weight
        loss = (jnp.dot(weight, x) + model.bias - 1) ** 2
        return jnp.where(bad & (self.where == "loss"), jnp.nan, loss), NoInfo()


CASES = {
    "loss": (Counting(), "loss", r"step 7: the loss is not finite for 6 of 8 samples \(first: sam"),
    "gradient": (Counting(), "gradient", r"step 7: the gradient is not finite, first at leaf model"
                 r"\.weight"),
    "source": (Counting(fails=True), "nowhere", "step 7: the source failed"),
    "data": (Feed(), "nowhere", r"step 7: the loss is not finite for 2 of 8 samples \(first: sample"
             r" 3\)"),
}  # fmt: skip


def train(source, where, steps=STEPS, **options):
    return fit(
        jobs.Linear(), Poisoned(where), source, steps=steps, optimiser=jobs.ADAM,
        schedule_steps=STEPS, key=jax.random.key(0), **{"batch": 8} | options,
    )  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_fit_stops_names_the_place_and_saves(case, tmp_path, cut):
    cut(1000)  # the whole training is one chunk
    source, where, sentence = CASES[case]
    good, _ = train(source, where, steps=BAD)
    for _ in range(2):  # stopped, and stopped at the same step when begun again
        with pytest.raises(NonFinite, match=sentence) as caught:
            train(source, where, folder=tmp_path / "a")
    assert "saved as the checkpoint of step 7" in str(caught.value)
    rows = jobs.metrics_on_disk(tmp_path / "a")
    assert [row["step"] for row in rows] == list(range(1, BAD + 1))
    assert not (tmp_path / "a" / "done.json").exists()
    saved, history = train(  # what was saved is the state before the bad step
        source, where, steps=BAD, folder=tmp_path / "a"
    )
    assert jobs.digest(saved) == jobs.digest(good)
    assert len(history.metrics["loss"]) == BAD


def test_without_a_folder_the_sentence_says_so():
    with pytest.raises(NonFinite, match="No folder was given: nothing is saved"):
        train(Counting(), "loss")


def test_twin_a_guard_on_the_loss_alone_is_a_step_late(monkeypatch):
    """A gradient that is no number passes it, and the saved state is spoilt."""
    import optax

    monkeypatch.setattr(optax.tree, "norm", lambda tree: jnp.zeros(()))
    with pytest.raises(NonFinite, match="stopped at step 8: the loss is not finite for 9 of 9"):
        train(Counting(), "gradient", batch=9)  # a shape of its own: traced anew


@pytest.mark.parametrize("case", ["loss", "data"])
def test_skipping_counts_and_goes_on(case, tmp_path):
    source, where, _ = CASES[case]
    options = {"guard": SkipNonFinite(), "ema": EMA(0.5, ramp=True)}
    train(source, where, BAD + 3, folder=tmp_path / "a", **options)
    model, history = train(source, where, folder=tmp_path / "a", **options)  # read back, go on
    assert history.skipped == 1
    assert np.isfinite(np.asarray(model.weight)).all()
    np.testing.assert_array_equal(history.metrics["step"], np.arange(1, 21))
    np.testing.assert_array_equal(history.metrics["skipped"], np.arange(20) == BAD)
    loss = history.metrics["loss"]
    assert np.isnan(loss[BAD])
    assert np.isfinite(np.delete(loss, BAD)).all()
    assert (np.delete(loss, BAD) > 0).all()


def test_skipped_steps_do_not_enter_the_mean_of_a_row():
    options = {"guard": SkipNonFinite(), "ema": EMA(0.5, ramp=True)}
    _, each = train(Counting(), "loss", log_every=1, **options)
    _, four = train(Counting(), "loss", log_every=4, **options)
    expected = np.nanmean(each.metrics["loss"].reshape(5, 4), axis=1)
    np.testing.assert_allclose(four.metrics["loss"], expected, rtol=1e-12)
    np.testing.assert_array_equal(four.metrics["skipped"], [0, 1, 0, 0, 0])


def test_skipping_has_a_limit():
    class Always(AbstractObjective):
        def __call__(self, model, sample, *, key):
            return model.bias * jnp.nan, NoInfo()

    for consecutive, fraction, step in ((3, 1.0, 2), (100, 0.0, 1)):
        with pytest.raises(NonFinite, match=f"stopped at step {step}:"):
            fit(
                jobs.Linear(), Always(), Counting(), steps=50, batch=4, key=jax.random.key(0),
                guard=SkipNonFinite(consecutive, fraction),
            )  # fmt: skip


# simulate


def hole(kind: str) -> Annealing:
    """A path whose target is not a number right of 3, or a hard wall there."""

    def energy(x):
        value = 0.5 * jnp.sum(x**2)
        return jnp.where(x[0] > 3, jnp.nan if kind == "nan" else jnp.inf, value)

    return Annealing(Normal((1,), 0.0, 1.0), Energy(energy, Euclidean((1,))))


WEIGHTS = {"nan": jnp.nan, "inf": jnp.inf, "dead": -jnp.inf, "x": 0.0}


class Faulty(AbstractProcess):
    """Stands still; at step BAD one particle in three gets a bad weight or a bad place."""

    failure: ClassVar[str] = "this kernel is broken on purpose"
    path: Annealing
    what: str = eqx.field(static=True)

    def begin(self, x, t, energy, key):
        return None, None

    def step(self, state, t, t_next, *, key):
        bad = (jnp.abs(t - BAD / 10) < 1e-9) & (state.context % 3 == 1)
        x = jnp.where(bad & (self.what == "x"), jnp.nan, state.x)
        return state.moved(x, increment=jnp.where(bad, WEIGHTS[self.what], 0.1)), NoInfo()

    def log_weight_rate(self, t, x, *, key=None):
        return jnp.zeros(())

    def reversed(self):
        return self


def stand(what, folder=None):
    return simulate(
        Faulty(jobs.bumps(), what), jnp.arange(7.0)[:, None], times=uniform_times(10),
        context=jnp.arange(7), folder=folder, key=jax.random.key(0),
    )  # fmt: skip


@pytest.mark.parametrize("what", ["nan", "inf", "x"])
def test_simulate_stops_names_the_particle_and_saves(what, tmp_path, cut):
    cut(1000)
    sentence = (
        r"step 7 \(t = 0.7 -> 0.8\): 2 of 7 particles failed, the first is particle 1 at "
        r"x = \[1.\]: this kernel is broken on purpose. The state before it is saved"
    )
    for _ in range(2):  # begun again it stops again, it does not pass for finished
        with pytest.raises(NonFinite, match=sentence):
            stand(what, tmp_path / "a")
    assert not (tmp_path / "a" / "done.json").exists()


def test_the_state_before_a_failure_is_a_checkpoint_to_go_on_from(tmp_path, monkeypatch):
    """Repaired outside the kernel, the run ends like one that never failed."""
    with pytest.raises(NonFinite):
        stand("nan", tmp_path / "a")
    with pytest.raises(StageMismatch, match="another kernel.what"):
        stand("dead", tmp_path / "a")
    monkeypatch.setitem(WEIGHTS, "nan", -jnp.inf)
    jax.clear_caches()
    again = stand("nan", tmp_path / "a")
    assert jobs.digest(jobs.everything(again)) == jobs.digest(jobs.everything(stand("dead")))


def test_weight_zero_is_not_a_failure():
    samples = stand("dead")
    assert int(np.isneginf(np.asarray(samples.log_weight)).sum()) == 2
    assert float(samples.ess) == pytest.approx(5 / 7)


def test_an_energy_that_is_not_a_number_stops_a_walker_and_a_wall_does_not():
    x0 = jnp.full((50, 1), 2.0)
    options = {"times": uniform_times(50), "key": jax.random.key(1)}
    with pytest.raises(NonFinite, match="a Langevin step gave a weight that is not a number"):
        simulate(Langevin(hole("nan"), epsilon=20.0), x0, **options)
    samples = simulate(Langevin(hole("wall"), epsilon=20.0), x0, **options)
    dead = np.isneginf(np.asarray(samples.log_weight))
    assert 0 < dead.sum() < 50
    assert np.isfinite(np.asarray(samples.log_weight)[~dead]).all()


class Leaving(AbstractStationary):
    """Walks to the right; beyond 1.55 there are no numbers."""

    failure: ClassVar[str] = "there is nothing right of 1.55"
    path: Normal

    def begin(self, x, t, energy, key):
        return None, None

    def step(self, state, t, t_next, *, key):
        x = jnp.where(state.x + 0.1 > 1.55, jnp.nan, state.x + 0.1)
        return state.moved(x), NoInfo()


def test_a_chain_that_leaves_the_numbers_stops():
    kernel, x0 = Leaving(Normal((1,), 0.0, 1.0)), jnp.array([[0.0], [1.0]])
    simulate(kernel, x0, steps=5, key=jax.random.key(0))
    sentence = r"step 5: 1 of 2 particles failed, the first is particle 1 .*right of 1.55"
    with pytest.raises(NonFinite, match=sentence):
        simulate(kernel, x0, steps=6, key=jax.random.key(0))
