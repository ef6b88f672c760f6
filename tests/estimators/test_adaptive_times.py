import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import AdaptiveTimes, conditional_ess, next_time

INF = jnp.inf


def _likelihood(x):
    """Asymmetric: a steep wall on one side, a slow tail on the other."""
    return -(jnp.exp(2 * x) - 6 * x) - 3 * jnp.sin(x)


def _march(rule, x, log_l, a=None, limit=500):
    a = jnp.zeros(x.shape[0]) if a is None else a
    times, values, t = [0.0], [], jnp.asarray(0.0, x.dtype)
    step = jax.jit(lambda t, a: rule(lambda s: (s - t) * log_l, t, a))
    while t < 1 and len(times) < limit:
        t_next = step(t, a)
        increment = (t_next - t) * log_l
        values.append(float(conditional_ess(increment, a)))
        a, t = a + increment, t_next
        times.append(float(t))
    return np.array(times), np.array(values), a


def test_conditional_ess_by_hand():
    weights, factors = np.array([1.0, 2.0, 3.0]), np.array([0.5, 1.0, 4.0])
    expected = (weights @ factors) ** 2 / (weights.sum() * (weights @ factors**2))
    got = conditional_ess(jnp.log(jnp.array(factors)) + 900, jnp.log(jnp.array(weights)) - 900)
    assert got == pytest.approx(expected, rel=1e-12)
    assert conditional_ess(jnp.array([0.0, -INF]), jnp.zeros(2)) == 0.5
    assert conditional_ess(jnp.array([0.0, jnp.nan]), jnp.array([0.0, -INF])) == 1
    assert conditional_ess(jnp.full(2, -INF), jnp.zeros(2)) == 0
    assert conditional_ess(jnp.zeros(2), jnp.full(2, -INF)) == 1


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_every_step_keeps_the_conditional_ess(dtype):
    x = 2 * jax.random.normal(jax.random.key(0), (2000,), dtype)
    times, values, _ = _march(AdaptiveTimes(0.9), x, _likelihood(x), jnp.zeros(2000, dtype))
    assert times[-1] == 1
    assert np.all(np.diff(times) > 0)
    assert len(times) > 5
    assert np.abs(values[:-1] - 0.9).max() < 1e-3
    assert values[-1] >= 0.9 - 1e-6


def test_twin_total_ess_and_wrong_sign():
    """Measures that look alike and are wrong on this asymmetric likelihood."""
    x = 2 * jax.random.normal(jax.random.key(0), (2000,))
    log_l = _likelihood(x)

    def march_with(measure):
        def rule(increment, t, a):
            return measure(increment, t, a)

        return _march(rule, x, log_l, limit=40)

    flipped = AdaptiveTimes(0.9)
    _, values, _ = march_with(lambda f, t, a: flipped(lambda s: -f(s), t, a))
    assert np.abs(values[:-1] - 0.9).max() > 1e-3
    _, values, _ = march_with(lambda f, t, a: flipped(f, t, jnp.zeros_like(a)))
    assert np.abs(values[:-1] - 0.9).max() > 1e-3


def test_equal_base_and_target_take_one_step():
    times, values, _ = _march(AdaptiveTimes(0.9), jnp.zeros(10), jnp.zeros(10))
    np.testing.assert_array_equal(times, [0, 1])
    assert values[0] == 1


def test_hard_wall():
    """A third of the walkers lies behind a wall: no t > 0 keeps .9 of all, the living decide."""
    x = 2 * jax.random.normal(jax.random.key(1), (1500,))
    log_l = jnp.where(x < -1, -INF, _likelihood(x))

    def rule(increment, t, a):
        return AdaptiveTimes(0.9)(increment, t, a)

    times, values, a = _march(rule, x, log_l)
    assert times[-1] == 1
    assert values[0] < 0.75  # measured among all: the wall took its share
    assert np.abs(values[1:-1] - 0.9).max() < 1e-3
    alive = x >= -1
    first = conditional_ess(times[1] * log_l, jnp.where(alive, 0.0, -INF))
    assert first == pytest.approx(0.9, abs=1e-3)
    assert jnp.isfinite(a[alive]).all()


def test_smallest_step():
    """Half the walkers lose 10⁸ at once: the smallest step is taken, then the rest goes on."""
    log_l = jnp.where(jnp.arange(100) < 50, -1e8, 0.0)
    times, _, _ = _march(AdaptiveTimes(0.9, smallest=1e-5), jnp.zeros(100), log_l)
    np.testing.assert_allclose(times, [0, 1e-5, 1])


def test_near_one_in_float32_it_still_moves():
    t = jnp.float32(0.75)
    log_l = jnp.where(jnp.arange(100) < 50, -1e30, 0.0).astype(jnp.float32)
    rule = AdaptiveTimes(0.9, smallest=1e-12)
    assert rule(lambda s: (s - t) * log_l, t, jnp.zeros(100, jnp.float32)) > t
    last = jnp.nextafter(jnp.float32(1), jnp.float32(0))
    assert rule(lambda s: (s - last) * log_l, last, jnp.zeros(100, jnp.float32)) == 1


def test_nobody_alive_goes_straight_to_one():
    got = AdaptiveTimes()(lambda s: jnp.zeros(3), jnp.array(0.2), jnp.full(3, -INF))
    assert got == 1


def test_vmap_over_populations_and_one_trace():
    x = 2 * jax.random.normal(jax.random.key(0), (3, 500))
    traces = []

    @jax.jit
    def step(rule, t, a):
        traces.append(0)
        return jax.vmap(lambda f, a: rule(lambda s: (s - t) * f, t, a))(_likelihood(x), a)

    got = step(AdaptiveTimes(0.9), jnp.array(0.0), jnp.zeros((3, 500)))
    for k in range(3):
        f = _likelihood(x[k])
        options = {"ess": jnp.array(0.9), "smallest": jnp.array(1e-6)}
        alone = next_time(lambda s, f=f: s * f, jnp.array(0.0), jnp.zeros(500), **options)
        assert alone == pytest.approx(float(got[k]), rel=1e-12)
    step(AdaptiveTimes(0.95, smallest=1e-7), jnp.array(0.1), jnp.zeros((3, 500)))
    assert len(traces) == 1


@pytest.mark.parametrize(
    "arguments", [{"ess": 1.0}, {"ess": 0.0}, {"smallest": 0.0}, {"max_steps": 0}]
)
def test_bad_arguments(arguments):
    with pytest.raises(InputError, match=next(iter(arguments))):
        AdaptiveTimes(**arguments)
