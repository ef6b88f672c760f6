"""HMC with a redrawn auxiliary field keeps the marginal, and complex pseudofermions give the metal.

The exact numbers are those of the one-site transfer matrix at the same time step.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.drivers import simulate
from pushforward.dynamics import compose
from pushforward.mcmc import HMC, FourierMass, Omelyan2, Refreshed
from pushforward.recipes import metal_hmc
from pushforward.spaces import Euclidean
from pushforward.targets import (
    AbstractAugmented,
    AbstractEnergy,
    BosonAction,
    DenseAction,
    GaussianDisorder,
    Normal,
    PseudofermionAction,
    SpinFermion,
    disorder_samples,
)
from pushforward.targets.exact import well_mean
from pushforward.targets.metal.dense import block_matrix

pytestmark = pytest.mark.filterwarnings("ignore:.*fewer than 50")


class Tilted(AbstractAugmented):
    """U(x) = x⁴/4 − x² − .4x with a shadow a ~ N(drawn·x, 1); right if used = drawn."""

    drawn: jax.Array
    used: jax.Array
    space: Euclidean = Euclidean(1)

    def __call__(self, x):
        return jnp.sum(0.25 * x**4 - x * x - 0.4 * x)

    def refresh(self, x, *, key):
        return self.drawn * x + jax.random.normal(key, x.shape, x.dtype)

    def given(self, auxiliary):
        return Shadow(self, auxiliary)


class Shadow(AbstractEnergy):
    marginal: Tilted
    shadow: jax.Array
    space: Euclidean = Euclidean(1)

    def __call__(self, x):
        return self.marginal(x) + 0.5 * jnp.sum((self.shadow - self.marginal.used * x) ** 2)


def z_scores(kernel, initial, observe, exact, *, chains=256, steps=200, burn_in=40, seed=0):
    samples = simulate(
        kernel, chains, steps=steps, burn_in=burn_in, initial=initial, observe=observe,
        key=jax.random.key(seed),
    )  # fmt: skip
    scores, errors = {}, {}
    for name, value in exact.items():
        means = samples.record[name].mean(0)
        errors[name] = means.std(ddof=1) / np.sqrt(chains)
        scores[name] = (means.mean() - value) / errors[name]
    return scores, errors, samples


def tilted_scores(kernel):
    def exact(f):
        return well_mean(f, lambda x: 0.25 * x**4 - x * x - 0.4 * x)

    expected = {"x": exact(lambda x: x), "x2": exact(lambda x: x * x)}
    return z_scores(kernel, Normal(1), lambda x: {"x": x[0], "x2": x[0] ** 2}, expected, chains=512)


def test_the_marginal_is_kept_and_a_wrong_shadow_breaks_it():
    def run(drawn, used):
        return tilted_scores(Refreshed(HMC(Tilted(jnp.asarray(drawn), jnp.asarray(used)), 0.4, 3)))

    scores, errors, samples = run(1.3, 1.3)
    assert max(abs(z) for z in scores.values()) < 4
    assert max(errors.values()) < 0.02
    assert samples.record["info.acceptance"].mean() > 0.8
    twin, _, _ = run(1.3, 1.0)
    assert max(abs(z) for z in twin.values()) > 8


def test_refreshed_beside_plain_hmc_keeps_the_marginal():
    """No energy is handed on from a point whose energy nobody knows."""
    target = Tilted(jnp.asarray(1.3), jnp.asarray(1.3))
    refreshed, plain = Refreshed(HMC(target, 0.4, 3)), HMC(target, 0.3, 2)
    for kernel in (compose(refreshed, plain), compose(plain, compose(refreshed, plain))):
        scores, _, _ = tilted_scores(kernel)
        assert max(abs(z) for z in scores.values()) < 4


def test_a_composition_of_refreshed_kernels_runs():
    kernel = Refreshed(HMC(Tilted(jnp.asarray(1.0), jnp.asarray(1.0)), 0.4, 2))
    both = compose(kernel, kernel)
    samples = simulate(both, 4, steps=3, initial=Normal(1), key=jax.random.key(0))
    assert np.isfinite(samples.x).all()
    assert both.stationary
    assert both.reversed() == both


def test_an_energy_without_auxiliary_field_is_refused():
    with pytest.raises(InputError, match="AbstractAugmented"):
        Refreshed(HMC(DenseAction(SpinFermion((1, 1), 4)), 0.1))


# ------------------------------------------------------------------------------ one site


def one_site():
    return SpinFermion(
        (1, 1), 20, num_components=1, hopping=0.0, chemical_potential=(0.3, -0.7), coupling=1.3,
        mass=0.5,
    )  # fmt: skip


def moments(x):
    return {"phi2": jnp.mean(x * x), "correlation": jnp.mean(x * jnp.roll(x, 10, 1))}


EXACT = {"phi2": 1.0859307064021790, "correlation": 0.549984973176881}


class RealPseudofermions(AbstractAugmented):
    """Twin: Φ = M†R with REAL R, e^{−|M^{−†}Φ|²/2}."""

    model: SpinFermion

    def __init__(self, model):
        self.model = model

    @property
    def space(self):
        return self.model.space

    def __call__(self, x):
        return BosonAction(self.model)(x)

    def refresh(self, x, *, key):
        matrix = block_matrix(self.model, x)
        return matrix.T @ jax.random.normal(key, matrix.shape[:1], x.dtype)

    def given(self, auxiliary):
        return GivenReal(self.model, auxiliary)


class GivenReal(AbstractEnergy):
    model: SpinFermion
    pseudofermions: jax.Array

    def __init__(self, model, pseudofermions):
        self.model, self.pseudofermions = model, pseudofermions

    @property
    def space(self):
        return self.model.space

    def __call__(self, x):
        r = jnp.linalg.solve(block_matrix(self.model, x).T, self.pseudofermions)
        return BosonAction(self.model)(x) + 0.5 * jnp.sum(r * r)


def hmc_of(action):
    mass = FourierMass(BosonAction(action.model).mass_spectrum())
    return HMC(action, 0.25, 6, Omelyan2(), mass)


ONE_SITE = {
    "dense": lambda: hmc_of(DenseAction(one_site())),
    "complex": lambda: Refreshed(hmc_of(PseudofermionAction(one_site()))),
    "real": lambda: Refreshed(hmc_of(RealPseudofermions(one_site()))),
}


@pytest.mark.parametrize("name", ["dense", "complex"])
def test_one_site(name):
    start = Normal(one_site().space.shape, scale=0.5)
    scores, errors, samples = z_scores(
        ONE_SITE[name](), start, moments, EXACT, chains=96, steps=100, burn_in=20
    )
    assert max(abs(z) for z in scores.values()) < 4
    assert errors["phi2"] < 0.015
    assert samples.record["info.acceptance"].mean() > 0.95


def test_real_pseudofermions_give_one_spin_of_two():
    start = Normal(one_site().space.shape, scale=0.5)
    scores, errors, samples = z_scores(
        ONE_SITE["real"](), start, moments, EXACT, chains=96, steps=100, burn_in=20
    )
    found = samples.record["phi2"].mean()
    assert abs(found - 0.802) < 4 * (errors["phi2"] + 0.003)
    assert scores["phi2"] < -15


@pytest.mark.slow
@pytest.mark.parametrize(("name", "steps"), [("dense", 400), ("complex", 720)])
def test_one_site_to_two_per_mille(name, steps):
    start = Normal(one_site().space.shape, scale=0.5)
    scores, errors, _ = z_scores(
        ONE_SITE[name](), start, moments, EXACT, chains=512, steps=steps, burn_in=40, seed=1
    )
    assert max(abs(z) for z in scores.values()) < 4
    assert errors["phi2"] < 0.0023


def test_two_sites_of_unlike_coupling_potential_and_mass():
    """Against 18-point Gauss–Hermite quadrature of all six coordinates (1e-7)."""
    model = SpinFermion(
        (2, 1), 3, num_components=1, dtau=0.3, velocity=1.5, quartic=0.7,
        coupling=jnp.array([[1.1], [-0.6]]), mass=jnp.array([[0.4], [0.9]]),
        potential=jnp.array([[0.2], [-0.3]]),
    )  # fmt: skip
    exact = {"first": 0.7045463, "second": 0.5815299, "both": 0.3226480, "time": 0.5210826}

    def observe(x):
        first, second = x[0, :, 0, 0], x[0, :, 1, 0]
        return {
            "first": jnp.mean(first**2),
            "second": jnp.mean(second**2),
            "both": jnp.mean(first * second),
            "time": jnp.mean(first * jnp.roll(first, 1)),
        }

    start = Normal(model.space.shape, scale=0.5)
    scores, errors, _ = z_scores(
        metal_hmc(DenseAction(model), 0.3, 4), start, observe, exact, chains=256, steps=200
    )
    assert max(abs(z) for z in scores.values()) < 4
    assert max(errors.values()) < 0.005


# ------------------------------------------------------------------------------- disorder


def test_one_stacked_kernel_runs_all_samples_of_disorder():
    """A sample in a stack goes the way of the sample alone."""
    clean = SpinFermion((2, 1), 2, num_components=1)
    model = disorder_samples(GaussianDisorder(), clean, 3, key=jax.random.key(0))
    start = 0.3 * jax.random.normal(jax.random.key(1), (3, 2, *model.space.shape))

    def fields(kernel):
        return kernel.path.model.disorder

    kernel = metal_hmc(PseudofermionAction(model), 0.2, 3)
    together = simulate(kernel, start, steps=3, stacked=fields, key=jax.random.key(2))
    assert together.x.shape == start.shape
    one = eqx.tree_at(fields, kernel, jax.tree.map(lambda a: a[1], fields(kernel)))
    index = jnp.arange(2, 4)  # the numbers of its chains in the stack
    alone = simulate(one, start[1], steps=3, index=index, key=jax.random.key(2))
    np.testing.assert_allclose(alone.x, together.x[1], rtol=1e-9, atol=1e-9)
