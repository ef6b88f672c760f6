"""Coarse-to-fine flows: the exact conditional has constant weights, the matched one a known ESS."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import ess, mean_plaquette, topological_charge
from pushforward.flows import (
    CharacterConditional,
    DoublingLayer,
    MatchedConditional,
    MultiscaleFlow,
    matched_coupling,
)
from pushforward.recipes import multiscale
from pushforward.spaces import SU2, SUN, U1, Lattice
from pushforward.targets import (
    CharacterAction,
    Haar,
    Normal,
    OnePlaquette,
    WilsonAction,
    log_character_weight,
    plaquette_traces,
)
from pushforward.targets.characters import log_partition, log_ratios
from pushforward.targets.exact import gauge2d

KEY = jax.random.key(0)


@eqx.filter_jit
def drawn(flow, action, keys):
    """Return fields, their log q, log q by the inverse, and log weights."""

    def one(key):
        x, log_q = flow.sample_with_log_prob(key=key)
        return x, log_q, flow.log_prob(x), -action(x) - log_q

    return jax.vmap(one)(keys)


@eqx.filter_jit
def weighed(flow, action, keys):
    """Return log weights of Haar draws."""

    def one(key):
        x = flow.space.reference(key=key)
        return -action(x) - flow.log_prob(x)

    return jax.vmap(one)(keys)


def parts(shape, beta, group, conditional=CharacterConditional):
    flow = multiscale(shape, beta, group, conditional)
    return flow, WilsonAction(beta, Lattice(shape), group)


@pytest.mark.parametrize("level", [0, 1, 2])
def test_links_integrate_out(level):
    """∫ w_k(X − A) w_k(C − X) dX = w_{k+1}(C − A), by a sum over 256 points of the circle."""
    beta, arm = jnp.array(5.0), np.linspace(0, 2.8, 8)
    x = 2 * np.pi * np.arange(256) / 256

    def w(k, angle):
        return np.exp(np.asarray(log_character_weight(U1(), beta, k, jnp.cos(jnp.asarray(angle)))))

    found = np.mean(w(level, x) * w(level, arm[:, None] - x), axis=1)
    np.testing.assert_allclose(found, w(level + 1, arm), rtol=1e-10)
    assert np.abs(found / w(level, arm) - 1).max() > 0.1  # twin: the level itself


@pytest.mark.parametrize("group", [U1(), SU2()])
def test_two_levels_in_closed_form_are_their_series(group):
    beta, t = jnp.array(2.0), jnp.linspace(-1, 1, 9)
    r = np.exp(np.asarray(log_ratios(group, beta)))
    theta = np.arccos(np.clip(np.asarray(t), -1 + 1e-13, 1 - 1e-13))
    n = np.arange(1, len(r) + 1)[:, None] + (group.n == 2)
    for level in (0, 1):
        chi = 2 * np.cos(n * theta) if group.n == 1 else n * np.sin(n * theta) / np.sin(theta)
        series = 1 + (r[:, None] ** 2**level * chi).sum(0)
        np.testing.assert_allclose(
            log_character_weight(group, beta, level, t), np.log(series), atol=1e-6
        )


@pytest.mark.parametrize("group", [U1(), SU2()])
def test_partition_sum(group):
    for beta, volume in ((4.0, 16), (2.0, 4)):
        exact = gauge2d(group, beta, volume)
        found = log_partition(group, jnp.array(beta), 0, volume) + volume * exact.log_scale
        assert float(found) == pytest.approx(exact.log_z, rel=1e-13)


@pytest.mark.parametrize(
    ("shape", "beta", "log_z"),
    [((4, 4), 4.0, 25.362682238276), ((2, 2), 4.0, None), ((4, 1), 4.0, None)],
)
def test_su2_has_constant_weights_on_haar_draws(shape, beta, log_z):
    flow, action = parts(shape, beta, SU2())
    log_w = weighed(flow, action, jax.random.split(KEY, 50))
    exact = gauge2d(SU2(), beta, shape[0] * shape[1]).log_z
    assert log_z is None or exact == pytest.approx(log_z, abs=1e-11)
    assert float(jnp.std(log_w)) <= 1e-12
    assert float(jnp.mean(log_w)) == pytest.approx(exact, abs=1e-11)


def test_a_wrong_level_is_seen():
    """Twin: w_{k+1} in the place of w_k; the normalised density of another theory."""
    flow, action = parts((2, 2), 4.0, SU2(), lambda b, k, g: CharacterConditional(b, k + 1, g))
    assert float(jnp.std(weighed(flow, action, jax.random.split(KEY, 50)))) > 0.1


def exact_run(shape, beta, num):
    flow, action = parts(shape, beta, U1())
    x, log_q, again, log_w = drawn(flow, action, jax.random.split(KEY, num))
    exact = gauge2d(U1(), beta, shape[0] * shape[1])
    assert float(jnp.std(log_w)) < 1e-9
    assert float(jnp.mean(log_w)) == pytest.approx(exact.log_z, abs=1e-8)
    np.testing.assert_allclose(again, log_q, atol=1e-10)
    assert float(jnp.abs(x).max()) <= np.pi
    charge = np.asarray(jax.vmap(lambda x: topological_charge(flow.space, x))(x))
    np.testing.assert_allclose(charge, np.rint(charge), atol=1e-6)
    plaquette = np.asarray(jax.vmap(lambda x: mean_plaquette(flow.space, x))(x))
    for values, wanted in ((plaquette, exact.plaquette), (charge**2, exact.q2)):
        assert abs(values.mean() - wanted) < 4 * values.std() / num**0.5
    return flow, x


def test_u1_has_constant_weights_and_the_exact_moments():
    flow, x = exact_run((4, 4), 3.0, 2000)
    # The same at every level: the flow stopped there is the theory coarse-grained to it.
    for k, (field, log_q) in enumerate(flow.levels(x[0])):
        target = CharacterAction(3.0, k, Lattice(field.shape[-2:]), U1())
        wanted = log_partition(U1(), jnp.array(3.0), 0, 16)
        assert float(-target(field) - log_q) == pytest.approx(float(wanted), abs=1e-11)


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "beta"), [((8, 8), 8.0), ((8, 4), 3.0), ((16, 16), 7.0)])
def test_u1_on_larger_lattices(shape, beta):
    exact_run(shape, beta, 2000)


def test_matched_couplings():
    for group in (U1(), SU2()):
        for level in (0, 1, 5):
            b = matched_coupling(group, 6.0, level)
            mean = log_ratios(group, b, 1)[0]
            wanted = 2.0**level * log_ratios(group, jnp.array(6.0), 1)[0]
            assert float(mean) == pytest.approx(float(wanted), abs=1e-11)


@pytest.mark.slow
def test_the_untrained_flow_has_the_known_ess():
    """ESS .610 at L = 8, β = 4 (20,000 draws); with b_k = β at every level below .01."""
    beta, batches = 4.0, 10
    flow, action = parts((8, 8), beta, U1(), MatchedConditional)
    *_, log_w = drawn(flow, action, jax.random.split(KEY, 2000))
    each = np.asarray(jax.vmap(ess)(log_w.reshape(batches, -1)))
    assert abs(each.mean() - 0.610) < 4 * each.std() / batches**0.5 < 0.1
    twin = eqx.tree_at(
        lambda f: [layer.conditional.beta for layer in f.layers], flow, [jnp.array(beta)] * 6
    )
    *_, log_w = drawn(twin, action, jax.random.split(KEY, 2000))
    assert float(ess(log_w)) < 0.01


@pytest.mark.parametrize("axis", [0, 1])
def test_doubling_and_its_inverse(axis):
    layer = DoublingLayer(axis, CharacterConditional(2.0, 0, U1()))
    coarse = jax.random.uniform(KEY, (2, 3, 5), minval=-3.0, maxval=3.0)
    fine, log_q = layer.sample(coarse, key=KEY)
    assert fine.shape == ((2, 6, 5) if axis == 0 else (2, 3, 10))
    back, again = layer.inverse(fine)
    np.testing.assert_allclose(np.exp(1j * back), np.exp(1j * coarse), atol=1e-12)
    assert float(again) == pytest.approx(float(log_q), abs=1e-10)

    # Two fine plaquettes make a coarse one.
    def angles(x):
        space = WilsonAction(1.0, Lattice(x.shape[1:]), U1()).space
        return x[0] + space.lattice.shift(x[1], 0) - space.lattice.shift(x[0], 1) - x[1]

    pairs = angles(fine).reshape((3, 2, 5) if axis == 0 else (3, 5, 2)).sum(1 + axis)
    np.testing.assert_allclose(np.exp(1j * pairs), np.exp(1j * angles(coarse)), atol=1e-12)


def test_one_site_of_su2():
    """Its mass is one, and Haar is wrong there: the commutator is not free."""
    law = OnePlaquette(3.0, 1, SU2())
    x = jax.vmap(lambda k: law.space.reference(key=k))(jax.random.split(KEY, 4000))
    p = np.exp(np.asarray(jax.jit(jax.vmap(law.log_prob))(x)))
    assert abs(p.mean() - 1) < 4 * p.std() / 4000**0.5
    assert p.std() > 0.1
    y = jax.jit(jax.vmap(lambda k: law.sample(key=k)))(jax.random.split(KEY, 4000))
    t, s = (
        np.asarray(jax.vmap(lambda z: plaquette_traces(law.space, z))(a)).ravel() for a in (x, y)
    )
    wanted, error = np.mean(p * t) / p.mean(), np.std(p * t) / 4000**0.5
    assert abs(s.mean() - wanted) < 4 * np.hypot(error, s.std() / 4000**0.5)


def test_what_is_refused():
    with pytest.raises(InputError, match="two powers of two"):
        multiscale((6, 8), 2.0, U1())
    with pytest.raises(InputError, match="0 < beta <= 16"):
        multiscale((2, 2), 40.0, U1())
    with pytest.raises(InputError, match=r"U\(1\) and SU\(2\)"):
        multiscale((2, 2), 2.0, SUN(3))
    with pytest.raises(InputError, match="cannot be drawn yet"):
        multiscale((2, 2), 2.0, SU2()).sample(key=KEY)
    with pytest.raises(InputError, match="expected 0 or 1"):
        DoublingLayer(2, CharacterConditional(2.0, 0, U1()))
    layer = DoublingLayer(0, CharacterConditional(2.0, 0, U1()))
    with pytest.raises(InputError, match="even number"):
        layer.inverse(jnp.zeros((2, 3, 4)))
    with pytest.raises(InputError, match="links of a 2-D lattice"):
        MultiscaleFlow(Normal(2), (layer,))
    with pytest.raises(InputError, match="a layer of"):
        MultiscaleFlow(Haar(WilsonAction(1.0, Lattice((2, 2)), SU2()).space), (layer,))
