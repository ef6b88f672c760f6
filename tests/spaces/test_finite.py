"""Spins: numbering of states, moves, heat bath, leaps, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.spaces import Spins, all_states, as_manifold


def test_all_states_are_different_and_numbered_in_base_two():
    space = Spins((2, 3))
    states = np.asarray(all_states(space))
    assert states.shape == (64, 2, 3)
    assert set(np.unique(states)) == {-1.0, 1.0}
    numbers = ((states.reshape(64, 6) + 1) / 2) @ 2 ** np.arange(6)
    np.testing.assert_array_equal(numbers, np.arange(64))


def test_a_move_flips_one_site_and_undoes_itself():
    space = Spins((2, 3))
    x = space.reference(key=jax.random.key(1))
    for k in range(6):
        y = space.move(x, jnp.asarray(k))
        changed = np.flatnonzero(np.ravel(y != x))
        assert changed.tolist() == [k]
        assert space.label(y).ravel()[k] == space.alternatives(x).ravel()[k]
        np.testing.assert_array_equal(space.move(y, jnp.asarray(k)), x)
    np.testing.assert_array_equal(space.value(space.label(x)), x)


def test_redraw_is_the_conditional_law_of_a_site():
    space, x = Spins(3), jnp.array([1.0, -1.0, 1.0])
    differences = jnp.array([0.0, 1.3, -200.0])
    expected = [0.5, np.exp(-1.3) / (1 + np.exp(-1.3)), 1.0]
    np.testing.assert_allclose(space.redraw(x, differences), expected, rtol=1e-14)


def test_leap_flips_sites_at_their_rates():
    space, x = Spins(4), jnp.ones(4)
    rates = jnp.array([0.0, 0.5, 2.0, 1e9])
    keys = jax.random.split(jax.random.key(0), 20_000)
    y, probability, jumped = jax.vmap(lambda key: space.leap(x, rates, jnp.asarray(0.7), key=key))(
        keys
    )
    np.testing.assert_allclose(probability[0], 1 - np.exp(-0.7 * np.asarray(rates)), rtol=1e-14)
    np.testing.assert_array_equal(np.asarray(y) == -1, jumped)
    p, share = np.asarray(probability[0]), np.asarray(jumped).mean(0)
    assert (np.abs(share - p) <= 4.5 * np.sqrt(p * (1 - p) / 20_000)).all()


@pytest.mark.parametrize(
    ("x", "match"),
    [
        (jnp.array([1, -1, 1]), "astype"),
        (jnp.array([1.0, 0.0, 1.0]), "holds 0.0"),
        (jnp.array([1.0, 0.5, 1.0]), "never rounded"),
        (jnp.ones((7, 3)), "vmap"),
        (jnp.ones(4), "expected"),
    ],
)
def test_what_is_no_configuration_is_refused(x, match):
    with pytest.raises(InputError, match=match):
        Spins(3).check(x)


def test_limits_and_missing_gradients_are_said():
    with pytest.raises(InputError, match="2\\^25"):
        all_states(Spins((5, 5)))
    with pytest.raises(InputError, match="positive extents"):
        Spins((3, 0))
    with pytest.raises(InputError, match="no gradients"):
        as_manifold(Spins(3))
