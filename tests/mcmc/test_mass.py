"""Masses: Fourier acceleration makes the free field one frequency, and leaves every law alone.

With M_k = 2 w_k a trajectory of length π/2 is an independent draw of every mode; the twin of length
π returns each mode to minus itself.
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
from pushforward.mcmc import HMC, FourierMass, IdentityMass
from pushforward.spaces import SU2, Euclidean, Lattice, LinkSpace
from pushforward.targets import FreeField, Phi4

SHAPE = (4, 6)
FREE = FreeField(SHAPE, 0.7)
SPACE = Euclidean((2, *SHAPE))  # two copies: the spectrum acts on the last axes
SPECTRUM = np.asarray(2 * FREE.spectrum)
MASS = FourierMass(SPECTRUM)


def test_momenta_have_the_covariance_of_the_spectrum():
    """⟨|p_k|²⟩ = V M_k for every k and copy, modes independent; twin: half the variance."""
    keys = jax.random.split(jax.random.key(0), 20_000)
    x = jnp.zeros(SPACE.shape)
    p = jax.jit(jax.vmap(lambda k: MASS.momentum(SPACE, x, key=k)))(keys)
    power = np.abs(np.fft.fftn(np.asarray(p), axes=(2, 3))) ** 2 / 24
    score = (power.mean(0) - SPECTRUM) / (power.std(0) / np.sqrt(20_000))
    assert np.abs(score).max() < 5
    twin = (0.5 * power.mean(0) - SPECTRUM) / (0.5 * power.std(0) / np.sqrt(20_000))
    assert np.abs(twin).min() > 20
    cross = np.mean(np.asarray(p)[:, 0] * np.asarray(p)[:, 1], 0)
    assert np.abs(cross).max() < 5 * SPECTRUM.mean() / np.sqrt(20_000)


def test_velocity_is_the_inverse_of_the_covariance():
    """M v = p with M = 2 (m² − Δ) applied in position space."""
    p = jax.random.normal(jax.random.key(1), SPACE.shape)
    v = np.asarray(jax.jit(lambda p: MASS.velocity(p))(p))
    laplace = sum(np.roll(v, s, a) - v for a in (1, 2) for s in (1, -1))
    np.testing.assert_allclose(2 * (0.7 * v - laplace), p, rtol=0, atol=1e-12)
    np.testing.assert_allclose(Phi4(SHAPE, -1.0, 0.9).mass_spectrum(0.7), SPECTRUM)
    assert IdentityMass().velocity(p) is p


@functools.cache
def free_series(length, seed=2):
    """Modes of 64 chains in equilibrium by trajectories of one length, (draws, chains, modes)."""
    x = jax.vmap(lambda k: FREE.sample(key=k))(jax.random.split(jax.random.key(seed), 64))
    steps = round(length / 0.05)
    samples = simulate(
        HMC(FREE, length / steps, steps, mass=MASS), x, steps=300, key=jax.random.key(seed + 1),
        observe=lambda x: {"x": x},
    )  # fmt: skip
    assert samples.record["info.acceptance"].mean() > 0.98
    modes = np.fft.fft2(samples.record["x"])
    return np.concatenate([modes.real, modes.imag], 2).reshape(300, 64, -1)


def correlations(series):
    """Return the scores of the correlations of successive draws, for every mode that moves."""
    moving = series[:, :, series.std((0, 1)) > 1e-8]
    product = moving[1:] * moving[:-1] / (moving**2).mean((0, 1))
    return product.mean((0, 1)) * np.sqrt(product[:, :, 0].size)


def test_a_quarter_turn_is_an_independent_draw():
    assert np.abs(correlations(free_series(np.pi / 2))).max() < 4
    # Twin: half a turn gives −φ, up to the error of the integrator.
    assert correlations(free_series(np.pi)).max() < -100


def test_the_law_does_not_depend_on_the_mass():
    """⟨φ²⟩ of φ⁴ on 4²: m² = −1, λ = 0.8 (0.38170472, transfer matrix), and ⟨m̄²⟩ V = 4.24874756."""
    energy = Phi4((4, 4), -1.0, 0.8)
    assert phi4_scores(energy, FourierMass(energy.mass_spectrum(0.5)), 0.2, 5, 500) < 4


def phi4_scores(energy, mass, step, count, draws):
    start = 0.6 * jax.random.normal(jax.random.key(3), (64, 4, 4))
    samples = simulate(
        HMC(energy, step, count, mass=mass), start, steps=draws, burn_in=100,
        observe=lambda x: {"phi2": jnp.mean(x**2), "chi": 16 * jnp.mean(x) ** 2},
        key=jax.random.key(4),
    )  # fmt: skip
    scores = []
    for name, exact in (("phi2", 0.38170472), ("chi", 4.24874756)):
        found = gamma_method(samples.record[name])
        scores.append((found.mean - exact) / found.error)
    return np.abs(scores).max()


@pytest.mark.slow
@pytest.mark.parametrize("mass", [IdentityMass(), "fourier"])
def test_phi4_at_length(mass):
    energy = Phi4((4, 4), -1.0, 0.8)
    mass = FourierMass(energy.mass_spectrum(0.5)) if mass == "fourier" else mass
    step = 0.1 if isinstance(mass, IdentityMass) else 0.2
    assert phi4_scores(energy, mass, step, 8, 5000) < 4


def test_a_new_spectrum_compiles_nothing():
    traces = []

    class Counted(FreeField):
        def terms(self, x):
            traces.append(0)
            return super().terms(x)

    @eqx.filter_jit
    def step(kernel, x, key):
        one = jnp.ones(())
        return kernel.step(kernel.init(x, one, key=key), one, one, key=key)[0].x

    counts = []
    for m2 in (0.5, 0.9):
        kernel = HMC(
            Counted(SHAPE, m2), 0.1, 3, mass=FourierMass(2 * FreeField(SHAPE, m2).spectrum)
        )
        step(kernel, jnp.zeros(SHAPE), jax.random.key(0))
        counts.append(len(traces))
    assert counts[0] == counts[1]


def test_single_precision():
    with jax.enable_x64(False):
        mass = FourierMass(np.full(SHAPE, 2.0))
        p = jax.eval_shape(
            lambda x, k: mass.velocity(mass.momentum(Euclidean(SHAPE), x, key=k)),
            jnp.zeros(SHAPE), jax.random.key(0),
        )  # fmt: skip
        assert p.dtype == jnp.float32


def test_bad_spectra():
    for bad in (np.zeros(4), np.array(1.0), np.array([1.0, -1.0])):
        with pytest.raises(InputError, match="positive M_k"):
            FourierMass(bad)
    with pytest.raises(InputError, match="not even"):
        FourierMass(np.array([1.0, 2.0, 3.0, 4.0]))
    with pytest.raises(InputError, match="last 2 axes of a real field"):
        MASS.velocity(jnp.zeros((6, 4)))
    links = LinkSpace(SU2(), Lattice(SHAPE))
    with pytest.raises(InputError, match="real field"):
        MASS.momentum(links, links.reference(key=jax.random.key(0)), key=jax.random.key(0))
