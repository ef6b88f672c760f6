"""The map as a kernel: Euler's numbers, weights without variance, folds, works across rooms."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from pushforward import simulate
from pushforward._errors import InputError, NonFinite
from pushforward._tree import scalar
from pushforward.drivers import Keep, OfState
from pushforward.dynamics import (
    Euler,
    FlowMapKernel,
    Transport,
    compose,
    march,
)
from pushforward.estimators import AbstractResampling, Systematic, signed_log_z, signed_mean
from pushforward.flows import (
    FixedPoint,
    GaussianFlowMap,
    MapBijection,
    ProductFlowMap,
    QuantileFlowMap,
    with_log_det,
)
from pushforward.mcmc import FlowBridge
from pushforward.networks import FlowMap, TiedFlowMap, TwoTimeMLP
from pushforward.paths import Annealing, Linear, ParameterPath, uniform_times
from pushforward.spaces import Euclidean
from pushforward.targets import DoubleWell, Energy, Mixture, Normal, energy_terms

KEY = jax.random.key(0)
GAUSSIAN = GaussianFlowMap(Linear(), 1.7, 0.4)
EULER_W2 = {
    1: 0.4,
    2: 0.2620689655172413,
    4: 0.14024255679447833,
    8: 0.07488661116095502,
    16: 0.039050142792904585,
}


def untrained(drift, dim, both_ways=True):
    """Return a map tied to a drift, its network zero: Euler's method."""
    return TiedFlowMap(drift, TwoTimeMLP(dim, width=4, key=KEY), both_ways)


def test_the_untrained_tied_map_is_eulers_method():
    """Both ends are normal and Euler's map affine, x ↦ a x + c: W2² = (c − m)² + (a − s1)²."""
    kernel = FlowMapKernel(untrained(GAUSSIAN.drift, 1))

    @eqx.filter_jit
    def ends(times):
        def one(x):
            return march(kernel, kernel.init(x, times[0], key=KEY), times, key=KEY)[0].x[0]

        return jax.vmap(one)(jnp.array([[0.0], [1.0]]))

    for steps, expected in EULER_W2.items():
        low, high = ends(uniform_times(steps))
        w2 = np.hypot(low - 1.7, high - low - 0.4)
        np.testing.assert_allclose(w2, expected, rtol=0, atol=1e-14)


def test_the_untrained_map_is_the_identity():
    kernel = FlowMapKernel(FlowMap(TwoTimeMLP(2, key=KEY)), Annealing(Normal(2), DoubleWell(2)))
    x = jax.random.normal(KEY, (50, 2))
    samples = simulate(kernel, x, times=uniform_times(3), key=KEY)
    np.testing.assert_array_equal(samples.x, x)
    work = jax.vmap(kernel.path.base)(x) - jax.vmap(kernel.path.target)(x)
    np.testing.assert_allclose(samples.log_weight, work, rtol=0, atol=1e-12)


# ------------------------------------------------------------------ weights without variance


PARTS = [([0.3, 0.7], [1.0, -1.0], 0.25), ([0.1, 0.9], [2.0, 0.5], 0.5)]
PRODUCT = ProductFlowMap.of([QuantileFlowMap(Linear(), *PARTS[k % 2]) for k in range(4)])


def gaussian_law(t):
    return Normal(3, t * 1.7, jnp.sqrt((1 - t) ** 2 + (0.4 * t) ** 2))


def product_law(t):
    def energy(x):
        return -jnp.sum(eqx.filter_vmap(lambda m, v: m.log_density(t, v))(PRODUCT.maps, x))

    return Energy(energy, Euclidean(4))


class Always(AbstractResampling):
    """Resample at every step, whatever the weights."""

    threshold: jax.Array

    def points(self, n, dtype, *, key):
        return Systematic().points(n, dtype, key=key)


CASES = {
    "Gaussian": (GAUSSIAN, gaussian_law, Normal(3)),
    "product": (PRODUCT, product_law, Normal(4)),
}


@functools.cache
def weighted(name, steps, resample):
    flow, law, base = CASES[name]
    kernel = FlowMapKernel(flow, ParameterPath(law, lambda t: t, base))
    options = {"resample": Always(scalar(2.0)), "populations": 4} if resample else {}
    return simulate(kernel, 400, times=uniform_times(steps), key=KEY, **options)


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize(("steps", "resample"), [(1, False), (3, False), (3, True)])
def test_weights_of_exact_maps_are_constant(name, steps, resample):
    samples = weighted(name, steps, resample)
    assert np.abs(samples.log_weight).max() < 1e-9
    assert abs(samples.ess - 1) < 1e-9
    assert abs(samples.log_z.value) < 1e-9
    if resample:
        assert samples.record["resampled"].sum() == 4 * (steps - 1)


