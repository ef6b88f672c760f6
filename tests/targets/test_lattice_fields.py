"""φ⁴ and the free field on the lattice: conventions, symmetries, exact numbers."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.oracles import phi4 as exact

from pushforward._errors import InputError
from pushforward.targets import DoubleWell, FreeField, Phi4, lattice_laplacian
from pushforward.targets.exact import well_log_z, well_mean


def field(shape, seed=0):
    return jax.random.normal(jax.random.key(seed), shape)


@pytest.mark.parametrize("shape", [(5,), (4, 3), (2, 3, 2), (1, 4), (2, 2)])
def test_action_in_hopping_form(shape):
    """U = Σ_x { −2 Σ_μ φ_x φ_{x+μ} + (2D + m²) φ² + λ φ⁴ }, summed by a loop over sites."""
    m2, coupling, x = -0.7, 0.9, np.asarray(field(shape))
    expected = 0.0
    for site in np.ndindex(*shape):
        for axis in range(len(shape)):
            ahead = list(site)
            ahead[axis] = (site[axis] + 1) % shape[axis]
            expected -= 2 * x[site] * x[tuple(ahead)]
        expected += (2 * len(shape) + m2) * x[site] ** 2 + coupling * x[site] ** 4
    energy = Phi4(shape, m2, coupling)
    np.testing.assert_allclose(energy(jnp.asarray(x)), expected, rtol=1e-13)


def test_symmetries():
    energy, x = Phi4((4, 4), -1.0, 0.9), field((4, 4))
    for y in (-x, jnp.roll(x, (1, 2), (0, 1)), x[::-1], x.T):
        np.testing.assert_allclose(energy(y), energy(x), rtol=1e-14)


def test_a_local_change_changes_local_terms():
    energy, x = Phi4((6, 6), -1.0, 0.9), field((6, 6))
    changed = energy.terms(x.at[2, 3].add(0.5)) != energy.terms(x)
    np.testing.assert_array_equal(np.argwhere(changed), [[1, 3], [2, 2], [2, 3]])


def test_hopping_parameter_form():
    """S = Σ {−2κ Σ_μ ψψ' + (1 − 2λ)ψ² + λψ⁴} with φ = √κ ψ is the same action."""
    kappa, coupling, psi = 0.3, 0.02, field((4, 3), seed=1)
    neighbours = sum(jnp.roll(psi, -1, axis) for axis in range(2))
    action = jnp.sum(
        -2 * kappa * psi * neighbours + (1 - 2 * coupling) * psi**2 + coupling * psi**4
    )
    energy = Phi4.from_kappa((4, 3), kappa, coupling)
    np.testing.assert_allclose(energy(jnp.sqrt(kappa) * psi), action, rtol=1e-13)


def test_quenched_couplings():
    """m² may differ from site to site."""
    m2, x = field((3, 3), seed=2), field((3, 3))
    expected = Phi4((3, 3), 0.0, 0.5)(x) + jnp.sum(m2 * x * x)
    np.testing.assert_allclose(Phi4((3, 3), m2, 0.5)(x), expected, rtol=1e-13)


@pytest.mark.parametrize(
    ("length", "m2", "log_z"),
    [
        (8, 1.0, -11.62288525733263),
        (8, 0.25, -4.333314554284801),
        (16, 1.0, -46.49634698022999),
        (20, 1.0, -72.65054326897689),
        (32, 1.0, -185.98539081221782),
    ],
)
def test_free_field_log_z(length, m2, log_z):
    """T7."""
    shape = (length, length)
    np.testing.assert_allclose(exact.free_log_z(shape, m2), log_z, rtol=1e-14)
    np.testing.assert_allclose(FreeField(shape, m2).log_z, log_z, rtol=1e-13)


def test_free_field_is_a_normalised_gaussian():
    """Against the dense precision matrix 2 (m² − Δ) of the bare action."""
    for shape in ((5,), (3, 4), (2, 3, 2)):
        energy = FreeField(shape, 0.6)
        size = energy.space.dim
        bare = Phi4(shape, 0.6, 0.0)
        hessian = jax.jit(jax.hessian(lambda x, s=shape, u=bare: u(x.reshape(s))))
        precision = np.asarray(hessian(jnp.zeros(size)))
        log_z = 0.5 * (size * np.log(2 * np.pi) - np.linalg.slogdet(precision)[1])
        np.testing.assert_allclose(energy.log_z, log_z, rtol=1e-12)
        x = field(shape)
        np.testing.assert_allclose(energy(x), bare(x) + log_z, rtol=1e-12)
        spectrum = np.sort(np.asarray(energy.spectrum).ravel())
        np.testing.assert_allclose(spectrum, np.linalg.eigvalsh(precision) / 2, rtol=1e-12)


def test_free_field_sampler():
    """Variance and neighbour correlation of samples against the spectrum; twin: amplitude² used."""
    energy, num = FreeField((4, 3), 0.25), 40_000
    keys = jax.random.split(jax.random.key(5), num)
    x = np.asarray(eqx.filter_jit(lambda k: jax.vmap(lambda q: energy.sample(key=q))(k))(keys))
    k1 = 2 * np.pi * np.arange(3) / 3
    variance = 0.5 / np.asarray(energy.spectrum)

    def z(values, truth):
        return abs(values.mean() - truth) / (values.std() / np.sqrt(num))

    squares = (x**2).mean((1, 2))
    assert z(squares, variance.mean()) < 4.5
    assert z((x * np.roll(x, 1, 2)).mean((1, 2)), (variance * np.cos(k1)).mean()) < 4.5
    assert z(squares, (variance**2).mean()) > 10
    np.testing.assert_allclose(variance.mean(), exact.free_phi2((4, 3), 0.25), rtol=1e-12)


def test_free_field_phi2():
    np.testing.assert_allclose(exact.free_phi2((8, 8), 1.0), 0.12708699884517483, rtol=1e-14)
    np.testing.assert_allclose(exact.free_phi2((8, 8), 0.25), 0.19275059454454324, rtol=1e-14)


def test_free_field_is_the_limit_of_the_transfer_matrix():
    np.testing.assert_allclose(exact.log_z((7,), 0.5, 0.0), exact.free_log_z((7,), 0.5), atol=1e-11)
    np.testing.assert_allclose(exact.phi2((7,), 0.5, 0.0), exact.free_phi2((7,), 0.5), rtol=1e-11)
    log_z, phi2 = exact.log_z((3, 2), 3.0, 0.0), exact.phi2((3, 2), 3.0, 0.0)
    np.testing.assert_allclose(log_z, exact.free_log_z((3, 2), 3.0), atol=1e-10)
    np.testing.assert_allclose(phi2, exact.free_phi2((3, 2), 3.0), rtol=1e-10)


def test_interacting_numbers():
    """T8: ring of 8 and 2 × 2 torus."""
    np.testing.assert_allclose(exact.log_z((8,), -1.0, 0.9), 3.853822892373, atol=2e-12)
    np.testing.assert_allclose(exact.phi2((8,), -1.0, 0.9), 0.374427454114, atol=1e-12)
    np.testing.assert_allclose(exact.log_z((2, 2), -1.0, 0.9), 1.13712553883, atol=1e-11)
    np.testing.assert_allclose(exact.phi2((2, 2), -1.0, 0.9), 0.40569610304, atol=1e-11)
    np.testing.assert_allclose(exact.log_z((5, 1), -1.0, 0.9, num=96), exact.log_z((5,), -1.0, 0.9))


def test_phi2_is_minus_the_derivative_of_log_z():
    step = 1e-4
    difference = exact.log_z((6,), -1 + step, 0.8) - exact.log_z((6,), -1 - step, 0.8)
    np.testing.assert_allclose(-difference / (2 * step * 6), exact.phi2((6,), -1.0, 0.8), rtol=1e-7)


def test_transfer_matrix_against_brute_force():
    """Two sites of a ring by 2-D quadrature of the class itself."""
    line = jnp.linspace(-4, 4, 161)
    points = jnp.stack(jnp.meshgrid(line, line), -1).reshape(-1, 2)
    weights = jnp.exp(-jax.vmap(Phi4(2, -1.0, 0.9))(points)) * 0.05**2
    log_z = jnp.log(jnp.sum(weights))
    phi2 = jnp.sum(weights * points[:, 0] ** 2) / jnp.sum(weights)
    np.testing.assert_allclose(log_z, exact.log_z((2,), -1.0, 0.9), atol=1e-11)
    np.testing.assert_allclose(phi2, exact.phi2((2,), -1.0, 0.9), rtol=1e-11)


@pytest.mark.parametrize(
    ("m2", "coupling", "log_z", "phi2"),
    [
        (-1.0, 0.8, 1.1346909295238543, 0.614973062441185),
        (-1.0, 0.9, 1.070589482267256, 0.5629126692891698),
        (-4.0, 1.0, 4.29300173666407, 1.8353417214904402),
    ],
)
def test_single_site(m2, coupling, log_z, phi2):
    """T8: U = m² x² + λ x⁴; a lattice of one site has no bonds."""
    for energy in (Phi4(1, m2, coupling), DoubleWell(1, coupling, m2, 0.0)):
        np.testing.assert_allclose(well_log_z(energy), log_z, rtol=1e-13)
        np.testing.assert_allclose(well_mean(np.square, energy), phi2, rtol=1e-13)


def test_lattice_laplacian():
    np.testing.assert_allclose(lattice_laplacian((4,)), [0, 2, 4, 2], atol=1e-15)
    assert lattice_laplacian((3, 5)).shape == (3, 5)
    np.testing.assert_allclose(lattice_laplacian((4, 2))[2, 1], 8)


def test_bad_couplings_are_refused():
    with pytest.raises(InputError, match="coupling is -0.1, expected a number >= 0"):
        Phi4((4, 4), -1.0, -0.1)
    for m2 in (0.0, -1.0, jnp.ones(4)):
        with pytest.raises(InputError, match="m2 (is|has)"):
            FreeField((2, 2), m2)
