"""Hybrid Monte Carlo: reversible, area preserving, of second order, and stationary on a tilt.

The target is asymmetric: on a symmetric one a wrong sign leaves every mean in its place. The twin,
HMC with the sign of ΔH flipped, must be refused by the same judgements.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.drivers import simulate
from pushforward.estimators import gamma_method
from pushforward.mcmc import HMC, Leapfrog, Omelyan2
from pushforward.paths import Annealing
from pushforward.spaces import Euclidean
from pushforward.targets import DoubleWell, Energy, Normal, Phi4
from pushforward.targets.exact import well_log_z, well_mean

# A skewed density with one mode: e^{x} tilts, x⁴ and x² bind.
SKEW = DoubleWell(1, 0.3, 0.5, -1.0)
INTEGRATORS = {"leapfrog": Leapfrog(), "2MN": Omelyan2()}
ONE = jnp.ones(())
both = pytest.mark.parametrize("name", INTEGRATORS)


def exact_draws(num, seed):
    """Draw from SKEW by its inverse distribution function on a fine grid."""
    grid = np.linspace(-8, 8, 200_001)
    density = np.exp(-np.asarray(jax.vmap(SKEW)(grid[:, None])))
    cdf = np.cumsum(density) / density.sum()
    return np.interp(np.random.default_rng(seed).uniform(size=num), cdf, grid)[:, None]


@eqx.filter_jit
def trajectory(kernel, x, p, key):
    """Return (x, p) after a trajectory, before any decision, and ΔH."""
    target = kernel.path.at(ONE)
    start = kernel.init(x, ONE, key=key)
    x_end, p_end, energy, _ = kernel._trajectory(
        target, kernel.step_size, (x, p, start.energy, start.memory)
    )
    kinetic = 0.5 * (jnp.sum(p_end**2) - jnp.sum(p**2))
    return x_end, p_end, kinetic + jnp.sum(energy - start.energy)


@eqx.filter_jit
def step_all(kernel, x, seed):
    """Step each of `x` once: states and infos."""

    def one(x, j):
        key = jax.random.fold_in(jax.random.key(seed), j)
        return kernel.step(kernel.init(x, ONE, key=key), ONE, ONE, key=key)

    return jax.vmap(one)(x, jnp.arange(len(x)))


PHI = Phi4((4, 4), -1.0, 0.9)
RNG = np.random.default_rng(0)
FIELD, MOMENTUM = RNG.normal(size=(2, 4, 4))


@both
def test_reversible(name):
    kernel, key = HMC(PHI, 0.1, 12, INTEGRATORS[name]), jax.random.key(0)
    x, p, delta = trajectory(kernel, FIELD, MOMENTUM, key)
    back, p_back, delta_back = trajectory(kernel, x, -p, key)
    assert np.abs(x - FIELD).max() > 0.3
    np.testing.assert_allclose(back, FIELD, rtol=0, atol=1e-12)
    np.testing.assert_allclose(p_back, -MOMENTUM, rtol=0, atol=1e-12)
    assert abs(delta + delta_back) < 1e-12


@both
def test_preserves_volume(name):
    """The Jacobian of (x, p) -> (x', p') has determinant one."""
    target = DoubleWell(2)
    kernel, key = HMC(target, 0.1, 3, INTEGRATORS[name]), jax.random.key(0)

    def flow(z):
        x, p, _ = trajectory(kernel, z[:2], z[2:], key)
        return jnp.concatenate([x, p])

    jacobian = jax.jit(jax.jacfwd(flow))(jnp.array([0.3, -1.1, 0.5, 0.8]))
    assert abs(jnp.linalg.det(jacobian) - 1) < 1e-12
    assert jnp.abs(jacobian - jnp.eye(4)).max() > 0.1


def test_delta_energy_falls_with_the_square_of_the_step():
    """ΔH ∝ step² at a fixed length of the trajectory; 2MN has the smaller constant."""
    numbers, deltas = np.array([32, 64, 128]), {}
    for name, integrator in INTEGRATORS.items():
        kernel = HMC(PHI, 0.1, 1, integrator)
        of = lambda n, k=kernel: eqx.tree_at(  # noqa: E731
            lambda k: (k.step_size, k.num_steps), k, (jnp.asarray(1.0 / n), jnp.asarray(n, "int32"))
        )
        deltas[name] = [
            abs(float(trajectory(of(n), FIELD, MOMENTUM, jax.random.key(0))[2])) for n in numbers
        ]
        slope = -np.polyfit(np.log(numbers), np.log(deltas[name]), 1)[0]
        assert abs(slope - 2) < 0.05
    assert deltas["2MN"][-1] < 0.3 * deltas["leapfrog"][-1]


@both
def test_detailed_balance(name):
    """e^{−H(x, p)} α(x → x') = e^{−H(x', p')} α(x' → x), with the α that the kernel reports."""
    key = jax.random.key(0)
    kernel = HMC(SKEW, 0.9, 2, INTEGRATORS[name])
    x = exact_draws(30, 1)
    before = jax.vmap(SKEW)(x)
    states, infos = step_all(kernel, x, 5)
    # The momentum that the kernel drew, and the way back from where it proposed to go.
    keys = jax.vmap(lambda j: jax.random.fold_in(jax.random.key(5), j))(jnp.arange(30))
    p = jax.vmap(lambda k: jax.random.normal(jax.random.fold_in(k, 0), (1,)))(keys)
    proposal, p_end, delta = jax.vmap(lambda x, p: trajectory(kernel, x, p, key))(x, p)
    _, _, delta_back = jax.vmap(lambda x, p: trajectory(kernel, x, -p, key))(proposal, p_end)
    np.testing.assert_allclose(infos.delta_energy, delta, rtol=0, atol=1e-13)

    there = np.exp(-before - 0.5 * p[:, 0] ** 2) * np.asarray(infos.acceptance)
    h_end = jax.vmap(SKEW)(proposal) + 0.5 * p_end[:, 0] ** 2
    back = np.exp(-h_end) * np.exp(np.minimum(0, -delta_back))
    np.testing.assert_allclose(there, back, rtol=1e-11, atol=0)
    assert infos.acceptance.min() < 0.9
    # Each walker is either where it was or where it proposed to go.
    stayed = np.all(states.x == x, axis=1)
    np.testing.assert_allclose(states.x[~stayed], proposal[~stayed], rtol=0, atol=1e-14)


@both
def test_mean_of_exp_minus_delta_is_one(name):
    """⟨e^{−ΔH}⟩ = 1 in equilibrium at any step size (Creutz); ⟨e^{+ΔH}⟩ is not."""
    step = {"leapfrog": 0.3, "2MN": 0.5}[name]  # larger ones have heavy tails
    _, infos = step_all(HMC(SKEW, step, 4, INTEGRATORS[name]), exact_draws(50_000, 2), 6)
    values = np.exp(-np.asarray(infos.delta_energy))
    assert abs(values.mean() - 1) < 4 * values.std() / np.sqrt(50_000)
    assert values.std() > 0.03
    twin = 1 / values
    assert abs(twin.mean() - 1) > 4 * twin.std() / np.sqrt(50_000)


class WrongSign(eqx.Module):
    """Twin: accepts with min(1, e^{+ΔH})."""

    inner: HMC

    def init(self, x, t, *, key):
        return self.inner.init(x, t, key=key)

    def step(self, state, t, t_next, *, key):
        target, space = self.inner.path.at(t), self.inner.path.space
        p = space.noise(state.x, key=jax.random.fold_in(key, 0))
        start = (state.x, p, state.energy, state.memory)
        x, p_end, energy, gradient = self.inner._trajectory(target, self.inner.step_size, start)
        delta = 0.5 * jnp.sum(p_end**2 - p**2) + jnp.sum(energy - state.energy)
        accept = jax.random.uniform(jax.random.fold_in(key, 1)) < jnp.exp(delta)
        kept = jax.tree.map(
            lambda a, b: jnp.where(accept, a, b),
            (x, energy, gradient),
            (state.x, state.energy, state.memory),
        )
        return state.moved(*kept), None


@eqx.filter_jit
def chains(kernel, x, num, seed):
    """Return the chains (walkers, num) of x."""

    def one(x, j):
        key = jax.random.fold_in(jax.random.key(seed), j)

        def body(state, i):
            state, _ = kernel.step(state, ONE, ONE, key=jax.random.fold_in(key, i))
            return state, state.x[0]

        return jax.lax.scan(body, kernel.init(x, ONE, key=key), jnp.arange(num))[1]

    return jax.vmap(one)(x, jnp.arange(len(x)))


@functools.cache
def scores(name):
    """Return the distances of ⟨x⟩ and ⟨x²⟩ from quadrature in units of their errors."""
    kernel = {
        "leapfrog": HMC(SKEW, 1.0, 2),
        "2MN": HMC(SKEW, 1.2, 1, Omelyan2()),
        "MALA": HMC(SKEW, 0.9),
    }[name]
    draws = np.asarray(chains(kernel, jnp.zeros((32, 1)), 1100, 7))[:, 100:]
    result = []
    for f in (lambda x: x, lambda x: x * x):
        estimate = gamma_method(f(draws.T))
        result.append((estimate.mean - well_mean(f, SKEW)) / estimate.error)
    return result


@pytest.mark.parametrize("name", ["leapfrog", "2MN", "MALA"])
def test_stationary_on_an_asymmetric_target(name):
    assert well_mean(lambda x: x, SKEW) > 0.4
    assert well_log_z(SKEW) > 0
    assert max(map(abs, scores(name))) < 4.5


@pytest.mark.parametrize(("kernel", "holds"), [(lambda k: k, True), (WrongSign, False)])
def test_ends_of_chains_that_start_in_equilibrium(kernel, holds):
    """Independent walkers, a bounded observable: the wrong sign, which flies off, is refused."""
    ends = np.asarray(chains(kernel(HMC(SKEW, 0.7, 2)), exact_draws(4000, 3), 10, 8))[:, -1].clip(
        -1e9, 1e9
    )
    values = 1 / (1 + ends**2)
    exact = well_mean(lambda x: 1 / (1 + x**2), SKEW)
    score = (values.mean() - exact) / (values.std() / np.sqrt(4000))
    assert abs(score) < 4.5 if holds else abs(score) > 10


def test_acts_at_the_later_time():
    """Along an annealing the kernel keeps the law of max(t, t_next), in either direction."""
    path = Annealing(Normal(1), SKEW)
    kernel, key, x = HMC(path, 0.3, 2), jax.random.key(1), jnp.array([0.4])
    early, late = jnp.asarray(0.2), jnp.asarray(0.7)
    reference, _ = eqx.filter_jit(kernel.step)(kernel.init(x, late, key=key), late, late, key=key)
    state = kernel.init(x, late, key=key)
    for t, t_next in ((early, late), (late, early)):
        moved, _ = eqx.filter_jit(kernel.step)(state, t, t_next, key=key)
        np.testing.assert_array_equal(moved.x, reference.x)
        np.testing.assert_allclose(moved.energy, path.at(late).terms(moved.x), atol=1e-14)
    assert kernel.reversed() is kernel
    assert kernel.stationary


def test_never_enters_a_wall_and_can_leave_one():
    """U = +inf rejects; a walker that starts there steps in as soon as it finds the support."""
    wall = Energy(lambda x: jnp.sum(jnp.where(x > 0, x, jnp.inf)), Euclidean(1))
    states, infos = step_all(HMC(wall, 0.8, 2), jnp.full((500, 1), 0.3), 8)
    assert np.all(states.x > 0)
    assert np.isfinite(states.energy).all()
    assert 0 < np.sum(infos.acceptance == 0) < 500
    outside, infos = step_all(HMC(wall, 0.8, 2), jnp.full((500, 1), -0.3), 9)
    inside = np.asarray(outside.x[:, 0]) > 0
    assert 0 < inside.sum() < 500
    assert np.isfinite(outside.energy[inside]).all()
    assert not np.isnan(outside.energy).any()
    assert np.isfinite(outside.x).all()


def test_an_energy_that_is_not_a_number_is_rejected_and_reported():
    hole = Energy(lambda x: jnp.sum(jnp.where(x > 0.5, jnp.nan, 0.5 * x * x)), Euclidean(1))
    states, infos = step_all(HMC(hole, 0.8, 2), jnp.zeros((200, 1)), 10)
    assert np.isfinite(states.x).all()
    assert np.any(infos.diverged)
    assert np.all(infos.acceptance[infos.diverged] == 0)


def test_number_of_steps_is_dynamic_if_it_is_an_array():
    traces = []
    energy = Energy(lambda x: traces.append(0) or 0.5 * jnp.sum(x * x), Euclidean(1))
    counts = []
    for n in (1, 4, 9):
        dynamic, _ = step_all(HMC(energy, 0.3, jnp.asarray(n)), jnp.zeros((2, 1)), 11)
        counts.append(len(traces))
        static, infos = step_all(HMC(energy, 0.3, n), jnp.zeros((2, 1)), 11)
        assert np.all(infos.cost.gradient == n)
        np.testing.assert_allclose(static.x, dynamic.x, rtol=0, atol=1e-13)
        traces.clear()
    assert counts[1:] == [0, 0]
    assert counts[0] > 0


def test_bad_arguments():
    for step in (0.0, -0.1, float("nan")):
        with pytest.raises(InputError, match="step_size is .*, expected a positive number"):
            HMC(SKEW, step)
    for count in (0, 2.5, True, "ten", None, jnp.asarray(2.0)):
        with pytest.raises(InputError, match="num_steps is .*, expected an integer >= 1: write"):
            HMC(SKEW, 0.1, count)
    assert type(HMC(SKEW, 0.1, np.int64(3)).num_steps) is int


@pytest.mark.parametrize("root", [0.0, 1.0])  # with a root the gradient behind the wall is NaN
def test_a_hard_wall_is_exact(root):
    """U = x²/2 − r√x for x > 0, +inf below: moments by quadrature; what crosses is refused."""
    half = Energy(
        lambda x: jnp.where(x[0] > 0, 0.5 * x[0] ** 2 - root * jnp.sqrt(x[0]), jnp.inf),
        Euclidean(1),
    )
    samples = simulate(
        HMC(half, 0.4, 4), jnp.ones((256, 1)), steps=400, burn_in=50, key=jax.random.key(0),
        observe=lambda x: {"x": x[0], "x2": x[0] ** 2},
    )  # fmt: skip
    nodes = np.linspace(0, 12, 200_001)[1:]
    law = np.exp(-0.5 * nodes**2 + root * np.sqrt(nodes))
    for name, power in (("x", 1), ("x2", 2)):
        means = samples.record[name].mean(0)
        exact = np.sum(nodes**power * law) / law.sum()
        assert abs(means.mean() - exact) < 4 * means.std(ddof=1) / 16
        assert means.std(ddof=1) / 16 < 0.01
    assert samples.record["info.acceptance"].mean() < 0.9