@pytest.mark.parametrize("name", CASES)
def test_dropped_or_flipped_determinants_are_seen(name):
    """Twins: log w without log|det|, or with its sign flipped, is neither constant nor zero."""
    flow, _, base = CASES[name]
    x = jax.vmap(lambda k: base.sample(key=k))(jax.random.split(KEY, 400))
    zero, one = jnp.zeros(()), jnp.ones(())
    log_det = jax.jit(jax.vmap(lambda v: with_log_det(lambda u: flow(zero, one, u), v)[1]))(x)
    log_weight = weighted(name, 1, False).log_weight
    for twin in (log_weight - log_det, log_weight - 2 * log_det):
        assert abs(jnp.mean(twin)) > 0.5
    if name == "Gaussian":  # the determinant is one number: only log Z sees that it is missing
        np.testing.assert_allclose(log_det, 3 * np.log(0.4), rtol=0, atol=1e-13)
    else:
        assert jnp.std(log_weight - log_det) > 0.5


def test_only_the_ends_of_the_path_matter_without_resampling():
    path = Annealing(Normal(3), Normal(3, 1.7, 0.4))
    samples = simulate(FlowMapKernel(GAUSSIAN, path), 50, times=uniform_times(3), key=KEY)
    assert np.abs(samples.log_weight).max() < 1e-12


# ------------------------------------------------------------------------------------- folds


class Folding(eqx.Module):
    """v(x) = 0.9 sin 2x: X_{0,1} folds where cos 2x < −1/1.8."""

    def __call__(self, s, t, x):
        return 0.9 * jnp.sin(2 * x)


FOLDED = Annealing(
    Normal(1),
    Mixture.of([Normal(1, 1.0, 0.5), Normal(1, -1.0, 0.5)], jnp.log(jnp.array([0.3, 0.7]))),
)


def folding(signed=False):
    return FlowMapKernel(FlowMap(Folding()), FOLDED, signed)


def test_compose_refuses_signs():
    kernel = folding(signed=True)
    for one in (kernel, kernel.reversed()):
        with pytest.raises(InputError, match="would lose the signs"):
            compose(one)
    compose(folding())


def test_folds_in_numbers():
    """By quadrature over the base: the signed weights are exact, those with |det| are not."""
    kernel = folding(signed=True)
    x, width = np.linspace(-9, 9, 360_001, retstep=True)

    @jax.jit
    @jax.vmap
    def moved(x):
        state, info = kernel.step(
            kernel.init(x, jnp.zeros(()), key=KEY), jnp.zeros(()), jnp.ones(()), key=KEY
        )
        return state.x[0], state.log_weight.value, state.memory, info.folded

    y, log_weight, sign, folded = (np.asarray(a) for a in moved(jnp.asarray(x)[:, None]))
    mass = norm.pdf(x) * width
    w = mass * np.exp(log_weight)
    np.testing.assert_allclose((sign * w).sum(), 1, rtol=0, atol=1e-8)
    np.testing.assert_allclose(w.sum(), 1.4332402681, rtol=0, atol=1e-8)
    np.testing.assert_allclose((sign * w * y).sum(), -0.4, rtol=0, atol=1e-8)
    np.testing.assert_allclose((w * y).sum() / w.sum(), -0.46324986, rtol=0, atol=1e-8)
    np.testing.assert_allclose((mass * folded).sum(), 0.24096640, rtol=0, atol=2 * width)


def test_refused_folds_name_their_share():
    with pytest.raises(NonFinite, match=r"of 200 particles failed.*the map folds"):
        simulate(folding(), 200, times=[0.0, 1.0], key=KEY)


def test_signed_estimates_of_samples():
    keep = Keep(1, OfState(lambda s: {"x": s.x, "sign": s.memory}))
    samples = simulate(folding(signed=True), 20_000, times=[0.0, 1.0], keep=keep, key=KEY)
    sign = jnp.asarray(samples.draws["sign"][-1])
    assert abs(samples.record["info.folded"][-1] - 0.2409664) < 4 * np.sqrt(0.183 / 20_000)
    log_z, error = signed_log_z(samples.log_weight, sign)
    assert abs(log_z) < 4 * error
    mean, error = signed_mean(samples.x, samples.log_weight, sign)
    assert abs(mean[0] + 0.4) < 4 * error[0]
    # Twin: with |det| both are wrong, and their error bars do not say so.
    assert samples.log_z.value > np.log(1.4332) - 0.05
    assert abs(samples.mean().value[0] + 0.4) > 4 * samples.mean().error[0]


