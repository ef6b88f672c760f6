r"""Residual layers of U(1): volume, inverse, bound, equivariance; chains of layers.

1. log J is the log-determinant of the dense Jacobian, in two and three dimensions.
2. The inverse undoes the map, and its derivative is the inverse of the derivative.
3. The smallest eigenvalue is 1 − Σ|ρ|, at aligned plaquettes; nowhere does the map fold.
4. Gauge covariance; zero coefficients are the identity bit for bit.
Twin: a mask with two active links in a plaquette has another determinant, and is refused.
"""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.flows import Chain, Invert, ResidualLayer, gauge_layers, residual_flow
from pushforward.spaces import SU2, U1, Lattice, LinkSpace, wrap

KEY = jax.random.key(0)


@functools.cache
def setting(shape, size):
    """Return space, a flow of one sweep with random coefficients, and links."""
    space = LinkSpace(U1(), Lattice(shape))
    flow = residual_flow(space, 1)
    c = size * jax.random.normal(KEY, flow.layers.coefficients.shape)
    flow = eqx.tree_at(lambda f: f.layers.coefficients, flow, c)
    return space, flow, space.reference(key=jax.random.key(1))


@eqx.filter_jit
def dense(map_of, x):
    """Return the image, the log-determinant said, the Jacobian and the images there and back."""
    y, log_det = map_of.forward(x)
    jacobian = jax.jacfwd(lambda v: map_of.forward(v.reshape(x.shape))[0].ravel())(x.ravel())
    back, log_det_back = map_of.inverse(y)
    inverse = jax.jacrev(lambda v: map_of.inverse(v.reshape(x.shape))[0].ravel())(y.ravel())
    return y, log_det, jacobian, back, log_det_back, inverse


@pytest.mark.parametrize("shape", [(2, 4), (2, 2, 2)])
def test_volume_and_inverse(shape):
    _, flow, x = setting(shape, 0.7)
    y, log_det, jacobian, back, log_det_back, inverse = map(np.asarray, dense(flow, x))
    sign, exact = np.linalg.slogdet(jacobian)
    assert sign == 1
    np.testing.assert_allclose(log_det, exact, rtol=0, atol=1e-11)
    assert abs(log_det) > 0.1
    assert np.abs(y - x).max() > 0.1
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=0, atol=1e-11)
    np.testing.assert_allclose(inverse @ jacobian, np.eye(x.size), rtol=0, atol=1e-10)


def test_derivative_in_the_coefficients_is_implicit():
    """The inverse's derivative in c equals a central difference."""
    _, flow, y = setting((2, 4), 0.7)
    where = jax.random.normal(jax.random.key(4), flow.layers.coefficients.shape)

    @eqx.filter_jit
    def value(eps):
        moved = eqx.tree_at(
            lambda f: f.layers.coefficients, flow, flow.layers.coefficients + eps * where
        )
        x, log_det = moved.inverse(y)
        return jnp.sum(jnp.sin(x)) + log_det

    h = 1e-5
    slope = (value(jnp.asarray(h)) - value(jnp.asarray(-h))) / (2 * h)
    np.testing.assert_allclose(jax.jit(jax.grad(value))(0.0), slope, rtol=1e-6)


@pytest.mark.parametrize("total", [0.6, 0.9])
def test_smallest_eigenvalue(total):
    """Σ|ρ| = .6 and .9 give .4 and .1 at aligned plaquettes."""
    space, _, _ = setting((2, 2), 0.7)
    c = total / (0.95 - total) * jnp.array([0.3, 0.7])
    layer = ResidualLayer(space.lattice.direction_parity(1, 0), c, space)
    np.testing.assert_allclose(jnp.sum(jnp.abs(layer.rho())), total, rtol=1e-14)
    jacobian = np.asarray(dense(layer, jnp.zeros(space.shape))[2])
    np.testing.assert_allclose(np.linalg.eigvals(jacobian).real.min(), 1 - total, rtol=1e-12)


def test_no_coefficient_folds_the_map():
    space, flow, _ = setting((4, 4), 1e9)
    keys = jax.random.split(jax.random.key(3), 10_000)

    @eqx.filter_jit
    def there_and_back(key):
        x = space.reference(key=key)
        y, log_det = flow.forward(x)
        back, log_det_back = flow.inverse(y)
        return jnp.max(jnp.abs(back - x)), log_det + log_det_back

    error, both = map(np.asarray, jax.lax.map(there_and_back, keys, batch_size=1000))
    assert error.max() < 1e-10  # (1 − .95)^{-4} times the rounding of one layer
    assert np.abs(both).max() < 1e-9


