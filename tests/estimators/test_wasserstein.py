import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError, NonFinite
from pushforward.estimators import sliced_w2, w2, w2_line


def test_assignment_equals_all_permutations():
    random = np.random.default_rng(0)
    x, y = random.standard_normal((6, 3)), random.standard_normal((6, 3)) + 1
    best = min(((x - y[list(p)]) ** 2).sum(1).mean() for p in itertools.permutations(range(6)))
    assert w2(x, y) == pytest.approx(math.sqrt(best), rel=1e-12)
    # Broken twin: points paired as they come.
    assert math.sqrt(((x - y) ** 2).sum(1).mean()) > 1.005 * math.sqrt(best)


def test_translation_and_permutation():
    random = np.random.default_rng(1)
    x = random.standard_normal((300, 2, 2))
    shift = np.array([[1.0, -2.0], [0.5, 0.0]])
    assert w2(x, random.permutation(x) + shift) == pytest.approx(math.sqrt(5.25), rel=1e-12)
    assert w2(x, x[::-1]) == pytest.approx(0, abs=1e-12)


def test_on_a_line_all_three_agree():
    random = np.random.default_rng(2)
    x, y = random.standard_normal(200), random.gamma(2.0, size=200)
    line = w2_line(jnp.asarray(x), jnp.asarray(y))
    assert line == pytest.approx(w2(x, y), rel=1e-12)
    sliced = sliced_w2(
        jnp.asarray(x)[:, None], jnp.asarray(y)[:, None], directions=3, key=jax.random.key(0)
    )
    assert sliced == pytest.approx(w2(x, y), rel=1e-12)


def test_weights_are_multiplicities():
    x, y = jnp.array([0.0, 3.0, -1.0]), jnp.array([0.5, 2.0])
    counts = np.array([1, 2, 3])
    repeated = w2(np.repeat(np.asarray(x), counts), np.repeat(np.asarray(y), 3))
    weights = jnp.log(jnp.asarray(counts, x.dtype))
    assert w2_line(x, y, weights) == pytest.approx(repeated, rel=1e-12)
    assert w2_line(x, y) != pytest.approx(repeated, rel=1e-3)
    both = w2_line(y, x, jnp.zeros(2), weights)
    assert both == pytest.approx(repeated, rel=1e-12)


def test_dead_walkers_do_not_count():
    x, y = jnp.array([0.0, 1.0, 1e6]), jnp.array([0.0, 1.0])
    assert w2_line(x, y, jnp.array([0.0, 0.0, -jnp.inf])) == pytest.approx(0, abs=1e-9)


def test_sliced_translation():
    """SW2² of a translation by δ is |δ|²/d on average over directions."""
    x = jax.random.normal(jax.random.key(0), (500, 3))
    shift = jnp.array([[3.0, 0.0, 4.0]])
    got = sliced_w2(x, x + shift, directions=4000, key=jax.random.key(1))
    assert got == pytest.approx(5 / math.sqrt(3), rel=0.05)
    jitted = jax.jit(lambda a, b: sliced_w2(a, b, directions=4000, key=jax.random.key(1)))
    assert jitted(x, x + shift) == pytest.approx(float(got), rel=1e-12)


def test_gaussians():
    random = np.random.default_rng(3)
    x, y = random.standard_normal((1500, 1)), 2 * random.standard_normal((1500, 1)) + 3
    assert w2(x, y) == pytest.approx(math.sqrt(9 + 1), rel=0.03)


def test_refusals():
    with pytest.raises(InputError, match=r"\(3, 2\) and \(4, 2\)"):
        w2(np.zeros((3, 2)), np.zeros((4, 2)))
    with pytest.raises(InputError, match="4096"):
        w2(np.zeros((5000, 1)), np.zeros((5000, 1)))
    with pytest.raises(NonFinite):
        w2(np.array([[np.nan]]), np.zeros((1, 1)))
    with pytest.raises(InputError, match="3 coordinates, of y 2"):
        sliced_w2(jnp.zeros((5, 3)), jnp.zeros((5, 2)), key=jax.random.key(0))
