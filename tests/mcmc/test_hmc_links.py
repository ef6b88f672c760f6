"""HMC on links is the HMC of R^n: order, reversal, volume, stationarity in the exact 2-D theory.

The twin of the force has its prefactor doubled: ΔH then does not fall with the step.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward.drivers import simulate
from pushforward.estimators import gamma_method, mean_plaquette, topological_charge
from pushforward.mcmc import HMC, Leapfrog, Omelyan2
from pushforward.spaces import SU2, SUN, U1, Lattice, wrap
from pushforward.targets import Haar, WilsonAction
from pushforward.targets.exact import gauge2d

CASES = {
    "U1": WilsonAction(2.0, Lattice((4, 3)), U1()),
    "SU3": WilsonAction(5.5, Lattice((2, 2, 2)), SUN(3)),
}
INTEGRATORS = {"leapfrog": Leapfrog(), "2MN": Omelyan2()}
ONE = jnp.ones(())
every = pytest.mark.parametrize("case", CASES)
both = pytest.mark.parametrize("name", INTEGRATORS)


@eqx.filter_jit
def trajectory(kernel, x, p):
    """Return (x, p) after a trajectory, before any decision, and ΔH."""
    space = kernel.path.space
    start = kernel.init(x, ONE, key=jax.random.key(0))
    x, q, energy, _ = kernel._trajectory(
        kernel.path, kernel.step_size, (x, p, start.energy, start.memory)
    )
    kinetic = 0.5 * (space.inner(q, q) - space.inner(p, p))
    return x, q, kinetic + jnp.sum(energy - start.energy)


@functools.cache
def point(case):
    space = CASES[case].space
    cold = jnp.stack([space.group.identity(space.lattice.shape)] * space.lattice.ndim)
    # Some way from the cold field: neither random nor trivial.
    x = space.retract(cold, 0.6 * space.noise(cold, key=jax.random.key(0)))
    return x, space.noise(x, key=jax.random.key(1))


@both
@every
def test_order_and_reversal(case, name):
    """ΔH ∝ ε² at τ = 1; going back with −p returns to the start."""
    x, p = point(case)
    deltas, numbers = [], (10, 20, 40)
    for n in numbers:
        kernel = HMC(CASES[case], 1 / n, n, INTEGRATORS[name])
        y, q, delta = trajectory(kernel, x, p)
        deltas.append(abs(float(delta)))
    slope = -np.polyfit(np.log(numbers[1:]), np.log(deltas[1:]), 1)[0]
    assert abs(slope - 2) < 0.05
    back, p_back, delta_back = trajectory(kernel, y, -q)
    off = wrap(back - x) if case == "U1" else back - x
    np.testing.assert_allclose(off, 0, atol=1e-10)
    np.testing.assert_allclose(p_back, -p, rtol=0, atol=1e-10)
    assert abs(delta + delta_back) < 1e-10
    assert np.abs(y - x).max() > 0.1


@eqx.filter_jit
def by_hand(energy, x, p, step, num, prefactor):
    """The textbook leapfrog, kick by kick, with a prefactor at the force."""
    space = energy.space

    def kick(x, p, c):
        return p - (prefactor * c).astype(p.dtype) * space.gradient(energy, x)

    def one(_, carry):
        x, p = carry
        p = kick(x, p, 0.5 * step)
        x = space.retract(x, step.astype(p.dtype) * p)
        return x, kick(x, p, 0.5 * step)

    y, q = jax.lax.fori_loop(0, num, one, (x, p))
    kinetic = 0.5 * (space.inner(q, q) - space.inner(p, p))
    return y, q, kinetic + energy(y) - energy(x)


@every
def test_the_leapfrog_is_the_textbook_one_and_the_twin_does_not_converge(case):
    x, p = point(case)
    for n in (10, 40):
        mine = trajectory(HMC(CASES[case], 1 / n, n), x, p)
        good = by_hand(CASES[case], x, p, jnp.asarray(1 / n), n, jnp.asarray(1.0))
        off = wrap(mine[0] - good[0]) if case == "U1" else mine[0] - good[0]
        np.testing.assert_allclose(off, 0, atol=1e-11)
        np.testing.assert_allclose(mine[1], good[1], rtol=0, atol=1e-11)
        np.testing.assert_allclose(mine[2], good[2], rtol=0, atol=1e-10)
    twin = [
        float(by_hand(CASES[case], x, p, jnp.asarray(1 / n), n, jnp.asarray(2.0))[2])
        for n in (10, 40)
    ]
    assert abs(twin[1]) > 0.7 * abs(twin[0])
    assert abs(twin[1]) > 20 * abs(float(good[2]))


@both
def test_preserves_volume(name):
    """The Jacobian of (θ, p) → (θ', p') on a 2 x 2 torus has determinant one."""
    energy = WilsonAction(2.0, Lattice((2, 2)), U1())
    kernel = HMC(energy, 0.2, 3, INTEGRATORS[name])

    def flow(z):
        x, p, _ = trajectory(kernel, *z.reshape(2, 2, 2, 2))
        return jnp.concatenate([jnp.ravel(x), jnp.ravel(p)])

    jacobian = jax.jit(jax.jacfwd(flow))(jax.random.normal(jax.random.key(2), (16,)))
    assert abs(jnp.linalg.det(jacobian) - 1) < 1e-8
    assert jnp.abs(jacobian - jnp.eye(16)).max() > 0.1


@every
def test_kinetic_energy_of_the_momenta(case):
    """⟨K⟩ = ½ dim; a twin of half the variance is far off."""
    energy, (x, _) = CASES[case], point(case)
    keys = jax.random.split(jax.random.key(3), 4000)
    draw = lambda k: HMC(energy, 0.1).mass.momentum(energy.space, x, key=k)  # noqa: E731
    kinetic = 0.5 * jax.jit(jax.vmap(lambda k: energy.space.inner(draw(k), draw(k))))(keys)
    error = float(kinetic.std()) / np.sqrt(4000)
    assert abs(kinetic.mean() - energy.space.dim / 2) < 4.5 * error
    assert abs(0.5 * kinetic.mean() - energy.space.dim / 2) > 50 * error


@eqx.filter_jit
def chains(kernel, x, num):
    """Return ΔH of `num` trajectories of every chain, (chains, num)."""

    def one(x, j):
        key = jax.random.fold_in(jax.random.key(7), j)

        def body(state, i):
            state, info = kernel.step(state, ONE, ONE, key=jax.random.fold_in(key, i))
            return state, info.delta_energy

        return jax.lax.scan(body, kernel.init(x, ONE, key=key), jnp.arange(num))[1]

    return jax.vmap(one)(x, jnp.arange(len(x)))


@pytest.mark.filterwarnings("ignore:.*fewer draws than chains")
def test_mean_of_exp_minus_delta_is_one():
    """⟨e^{−ΔH}⟩ = 1 on 4², and ⟨A⟩ = erfc(√⟨ΔH⟩/2) nearly."""
    energy = WilsonAction(2.0, Lattice((4, 4)), U1())
    x = jax.vmap(lambda k: energy.space.reference(key=k))(jax.random.split(jax.random.key(5), 256))
    delta = np.asarray(chains(HMC(energy, 0.2, 5), x, 130))[:, 50:]
    weights = np.exp(-delta)
    error = gamma_method(weights.T).error
    assert abs(weights.mean() - 1) < 4 * error
    assert abs(np.exp(delta).mean() - 1) > 20 * error  # twin: the sign of ΔH


def run(group, beta, side, num, draws, step=0.1, count=10, **options):
    """Return the series of a run, (draws, chains)."""
    energy = WilsonAction(beta, Lattice((side, side)), group)
    observe = {"plaquette": functools.partial(mean_plaquette, energy.space)}
    if isinstance(group, U1):
        observe["charge"] = functools.partial(topological_charge, energy.space)
    samples = simulate(
        HMC(energy, step, count), num, initial=Haar(energy.space), steps=draws, burn_in=60,
        observe=lambda x: {k: f(x) for k, f in observe.items()}, key=jax.random.key(8), **options,
    )  # fmt: skip
    return samples.record


def score(series, exact):
    found = gamma_method(series)
    return abs(found.mean - exact) / found.error


def test_u1_reproduces_plaquette_and_charge():
    """L = 4, two couplings in one stacked run; a twin with the other coupling's numbers fails."""
    betas = (2.0, 3.0)
    energy = WilsonAction(1.0, Lattice((4, 4)), U1())
    stacked = eqx.tree_at(lambda e: e.beta, energy, jnp.asarray(betas))
    observe = lambda x: {  # noqa: E731
        "plaquette": mean_plaquette(energy.space, x), "charge": topological_charge(energy.space, x)
    }  # fmt: skip
    record = simulate(
        HMC(stacked, 0.2, 6), 96, initial=Haar(energy.space), steps=600, burn_in=60,
        stacked=lambda k: k.path.beta, observe=observe, key=jax.random.key(8),
    ).record  # fmt: skip
    for k, beta in enumerate(betas):
        exact, other = gauge2d(U1(), beta, 16), gauge2d(U1(), betas[1 - k], 16)
        plaquette, charge = record["plaquette"][:, k], record["charge"][:, k]
        assert score(plaquette, exact.plaquette) < 4
        assert score(charge**2, exact.q2) < 4
        assert score(plaquette, other.plaquette) > 20
        assert score(charge**2, other.q2) > 4


