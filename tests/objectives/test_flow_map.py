"""Two-time losses: their minima at exact maps, and their gradients against formulas written out."""

import functools

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree

from pushforward._errors import InputError
from pushforward.flows import GaussianFlowMap, QuantileFlowMap
from pushforward.networks import FlowMap, TiedFlowMap, TwoTimeMLP
from pushforward.objectives import (
    FMM,
    LMD,
    LSD,
    PSD,
    CountWeights,
    Diagonal,
    EqualWeights,
    Half,
    StopNothing,
    StopTarget,
    UniformFraction,
    WithDiagonal,
)
from pushforward.paths import Linear, Square, Triangle, Trigonometric
from pushforward.sources import Bundles, IndependentPairs, MapPair, MapPairs, Pair
from pushforward.targets import Mixture, Normal

PATH = Linear()
NUM = 20_000
HALF = jnp.array(0.5)
GAUSSIAN = GaussianFlowMap(PATH, 1.7, 0.4)
MIXTURES = {
    "equal": (QuantileFlowMap(PATH, [0.5, 0.5], [1.0, -1.0], 0.25), 1.3852323353888678),
    "asymmetric": (QuantileFlowMap(PATH, [0.3, 0.7], [1.0, -1.0], 0.25), 1.2519881797543349),
}


def law(flow):
    """Return the data of an exact map of one number."""
    if isinstance(flow, GaussianFlowMap):
        return Normal((), flow.mean, flow.scale)
    parts = [Normal((), m, s) for m, s in zip(flow.means, flow.scales, strict=True)]
    return Mixture.of(parts, jnp.log(flow.weights))


def quadrature(flow, path=PATH):
    """Return ∫ dt E Var(İ_t | I_t) = ∫ dt (E İ² − E b_t²) by Gauss-Legendre and trapezoids."""
    nodes, weights = np.polynomial.legendre.leggauss(40)
    times = jnp.asarray(0.5 * (nodes + 1))
    x, width = np.linspace(-9, 9, 1201, retstep=True)
    one = isinstance(flow, GaussianFlowMap)
    as_mixture = QuantileFlowMap(path, [1.0], [flow.mean], flow.scale) if one else flow
    second = jnp.sum(as_mixture.weights * (as_mixture.means**2 + as_mixture.scales**2))

    @eqx.filter_jit
    @functools.partial(jax.vmap, in_axes=(None, 0))
    def at(flow, t):
        c = path.coefficients(t)
        points = jnp.asarray(x)
        density = jnp.exp(jax.vmap(lambda y: as_mixture.log_density(t, y))(points))
        square = jax.vmap(lambda y: flow.drift(t, y) ** 2)(points)
        return c.dalpha**2 + c.dbeta**2 * second - jnp.sum(density * square) * width

    return float(np.sum(0.5 * weights * at(flow, times)))


@pytest.mark.parametrize("name", ["gaussian", *MIXTURES])
def test_minimum_of_the_diagonal_by_quadrature(name):
    flow, value = MIXTURES.get(name, (GAUSSIAN, 0.6283185307179586))
    np.testing.assert_allclose(quadrature(flow), value, rtol=0, atol=1e-10)


def test_minimum_of_the_diagonal_on_the_trigonometric_path():
    """(π/2)² per dimension for every t at equal widths, centred."""
    path = Trigonometric()
    value = quadrature(GaussianFlowMap(path, 0.0, 1.0), path)
    np.testing.assert_allclose(value, np.pi**2 / 4, rtol=0, atol=1e-10)


@eqx.filter_jit
def losses(flow, truth, key):
    """Return losses of NUM points at a map, their ends those of another; FMM's two terms apart."""
    pairs = IndependentPairs(Normal(()), law(truth))
    on, _, _ = pairs.draw((), flow, NUM, progress=HALF, key=key)
    square, _, _ = MapPairs(pairs, Square()).draw((), flow, NUM, progress=HALF, key=key)
    few = jax.tree.map(lambda a: a[:500], square)

    def each(objective, points):
        return jax.vmap(lambda p: objective(flow, p, key=key)[0])(points)

    parts = jax.vmap(lambda p: FMM(PATH).residual(flow, p, key=key))(square)
    return {
        "diagonal": each(Diagonal(PATH), on),
        "tangent": parts[0] ** 2,
        "return": parts[1] ** 2,
        "teacher": each(Diagonal(PATH, flow.drift), on),
        "LSD": each(LSD(PATH), few),
        "LMD": each(LMD(PATH, flow.drift), few),
        "PSD-U": each(PSD(PATH), few),
        "PSD-M": each(PSD(PATH, Half(), endpoint=True), few),
    }


