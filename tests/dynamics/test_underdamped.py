"""Inertial Langevin: exact weights at coarse steps, retraced work, classical limits."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.dynamics.test_exact_weights import LOG_Z, WELL, mean_score, wave, z_score
from tests.walkers import ess, log_z, log_z_error, path_of, run

from pushforward._errors import InputError
from pushforward.dynamics import Heun, UnderdampedLangevin
from pushforward.paths import uniform_times
from pushforward.targets import Normal


class NoDeterminant(UnderdampedLangevin):
    """Twin: the log-determinant of the drift's map dropped."""

    def conservative(self, *arguments):
        *rest, work, info = super().conservative(*arguments)
        return *rest, work + info.log_det, info


MEASURED = {(10, True): 0.28, (40, False): 0.26}


@pytest.mark.parametrize(("num", "moved"), MEASURED)
def test_unbiased_at_coarse_steps(num, moved):
    kernel = UnderdampedLangevin(WELL, wave) if moved else UnderdampedLangevin(WELL)
    paths = run(kernel, uniform_times(num), 40_000, seed=num)
    log_weights = paths.log_weight[:, -1]
    assert log_z_error(log_weights) < 0.012
    assert abs(log_z(log_weights) - LOG_Z) < 4.5 * log_z_error(log_weights)
    assert abs(z_score(log_weights)) < 4.5
    assert abs(mean_score(paths.x[:, -1], log_weights)) < 4.5
    assert abs(ess(log_weights) - MEASURED[num, moved]) < 0.02


def test_twin_without_determinant_is_seen():
    log_weights = run(NoDeterminant(WELL, wave), uniform_times(10), 20_000).log_weight[:, -1]
    assert abs(log_z(log_weights) - LOG_Z - 0.51) < 0.05


@pytest.mark.parametrize("integrator", [None, Heun()])
def test_the_deterministic_part_is_retraced_with_opposite_momentum(integrator):
    path = path_of(lambda t, x: jnp.sum(x**4) / 4 - (t + 0.2) * x[0] * x[1], Normal(2))
    options = {} if integrator is None else {"integrator": integrator}
    kernel = UnderdampedLangevin(path, lambda t, x, g: jnp.sin(x[::-1] + t), 2.0, 0.3, **options)
    x, p, t, t_next = jnp.array([0.7, -1.2]), jnp.array([0.8, -0.3]), 0.3, 0.4

    @eqx.filter_jit
    def move(kernel, t, t_next, x, p):
        state = kernel.init(x, t, key=jax.random.key(0))
        return kernel.conservative(t, t_next, x, p, state.energy, state.memory[1])

    there = move(kernel, jnp.asarray(t), jnp.asarray(t_next), x, p)
    back = move(kernel.reversed(), jnp.asarray(t_next), jnp.asarray(t), there[0], -there[1])
    np.testing.assert_allclose(back[0], x, rtol=0, atol=1e-12)
    np.testing.assert_allclose(back[1], -p, rtol=0, atol=1e-12)
    assert abs(there[4] + back[4]) < 1e-12 < 1e-3 < abs(there[4])
    wrong = move(kernel, jnp.asarray(t_next), jnp.asarray(t), there[0], -there[1])
    assert abs(there[4] + wrong[4]) > 1e-6


def test_no_friction_and_no_step_in_time_conserve_the_energy_to_second_order():
    """With γ = 0, b = 0 and U fixed the step is leapfrog: the work of a fixed time is O(τ²)."""
    path, works = path_of(lambda t, x: jnp.sum(x**4) / 4, Normal(1)), []
    for num in (20, 40):
        kernel = UnderdampedLangevin(path, gamma=0.0, tau=1.0 / num)
        works.append(run(kernel, uniform_times(num), 64).log_weight[:, -1])
    ratio = np.abs(works[0]).mean() / np.abs(works[1]).mean()
    assert 3.6 < ratio < 4.4


@pytest.mark.parametrize("wrong", [{"gamma": -1.0}, {"tau": 0.0}, {"tau": -0.1}])
def test_bad_numbers_are_refused(wrong):
    with pytest.raises(InputError, match=next(iter(wrong))):
        UnderdampedLangevin(WELL, **wrong)
