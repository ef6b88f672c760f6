"""Both divergences against the closed forms of two normals; the path gradient has no variance."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward.drivers import fit
from pushforward.flows import AbstractBijection, Pushforward
from pushforward.objectives import ForwardKL, ReverseKL
from pushforward.sources import Arrays, NoData
from pushforward.targets import Energy, Normal


class Affine(AbstractBijection):
    """y = m + e^l x."""

    shift: jax.Array
    log_scale: jax.Array

    def forward(self, x):
        return self.shift + jnp.exp(self.log_scale) * x, jnp.sum(self.log_scale)

    def inverse(self, y):
        return (y - self.shift) * jnp.exp(-self.log_scale), -jnp.sum(self.log_scale)


SHIFT, LOG_SCALE = np.array([0.7, -0.2]), np.array([0.4, -0.3])
MODEL = Affine(jnp.asarray(SHIFT), jnp.asarray(LOG_SCALE))
Q = eqx.Partial(Pushforward, Normal(2))
TARGET = Energy(lambda x: 0.5 * jnp.sum(x**2) + 3.0, Normal(2).space)  # log Z = log 2π − 3
NUM = 4000


def gradients(objective, model, samples=None):
    """Return loss and flat gradient of every sample."""

    def one(sample, key):
        loss, grad = eqx.filter_value_and_grad(lambda m: objective(m, sample, key=key)[0])(model)
        return loss, jnp.concatenate(jax.tree.leaves(grad))

    keys = jax.random.split(jax.random.key(0), NUM)
    samples = jnp.zeros((NUM, 0)) if samples is None else samples
    return jax.tree.map(np.asarray, jax.jit(jax.vmap(one))(samples, keys))


def within(values, exact, sigma=5.0):
    error = values.std(0) / NUM**0.5
    return (np.abs(values.mean(0) - exact) < sigma * error + 1e-12).all()


@pytest.mark.parametrize("path_gradient", [True, False])
def test_reverse_value_and_gradient(path_gradient):
    """KL(N(m, s²) | N(0, 1)): ∂_m = m, ∂_log s = s² − 1; the value is KL − log Z."""
    loss, grad = gradients(ReverseKL(Q, TARGET, path_gradient), MODEL)
    scale = np.exp(LOG_SCALE)
    kl = np.sum((scale**2 + SHIFT**2 - 1) / 2 - LOG_SCALE)
    assert within(loss, kl - (np.log(2 * np.pi) - 3))
    exact = np.concatenate([SHIFT, scale**2 - 1])
    assert within(grad, exact)
    assert not within(grad, -exact)
    assert not within(grad, 2 * exact)


def test_no_variance_where_the_model_is_the_target():
    here = Energy(Pushforward(Normal(2), MODEL), Normal(2).space)
    frozen = eqx.tree_at(lambda e: e.fn.bijection, here, jax.tree.map(jax.lax.stop_gradient, MODEL))
    _, grad = gradients(ReverseKL(Q, frozen), MODEL)
    _, plain = gradients(ReverseKL(Q, frozen, False), MODEL)
    assert np.abs(grad).max() < 1e-10
    assert np.linalg.norm(plain, axis=1).mean() > 0.5


def test_forward_value_and_gradient():
    """E[−log q] of N(0, 1): ½ log 2π + log s + (1 + m²)/2s²."""
    x = jax.random.normal(jax.random.key(5), (NUM, 2))
    loss, grad = gradients(ForwardKL(Q), MODEL, x)
    scale2 = np.exp(2 * LOG_SCALE)
    ratio = (1 + SHIFT**2) / scale2
    assert within(loss, np.log(2 * np.pi) + np.sum(LOG_SCALE + ratio / 2))
    exact = np.concatenate([SHIFT / scale2, 1 - ratio])
    assert within(grad, exact)
    assert not within(grad, exact + np.concatenate([np.zeros(2), np.ones(2)]))  # no log-det


def test_both_train_to_the_target():
    model = Affine(jnp.zeros(2), jnp.zeros(2))
    target = Normal(2, SHIFT, np.exp(LOG_SCALE))
    optimiser = optax.adam(optax.cosine_decay_schedule(0.1, 150))
    options = {"steps": 150, "batch": 64, "optimiser": optimiser, "key": jax.random.key(1)}
    taught, _ = fit(model, ReverseKL(Q, target), NoData(), **options)
    # No variance at the optimum: the reverse fit is exact, not as good as its last batch.
    np.testing.assert_allclose(taught.shift, SHIFT, atol=1e-3)
    np.testing.assert_allclose(taught.log_scale, LOG_SCALE, atol=1e-3)
    data = jax.vmap(lambda k: target.sample(key=k))(jax.random.split(jax.random.key(2), 2000))
    taught, _ = fit(model, ForwardKL(Q), Arrays(data), **options)
    np.testing.assert_allclose(taught.shift, data.mean(0), atol=0.1)
    np.testing.assert_allclose(taught.log_scale, np.log(data.std(0)), atol=0.1)
