"""A `Power` of a space is the product of its copies: every law of the factor, copy by copy.

Gradient and divergence are those of each copy with the others held; the rest acts row by row.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import SU2, U1, Euclidean, Lattice, LinkSpace, Power

FACTORS = [Euclidean(2), LinkSpace(U1(), Lattice((2, 2))), LinkSpace(SU2(), Lattice((2, 2)))]
KEY = jax.random.key(0)


def coupled(x):
    """Couple the copies."""
    return jnp.sum(jnp.real(x[0] * jnp.conj(x[1] * x[2]))) + jnp.sum(jnp.real(x[0]) ** 2)


@pytest.mark.parametrize("factor", FACTORS, ids=lambda f: type(getattr(f, "group", f)).__name__)
def test_the_product_of_three_copies(factor):
    space = Power(factor, 3)
    x = space.reference(key=KEY)
    space.check(x)
    assert x.shape == space.shape
    v = space.noise(x, key=jax.random.key(1))
    assert float(jnp.max(jnp.abs(v[0] - v[1]))) > 0.1  # copies draw their own
    moved = space.retract(x, v)
    for k in range(3):
        np.testing.assert_allclose(moved[k], factor.retract(x[k], v[k]), atol=1e-14)
    rows = sum(factor.inner(v[k], v[k]) for k in range(3))
    np.testing.assert_allclose(space.inner(v, v), rows, rtol=1e-14)

    # The gradient is the derivative along every tangent vector.
    gradient, seen = jax.jit(
        lambda y: space.gradient(lambda z: (coupled(z), z[2]), y, has_aux=True)
    )(x)
    np.testing.assert_array_equal(seen, x[2])
    h = 1e-5
    along = (coupled(space.retract(x, h * v)) - coupled(space.retract(x, -h * v))) / (2 * h)
    np.testing.assert_allclose(space.inner(gradient, v), along, rtol=1e-6)

    # Divergence: exact, and its probe in the mean.
    def field(y):
        return space.gradient(coupled, y)

    exact = jax.jit(lambda y: space.divergence(field, y))(x)
    keys = jax.random.split(jax.random.key(2), 400)
    probes = np.asarray(jax.jit(jax.vmap(lambda k: space.divergence(field, x, key=k)))(keys))
    assert abs(probes.mean() - exact) < 4 * probes.std() / 20 + 1e-10


def test_bad_input():
    with pytest.raises(InputError, match="num is 0"):
        Power(Euclidean(2), 0)
    with pytest.raises(InputError, match="ONE sample of 3 copies"):
        Power(Euclidean(2), 3).check(jnp.zeros((2, 2)))