def test_gauge_covariance_and_single_precision():
    space, flow, x = setting((2, 4), 0.7)
    alpha = jax.random.normal(jax.random.key(2), space.lattice.shape)
    turn = jnp.stack([alpha - space.lattice.shift(alpha, mu) for mu in range(2)])
    (y, log_det), (turned, log_det_turned) = (
        eqx.filter_jit(flow.forward)(v) for v in (x, x + turn)
    )
    np.testing.assert_allclose(wrap(turned - y - turn), 0, atol=1e-12)
    np.testing.assert_allclose(log_det_turned, log_det, rtol=0, atol=1e-12)
    small = jax.tree.map(lambda a: a.astype(jnp.float32) if eqx.is_inexact_array(a) else a, flow)
    z, log_det_small = eqx.filter_jit(small.forward)(x.astype(jnp.float32))
    back, log_det_back = eqx.filter_jit(small.inverse)(z)
    assert z.dtype == log_det_small.dtype == log_det_back.dtype == jnp.float32
    np.testing.assert_allclose(z, y, atol=1e-5)
    np.testing.assert_allclose(back, x, atol=1e-5)
    np.testing.assert_allclose(log_det_back, -log_det, atol=1e-4)


def test_untrained_is_the_identity_bit_for_bit():
    space, _, x = setting((4, 4), 0.7)
    flow = residual_flow(space, 2)
    for y, log_det in (eqx.filter_jit(flow.forward)(x), eqx.filter_jit(flow.inverse)(x)):
        np.testing.assert_array_equal(y, x)
        assert log_det == 0


def test_a_chain_is_the_composition():
    _, flow, x = setting((2, 4), 0.7)
    layers = [jax.tree.map(lambda a, k=k: a[k], flow.layers) for k in range(4)]
    y, total = x, 0.0
    for layer in layers:
        y, log_det = layer.forward(y)
        total = total + log_det
    out, log_det = eqx.filter_jit(flow.forward)(x)
    np.testing.assert_allclose(out, y, rtol=0, atol=1e-14)
    np.testing.assert_allclose(log_det, total, rtol=0, atol=1e-13)
    back, log_det_back = eqx.filter_jit(Invert(flow).forward)(out)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(log_det_back, -log_det, rtol=0, atol=1e-12)
    np.testing.assert_array_equal(Invert(flow).inverse(x)[0], flow.forward(x)[0])


def test_two_active_links_in_a_plaquette():
    """Refused where the mask is known; where it is traced the determinant is seen to be wrong."""
    space, _, x = setting((2, 2), 0.7)
    mask = np.zeros(space.shape, bool)
    mask[0] = True
    c = jnp.array([0.4, 0.3])
    with pytest.raises(InputError, match=r"holds 2 active links"):
        ResidualLayer(mask, c, space)
    layer = eqx.filter_jit(lambda m: ResidualLayer(m, c, space))(jnp.asarray(mask))
    _, log_det, jacobian, *_ = map(np.asarray, dense(layer, x))
    assert abs(np.linalg.slogdet(jacobian)[1] - log_det) > 1e-2


def test_an_inverse_that_does_not_converge_says_so(monkeypatch):
    space, _, x = setting((2, 4), 0.7)
    layer = ResidualLayer(space.lattice.direction_parity(0, 1), jnp.array([1.0, 1.0]), space)
    assert jnp.isfinite(layer.inverse(x)[1])
    monkeypatch.setattr(gauge_layers, "NEWTON_STEPS", 0)
    assert jnp.isnan(layer.inverse(x)[1])


def test_bad_input():
    space = LinkSpace(U1(), Lattice((2, 2)))
    mask = space.lattice.direction_parity(0, 0)
    for bound in (0.0, 1.0, 1.01):
        with pytest.raises(InputError, match="the layer folds"):
            ResidualLayer(mask, jnp.zeros(2), space, bound)
    with pytest.raises(InputError, match=r"jnp.zeros\(2\)"):
        ResidualLayer(mask, jnp.zeros(3), space)
    with pytest.raises(InputError, match="expected U1"):
        ResidualLayer(mask, jnp.zeros(2), LinkSpace(SU2(), Lattice((2, 2))))
    with pytest.raises(InputError, match="the mask has shape"):
        ResidualLayer(mask[:1], jnp.zeros(2), space)
    with pytest.raises(InputError, match="extent 3 along 1 is odd"):
        residual_flow(LinkSpace(U1(), Lattice((2, 3))))
    with pytest.raises(InputError, match="a direction below 2"):
        space.lattice.direction_parity(2, 0)
    cube = LinkSpace(U1(), Lattice((2, 2, 2)))
    single = ResidualLayer(cube.lattice.direction_parity(0, 0), jnp.zeros(4), cube)
    with pytest.raises(InputError, match="common axis of layers"):
        Chain(single)
