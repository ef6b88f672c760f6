"""Bijections of flowjax behind our interface, and the law of what they push."""

import sys

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError, MissingExtra
from pushforward._tree import trainable
from pushforward.flows import FromFlowjax, Pushforward, sample_with_energy, spline_couplings
from pushforward.targets import Normal

flowjax = pytest.importorskip("flowjax")
KEY = jax.random.key(0)
START = spline_couplings(4, layers=3, width=16, key=KEY)


def shaken(model, size=0.3):
    """Return the model away from zero, so that every layer bends."""
    leaves, tree = jax.tree.flatten(model)
    keys = jax.random.split(KEY, len(leaves))
    moved = [
        a + size * jax.random.normal(k, a.shape) if eqx.is_inexact_array(a) else a
        for a, k in zip(leaves, keys, strict=True)
    ]
    return jax.tree.unflatten(tree, moved)


FLOW = shaken(START)
X = jax.random.normal(jax.random.key(1), (20, 4))


def test_untrained_it_only_permutes():
    y, log_det = jax.vmap(START.forward)(X)
    np.testing.assert_allclose(np.sort(y), np.sort(X), atol=1e-12)
    np.testing.assert_allclose(log_det, 0, atol=1e-12)


def test_log_det_and_inverse():
    y, log_det = jax.jit(jax.vmap(FLOW.forward))(X)
    x, back = jax.jit(jax.vmap(FLOW.inverse))(y)
    jacobian = jax.jit(jax.vmap(jax.jacfwd(lambda x: FLOW.forward(x)[0])))(X)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(jacobian)[1], atol=1e-10)
    np.testing.assert_allclose(x, X, atol=1e-10)
    np.testing.assert_allclose(back, -log_det, atol=1e-10)
    assert np.abs(log_det).max() > 0.1


def test_law_of_the_pushforward():
    """A sample's density is that of its preimage over the volume change; the whole mass is 1."""
    law = Pushforward(Normal(4, 0.0, 1.3), FLOW)

    @jax.jit
    def both(key):
        x, log_prob = law.sample_with_log_prob(key=key)
        same, energy = sample_with_energy(law, key=key)
        return x, log_prob, law.log_prob(x), same, energy, law.sample(key=key)

    x, log_prob, again, same, energy, alone = jax.vmap(both)(jax.random.split(KEY, 20))
    np.testing.assert_allclose(again, log_prob, atol=1e-10)
    np.testing.assert_allclose(energy, -log_prob, atol=1e-12)
    np.testing.assert_allclose(same, x, atol=1e-12)
    np.testing.assert_allclose(alone, x, atol=1e-12)


def test_mass_of_the_pushforward():
    flow = shaken(spline_couplings(2, layers=2, width=8, key=KEY))
    law, axis = Pushforward(Normal(2), flow), np.linspace(-7, 7, 281)
    grid = jnp.asarray(np.stack(np.meshgrid(axis, axis), -1).reshape(-1, 2))

    @jax.jit
    @jax.vmap
    def density(y):
        right = law.log_prob(y)
        return right, right - 2 * flow.inverse(y)[1]

    right, wrong = (np.exp(a).sum() * (axis[1] - axis[0]) ** 2 for a in density(grid))
    assert abs(right - 1) < 2e-3
    assert abs(wrong - 1) > 0.1  # twin: the determinant the other way


def test_what_flowjax_does_not_train_is_frozen():
    from flowjax.bijections import Affine, Chain
    from paramax import NonTrainable

    fixed = eqx.tree_at(
        lambda a: a.loc, Affine(jnp.ones(4), jnp.full(4, 2.0)), replace_fn=NonTrainable
    )
    flow = FromFlowjax(Chain([fixed, Affine(jnp.zeros(4))]))
    kept = sum(jax.tree.leaves(trainable(flow)))
    assert (
        kept == sum(jax.tree.leaves(trainable(FromFlowjax(Chain([Affine(jnp.ones(4))] * 2))))) - 1
    )
    np.testing.assert_allclose(flow.forward(X[0])[0], 1 + 2 * X[0], rtol=1e-12)
    np.testing.assert_allclose(flow.inverse(X[0])[0], (X[0] - 1) / 2, rtol=1e-12)


def test_what_is_refused(monkeypatch):
    with pytest.raises(InputError, match="expected a flowjax bijection"):
        FromFlowjax(jnp.sin)
    with pytest.raises(InputError, match="two coordinates or more"):
        spline_couplings(1, key=KEY)
    with pytest.raises(InputError, match="expected an AbstractBijection"):
        Pushforward(Normal(2), START.bijection)
    with pytest.raises(InputError, match="expected an AbstractDistribution"):
        Pushforward(START, START)
    conditional = flowjax.flows.coupling_flow(
        KEY, base_dist=flowjax.distributions.StandardNormal((2,)), cond_dim=1, flow_layers=1
    )
    with pytest.raises(InputError, match="cond_shape"):
        FromFlowjax(conditional.bijection)
    monkeypatch.setitem(sys.modules, "flowjax.flows", None)
    with pytest.raises(MissingExtra, match=r"pip install .*\[flows\]'"):
        spline_couplings(2, key=KEY)
