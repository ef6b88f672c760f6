"""Making, checking and mixing energies."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import Euclidean
from pushforward.targets import (
    AbstractLocalEnergy,
    DoubleWell,
    Energy,
    Normal,
    Phi4,
    StudentT,
    check_energy,
    energy_and_gradient,
    energy_difference,
    energy_terms,
    from_log_density,
    mix,
)
from pushforward.targets.exact import well_log_z, well_mean


def test_from_log_density_negates():
    def log_density(x):
        return -jnp.sum(x**4) + x[0]

    for energy in (
        from_log_density(log_density, dim=2),
        from_log_density(log_density, space=Euclidean(2)),
    ):
        x = jnp.array([0.3, -0.8])
        np.testing.assert_allclose(energy(x), -log_density(x))
        assert energy.space.shape == (2,)


def test_a_pytree_example_is_ravelled():
    example = {"a": jnp.zeros(2), "b": 0.0}
    energy = from_log_density(lambda p: -jnp.sum(p["a"] ** 2) - 3 * p["b"] ** 2, example=example)
    assert energy.space.shape == (3,)
    np.testing.assert_allclose(energy(jnp.array([1.0, 2.0, 3.0])), 1 + 4 + 27)


@pytest.mark.parametrize(
    ("log_density", "message"),
    [
        (lambda x: -(x**2), r"shape \(2,\), expected a scalar"),
        (lambda x: -np.sum(np.exp(x)), "jax.numpy"),
        (lambda x: -jnp.sum(x) if x[0] > 0 else 0.0, "jnp.where"),
        (lambda x: jax.lax.complex(x[0], x[1]), "real floating"),
        (lambda x: jnp.argmax(x), "real floating"),
        (lambda x: jnp.log(x[0]), "nan"),
        (lambda x: -jnp.inf + 0 * x[0], "not everywhere"),
        (lambda x: jnp.where(x[0] > 9, jnp.sqrt(x[0] - 9), 0.0), "gradient"),
    ],
)
def test_bad_densities_are_refused_with_the_way_out(log_density, message):
    with pytest.raises(InputError, match=message):
        from_log_density(log_density, dim=2)


def test_exactly_one_of_dim_space_example():
    for given in ({}, {"dim": 2, "space": Euclidean(2)}):
        with pytest.raises(InputError, match="exactly one"):
            from_log_density(lambda x: -jnp.sum(x * x), **given)


def test_a_hard_wall_is_legal_and_has_no_gradient_behind_it():
    energy = Energy(
        lambda x: jnp.where(x[0] > 0, jnp.sum(x**2) / jnp.sqrt(x[0]), jnp.inf), Euclidean(2)
    )
    inside, outside = jnp.array([0.5, 1.0]), jnp.array([-0.5, 1.0])
    terms, gradient = energy_and_gradient(energy, outside)
    assert terms == jnp.inf
    np.testing.assert_array_equal(gradient, 0)
    _, gradient = energy_and_gradient(energy, inside)
    np.testing.assert_allclose(gradient, jax.grad(energy)(inside), rtol=1e-14)


def test_mix_keeps_locality_and_survives_infinity():
    local = mix([Normal((2, 2)), Phi4((2, 2), 1.0, 0.5)], jnp.array([0.25, 0.75]))
    x = jnp.arange(4.0).reshape(2, 2)
    assert isinstance(local, AbstractLocalEnergy)
    assert local.terms(x).shape == (2, 2)
    expected = 0.25 * Normal((2, 2))(x) + 0.75 * Phi4((2, 2), 1.0, 0.5)(x)
    np.testing.assert_allclose(local(x), expected, rtol=1e-14)

    wall = Energy(lambda x: jnp.where(x[0] > 0, 0.0, jnp.inf), Euclidean(1))
    y = jnp.array([-1.0])
    assert not isinstance(mix([Normal(1), wall], jnp.array([1.0, 0.0])), AbstractLocalEnergy)
    np.testing.assert_allclose(mix([Normal(1), wall], jnp.array([1.0, 0.0]))(y), Normal(1)(y))
    assert mix([Normal(1), wall], jnp.array([0.5, 0.5]))(y) == jnp.inf


def test_differences_are_summed_term_by_term():
    """On a float32 lattice the difference of two rounded totals loses what the terms keep."""
    shape = (128, 128)
    x = 10 * jax.random.normal(jax.random.key(0), shape, jnp.float32)
    y = x.at[3, 5].add(jnp.float32(1e-2))
    energy = Normal(shape, jnp.float32(0), jnp.float32(1))

    def exact(a):
        return 0.5 * np.sum(np.asarray(a, np.float64) ** 2)

    truth = exact(y) - exact(x)
    by_terms = float(energy_difference(energy_terms(energy, y), energy_terms(energy, x)))
    by_totals = float(energy(y) - energy(x))
    assert abs(by_terms - truth) < 1e-5
    assert abs(by_totals - truth) > 1e-3  # twin: two rounded totals


def test_geometric_path_between_normals():
    """T6: log Z along (1−t) U_0 + t U_1, with the bare base and with the normalised one."""
    bare = Energy(lambda x: 0.5 * jnp.sum(x * x), Euclidean(1))
    target = Energy(lambda x: 0.5 * jnp.sum(((x - 3) / 0.3) ** 2), Euclidean(1))
    half_log_2pi = 0.5 * np.log(2 * np.pi)
    from_bare = [-3.2878143889618685, -2.964708245652725, -1.2039728043259204]
    from_normal = [-3.0580797557, -2.5052389791, -0.2850342711]
    for t, expected_bare, expected in zip((0.25, 0.5, 1.0), from_bare, from_normal, strict=True):
        weights = jnp.array([1 - t, t])
        np.testing.assert_allclose(
            well_log_z(mix([bare, target], weights)) - half_log_2pi, expected_bare, rtol=1e-12
        )
        np.testing.assert_allclose(
            well_log_z(mix([Normal(1), target], weights)), expected, atol=1e-10
        )


def test_bases_are_normalised():
    np.testing.assert_allclose(well_log_z(Normal(1, 0.7, 1.3), -20, 20), 0, atol=1e-13)
    np.testing.assert_allclose(well_mean(lambda x: x, Normal(1, 0.7, 1.3), -20, 20), 0.7)
    student = StudentT(1, df=40.0, mean=0.5, scale=0.5)
    np.testing.assert_allclose(well_log_z(student, -40, 40), 0, atol=1e-12)
    # df = 2: the tail beyond R holds 1/R² of the mass, so integrate in y, x = sinh y
    heavy = StudentT(1, df=2.0)
    in_y = Energy(lambda y: heavy(jnp.sinh(y)) - jnp.log(jnp.cosh(y[0])), Euclidean(1))
    np.testing.assert_allclose(well_log_z(in_y, -20, 20), 0, atol=1e-12)


@pytest.mark.parametrize("make", [Normal, StudentT])
def test_location_and_scale_are_checked(make):
    with pytest.raises(InputError, match="mean has shape"):
        make(3, mean=jnp.zeros(2))
    with pytest.raises(InputError, match="scale is .*, expected a positive number"):
        make(3, scale=-1.0)


def test_check_energy_accepts_the_house():
    check_energy(DoubleWell(3))
    check_energy(Phi4((4, 4), -1.0, 0.9))
