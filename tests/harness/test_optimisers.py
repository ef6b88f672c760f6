"""Names become optax objects, the same object for the same settings."""

from typing import get_args

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from pushforward.harness import Fit
from pushforward.harness.optimisers import optimiser, schedule

OPTIMISERS, SCHEDULES = (
    get_args(Fit.model_fields[name].annotation) for name in ("optimiser", "schedule")
)


@pytest.mark.parametrize("name", OPTIMISERS)
@pytest.mark.parametrize("along", SCHEDULES)
def test_every_choice_steps_downhill(name, along):
    fit = Fit(optimiser=name, schedule=along, learning_rate=1e-2, steps=50, warm_up=5)
    rule = optimiser(fit)
    x = jnp.ones(3)
    state = rule.init(x)
    for _ in range(20):
        updates, state = rule.update(2 * x, state, x)
        x = optax.apply_updates(x, updates)
    assert float(jnp.sum(x**2)) < 3


def test_equal_settings_give_the_identical_object():
    assert optimiser(Fit(steps=7)) is optimiser(Fit(steps=7))
    assert optimiser(Fit(steps=7)) is not optimiser(Fit(steps=8))
    assert optimiser(Fit(steps=8, schedule_steps=7)) is optimiser(Fit(steps=7))


@pytest.mark.parametrize(
    ("name", "step", "value"),
    [
        ("constant", 1000, 1.0),
        ("cosine", 0, 1.0),
        ("cosine", 50, 0.5),
        ("cosine", 100, 0.0),
        ("warmup_cosine", 0, 0.0),
        ("warmup_cosine", 5, 0.5),
        ("warmup_cosine", 10, 1.0),
        ("warmup_cosine", 100, 0.0),
        ("sqrt_decay", 4, 1.0),
        ("sqrt_decay", 16, 0.5),
        ("sqrt_decay", 64, 0.25),
        ("exponential", 0, 1.0),
        ("exponential", 4, np.exp(-1)),
    ],
)
def test_schedules(name, step, value):
    along = schedule(name, 1.0, 100, 10, 4.0)
    np.testing.assert_allclose(along(jnp.int32(step)), value, atol=1e-6)


@pytest.mark.parametrize("name", SCHEDULES)
def test_schedules_keep_their_last_value(name):
    along = schedule(name, 1.0, 100, 10, 4.0)
    np.testing.assert_allclose(along(jnp.int32(5000)), along(jnp.int32(100)), atol=1e-12)
