"""Laws of every two-time map: one dictionary of all members, the same questions to each.

1. X_{s,s} = id, bit for bit.
2. The tangent at s = t is the drift: ∂_t X_{s,t} = b_t and ∂_s X_{s,t} = −b_s there.
3. X_{s,t}(x) = x + (t − s) v_{s,t}(x), and v_{t,t} = b_t, in both orders of the times.
4. One sample in, one out, of its shape and dtype, in double and in single precision; one trace.
5. Exact maps have no Lagrangian, Eulerian or semigroup defect, in either order of the times, and
   the backward map is the inverse.
6. Times are single numbers in [0, 1], of single precision at least.
7. No public map is missing from the dictionary.
"""

import inspect

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward.flows as flows
import pushforward.networks as networks
from pushforward._errors import InputError
from pushforward.dynamics import (
    end_tangent,
    eulerian_defect,
    lagrangian_defect,
    semigroup_defect,
    start_tangent,
)
from pushforward.flows import GaussianFlowMap, ProductFlowMap, QuantileFlowMap
from pushforward.networks import AbstractFlowMap, FlowMap, TiedFlowMap, TwoTimeMLP
from pushforward.paths import Linear, Trigonometric


class Swirl(eqx.Module):
    """A drift with no symmetry."""

    strength: jax.Array

    def __call__(self, t, x, **_):
        return self.strength * jnp.sin(jnp.roll(x, 1) + t) - 0.2 * x


def net(seed=0):
    """Return a two-time network whose last layer is not zero."""
    zero = TwoTimeMLP(3, width=16, scale=2.0, key=jax.random.key(seed))
    last = 0.3 * jax.random.normal(jax.random.key(seed + 1), zero.mlp.layers[-1].weight.shape)
    return eqx.tree_at(lambda n: n.mlp.layers[-1].weight, zero, last)


def line(path, weight=0.3):
    """Return an asymmetric map of one number."""
    return QuantileFlowMap(path, [weight, 1 - weight], [1.0, -1.0], [0.25, 0.4])


MAPS = {
    "FlowMap": lambda: FlowMap(net(), both_ways=True),
    "FlowMap, untrained": lambda: FlowMap(TwoTimeMLP(3, key=jax.random.key(0))),
    "TiedFlowMap": lambda: TiedFlowMap(Swirl(jnp.array(0.7)), net()),
    "GaussianFlowMap": lambda: GaussianFlowMap(Linear(), jnp.array([1.7, -0.6, 0.2]), 0.4),
    "GaussianFlowMap, trigonometric": lambda: GaussianFlowMap(
        Trigonometric(1.5), -0.7, jnp.array([0.4, 2.0, 1.0])
    ),
    "QuantileFlowMap": lambda: line(Linear()),
    "QuantileFlowMap, trigonometric": lambda: line(Trigonometric(2.0)),
    "ProductFlowMap": lambda: ProductFlowMap.of([line(Linear(), w) for w in (0.2, 0.5, 0.9)]),
}
EXACT = [name for name in MAPS if not name.startswith(("FlowMap", "Tied"))]
TIMES = [(0.3, 0.85), (0.85, 0.3), (0.0, 1.0), (1.0, 0.0)]


def point(flow, dtype=jnp.float64):
    x = jnp.array([0.77, -0.4, 1.3], dtype)
    return x[0] if isinstance(flow, QuantileFlowMap) else x


@pytest.fixture(params=MAPS)
def flow(request):
    return MAPS[request.param]()


@eqx.filter_jit
def facts(flow, s, t, x):
    """Return all that the laws compare, from one trace."""
    return {
        "same": flow(s, s, x),
        "map": flow(s, t, x),
        "velocity": flow.velocity(s, t, x),
        "diagonal": flow.velocity(s, s, x),
        "drift": flow.drift(s, x),
        "end": end_tangent(flow, s, s, x)[1],
        "start": start_tangent(flow, s, s, x, jnp.zeros_like(x))[1],
    }


@eqx.filter_jit
def defects(flow, s, t, x):
    u = 0.3 * s + 0.7 * t
    return {
        "Lagrangian": lagrangian_defect(flow, s, t, x),
        "Eulerian": eulerian_defect(flow, s, t, x),
        "semigroup": semigroup_defect(flow, s, u, t, x),
        "inverse": flow(t, s, flow(s, t, x)) - x,
    }


def arrays(*times, dtype=jnp.float64):
    return [jnp.asarray(t, dtype) for t in times]