@pytest.mark.parametrize(("group", "beta"), [(SU2(), 4.0), (SUN(3), 6.0)])
def test_special_unitary_groups_reproduce_the_plaquette(group, beta):
    series = run(group, beta, 4, 24, 150, step=0.2, count=5)["plaquette"]
    exact = gauge2d(group, beta, 16).plaquette
    assert score(series, exact) < 4
    assert score(series, gauge2d(group, 1.1 * beta, 16).plaquette) > 8  # that we could see it


@pytest.mark.slow
@pytest.mark.parametrize("beta", [1.0, 2.0, 3.0, 4.0])
def test_u1_at_length(beta):
    record = run(U1(), beta, 8, 64, 4000)
    exact = gauge2d(U1(), beta, 64)
    assert score(record["plaquette"], exact.plaquette) < 4
    if beta <= 3:
        assert score(record["charge"] ** 2, exact.q2) < 4


@pytest.mark.slow
@pytest.mark.parametrize(
    ("group", "beta"), [(SU2(), 2.0), (SU2(), 4.0), (SU2(), 8.0), (SUN(3), 2.0), (SUN(3), 6.0)]
)
def test_special_unitary_groups_at_length(group, beta):
    series = run(group, beta, 4, 64, 2000, step=0.1)["plaquette"]
    assert score(series, gauge2d(group, beta, 16).plaquette) < 4


def test_single_precision_links_stay_on_the_group():
    with jax.enable_x64(False):
        energy = WilsonAction(6.0, Lattice((4, 4)), SUN(3))
        samples = simulate(
            HMC(energy, 0.2, 5), 2, initial=Haar(energy.space), steps=300, key=jax.random.key(9)
        )
        x = np.asarray(samples.x)
        assert x.dtype == np.complex64
        u = np.moveaxis(x, (2, 3), (-2, -1))
        assert np.abs(u @ u.conj().swapaxes(-1, -2) - np.eye(3)).max() < 1e-5
