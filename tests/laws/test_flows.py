"""Laws of bijections and of flows.

0. A bijection's inverse undoes it, with the opposite log-determinant, that of its Jacobian: maps of
   a space, and constraints from R^n. An energy pushed by it and moved back is the energy.
1. A flow's sample comes with the log-density that its inverse finds; `sample` is that sample.
2. log q is a scalar of the sample's precision, and −U.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward.flows import (
    AbstractBijection,
    AbstractFlow,
    FromFlowjax,
    GaussianFlowMap,
    Invert,
    MapBijection,
    MatchedConditional,
    MultiscaleFlow,
    Pushforward,
    ResidualLayer,
    residual_flow,
    spline_couplings,
)
from pushforward.paths import Linear
from pushforward.recipes import multiscale
from pushforward.spaces import U1, Lattice, LinkSpace
from pushforward.targets import (
    Bounded,
    LowerTriangular,
    Normal,
    Parameters,
    Positive,
    Real,
    Simplex,
    Transformed,
)

KEY = jax.random.key(0)


class Shear(AbstractBijection):
    """y = (x_0, e^{x_0} x_1)."""

    def forward(self, x):
        return jnp.stack([x[0], jnp.exp(x[0]) * x[1]]), x[0]

    def inverse(self, y):
        return jnp.stack([y[0], jnp.exp(-y[0]) * y[1]]), -y[0]


FLOWS = {
    "Pushforward": lambda: Pushforward(Normal(2, 0.3, 1.2), Shear()),
    "MultiscaleFlow": lambda: multiscale((2, 2), 2.0, U1(), MatchedConditional),
}


def _residual():
    space = LinkSpace(U1(), Lattice((2, 4)))
    return space, jnp.array([0.8, -0.4])


def _residual_layer():
    space, c = _residual()
    return ResidualLayer(space.lattice.direction_parity(1, 0), c, space)


def _residual_chain():
    space, c = _residual()
    chain = residual_flow(space, sweeps=1)
    return eqx.tree_at(lambda f: f.layers.coefficients, chain, jnp.stack([c] * 4))


BIJECTIONS = {
    "Shear": (Shear, (2,)),
    "Invert": (lambda: Invert(Shear()), (2,)),
    "FromFlowjax": (lambda: spline_couplings(3, layers=1, width=4, key=KEY), (3,)),
    "FromFlowjax, affine": (lambda: FromFlowjax(_affine()), (2,)),
    "MapBijection": (lambda: MapBijection(GaussianFlowMap(Linear(), 1.5, 0.4)), (2,)),
    "ResidualLayer": (_residual_layer, (2, 2, 4)),
    "Chain": (_residual_chain, (2, 2, 4)),
}


def _affine():
    flowjax = pytest.importorskip("flowjax")
    return flowjax.bijections.Affine(jnp.ones(2), jnp.array([0.5, 3.0]))


@pytest.mark.parametrize("name", BIJECTIONS)
def test_bijections(name):
    with jax.numpy_dtype_promotion("standard"):  # flowjax mixes dtypes
        make, shape = BIJECTIONS[name]
        f, x = make(), jax.random.normal(jax.random.fold_in(KEY, 3), shape)
        base = Normal(shape, 0.5, 2.0)

        @jax.jit
        def there_and_back(x):
            y, log_det = f.forward(x)
            same = Transformed(Pushforward(base, f), f)(x)
            return y, log_det, *f.inverse(y), jax.jacfwd(lambda v: f.forward(v)[0])(x), same

        y, log_det, back, opposite, jacobian, same = there_and_back(x)
    assert (y.shape, log_det.shape) == (x.shape, ())
    jacobian = np.asarray(jacobian).reshape(x.size, x.size)
    assert float(log_det) == pytest.approx(np.linalg.slogdet(jacobian)[1], abs=1e-10)
    assert float(opposite) == pytest.approx(-float(log_det), abs=1e-10)
    np.testing.assert_allclose(back, x, atol=1e-10)
    assert float(same) == pytest.approx(float(base(x)), abs=1e-9)


CONSTRAINTS = {
    "Real": lambda: Real((2, 3)),
    "Positive": lambda: Positive(3),
    "Positive number": Positive,
    "Bounded": lambda: Bounded(-1.0, 4.0, (2, 2)),
    "Bounded arrays": lambda: Bounded(jnp.array([0.0, -3.0]), jnp.array([1.0, 5.0]), 2),
    "Simplex": lambda: Simplex(5),
    "Simplex 2": lambda: Simplex(2),
    "LowerTriangular": lambda: LowerTriangular(3),
    "Parameters": lambda: Parameters(
        {"tau": Positive(), "inner": Parameters({"w": Simplex(3), "x": Real()}), "a": Bounded(0, 1)}
    ),
}


def _coordinates(name, y):
    """Return the entries of y with respect to which its determinant is defined."""
    if name.startswith("Simplex"):
        return y[:-1]
    if name == "LowerTriangular":
        return y[np.tril_indices(3)]
    if name == "Parameters":
        parts = [y["tau"][None], y["inner"]["w"][:-1], y["inner"]["x"][None], y["a"][None]]
        return jnp.concatenate(parts)
    return y.ravel()


@pytest.mark.parametrize("name", CONSTRAINTS)
@pytest.mark.parametrize("scale", [1.0, 6.0])
def test_constraints(name, scale):
    constraint = CONSTRAINTS[name]()
    x = scale * jax.random.normal(jax.random.key(4), (constraint.dim,))
    y, log_det = constraint.forward(x)
    back, opposite = constraint.inverse(y)
    np.testing.assert_allclose(back, x, rtol=0, atol=1e-8)
    np.testing.assert_allclose(opposite, -log_det, atol=1e-7)
    if scale == 1:
        jacobian = jax.jacobian(lambda u: _coordinates(name, constraint.forward(u)[0]))(x)
        assert jacobian.shape == (constraint.dim, constraint.dim)
        exact = jnp.linalg.slogdet(jacobian)[1]
        np.testing.assert_allclose(log_det, exact, rtol=1e-12, atol=1e-13)


@pytest.mark.parametrize("name", FLOWS)
def test_samples_come_with_their_density(name):
    flow = FLOWS[name]()
    assert isinstance(flow, AbstractFlow)

    @jax.jit
    def both(key):
        x, log_q = flow.sample_with_log_prob(key=key)
        return x, log_q, flow.sample(key=key), flow.log_prob(x), -flow(x)

    x, log_q, same, again, minus = jax.vmap(both)(jax.random.split(KEY, 10))
    assert log_q.shape == (10,)
    assert log_q.dtype == x.dtype
    np.testing.assert_allclose(same, x, atol=1e-12)
    np.testing.assert_allclose(again, log_q, atol=1e-10)
    np.testing.assert_allclose(minus, again, atol=1e-13)
    assert np.std(log_q) > 1e-3


def test_members():
    assert isinstance(FLOWS["MultiscaleFlow"](), MultiscaleFlow)
