"""The log-variance loss: the variance of exact weights at fixed points, and its derivative."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.walkers import path_of

from pushforward._errors import InputError
from pushforward.dynamics import Langevin, Trajectory, Transport, march
from pushforward.networks import DriftAndFreeEnergy
from pushforward.objectives import LogVariance
from pushforward.paths import uniform_times
from pushforward.sources import Horizon, Rollout
from pushforward.targets import Normal

EPSILON, NUM, KEY = 0.7, 13, jax.random.key(0)
# U_t = |x − 3t|²/2 carried by b = 3: A = (εD/4)(|y_0|² − |y_N|²), y = x − 3t, path by path.
SHIFT = path_of(lambda t, x: 0.5 * jnp.sum((x - 3 * t) ** 2), Normal(2))


class Affine(eqx.Module):
    a: jax.Array

    def __call__(self, t, x, g=None):
        return self.a[0] + self.a[1] * (x - 3 * t) + self.a[2] * jnp.sin(x)


class Process(eqx.Module):
    def __call__(self, model):
        return Langevin(SHIFT, model.drift, EPSILON)


def sampler(a):
    return DriftAndFreeEnergy(Affine(jnp.array(a)), lambda t: 0 * t)


@pytest.fixture(scope="module")
def paths():
    """Return paths of ANOTHER drift: the loss is of the model, the points are constants."""
    kernel, times = Process()(sampler([2.0, 0.4, -0.3])), uniform_times(NUM)

    def walker(key):
        state = kernel.init(SHIFT.base.sample(key=key), times[0], key=key)
        return march(kernel, state, times, key=key)[1]

    seen = jax.jit(jax.vmap(walker))(jax.random.split(KEY, 32))
    return Trajectory(seen.t[0], jnp.moveaxis(seen.x, 0, 1), jnp.moveaxis(seen.log_weight, 0, 1))


@eqx.filter_jit
def value_and_slope(a, paths):
    def value(a):
        return LogVariance(Process())(sampler(a), paths, key=KEY)[0]

    return jax.value_and_grad(value)(a)


def test_at_the_exact_drift_the_loss_is_the_known_variance(paths):
    """Off-policy too, and it vanishes with εD; the twin with another drift does not."""
    square = ((paths.x - 3 * paths.t[:, None, None]) ** 2).sum(-1)
    # Per step ΔA = (εD/4)(|y|² − |y'|²) holds for any pair of points of the exact drift only along
    # its own paths; here A = Σ ΔU − ... of given points, so it is summed from its definition.
    step = 1 / NUM
    y = paths.x - 3 * paths.t[:, None, None]
    xi = (y[1:] - y[:-1] + step * EPSILON * y[:-1]) / np.sqrt(2 * EPSILON * step)
    delta = np.sqrt(step * EPSILON / 2) * (y[:-1] + y[1:])
    work = 0.5 * (square[1:] - square[:-1])
    total = ((xi * delta).sum(-1) - 0.5 * (delta**2).sum(-1) - work).sum(0)
    value, slope = value_and_slope(jnp.array([3.0, 0.0, 0.0]), paths)
    np.testing.assert_allclose(value, np.var(total, ddof=1), rtol=1e-12)
    np.testing.assert_allclose(total, EPSILON * step / 4 * (square[0] - square[-1]), atol=1e-12)
    wrong, _ = value_and_slope(jnp.array([2.5, 0.0, 0.0]), paths)
    assert wrong > 10 * value


def test_gradient_is_the_derivative(paths):
    a, h = jnp.array([2.0, 0.4, -0.3]), 1e-5
    _, slope = value_and_slope(a, paths)
    for k in range(3):
        e = jnp.zeros(3).at[k].set(h)
        values = [value_and_slope(a + c * e, paths)[0] for c in (1, -1, 2, -2)]
        numeric = (8 * (values[0] - values[1]) - (values[2] - values[3])) / (12 * h)
        assert slope[k] == pytest.approx(float(numeric), rel=1e-6, abs=1e-8)


def test_on_its_own_paths_the_weights_are_those_of_the_simulation(paths):
    kernel = Process()(sampler([2.0, 0.4, -0.3]))
    value, info = eqx.filter_jit(LogVariance(Process()))(sampler([2.0, 0.4, -0.3]), paths, key=KEY)
    np.testing.assert_allclose(value, np.var(paths.log_weight[-1], ddof=1), rtol=1e-10)
    np.testing.assert_allclose(info["elbo"], np.mean(paths.log_weight[-1]), rtol=1e-10)
    assert isinstance(kernel, Langevin)


def test_a_rollout_gives_whole_paths():
    source = Rollout(
        Process(), walkers=8, num_times=5, capacity=2, horizon=Horizon(1), group=4,
        trajectories=True,
    )  # fmt: skip
    model = sampler([3.0, 0.0, 0.0])

    @eqx.filter_jit
    def draw(model):
        state = source.init(model, key=KEY)
        return source.draw(state, model, 3, progress=jnp.ones(()), key=KEY)[:2]

    batch, buffer = draw(model)
    assert batch.t.shape == (3, 6)
    assert batch.x.shape == (3, 6, 4, 2)
    assert batch.log_weight.shape == (3, 6, 4)
    stored = np.asarray(buffer.x[0])  # (times, walkers, 2): every drawn path is one of them, whole
    for path in np.moveaxis(np.asarray(batch.x), 2, 1).reshape(-1, 6, 2):
        assert (np.abs(stored - path[:, None]).max((0, 2)) == 0).any()
    per_sample = jax.vmap(lambda s: LogVariance(Process())(model, s, key=KEY)[0])(batch)
    assert per_sample.shape == (3,)


def test_bad_input(paths):
    one = Trajectory(paths.t, paths.x[:, 0], paths.log_weight[:, 0])
    with pytest.raises(InputError, match="trajectories=True"):
        LogVariance(Process())(sampler([3.0, 0.0, 0.0]), one, key=KEY)
    with pytest.raises(InputError, match="Transport"):
        LogVariance(lambda model: Transport(SHIFT))(sampler([3.0, 0.0, 0.0]), paths, key=KEY)
    with pytest.raises(InputError, match="group=16"):
        Rollout(Process(), trajectories=True)