def test_identity_tangent_and_velocity(flow):
    x = point(flow)
    for s, t in TIMES:
        got = facts(flow, *arrays(s, t), x)
        np.testing.assert_array_equal(got["same"], x)
        for name, sign in (("diagonal", 1), ("end", 1), ("start", -1)):
            np.testing.assert_allclose(sign * got[name], got["drift"], rtol=0, atol=1e-12)
        np.testing.assert_allclose(
            got["map"], x + (t - s) * got["velocity"], rtol=0, atol=1e-14 * (1 + np.abs(x).max())
        )


def cast(tree, dtype):
    return jax.tree.map(lambda a: a.astype(dtype) if eqx.is_inexact_array(a) else a, tree)


@pytest.mark.parametrize("name", MAPS)
def test_shapes_and_dtypes(name):
    for dtype in (jnp.float64, jnp.float32):
        flow = cast(MAPS[name](), dtype)
        x = point(flow, dtype)
        out = eqx.filter_eval_shape(facts, flow, *arrays(0.2, 0.6, dtype=dtype), x)
        assert {(leaf.shape, leaf.dtype) for leaf in out.values()} == {(x.shape, jnp.dtype(dtype))}


def test_one_trace(flow):
    traces = 0

    @eqx.filter_jit
    def moved(flow, s, t, x):
        nonlocal traces
        traces += 1
        return flow(s, t, x)

    for k, (s, t) in enumerate(TIMES):
        scaled = jax.tree.map(lambda a, k=k: a * (1 + k) if eqx.is_inexact_array(a) else a, flow)
        moved(scaled, *arrays(s, t), point(flow))
    assert traces == 1


@pytest.mark.parametrize("name", EXACT)
def test_exact_maps_have_no_defect(name):
    flow = MAPS[name]()
    random = np.random.default_rng(0).random((6, 2))
    for s, t in [*TIMES, *random]:
        for what, value in defects(flow, *arrays(s, t), point(flow)).items():
            tolerance = 1e-12 if "Gauss" in name else 1e-11
            assert np.abs(value).max() < tolerance, (what, s, t)


@pytest.mark.parametrize("name", ["FlowMap", "TiedFlowMap"])
def test_other_maps_have_defects(name):
    flow = MAPS[name]()
    for what, value in defects(flow, *arrays(0.3, 0.85), point(flow)).items():
        assert np.abs(value).max() > 1e-3, what


def test_a_discontinuous_velocity_hides_from_the_semigroup():
    """v = b on the diagonal and 0 off it: no semigroup defect, all of a Lagrangian one."""

    class Degenerate(eqx.Module):
        def __call__(self, s, t, x):
            return jnp.where(s == t, Swirl(jnp.array(0.7))(t, x), jnp.zeros_like(x))

    flow, x = FlowMap(Degenerate()), jnp.array([0.77, -0.4, 1.3])
    got = defects(flow, *arrays(0.3, 0.85), x)
    np.testing.assert_array_equal(got["semigroup"], 0.0)
    size = np.linalg.norm(flow.drift(jnp.array(0.85), x))
    assert np.linalg.norm(got["Lagrangian"]) > 0.5 * size


def test_bad_times_and_drifts():
    flow = MAPS["FlowMap"]()
    x = point(flow)
    with pytest.raises(InputError, match="vmap"):
        flow(jnp.zeros(4), 1.0, x)
    with pytest.raises(InputError, match="outside"):
        flow(0.0, 1.5, x)
    with pytest.raises(InputError, match="half precision"):
        flow(jnp.zeros((), jnp.bfloat16), 1.0, x)
    with pytest.raises(InputError, match="one velocity like x"):
        TiedFlowMap(lambda t, x: x[0], net())(0.0, 1.0, x)
    with pytest.raises(InputError, match="ProductFlowMap"):
        line(Linear())(0.0, 1.0, x)
    with pytest.raises(InputError, match="expected \\(k,\\)"):
        QuantileFlowMap(Linear(), [0.3, 0.7], [1.0], 0.25)
    with pytest.raises(InputError, match="positive"):
        GaussianFlowMap(Linear(), 0.0, -1.0)
    with pytest.raises(InputError, match="cannot stack"):
        ProductFlowMap.of([line(Linear()), GaussianFlowMap(Linear(), 0.0, 1.0)])


def test_no_public_map_is_missing():
    public = {
        cls
        for room in (networks, flows)
        for _, cls in inspect.getmembers(room, inspect.isclass)
        if issubclass(cls, AbstractFlowMap) and not inspect.isabstract(cls)
    }
    assert public == {type(make()) for make in MAPS.values()}
