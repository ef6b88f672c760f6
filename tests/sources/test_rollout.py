"""The replay buffer: which slot, which times, which law, and what becomes of lost walkers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.dynamics import Langevin
from pushforward.networks import Zero
from pushforward.paths import Annealing
from pushforward.sources import Horizon, Rollout
from pushforward.targets import DoubleWell, Energy, Normal

# N(0, 2²) to N(3, .7²): every ρ_t of the geometric path is Gaussian.
PATH = Annealing(Normal(1, 0.0, 2.0), Normal(1, 3.0, 0.7))


def gaussian(t):
    """Return the mean and the standard deviation of ρ_t."""
    precision = (1 - t) / 4 + t / 0.49
    return t * 3 / 0.49 / precision, 1 / np.sqrt(precision)


class Walk(eqx.Module):
    """The process of a drift along a path."""

    path: Annealing = PATH
    epsilon: float = 1.0

    def __call__(self, drift):
        return Langevin(self.path, drift, self.epsilon)


FULL = Horizon(1.0)
KEY = jax.random.key(0)


def small(horizon=FULL, **changes):
    """Return a small source; one shape, so that most tests share one compilation."""
    options = {"walkers": 4, "num_times": 6, "refresh": 2, "capacity": 3} | changes
    return Rollout(Walk(), horizon=horizon, **options)


@eqx.filter_jit
def draw(source, state, model, size, progress, key):
    return source.draw(state, model, size, progress=progress, key=key)


def draws(source, num, size=64, model=None, progress=lambda i: 1.0, seed=0):
    """Draw `num` batches; return the states after each, the batches and the infos."""
    model = Zero() if model is None else model
    state, out = source.init(model, key=KEY), []
    for i in range(num):
        batch, state, info = draw(
            source,
            state,
            model,
            size,
            scalar(progress(i)),
            jax.random.fold_in(jax.random.key(seed), i),
        )
        out.append((state, batch, info))
    return out


def test_slots_are_overwritten_in_turn():
    source = small()
    states = [np.asarray(state.x) for state, _, _ in draws(source, 10)]
    states = [np.zeros_like(states[0]), *states]
    changed = [
        [s for s in range(3) if not np.array_equal(a[s], b[s])]
        for a, b in zip(states, states[1:], strict=False)
    ]
    assert changed == [[0], [], [1], [], [2], [], [0], [], [1], []]


def test_only_filled_slots_are_drawn():
    for i, (state, batch, _) in enumerate(draws(small(), 8)):
        filled = min(1 + i // 2, 3)
        x = np.asarray(state.x)
        seen = {
            s
            for s in range(3)
            if np.isin(np.asarray(batch.x[:, 0]), x[s, 1:].ravel()).any() and x[s].any()
        }
        assert seen == set(range(filled))
        # Every point is one of the buffer, with its own time and weight.
        slots = np.asarray(state.t)[:filled], x[:filled, :, :, 0], np.asarray(state.log_weight)
        for t, value, a in zip(batch.t, batch.x[:, 0], batch.log_weight, strict=True):
            s, k, w = np.argwhere(slots[1] == float(value))[0]
            assert slots[0][s, k] == t
            assert slots[2][s, k, w] == a


def test_horizon_grows_and_bounds_the_times():
    horizon = Horizon(0.2, 0.5)
    np.testing.assert_allclose(
        [horizon(jnp.asarray(p)) for p in (0.0, 0.25, 0.5, 0.9)], [0.2, 0.6, 1, 1]
    )
    for i, (state, batch, info) in enumerate(draws(small(horizon), 10, progress=lambda i: i / 16)):
        expected = min(1, 0.2 + 0.8 * i / 8)
        assert info.horizon == pytest.approx(expected)
        if i % 2:
            continue  # no new rollout
        times = np.asarray(state.t)[i // 2 % 3]
        assert times[0] == 0
        assert times[-1] == pytest.approx(expected)
        assert np.all(np.diff(times) >= 0)
        assert np.max(batch.t) <= expected


def test_jitter_leaves_no_time_unseen():
    times = np.concatenate([np.asarray(state.t).ravel() for state, _, _ in draws(small(), 120)])
    assert np.diff(np.sort(times)).max() < 0.04
    plain = np.asarray(draws(small(jitter=False), 5)[-1][0].t)
    np.testing.assert_allclose(plain, np.tile(np.linspace(0, 1, 7), (3, 1)), atol=1e-15)


@pytest.mark.parametrize("weighted", [True, False])
def test_weighted_draws_have_the_law_of_the_path(weighted):
    """z = (x − μ_t)/σ_t is standard normal under e^A; the walkers as they are lag behind."""
    options = {"walkers": 1000, "num_times": 10, "refresh": 1, "capacity": 8, "horizon": FULL}
    source = Rollout(Walk(epsilon=0.3), weighted=weighted, **options)
    out = draws(source, 8, size=4000)
    batch, state = out[-1][1], out[-1][0]
    mu, sigma = gaussian(np.asarray(batch.t))
    z = (np.asarray(batch.x[:, 0]) - mu) / sigma
    late = np.asarray(batch.t) > 0.3
    # The buffer, not the draw, limits the precision: walkers × ESS of the worst slice.
    w = np.exp(state.log_weight - np.max(state.log_weight, axis=-1, keepdims=True))
    count = 8 * np.min(w.sum(-1) ** 2 / (w**2).sum(-1))
    assert count > 1000
    error = np.sqrt(1 / count + 1 / late.sum())
    if weighted:
        assert abs(z[late].mean()) < 4 * error
        assert abs((z[late] ** 2).mean() - 1) < 6 * error
    else:
        assert z[late].mean() < -0.3


def test_groups_share_one_time():
    source = Rollout(
        Walk(), walkers=50, num_times=10, refresh=1, capacity=2, horizon=FULL, group=16
    )
    state, batch, _ = draws(source, 2, size=12)[-1]
    assert batch.t.shape == (12,)
    assert batch.x.shape == (12, 16, 1)
    assert batch.log_weight.shape == (12, 16)
    t, x = np.asarray(state.t), np.asarray(state.x)[..., 0]
    for j in range(12):
        if batch.t[j] in (0, 1):
            continue  # both rollouts hold these times
        s, k = np.argwhere(t == batch.t[j])[0]
        assert np.isin(batch.x[j, :, 0], x[s, k]).all()
    assert len(np.unique(batch.t)) > 3


class Breaks(eqx.Module):
    """A drift that is NaN beyond `edge`."""

    edge: jax.Array

    def __call__(self, t, x, g=None):
        return jnp.where(x > self.edge, jnp.nan, jnp.zeros_like(x))


def test_lost_walkers_are_replaced_and_too_many_fail():
    narrow = Annealing(Normal(1), Normal(1, 0.0, 0.9))
    source = Rollout(Walk(narrow), walkers=1000, num_times=5, refresh=1, capacity=1, horizon=FULL)
    state = source.init(Zero(), key=KEY)

    def at(edge, state):
        _, state, info = draw(source, state, Breaks(scalar(edge)), 4, scalar(1.0), KEY)
        return state, info

    state, info = at(3.2, state)
    assert 0 < info.nonfinite <= 10
    assert not info.failed
    assert np.isfinite(state.x).all()
    assert np.isfinite(state.log_weight).all()
    # Each replacement is the first sound walker, whole trajectories at a time.
    _, counts = np.unique(np.asarray(state.x[0, :, :, 0]), axis=1, return_counts=True)
    assert counts.max() == 1 + info.nonfinite

    # More than 1 % lost: the run is told to stop and the buffer is left alone.
    for edge in (1.0, -1e9):
        after, info = at(edge, state)
        assert info.failed
        assert info.nonfinite > 10
        np.testing.assert_array_equal(after.x, state.x)
        np.testing.assert_array_equal(after.t, state.t)
    assert info.nonfinite == 1000


def signature(tree):
    return jax.tree.structure(tree), [(a.shape, a.dtype) for a in jax.tree.leaves(tree)]


@pytest.mark.parametrize("dtype", [jnp.float64, jnp.float32])
@pytest.mark.parametrize("group", [0, 3])
def test_state_keeps_its_structure_in_either_precision(dtype, group):
    """Also for a single-precision model beside x64, where the curriculum is double."""

    def cast(tree):
        return jax.tree.map(lambda a: a.astype(dtype), tree)

    walk = Walk(cast(PATH), jnp.asarray(1.0, dtype))
    source = Rollout(walk, walkers=4, num_times=3, refresh=2, capacity=2, group=group)
    state = source.init(Zero(), key=KEY)
    batch, after, info = eqx.filter_eval_shape(
        lambda s: source.draw(s, Zero(), 5, progress=jnp.asarray(0.3), key=KEY), state
    )
    assert signature(after) == signature(state)
    assert {a.dtype for a in jax.tree.leaves((batch, info.horizon))} == {jnp.dtype(dtype)}


def test_the_same_state_and_key_draw_the_same_batch():
    """What resuming a run rests on: nothing is remembered outside the state."""
    source = small()
    out = draws(source, 5)
    state = out[2][0]
    batch, after, _ = draw(
        source, state, Zero(), 64, scalar(1.0), jax.random.fold_in(jax.random.key(0), 3)
    )
    assert eqx.tree_equal(batch, out[3][1])
    assert eqx.tree_equal(after, out[3][0])


class Push(eqx.Module):
    """A constant drift."""

    speed: jax.Array

    def __call__(self, t, x, g=None):
        return self.speed + 0 * x


def test_rollouts_use_the_present_model():
    """After a refresh the walkers are those of the new drift, before it those of the old one."""
    source, still, push = small(), Push(scalar(0.0)), Push(scalar(100.0))
    state, reached = source.init(still, key=KEY), []
    for i, model in enumerate([still, push, push]):
        key = jax.random.fold_in(KEY, i)
        _, state, _ = draw(source, state, model, 64, scalar(1.0), key)
        reached.append(np.max(state.x))
    assert reached[0] == reached[1] < 50 < reached[2]


def test_bad_arguments():
    for name in ("walkers", "num_times", "refresh", "capacity"):
        with pytest.raises(InputError, match=f"{name} is 0, expected an integer >= 1"):
            Rollout(Walk(), **{name: 0})
    with pytest.raises(InputError, match="single points"):
        Rollout(Walk(), group=-1)
    for options, what in (({"start": 0.0}, "start is"), ({"start": 1.5}, "start is")):
        with pytest.raises(InputError, match=what):
            Horizon(**options)
    with pytest.raises(InputError, match="switches the curriculum off"):
        Horizon(full_at=0.0)
    bare = Annealing(Energy(lambda x: jnp.sum(x * x), Normal(1).space), DoubleWell())
    with pytest.raises(InputError, match="cannot be sampled"):
        Rollout(Walk(bare)).init(Zero(), key=KEY)
