"""Posteriors of NumPyro models: conjugate evidence, and a twin without the Jacobian."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.special import gammaln

import pushforward as pf
from pushforward._errors import InputError
from pushforward.targets import Energy, Normal, from_numpyro

numpyro = pytest.importorskip("numpyro")
LOG_EVIDENCE = -8.707652546130868
Y = jnp.array([3, 5, 4, 1])


@pytest.fixture(autouse=True)
def standard_promotion():
    with jax.numpy_dtype_promotion("standard"):
        yield


def model(y):
    rate = numpyro.sample("rate", numpyro.distributions.Gamma(2.0, 1.0))
    numpyro.deterministic("double", 2 * rate)
    with numpyro.plate("n", len(y)):
        numpyro.sample("y", numpyro.distributions.Poisson(rate), obs=y)


def test_the_energy_is_the_conjugate_one():
    """U(x) with λ = e^x: −log of Gamma(2, 1) times Poisson, minus the Jacobian x."""
    energy, x = from_numpyro(model, Y), np.linspace(-2, 2, 9)
    total, num = float(Y.sum()), len(Y)
    log_joint = (1 + total) * x - (1 + num) * np.exp(x) - gammaln(np.asarray(Y) + 1).sum()
    np.testing.assert_allclose(jax.vmap(energy)(x[:, None]), -(log_joint + x), rtol=1e-12)
    sites = energy.constrain(jnp.array([0.3]))
    np.testing.assert_allclose(sites["rate"], np.exp(0.3))
    np.testing.assert_allclose(sites["double"], 2 * np.exp(0.3))


def evidence(energy):
    """Return log Z, its error, and the posterior mean of the rate by untrained SMC."""
    path = pf.paths.Annealing(Normal(1, 0.5, 1.5), energy)
    samples = pf.simulate(
        pf.recipes.smc(path, 0.3),
        4000,
        times=pf.paths.uniform_times(20),
        resample=pf.estimators.Systematic(0.5),
        populations=8,
        key=jax.random.key(0),
    )
    return samples.log_z, samples.mean(lambda x: jnp.exp(x[0]))


def test_smc_finds_the_evidence():
    energy = from_numpyro(model, Y)
    log_z, rate = evidence(energy)
    assert log_z.error < 0.05
    assert abs(log_z.value - LOG_EVIDENCE) < 4 * log_z.error
    assert abs(rate.value - 3.0) < 4 * rate.error
    # Twin: the Jacobian dropped.
    twin, _ = evidence(Energy(lambda x: energy(x) + x[0], energy.space))
    assert abs(twin.value - LOG_EVIDENCE) > 10 * twin.error


def test_discrete_and_empty_models_are_refused():
    def discrete(y):
        k = numpyro.sample("k", numpyro.distributions.Poisson(2.0))
        rate = numpyro.sample("rate", numpyro.distributions.Gamma(2.0, 1.0))
        numpyro.sample("y", numpyro.distributions.Normal(rate * k, 1.0), obs=y)

    def empty(y):
        numpyro.sample("y", numpyro.distributions.Normal(0.0, 1.0), obs=y)

    with pytest.raises(InputError, match=r"discrete sites \['k'\]"):
        from_numpyro(discrete, 1.0)
    with pytest.raises(InputError, match="no latent site"):
        from_numpyro(empty, 1.0)