# ----------------------------------------------------------------------- works across rooms


class Swirl(eqx.Module):
    """A drift with no symmetry, as a process (t, x, g) and as a map (t, x) call it."""

    def __call__(self, t, x, g=None, **_):
        return 0.6 * jnp.sin(x[::-1] + t) - 0.3 * x


PATH = Annealing(Normal(2, scale=1.5), DoubleWell(2))
T, T_NEXT = jnp.array(0.3), jnp.array(0.55)
X = jnp.array([0.7, -1.2])


@eqx.filter_jit
def step(kernel, x, t, t_next):
    state, info = kernel.step(kernel.init(x, t, key=KEY), t, t_next, key=KEY)
    return state.x, state.log_weight.value, info


def test_flow_map_transport_and_flow_bridge_report_one_work():
    """The same bijection through three rooms: X of the untrained tied map is Euler's step."""
    flow = untrained(Swirl(), 2)
    y, log_weight, _ = step(FlowMapKernel(flow, PATH), X, T, T_NEXT)
    again, transported, _ = step(Transport(PATH, Swirl(), Euler()), X, T, T_NEXT)
    np.testing.assert_allclose(again, y, rtol=0, atol=1e-15)
    np.testing.assert_allclose(transported, log_weight, rtol=0, atol=1e-14)

    bridge = FlowBridge(MapBijection(flow, T, T_NEXT))
    lower, upper = PATH.at(T), PATH.at(T_NEXT)
    there = bridge.forward(lower, upper, X, energy_terms(lower, X), key=KEY)
    back = bridge.backward(lower, upper, there.x, there.energy, key=KEY)
    np.testing.assert_allclose(there.work, -log_weight, rtol=0, atol=1e-14)
    np.testing.assert_allclose(back.work, log_weight, rtol=0, atol=1e-12)
    assert abs(log_weight) > 0.01


@pytest.mark.parametrize("search", [None, FixedPoint()])
def test_the_reversal_is_the_inverse_and_not_the_backward_map(search):
    options = {} if search is None else {"search": search}
    kernel = FlowMapKernel(untrained(Swirl(), 2), PATH, **options)
    y, there, _ = step(kernel, X, T, T_NEXT)
    x, back, info = step(kernel.reversed(), y, T_NEXT, T)
    np.testing.assert_allclose(x, X, rtol=0, atol=1e-12)
    assert abs(there + back) < 1e-12
    assert not info.failed
    assert eqx.tree_equal(kernel.reversed().reversed(), kernel)
    twin, wrong, _ = step(kernel, y, T_NEXT, T)  # Euler backwards
    assert np.abs(twin - X).max() > 1e-3
    assert abs(there + wrong) > 1e-4


def test_encoding_on_a_decreasing_grid_and_back():
    kernel = FlowMapKernel(PRODUCT)
    x = jax.random.normal(KEY, (40, 4))
    data = simulate(kernel, x, times=[0.0, 0.4, 1.0], key=KEY).x
    code = simulate(kernel, data, times=[1.0, 0.7, 0.0], key=KEY).x
    np.testing.assert_allclose(code, x, rtol=0, atol=1e-10)
    with pytest.raises(InputError, match="no weight"):
        _ = simulate(kernel, x, times=[0.0, 1.0], key=KEY).ess


def test_a_forward_map_refuses_a_decreasing_grid():
    kernel = FlowMapKernel(untrained(Swirl(), 2, both_ways=False))
    x = jax.random.normal(KEY, (8, 2))
    with pytest.raises(NonFinite, match="trained on s <= t only"):
        simulate(kernel, x, times=[1.0, 0.0], key=KEY)
    assert simulate(kernel.reversed(), x, times=[1.0, 0.5], key=KEY).x.shape == (8, 2)


def test_an_inverse_that_is_not_found_stops_with_its_last_move():
    class Steep(eqx.Module):
        def __call__(self, s, t, x):
            return 1.5 * jnp.sin(x)

    kernel = FlowMapKernel(FlowMap(Steep()), search=FixedPoint(30))
    with pytest.raises(NonFinite, match=r"inverse was not found \(last move"):
        simulate(kernel.reversed(), jnp.ones((4, 2)), times=[1.0, 0.0], key=KEY)


def test_a_network_is_not_a_map():
    with pytest.raises(InputError, match="FlowMap\\(net\\)"):
        FlowMapKernel(TwoTimeMLP(2, key=KEY))
