"""Energies on finite spaces: exact answers, the Ising model by hand, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import Euclidean, Spins, all_states
from pushforward.targets import (
    CRITICAL_COUPLING,
    AbstractFiniteEnergy,
    Energy,
    FiniteEnergy,
    Ising,
    ProductMeasure,
    Uniform,
    from_log_density,
    mix,
    neighbour_sum,
)
from pushforward.targets.exact import (
    enumerate_states,
    kaufman,
    kaufman_energy,
    kaufman_heat_capacity,
    kaufman_log_z,
)


def plain_ising(x, beta, field):
    """Return U by a loop over sites: each site owns the bonds to its right and below."""
    rows, columns = x.shape
    total = 0.0
    for r in range(rows):
        for c in range(columns):
            bonds = x[(r + 1) % rows, c] + x[r, (c + 1) % columns]
            total -= beta * x[r, c] * bonds + field[r, c] * x[r, c]
    return total


@pytest.mark.parametrize("shape", [(3, 4), (2, 2), (2, 5)])
def test_ising_is_the_plain_sum_over_bonds(shape):
    field = np.random.default_rng(1).normal(size=shape)
    x = np.asarray(Spins(shape).reference(key=jax.random.key(2)))
    energy = Ising(shape, 0.37, field)
    np.testing.assert_allclose(energy(jnp.asarray(x)), plain_ising(x, 0.37, field), rtol=1e-13)


TABLE = [  # shape, K, log Z, energy per site, <|m|>
    ((3, 3), 0.4407, 9.020404913671548, -1.6112891355547145, 0.8710872475034687),
    ((3, 5), 0.4407, 14.641514565735234, -1.5476036167634108, 0.8205287295),
    ((4, 4), 0.4407, 15.52224628670664, -1.5656770495330905, 0.843882392517552),
    ((4, 4), 0.2, 11.771470358541581, -0.45613536954284717, 0.3427656275535899),
    ((4, 4), 0.6, 20.0565328843468, -1.9080695278310633, 0.9728674502),
]


def magnetisation(x):
    return jnp.abs(jnp.mean(x))


def bond_energy(x):
    return -0.5 * jnp.mean(x * neighbour_sum(x))


@pytest.mark.parametrize(("shape", "coupling", "log_z", "energy", "m"), TABLE)
def test_kaufman_is_enumeration(shape, coupling, log_z, energy, m):
    ising = Ising(shape, coupling)
    law = enumerate_states(ising)
    assert abs(law.log_z - log_z) < 1e-12
    assert abs(kaufman_log_z(*shape, coupling) - log_z) < 1e-12
    assert abs(kaufman_log_z(*shape[::-1], coupling) - log_z) < 1e-12
    sites = np.prod(shape)
    assert abs(law.mean(bond_energy) - energy) < 1e-12
    assert abs(kaufman_energy(*shape, coupling) - energy) < 1e-12
    assert abs(law.mean(magnetisation) - m) < 1e-10
    u = -np.log(law.probability) - law.log_z
    square = law.probability @ u**2 - (law.probability @ u) ** 2
    assert abs(kaufman_heat_capacity(*shape, coupling) - square / sites) < 1e-11


@pytest.mark.parametrize("coupling", [0.2, 0.6])
def test_a_positive_gamma_zero_is_wrong_below_the_critical_coupling(coupling, monkeypatch):
    exact = kaufman_log_z(3, 5, coupling)
    kaufman._log_z.clear_cache()
    signed = kaufman.signed_gamma_zero
    monkeypatch.setattr(kaufman, "signed_gamma_zero", lambda k: jnp.abs(signed(k)))
    wrong = kaufman_log_z(3, 5, coupling)
    kaufman._log_z.clear_cache()
    if coupling < CRITICAL_COUPLING:
        assert abs(wrong - exact) > 1e-3
    else:
        assert abs(wrong - exact) < 1e-13


@pytest.mark.parametrize(
    ("side", "coupling", "log_z"),
    [
        (8, 0.4407, 60.1430415360358),
        (16, 0.4407, 238.647169418422),
        (128, 0.4407, 15233.0763948165),
        (24, 0.28, 447.604642986456),
        (8, CRITICAL_COUPLING, 60.1417807890692),
    ],
)
def test_kaufman_on_larger_tori(side, coupling, log_z):
    assert abs(kaufman_log_z(side, side, coupling) / log_z - 1) < 1e-12


def test_kaufman_derivatives_on_larger_tori():
    assert abs(kaufman_energy(64, 64, 0.4407) + 1.42408744111) < 1e-10
    assert abs(kaufman_heat_capacity(32, 32, 0.4407) - 1.846466221) < 1e-8


def test_probabilities_follow_the_order_of_the_states():
    space = Spins((2, 2))
    law = enumerate_states(Ising((2, 2), 0.3, 0.2))
    states = all_states(space)
    by_hand = (law.probability[:, None] * np.asarray(states).reshape(16, 4)).sum(0)
    np.testing.assert_allclose(law.mean(lambda x: x).ravel(), by_hand, rtol=1e-13)


def test_a_log_density_on_spins_becomes_a_finite_energy():
    energy = from_log_density(lambda x: jnp.sum(x) ** 2, space=Spins((2, 2)))
    assert isinstance(energy, FiniteEnergy)
    np.testing.assert_allclose(energy.local_differences(jnp.ones((2, 2))), 12.0)
    assert isinstance(mix([energy, Ising((2, 2), 0.1)], jnp.ones(2)), AbstractFiniteEnergy)
    with pytest.raises(InputError, match="NaN|nan"):
        from_log_density(lambda x: jnp.sum(x) * jnp.nan, space=Spins(3))


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: Ising((4, 1), 0.3), "own neighbours"),
        (lambda: Ising(1, 0.3), "own neighbours"),
        (lambda: Ising((4, 4), 0.3, jnp.ones(4)), "field has shape"),
        (lambda: Ising((4, 4), jnp.nan), "finite"),
        (lambda: Uniform(Euclidean(3)), "finite space"),
        (lambda: ProductMeasure(jnp.zeros((3, 4)), Spins((3, 4))), "first axis"),
        (lambda: FiniteEnergy(jnp.sum, Euclidean(3)), "Energy\\(fn, space\\)"),
        (lambda: enumerate_states(Ising((5, 5), 0.3)), "2\\^20"),
        (lambda: enumerate_states(Energy(jnp.sum, Euclidean(3))), "finite space"),
        (lambda: kaufman_log_z(4, 4, -0.1), "K > 0"),
        (lambda: kaufman_log_z(1, 4, 0.1), "extents"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(InputError, match=match):
        make()