@pytest.mark.parametrize("name", ["gaussian", *MIXTURES])
def test_losses_at_the_exact_map(name):
    flow, value = MIXTURES.get(name, (GAUSSIAN, 0.6283185307179586))
    got = {k: np.asarray(v) for k, v in losses(flow, flow, jax.random.key(0)).items()}
    for noisy in ("diagonal", "tangent"):
        z = (got[noisy].mean() - value) / (got[noisy].std() / np.sqrt(NUM))
        assert abs(z) < 4, noisy
    for zero in ("return", "teacher", "LSD", "LMD", "PSD-U", "PSD-M"):
        assert got[zero].max() < 1e-20, zero


def test_another_map_is_seen():
    """Twin: the map of wider data has no defect of its own, but both regressions see it."""
    got = losses(GaussianFlowMap(PATH, 1.7, 0.8), GAUSSIAN, jax.random.key(0))
    for noisy in ("diagonal", "tangent"):
        values = np.asarray(got[noisy])
        assert (values.mean() - 0.6283185307179586) / (values.std() / np.sqrt(NUM)) > 6
    assert max(np.max(got["LSD"]), np.max(got["return"])) < 1e-20


# ------------------------------------------------------------------------ gradients, literally


def random_net(seed=0):
    zero = TwoTimeMLP(2, width=16, depth=2, key=jax.random.key(seed))
    last = 0.3 * jax.random.normal(jax.random.key(seed + 1), zero.mlp.layers[-1].weight.shape)
    return eqx.tree_at(lambda n: n.mlp.layers[-1].weight, zero, last)


MODEL = FlowMap(random_net(), both_ways=True)
X0, X1 = jnp.array([0.4, -1.1]), jnp.array([1.5, 0.3])
PAIR = MapPair(jnp.array(0.2), jnp.array(0.9), X0, X1)
KEY = jax.random.key(5)
S, T = PAIR.s, PAIR.t
XS = PATH.state(S, X0, X1, X0)


def drift(t, x, **_):
    return jnp.sin(x[::-1] + t) - 0.3 * x


@functools.cache
def gradient_of(loss):
    value, tree = eqx.filter_jit(eqx.filter_value_and_grad(loss))(MODEL)
    return float(value), np.asarray(ravel_pytree(eqx.filter(tree, eqx.is_inexact_array))[0])


def of(objective):
    """Return value and gradient of an objective at the random net."""
    return gradient_of(lambda model: objective.loss(model, PAIR, key=KEY))


def assert_same(one, other):
    np.testing.assert_allclose(one[0], other[0], rtol=1e-12)
    scale = np.abs(other[1]).max()
    np.testing.assert_allclose(one[1], other[1], rtol=0, atol=1e-12 * scale)


def cosine(one, other):
    return one[1] @ other[1] / np.linalg.norm(one[1]) / np.linalg.norm(other[1])


def tangent(model):
    return jax.jvp(lambda u: model(S, u, XS), (T,), (jnp.ones_like(T),))


def test_psd_m_is_the_target_of_two_half_steps():
    """Written as in shortcut models: two steps of half the length, averaged, are a number."""

    def literal(model):
        middle, d = 0.5 * (S + T), 0.5 * (T - S)
        first = model.net(S, middle, XS)
        second = model.net(middle, T, XS + d * first)
        target = jax.lax.stop_gradient(0.5 * (first + second))
        return jnp.mean((model.net(S, T, XS) - target) ** 2)

    assert_same(of(PSD(PATH, Half())), gradient_of(literal))
    assert cosine(of(PSD(PATH, Half(), StopNothing())), gradient_of(literal)) < 0.9999


def test_psd_composes_at_any_fraction():
    """u = g s + (1 − g) t: the two velocities weigh as long as their steps are."""
    objective = PSD(PATH, UniformFraction())
    g = UniformFraction().sample(T, key=jax.random.fold_in(KEY, 1))
    u = g * S + (1 - g) * T

    def literal(model):
        end = jax.lax.stop_gradient(model(u, T, model(S, u, XS)))
        return jnp.mean(((model(S, T, XS) - end) / (T - S)) ** 2)

    assert_same(of(objective), gradient_of(literal))


def test_endpoint_psd_is_the_velocity_form_times_the_square_of_the_step():
    velocity, end = of(PSD(PATH, Half())), of(PSD(PATH, Half(), endpoint=True))
    assert_same(end, (0.49 * velocity[0], 0.49 * velocity[1]))


