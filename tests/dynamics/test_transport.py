"""Runge-Kutta maps with their determinants: orders, Jacobians, inverses, folds."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward.dynamics import RK4, Euler, Heun, Transport, march
from pushforward.dynamics.base import failure_of
from pushforward.paths import Annealing, uniform_times
from pushforward.targets import DoubleWell, Normal

LOG_Z = 9.374541173866
ORDERS = {"Euler": (Euler(), 1), "Heun": (Heun(), 2), "RK4": (RK4(), 4)}
PATH = Annealing(Normal(3), DoubleWell(3))
LINE = Annealing(Normal(1, 0.0, 1.5), DoubleWell())


def coupled(t, x, g=None):
    """A nonlinear drift whose Jacobian is not symmetric."""
    return jnp.sin(jnp.roll(x, 1) + t) * x - 0.3 * jnp.cos(2 * jnp.roll(x, -1))


def along_the_score(t, x, g):
    """A drift that sees the gradient it is handed."""
    return 0.5 * jnp.sin(x) - 0.2 * jnp.tanh(g)


@pytest.mark.parametrize("name", ORDERS)
def test_order_of_accuracy(name):
    """dx/dt = −2 t x² has the solution x_0/(1 + x_0 t²)."""
    integrator, order = ORDERS[name]
    transport = Transport(PATH, lambda t, x, g: -2 * t * x * x, integrator)
    x0 = jnp.array([0.3, 1.0, 1.5])

    @jax.jit
    def end(times):
        def body(x, pair):
            return transport.flow(pair[0], pair[1], x), None

        return jax.lax.scan(body, x0, jnp.stack([times[:-1], times[1:]], 1))[0]

    numbers = np.array([8, 16, 32])
    errors = [float(jnp.abs(end(uniform_times(n)) - x0 / (1 + x0)).max()) for n in numbers]
    slopes = -np.diff(np.log(errors)) / np.diff(np.log(numbers))
    assert abs(slopes[-1] - order) < 0.15, slopes


@pytest.mark.parametrize("drift", [coupled, along_the_score])
@pytest.mark.parametrize("name", ORDERS)
def test_log_det_is_that_of_the_whole_map(name, drift):
    transport = Transport(PATH, drift, ORDERS[name][0])
    t, t_next = jnp.asarray(0.2), jnp.asarray(0.5)
    x = jnp.array([0.3, -0.8, 1.1])
    flow = jax.jit(lambda v: transport.flow(t, t_next, v))
    y, log_det, folds = jax.jit(lambda v: transport.move(t, t_next, v))(x)
    h = 1e-5 * np.eye(3)
    jacobian = np.stack([(flow(x + e) - flow(x - e)) / 2e-5 for e in h], 1)
    assert not folds
    np.testing.assert_allclose(y, flow(x), rtol=0, atol=1e-14)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], rtol=0, atol=1e-8)

    field = jax.jacfwd(lambda v: drift(t, v, PATH.space.gradient(PATH.at(t), v)))(x)
    assert abs(log_det - 0.3 * jnp.trace(field)) > 1e-3  # twin: the divergence at the left end


@pytest.mark.parametrize("name", ORDERS)
@pytest.mark.parametrize("num", [1, 4])
def test_weights_integrate_to_z(name, num):
    """∫ ρ_0 e^A dx = Z_1 by quadrature, at one step as at four: no sampling, ten digits."""
    grid, h = np.linspace(-9, 9, 4001, retstep=True)
    drift = lambda t, x, g=None: 0.6 * jnp.sin(1.3 * x + 0.4)  # noqa: E731
    transport, times = Transport(LINE, drift, ORDERS[name][0]), uniform_times(num)

    def weight(x):
        state = transport.init(x[None], times[0], key=jax.random.key(0))
        end, _ = march(transport, state, times, key=jax.random.key(0))
        return end.log_weight.value - LINE.base(x[None])

    total = np.sum(np.exp(jax.jit(jax.vmap(weight))(grid))) * h
    assert np.log(total) == pytest.approx(LOG_Z, abs=1e-9)

    def twin(x):
        y = transport.flow(times[0], times[1], x[None])
        divergence = (times[1] - times[0]) * 0.78 * jnp.cos(1.3 * x + 0.4)
        return divergence - LINE.at(times[1])(y)

    if num == 1:
        assert abs(np.log(np.sum(np.exp(jax.jit(jax.vmap(twin))(grid))) * h) - LOG_Z) > 1e-2


@pytest.mark.parametrize("name", ORDERS)
def test_inverse_undoes_the_step(name):
    transport = Transport(PATH, coupled, ORDERS[name][0])
    t, t_next, key = jnp.asarray(0.2), jnp.asarray(0.5), jax.random.key(0)

    @jax.jit
    def there_and_back(x):
        start = transport.init(x, t, key=key)
        there, _ = transport.step(start, t, t_next, key=key)
        back, info = transport.reversed().step(there, t_next, t, key=key)
        naive, _ = transport.step(there, t_next, t, key=key)
        return back.x, back.log_weight.value, info.failed, naive.x

    x = jnp.array([0.3, -0.8, 1.1])
    back, work, failed, naive = there_and_back(x)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-13)
    assert abs(work) < 1e-12
    assert not failed
    assert np.abs(naive - x).max() > 1e-6  # a Runge-Kutta step backwards is not the inverse
    assert eqx.tree_equal(transport.reversed().reversed(), transport)


def test_zero_drift_reweights_and_is_its_own_reversal():
    transport = Transport(PATH)
    assert transport.reversed() is transport
    x, t, t_next = jnp.array([0.3, -0.8, 1.1]), jnp.asarray(0.2), jnp.asarray(0.5)
    state = transport.init(x, t, key=jax.random.key(0))
    state, info = transport.step(state, t, t_next, key=jax.random.key(0))
    np.testing.assert_array_equal(state.x, x)
    np.testing.assert_allclose(
        state.log_weight.value, PATH.energy(t, x) - PATH.energy(t_next, x), atol=1e-14
    )
    assert (info.cost.energy, info.cost.gradient, info.cost.divergence) == (1, 0, 0)


def test_folded_map_fails_aloud():
    transport = Transport(LINE, lambda t, x, g: -5 * x, Euler())
    zero, one, key = jnp.zeros(()), jnp.ones(()), jax.random.key(0)
    state, step = transport.init(jnp.array([0.7]), zero, key=key), eqx.filter_jit(transport.step)
    _, info = step(state, zero, one, key=key)
    assert info.failed
    assert "halve the step" in failure_of(transport, info)
    _, info = step(state, zero, 0.1 * one, key=key)
    assert not info.failed


def test_inverse_that_does_not_exist_fails_aloud():
    """y = x + x² − ... has no preimage below its minimum."""
    inverse = Transport(LINE, lambda t, x, g: x * x, Euler()).reversed()
    zero, one, key = jnp.zeros(()), jnp.ones(()), jax.random.key(0)
    state = inverse.init(jnp.array([-3.0]), one, key=key)
    state, info = eqx.filter_jit(inverse.step)(state, one, zero, key=key)
    assert info.failed
    assert jnp.isnan(state.log_weight.value)
    assert "did not converge" in failure_of(inverse, info)
