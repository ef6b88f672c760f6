"""Forecasts: moments by exact recursion, the jump example against its law, and what must fail.

On a Gaussian law every Euler and Heun step is affine in (x, z), so mean and variance at t = 1
follow without a random number: they must be the printed ones to 1e-5.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.drivers import simulate
from pushforward.dynamics import (
    AffineReference,
    EulerMaruyama,
    Lead,
    PointDrift,
    PointForecast,
    StochasticHeun,
    compose,
    march,
)
from pushforward.dynamics.systems import JumpDiffusion, OrnsteinUhlenbeck
from pushforward.estimators import counts_kl, fair_crps, sector_counts, sector_masses
from pushforward.networks import PointMLP
from pushforward.paths import (
    ExactDrift,
    FollmerEpsilon,
    LinearPoint,
    MatchedEpsilon,
    QuadraticPoint,
    power_times,
    uniform_times,
)
from pushforward.targets import GaussianConditional, JumpConditional

EULER, HEUN = EulerMaruyama(), StochasticHeun()
SIGMA, FOLLMER = MatchedEpsilon(), FollmerEpsilon()
TWICE, HALF = MatchedEpsilon(4.0), MatchedEpsilon(0.25)  # factors of the amplitude g
X0, MEAN, VARIANCE = 1.5, 0.9, 0.5
GAUSSIAN = GaussianConditional(0.0, [MEAN], VARIANCE)


def forecast(path, epsilon, solver=EULER, drift=None):
    return PointForecast(
        ExactDrift(path, GAUSSIAN) if drift is None else drift, path, epsilon, solver
    )


@eqx.filter_jit
def moments(kernel, times, first=None):
    """Return mean and variance at the last time; `first` replaces the noise of the first step."""

    def step(carry, i):
        mean, variance = carry

        def move(x, z):
            x0 = jnp.array([X0])
            return kernel.move(x0, times[i], times[i + 1], jnp.stack([x]), jnp.array([z]))[0]

        base = move(mean, 0.0)
        slope = jnp.where(i == 0, 0, move(mean + 1, 0.0) - base)
        noise = move(mean, 1.0) - base
        if first is not None:
            noise = jnp.where(i == 0, first, noise)
        return (base, slope**2 * variance + noise**2), None

    start = (jnp.asarray(X0), jnp.zeros(()))
    return jax.lax.scan(step, start, jnp.arange(times.size - 1))[0]


TABLE = [  # path, ε, solver, variance over C at 25, 100, 400 steps
    (LinearPoint(), SIGMA, EULER, (1.01304, 1.00314, 1.00078)),
    (LinearPoint(), FOLLMER, EULER, (0.99091, 0.99756, 0.99938)),
    (LinearPoint(), TWICE, EULER, (1.01020, 1.00213, 1.00051)),
    (LinearPoint(), HALF, EULER, (1.16885, 1.10070, 1.06467)),
    (QuadraticPoint(), SIGMA, EULER, (0.94888, 0.98625, 0.99650)),
    (QuadraticPoint(), FOLLMER, EULER, (0.94722, 0.98568, 0.99635)),
    (LinearPoint(), SIGMA, HEUN, (0.996971, 0.999807, 0.999988)),
    (LinearPoint(), FOLLMER, HEUN, (0.997854, 0.999872, 0.999992)),
]


@pytest.mark.parametrize(("path", "epsilon", "solver", "printed"), TABLE)
def test_variance_by_exact_recursion(path, epsilon, solver, printed):
    kernel = forecast(path, epsilon, solver)
    found = [float(moments(kernel, uniform_times(n))[1]) / VARIANCE for n in (25, 100, 400)]
    np.testing.assert_allclose(found, printed, rtol=0, atol=1e-5)
    if epsilon is not HALF:  # half the amplitude converges slowly: documented, and warned of
        order = np.log(abs(found[1] - 1) / abs(found[2] - 1)) / np.log(4)
        assert abs(order - (1 if solver is EULER else 2)) < 0.2


def test_mean_by_exact_recursion():
    for epsilon, printed in ((SIGMA, -0.04552), (FOLLMER, -0.02470)):
        mean, _ = moments(forecast(QuadraticPoint(), epsilon), uniform_times(25))
        assert abs(float(mean) - MEAN - printed) < 1e-5
        mean, _ = moments(forecast(LinearPoint(), epsilon), uniform_times(25))
        assert abs(float(mean) - MEAN) < 1e-12


def test_twin_without_the_rule_of_the_first_step():
    """With ε = σ²/8 also at t = 0 the point does not spread: .61599 instead of 1.16885."""
    kernel, times = forecast(LinearPoint(), HALF), uniform_times(25)
    epsilon = HALF.value(kernel.path, jnp.zeros(()))
    _, variance = moments(kernel, times, first=jnp.sqrt(2 * epsilon * times[1]))
    assert abs(float(variance) / VARIANCE - 0.61599) < 1e-5


class Flow(eqx.Module):
    """E[dI/dt|I] = b − ½σ² s: what regression of dI/dt would learn."""

    exact: ExactDrift

    def __call__(self, t, x, x0, *, context=None, key=None):
        b, path = self.exact(t, x, x0), self.exact.path
        away = 0.5 * path.variance(t) * path.score(jnp.maximum(t, 1e-9), x, x0, b)
        return b - jnp.where(t > 0, away, 0)


def test_twin_trained_on_the_derivative_of_the_path():
    times = uniform_times(400)
    for path in (LinearPoint(), QuadraticPoint()):
        kernel = forecast(path, SIGMA, drift=Flow(ExactDrift(path, GAUSSIAN)))
        _, variance = moments(kernel, times)
        assert abs(float(variance) / VARIANCE - 1) > 0.2


def test_the_driver_follows_the_recursion():
    """Monte Carlo through `simulate` as the second test; evaluations are counted."""
    num = 20_000
    for solver, evaluations in ((EULER, 25), (HEUN, 49)):
        kernel, times = forecast(LinearPoint(), SIGMA, solver), uniform_times(25)
        samples = simulate(kernel, jnp.full((num, 1), X0), times=times, key=jax.random.key(0))
        mean, variance = moments(kernel, times)
        x = np.asarray(samples.x[:, 0])
        assert abs(x.mean() - mean) < 4 * np.sqrt(variance / num)
        assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / num)
        assert samples.record["info.evaluations"].sum() == evaluations * num


# ----------------------------------------------------------------------------- the jump example

JUMP = JumpConditional()


@functools.cache
def masses():
    exact = sector_masses(JUMP(JUMP.centre).log_prob, radius=9.0)
    assert abs(exact.sum() - 1) < 1e-10
    return exact


def angle_kl(x):
    return counts_kl(masses() * len(x), sector_counts(x))


def jump_kl(epsilon, solver, times, num=20_000):
    kernel = PointForecast(ExactDrift(QuadraticPoint(), JUMP), QuadraticPoint(), epsilon, solver)
    return angle_kl(marched(kernel, times, num))


@eqx.filter_jit
def marched(kernel, times, num):
    def one(key):
        start = kernel.init(JUMP.centre, times[0], key=key)
        return march(kernel, start, times, key=key)[0].x

    return jax.vmap(one)(jax.random.split(jax.random.key(1), num))


def late_times(num, power):
    return 1 - power_times(num, power)[::-1]


@pytest.mark.parametrize(
    ("epsilon", "solver", "times", "bound"),
    [
        (FOLLMER, EULER, uniform_times(20), 0.006),
        (SIGMA, HEUN, late_times(6, 1.5), 0.006),
        (SIGMA, HEUN, late_times(10, 1.5), 0.003),
    ],
)
def test_few_steps_on_the_jump_example(epsilon, solver, times, bound):
    assert jump_kl(epsilon, solver, times) <= bound


@pytest.mark.parametrize(("num", "printed"), [(5, 1.87), (10, 0.61), (20, 0.18)])
def test_twin_that_steps_past_the_end(num, printed):
    """N steps of 1/(N − 1), the grid of the public notebooks, leaves the law."""
    found = jump_kl(SIGMA, EULER, jnp.arange(num + 1) / (num - 1))
    assert 0.8 * printed < found < 1.25 * printed
    assert jump_kl(SIGMA, EULER, uniform_times(num)) < 0.5 * found


def test_the_simulator_has_the_closed_law():
    """20,000 exact lags from μ_0: sectors, modes, the next lag, and the twin with C_k for C_k/2."""
    num = 20_000
    start = jnp.broadcast_to(JUMP.centre, (num, 2))
    x = simulate(JumpDiffusion(), start, steps=1, key=jax.random.key(3)).x
    assert angle_kl(x) < 0.004
    law, weights = JUMP(JUMP.centre), np.asarray(JUMP.jump_weights())
    shares = jax.jit(jax.vmap(lambda y: jax.nn.softmax(JUMP.posterior(y))))(x).mean(0)
    error = np.sqrt(weights * (1 - weights) / num)
    assert np.abs((np.asarray(shares) - weights) / error).max() < 4

    def tail(variances):
        wide = eqx.tree_at(lambda g: g.variances, law, law.variances * variances)
        return -float(jnp.mean(jax.jit(jax.vmap(wide))(x)))

    assert tail(1.0) > tail(2.0) + 0.1  # twin: twice the covariance is less likely


def test_stationary_law_of_the_jump_diffusion():
    """The variance of a coordinate is 12.9 and stays so; with C_k in place of C_k/2 it is 13.3."""
    system, num = JumpDiffusion(), 40_000
    samples = simulate(system, num, steps=2, initial=system.path, key=jax.random.key(4))
    assert abs(float(jnp.mean(samples.x**2)) - 12.9) < 0.1
    twin = eqx.tree_at(lambda g: g.variances, system.path, 2 * system.path.variances)
    cov = jnp.mean(jnp.sum(twin.means**2, -1) + jnp.sum(twin.variances, -1)) / 2
    assert abs(float(cov) - 12.9) > 0.3


def test_the_exact_drift_turns_with_the_wells():
    drift, t = ExactDrift(QuadraticPoint(), JUMP), jnp.asarray(0.6)
    x, x0, turn = jnp.array([2.0, 1.0]), jnp.array([4.6, -0.4]), JUMP.rotations[1]
    both = jax.jit(lambda x, x0: drift(t, x, x0))
    np.testing.assert_allclose(turn @ both(x, x0), both(turn @ x, turn @ x0), rtol=0, atol=1e-8)


def test_numbers_of_the_jump_law():
    w = (0.37094520455919766, 0.36839039405590923, 0.18401271330634852, 0.06132236424839507,
         0.01532932383014958)  # fmt: skip
    np.testing.assert_allclose(JUMP.jump_weights(), w, rtol=1e-13)
    decay, variance = JUMP.relaxation()
    np.testing.assert_allclose(decay, (0.7165313105737893, 0.00673794699908547), rtol=1e-13)
    np.testing.assert_allclose(variance, (0.364937160725556, 0.04999773000351188), rtol=1e-13)
    four = JumpConditional(lag=2.0)
    w = (0.179916614811242, 0.17938648845125651, 0.20670787098463733, 0.22533458116516078,
         0.2086544445877035)  # fmt: skip
    np.testing.assert_allclose(four.jump_weights(), w, rtol=1e-13)
    np.testing.assert_allclose(four.relaxation()[1], (0.6978874115828988, 0.05), rtol=1e-13)
    euler = JumpConditional(euler_dt=0.01)
    w = (0.36690125178141, 0.37201980838625165, 0.18585449002281162, 0.06067555083514096,
         0.01454889897438495)  # fmt: skip
    np.testing.assert_allclose(euler.jump_weights(), w, rtol=1e-12)
    found = euler.relaxation()[1]
    np.testing.assert_allclose(found, (0.3670191166146782, 0.05263018097900592), rtol=1e-12)


def test_jump_weights_are_those_of_a_poisson_count():
    """w_j = Σ_i e^{−Λ} Λ^{j+5i}/(j+5i)!, Λ = λτ: a sum of positive terms, no roots of unity."""
    for lag in (0.05, 0.5, 3.0):
        k = np.arange(100)
        log_factorial = np.concatenate([[0.0], np.cumsum(np.log(k[1:]))])
        poisson = np.exp(k * np.log(2 * lag) - 2 * lag - log_factorial)
        expected = poisson.reshape(20, 5).sum(0)
        np.testing.assert_allclose(JumpConditional(lag=lag).jump_weights(), expected, atol=1e-15)


# ---------------------------------------------------------------------------- leads and systems

OU = OrnsteinUhlenbeck()


def test_numbers_of_the_ornstein_uhlenbeck_process():
    printed = (0.43233235838169365, 0.4908421805556329, 0.49983226868604874, 0.49999994373241263)
    scores = (0.3709658525929937, 0.39527195527493114, 0.39887535967572885, 0.3989422579539124)
    for n, c, score in zip((1, 2, 4, 8), printed, scores, strict=True):
        variance = float(OU.after(n).variances[0])
        np.testing.assert_allclose([variance, np.sqrt(variance / np.pi)], [c, score], rtol=1e-13)


def lead(solver=HEUN, steps=8, epsilon=SIGMA, drift=None, path=LinearPoint()):  # noqa: B008
    drift = ExactDrift(path, OU.exact_conditional) if drift is None else drift
    return Lead(PointForecast(drift, path, epsilon, solver), uniform_times(steps))


def test_four_leads_of_the_exact_drift_are_the_process():
    """Mean and variance of each of four leads; the score of the ensemble is the exact one."""
    num = 20_000
    start = jnp.full((num, 1), X0)
    kernel = lead(steps=16)
    samples = simulate(kernel, start, steps=4, observe=lambda x: {"x": x[0]}, key=jax.random.key(5))
    for n, x in enumerate(samples.record["x"], start=1):
        law = OU.after(n)
        mean, variance = float(law.gain) * X0, float(law.variances[0])
        assert abs(x.mean() - mean) < 4 * np.sqrt(variance / num)
        assert abs(x.var() - variance) < 4 * variance * np.sqrt(2 / num) + 0.005 * variance
    assert (samples.record["info.evaluations"] == 31 * num).all()


def test_a_rollout_is_so_many_steps_of_a_lead():
    """Bit for bit, whatever the number of members; the keys are (init, member, lead)."""
    kernel, x0 = lead(), jnp.array([[0.3], [1.0]])

    def run(members, steps):
        grid = jnp.stack(jnp.meshgrid(jnp.arange(2), jnp.arange(members), indexing="ij"), -1)
        start = jnp.repeat(x0, members, axis=0)
        out = simulate(kernel, start, steps=steps, index=grid.reshape(-1, 2), key=jax.random.key(6))
        return np.asarray(out.x).reshape(2, members)

    np.testing.assert_array_equal(run(3, 4), run(7, 4)[:, :3])
    state, key = kernel.init(x0[1], jnp.ones(()), key=jax.random.key(0)), jax.random.key(7)
    stepped, _ = eqx.filter_jit(march)(kernel, state, jnp.ones(5), key=key)
    for i in range(4):
        one = jnp.ones(())
        state, _ = eqx.filter_jit(kernel.step)(state, one, one, key=jax.random.fold_in(key, i))
    np.testing.assert_array_equal(state.x, stepped.x)


class Told(eqx.Module):
    """A drift that counts its traces and adds what it is told."""

    traces: list = eqx.field(static=True)

    def __call__(self, t, x, x0, *, context, key=None):
        self.traces.append(1)
        return context["push"] - x0


def test_context_is_handed_through_and_noise_compiles_once():
    drift = Told([])
    kernel = PointForecast(drift, LinearPoint(), MatchedEpsilon(1.0))
    scan = eqx.tree_at(lambda k: k.epsilon.scale, kernel, jnp.array([1.0, 2.0, 4.0]))
    push = jnp.array([[10.0], [20.0]])

    def run(kernel, axes, **options):
        start = jnp.zeros((*axes, 2, 1))
        context = {"push": jnp.broadcast_to(push, start.shape)}
        return simulate(
            kernel, start, times=uniform_times(4), context=context, key=jax.random.key(8), **options
        ).x

    together = run(scan, (3,), stacked=lambda k: k.epsilon.scale)
    traces = len(drift.traces)
    again = eqx.tree_at(lambda k: k.epsilon.scale, kernel, jnp.array([0.9, 3.0, 5.0]))
    run(again, (3,), stacked=lambda k: k.epsilon.scale)
    assert len(drift.traces) == traces
    assert together.shape == (3, 2, 1)
    mean = np.asarray(run(kernel, ()))[:, 0]
    assert np.abs(mean - [10, 20]).max() < 4


def test_untrained_reference_is_the_exact_forecast():
    """`AffineReference` fitted to pairs of OU forecasts it as well as the truth does."""
    num, members = 4000, 10
    x0 = simulate(OU, num, steps=1, initial=OU.path, key=jax.random.key(9)).x
    x1 = simulate(OU, x0, steps=1, key=jax.random.key(10)).x
    path = LinearPoint()
    network = PointMLP(1, width=8, depth=1, key=jax.random.key(0))
    drift = PointDrift(network, AffineReference.fit(path, x0, x1))
    start = jnp.repeat(x0, members, axis=0)
    ensemble = simulate(lead(steps=12, drift=drift), start, steps=1, key=jax.random.key(11)).x
    scores = jax.vmap(fair_crps)(ensemble.reshape(num, members, 1), x1)[:, 0]
    error = float(jnp.std(scores)) / np.sqrt(num)
    assert abs(float(jnp.mean(scores)) - 0.3709658525929937) < min(4 * error, 0.02)


def test_what_is_refused():
    kernel = forecast(LinearPoint(), SIGMA)
    start = jnp.zeros((2, 1))
    for times in ([0.1, 0.5, 1.0], [1.0, 0.5, 0.0]):
        with pytest.raises(ArithmeticError, match=r"started inside \(0, 1\] or marched backwards"):
            simulate(kernel, start, times=times, key=jax.random.key(0))
    with pytest.raises(ArithmeticError, match="do not compose it"):
        simulate(compose(kernel), start, times=uniform_times(3), key=jax.random.key(0))
    for one in (kernel, lead()):
        with pytest.raises(InputError, match="has no reversal"):
            one.reversed()
    with pytest.raises(InputError, match="expected a grid from 0 to 1"):
        Lead(kernel, jnp.array([0.1, 1.0]))
    with pytest.warns(UserWarning, match="7 % at one half, 17 % at one quarter"):
        lead(epsilon=HALF)
    with pytest.raises(InputError, match="n > 2"):
        AffineReference.fit(LinearPoint(), jnp.zeros(3), jnp.zeros(3))
    with pytest.raises(InputError, match="theta is .*, expected a positive"):
        OrnsteinUhlenbeck(theta=-1.0)
    with pytest.raises(InputError, match="lag is .*, expected a positive number"):
        JumpConditional(lag=0.0)