def test_lsd_is_lsd_with_a_frozen_copy():
    frozen = jax.tree.map(lambda a: a, MODEL)

    def literal(model):
        y_frozen = frozen(S, T, XS)
        return jnp.mean((tangent(model)[1] - frozen.net(T, T, y_frozen)) ** 2)

    def inner_not_stopped(model):  # twin: v is frozen, the X it is taken at is not
        y, moved = tangent(model)
        return jnp.mean((moved - frozen.net(T, T, y)) ** 2)

    def only_the_velocity(model):  # twin: a JVP of v instead of the whole map
        dv = jax.jvp(lambda u: model.net(S, u, XS), (T,), (jnp.ones_like(T),))[1]
        return jnp.mean(((T - S) * dv - frozen.net(T, T, frozen(S, T, XS))) ** 2)

    assert_same(of(LSD(PATH)), gradient_of(literal))
    for twin in (inner_not_stopped, only_the_velocity):
        assert cosine(of(LSD(PATH)), gradient_of(twin)) < 0.9999
    assert cosine(of(LSD(PATH)), of(LSD(PATH, StopNothing()))) < 0.9999
    assert abs(of(LSD(PATH))[0] - of(LSD(PATH, StopNothing()))[0]) < 1e-14


def test_lmd_takes_the_drift_where_the_map_arrives():
    def literal(model):
        y, moved = tangent(model)
        return jnp.mean((moved - drift(T, y)) ** 2)

    def stopped(model):
        y, moved = tangent(model)
        return jnp.mean((moved - jax.lax.stop_gradient(drift(T, y))) ** 2)

    def at_the_start(model):  # twin: the drift at I_s
        return jnp.mean((tangent(model)[1] - drift(T, XS)) ** 2)

    assert_same(of(LMD(PATH, drift)), gradient_of(literal))
    assert_same(of(LMD(PATH, drift, StopTarget())), gradient_of(stopped))
    assert cosine(of(LMD(PATH, drift)), of(LMD(PATH, drift, StopTarget()))) < 0.9999
    assert abs(of(LMD(PATH, drift))[0] - gradient_of(at_the_start)[0]) > 1e-3


def test_fmm_goes_back_and_forth():
    xt = PATH.state(T, X0, X1, X0)

    def literal(model):
        y = xt + (S - T) * model.net(T, S, xt)
        moved = jax.jvp(lambda u: y + (u - S) * model.net(S, u, y), (T,), (jnp.ones_like(T),))
        return jnp.mean((moved[1] - (X1 - X0)) ** 2) + jnp.mean((moved[0] - xt) ** 2)

    assert_same(of(FMM(PATH)), gradient_of(literal))


@eqx.filter_jit
def bundled(model, key):
    """Return the loss of a bundle in both weightings, and the losses of its points."""
    pairs = IndependentPairs(Normal(2), Normal(2, 1.0, 0.4))
    batch, _, _ = Bundles(pairs, Triangle(), 3, 1).draw((), model, 1, progress=HALF, key=key)
    bundle = jax.tree.map(lambda a: a[0], batch)
    on = jax.vmap(lambda p: Diagonal(PATH)(model, p, key=key)[0])(bundle.diagonal)
    off = jax.vmap(lambda p: LSD(PATH).loss(model, p, key=key))(bundle.off_diagonal)
    ways = (CountWeights(), EqualWeights())
    return (
        [WithDiagonal(Diagonal(PATH), LSD(PATH), w)(model, bundle, key=key) for w in ways],
        on,
        off,
    )


def test_bundles_weigh_points_or_terms():
    (by_count, by_term), on, off = bundled(MODEL, KEY)
    np.testing.assert_allclose(by_count[0], (np.sum(on) + np.sum(off)) / 4, rtol=1e-13)
    np.testing.assert_allclose(by_term[0], np.mean(on) + np.mean(off), rtol=1e-13)
    info = [by_count[1]["diagonal"], by_count[1]["off_diagonal"]]
    np.testing.assert_allclose(info, [np.mean(on), np.mean(off)], rtol=1e-13)


def test_the_diagonal_trains_the_drift_and_a_tied_map_needs_none():
    pair = Pair(T, X0, X1)
    x = PATH.state(T, X0, X1, X0)
    loss = Diagonal(PATH)(MODEL, pair, key=KEY)[0]
    np.testing.assert_allclose(loss, jnp.mean((MODEL.net(T, T, x) - (X1 - X0)) ** 2), rtol=1e-14)
    tied = TiedFlowMap(drift, random_net())
    assert Diagonal(PATH, drift)(tied, pair, key=KEY)[0] == 0
    assert LSD(PATH)(tied, PAIR, key=KEY)[0] > 0
    for objective in (LSD(PATH), PSD(PATH)):
        with pytest.raises(InputError, match="v_tt unconstrained"):
            objective(MODEL, PAIR, key=KEY)


def test_bad_models():
    with pytest.raises(InputError, match="FlowMap\\(net\\)"):
        LMD(PATH, drift)(random_net(), PAIR, key=KEY)
    with pytest.raises(InputError, match="both_ways=True"):
        FMM(PATH)(FlowMap(random_net()), PAIR, key=KEY)
