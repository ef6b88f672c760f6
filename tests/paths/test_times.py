"""Schedules and grids: onto [0, 1], monotone, with the derivative they claim."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.paths import (
    ExponentialWarp,
    Identity,
    Interpolated,
    LocalVariance,
    MixtureVariance,
    at_time,
    check_times,
    power_times,
    uniform_times,
)

SCHEDULES = {
    "identity": Identity(),
    "warp": ExponentialWarp(7.0),
    "interpolated": Interpolated([0.0, 0.1, 0.35, 1.0]),
}
T = np.array([0.05, 0.2, 0.45, 0.6, 0.9])  # away from the knots


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule(name):
    schedule = SCHEDULES[name]
    grid = np.linspace(0, 1, 101)
    s = np.asarray(jax.vmap(schedule)(grid))
    assert s[0] == 0
    assert s[-1] == pytest.approx(1, abs=1e-15)
    assert np.all(np.diff(s) > 0)
    h = 1e-6
    slope = (jax.vmap(schedule)(T + h) - jax.vmap(schedule)(T - h)) / (2 * h)
    np.testing.assert_allclose(jax.vmap(schedule.rate)(T), slope, rtol=1e-7)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedule_in_single_precision(name):
    schedule = jax.tree.map(lambda a: a.astype(jnp.float32), SCHEDULES[name])
    t = jnp.asarray(0.3, jnp.float32)
    assert schedule(t).dtype == schedule.rate(t).dtype == jnp.float32
    np.testing.assert_allclose(schedule(t), SCHEDULES[name](jnp.asarray(0.3)), rtol=1e-6)


def test_interpolated_goes_through_its_knots():
    knots = np.array([0.0, 0.1, 0.35, 1.0])
    schedule = Interpolated(knots)
    np.testing.assert_allclose(jax.vmap(schedule)(np.linspace(0, 1, 4)), knots, atol=1e-15)
    # The last piece holds t = 1.
    assert schedule.rate(jnp.ones(())) == pytest.approx(3 * 0.65)


@pytest.mark.parametrize(
    "knots", [[0.1, 1.0], [0.0, 0.9], [0.0, 0.5, 0.5, 1.0], [0.0, 0.7, 0.3, 1.0], [[0.0, 1.0]]]
)
def test_bad_knots(knots):
    with pytest.raises(InputError, match="increase from 0 to 1"):
        Interpolated(knots)


def test_warp_shrinks_the_variance_by_constant_factors():
    """κ = 2 log(σ_0/s_1): log ℓ² is linear in t where the target does not dominate yet."""
    kappa = 2 * np.log(1000)
    variance = LocalVariance(ExponentialWarp(kappa), 1000.0, 1.0)
    logs = np.log(jax.vmap(variance)(np.linspace(0, 1, 11)))
    assert logs[0] == pytest.approx(np.log(1e6))
    assert logs[-1] == pytest.approx(0, abs=1e-12)
    np.testing.assert_allclose(np.diff(logs[4:]), -kappa / 10, rtol=0.02)


def test_mixture_variance_ends():
    v = MixtureVariance(5.0, 0.5)
    assert v(jnp.zeros(())) == 25
    assert v(jnp.ones(())) == 0.25


def test_grids():
    np.testing.assert_allclose(uniform_times(4), [0, 0.25, 0.5, 0.75, 1], atol=1e-15)
    np.testing.assert_allclose(power_times(4, 2.0), np.linspace(0, 1, 5) ** 2, atol=1e-15)
    with pytest.raises(InputError, match="at least one step"):
        uniform_times(0)


def test_checked_grids():
    np.testing.assert_array_equal(check_times([0, 0.5, 1]), [0, 0.5, 1])
    np.testing.assert_array_equal(check_times([1, 0.5, 0]), [1, 0.5, 0])
    for times, what in (
        ([0.0], "n >= 2"),
        ([[0.0, 1.0]], "n >= 2"),
        ([0.0, 0.5, 0.5, 1.0], "strictly increasing"),
        ([0.0, 0.7, 0.3], "strictly increasing"),
        ([0.0, float("nan"), 1.0], "strictly increasing"),
        ([0.0, 1.5], "lie in"),
        ([-0.5, 1.0], "lie in"),
    ):
        with pytest.raises(InputError, match=what):
            check_times(times)


def test_a_number_or_a_law_of_time():
    t = jnp.asarray(0.3)
    assert at_time(jnp.asarray(2.0), t) == 2
    assert at_time(lambda t: 2 * t, t) == pytest.approx(0.6)
