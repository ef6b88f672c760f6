"""Geometry of lattices, and links as a manifold: Laplacians with known eigenvalues."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import SU2, SUN, U1, Lattice, LinkSpace

SPACES = {
    "U1": LinkSpace(U1(), Lattice((3, 2))),
    "SU2": LinkSpace(SU2(), Lattice((2, 1))),
    "SU3": LinkSpace(SUN(3), Lattice((2,))),
}


def test_geometry():
    lattice = Lattice((2, 3, 4))
    field = np.arange(24).reshape(2, 3, 4)
    assert (lattice.ndim, lattice.volume) == (3, 24)
    assert lattice.planes == ((0, 1), (0, 2), (1, 2))
    shifted = np.asarray(lattice.shift(jnp.asarray(field[None]), 2))[0]
    for x in np.ndindex(2, 3, 4):
        assert shifted[x] == field[x[0], x[1], (x[2] + 1) % 4]
    np.testing.assert_array_equal(lattice.coordinates[:, 1, 2, 3], [1, 2, 3])
    parity = Lattice((4, 2)).parity
    np.testing.assert_array_equal(parity + np.roll(parity, 1, 0), 1)
    with pytest.raises(InputError, match="extent 3 along 1 is odd"):
        _ = Lattice((4, 3)).parity
    for bad in ((), (2, 2, 2, 2, 2), (4, 0)):
        with pytest.raises(InputError, match="expected 1 to 4 positive extents"):
            Lattice(bad)


@pytest.mark.parametrize("name", SPACES)
def test_links_are_a_manifold(name):
    """Gradient along a direction, div ∇ Re tr U = −C_F Re tr U, Hutchinson without bias."""
    space = SPACES[name]
    n, dim = space.group.n, space.group.dim
    casimir = 1.0 if n == 1 else dim / (2 * n)
    sites = (space.lattice.ndim, *space.lattice.shape)
    weight = jnp.asarray(np.random.default_rng(0).normal(size=sites))

    def f(x):
        return jnp.sum(weight * jax.vmap(space.group.re_trace)(x))

    @jax.jit
    def checks(x, v, keys):
        gradient = lambda y: space.gradient(f, y)  # noqa: E731
        along = jax.jvp(lambda s: f(space.retract(x, s.astype(v.dtype) * v)), (0.0,), (1.0,))[1]
        probes = jax.lax.map(lambda k: space.divergence(gradient, x, key=k), keys)
        return (
            (along, space.inner(gradient(x), v)),
            (space.divergence(gradient, x), -casimir * f(x)),
            probes,
            space.gradient(lambda y: (f(y), y), x, has_aux=True),
        )

    x = space.reference(key=jax.random.key(0))
    v = space.noise(x, key=jax.random.key(1))
    slope, laplacian, probes, (_, aux) = checks(x, v, jax.random.split(jax.random.key(2), 2000))
    np.testing.assert_allclose(*slope, rtol=1e-12)
    np.testing.assert_allclose(*laplacian, rtol=1e-12)
    assert abs(probes.mean() - laplacian[0]) < 4.5 * probes.std() / np.sqrt(2000)
    np.testing.assert_array_equal(aux, x)
    assert x.shape == v.shape == space.shape
    assert space.dim == space.lattice.ndim * space.lattice.volume * dim


def test_check():
    angles, matrices = SPACES["U1"], SPACES["SU3"]
    angles.check(jnp.zeros(angles.shape))
    x = matrices.reference(key=jax.random.key(0))
    matrices.check(x)
    with pytest.raises(InputError, match="expected real angles: write jnp.angle"):
        angles.check(jnp.zeros(angles.shape, complex))
    with pytest.raises(InputError, match="expected complex matrices"):
        matrices.check(jnp.zeros(matrices.shape))
    with pytest.raises(InputError, match="vmap over it"):
        angles.check(jnp.zeros((5, *angles.shape)))
    with pytest.raises(InputError, match=r"expected \(d, \*matrix, \*L\)"):
        matrices.check(jnp.zeros((1, 2, 2, 2), complex))
    with pytest.raises(InputError, match="project first"):
        matrices.check(1.01 * x)
    matrices.check(x * (1 + 1e-6))
    jax.eval_shape(lambda y: matrices.check(y) or y, x)  # a traced field is not looked into


def test_one_trace_whatever_the_numbers():
    traces = []

    @eqx.filter_jit
    def f(space, x):
        traces.append(0)
        return space.project(x)

    for seed in range(2):
        f(LinkSpace(SU2(), Lattice((2, 1))), SPACES["SU2"].reference(key=jax.random.key(seed)))
    assert len(traces) == 1
