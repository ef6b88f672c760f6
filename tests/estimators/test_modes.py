import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import coverage, mode_weights, multinomial_floor, total_variation
from pushforward.targets import gmm40

# Three overlapping modes on a line, unequal weights and widths.
CENTRES, WIDTHS, EXACT = np.array([-1.0, 0.8, 5.0]), np.array([1.0, 0.5, 1.5]), (0.2, 0.5, 0.3)


def _log_parts(x):
    z = (x - jnp.asarray(CENTRES)) / jnp.asarray(WIDTHS)
    return jnp.log(jnp.asarray(EXACT)) - 0.5 * z * z - jnp.log(jnp.asarray(WIDTHS))


def _responsibilities(x):
    return jax.nn.softmax(_log_parts(x))


def _sample(n, seed=0):
    random = np.random.default_rng(seed)
    k = random.choice(3, n, p=EXACT)
    return jnp.asarray(CENTRES[k] + WIDTHS[k] * random.standard_normal(n))


def test_exact_samples_give_exact_weights():
    weights, error = mode_weights(_responsibilities, _sample(40_000))
    assert jnp.all(jnp.abs(weights - jnp.array(EXACT)) < 4.5 * error)
    assert jnp.sum(weights) == pytest.approx(1, abs=1e-12)
    multinomial = jnp.sqrt(jnp.array(EXACT) * (1 - jnp.array(EXACT)) / 40_000)
    assert jnp.all(error < multinomial)

    # Broken twin: nearest centre.
    def nearest(x):
        return jax.nn.one_hot(jnp.argmin(jnp.abs(x - jnp.asarray(CENTRES))), 3)

    weights, error = mode_weights(nearest, _sample(40_000))
    assert jnp.any(jnp.abs(weights - jnp.array(EXACT)) > 10 * multinomial)


def test_weighted_samples():
    x = 1.5 + 4 * jax.random.normal(jax.random.key(0), (100_000,))
    log_weights = jax.vmap(lambda v: jax.nn.logsumexp(_log_parts(v)))(x) + (x - 1.5) ** 2 / 32
    weights, error = mode_weights(_responsibilities, x, log_weights)
    assert jnp.all(jnp.abs(weights - jnp.array(EXACT)) < 4.5 * error)
    weights, error = mode_weights(_responsibilities, x)  # twin: weights forgotten
    assert jnp.any(jnp.abs(weights - jnp.array(EXACT)) > 10 * error)


def test_coverage_and_total_variation():
    exact = jnp.array([0.25, 0.25, 0.25, 0.25])
    found = jnp.array([0.5, 0.48, 0.02, 0.0])
    assert coverage(found, exact) == 2
    assert coverage(found, exact, 0.05) == 3
    assert total_variation(found, exact) == pytest.approx(0.48)
    assert total_variation(exact, exact) == 0
    with pytest.raises(InputError, match=r"\(4,\).*\(3,\)"):
        total_variation(exact, exact[:3])
    with pytest.raises(InputError, match=r"\(\)"):
        mode_weights(lambda x: x, jnp.zeros(3))


def test_floor():
    exact = np.full(40, 1 / 40)
    assert multinomial_floor(exact, 1000) == pytest.approx(0.079, abs=5e-4)
    assert multinomial_floor(exact, 1) == pytest.approx(1 - 1 / 40, rel=1e-12)
    uneven = np.array([0.7, 0.2, 0.1])
    counts = np.random.default_rng(0).multinomial(37, uneven, size=200_000)
    variation = 0.5 * np.abs(counts / 37 - uneven).sum(1)
    spread = variation.std() / math.sqrt(200_000)
    assert abs(multinomial_floor(uneven, 37) - variation.mean()) < 4.5 * spread
    with pytest.raises(InputError, match="at least one"):
        multinomial_floor(uneven, 0)


def test_gmm40_by_responsibilities():
    """Exact samples give 1/40 each within multinomial error."""
    target = gmm40()
    n, exact = 20_000, jnp.full(40, 1 / 40)
    x = jax.vmap(lambda k: target.sample(key=k))(jax.random.split(jax.random.key(0), n))
    sigma = math.sqrt(39 / 40**2 / n)
    weights, _ = mode_weights(target.responsibilities, x)
    assert coverage(weights, exact) == 40
    assert jnp.max(jnp.abs(weights - exact)) < 4.5 * sigma
    assert total_variation(weights, exact) < 1.3 * multinomial_floor(exact, n)
