"""Laws of two times, and bundles with an exact share of diagonal points."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import kstest

from pushforward._errors import InputError
from pushforward.paths import Square, Triangle
from pushforward.sources import Bundles, IndependentPairs, MapPairs
from pushforward.targets import Normal

NUM = 40_000
HALF = jnp.array(0.5)
LAWS = {"triangle": Triangle(), "square": Square()}


def draws(sample):
    keys = jax.random.split(jax.random.key(0), NUM)
    return (np.asarray(a) for a in jax.jit(jax.vmap(sample))(keys))


def times(law):
    return draws(lambda key: law.sample(progress=HALF, key=key))


def reused(key):
    """Twin: one key for both times."""
    u, v = jax.random.uniform(key), jax.random.uniform(key)
    return jnp.minimum(u, v), jnp.maximum(u, v)


def on_a_curve(key):
    """Twin: one key for t and for s given t: each has its right law, the pair lies on a curve."""
    u, v = jax.random.uniform(key), jax.random.uniform(key)
    t = jnp.sqrt(u)
    return t * v, t


def triangle_is_right(s, t):
    """Tell whether moments and conditional laws are those of the triangle."""
    if np.ptp(s / t) == 0:
        return False
    mean = np.abs([s.mean() - 1 / 3, t.mean() - 2 / 3]) < 4 * np.sqrt(1 / 18 / NUM)
    correlation = abs(np.corrcoef(s, t)[0, 1] - 0.5) < 4 / np.sqrt(NUM)
    laws = [kstest(s / t, "uniform"), kstest(t**2, "uniform"), kstest((1 - s) ** 2, "uniform")]
    apart = abs(np.corrcoef(s / t, t)[0, 1]) < 4 / np.sqrt(NUM)
    return bool(mean.all() and correlation and apart and min(k.pvalue for k in laws) > 1e-3)


def test_triangle():
    s, t = times(Triangle())
    assert (s <= t).all()
    assert triangle_is_right(s, t)
    assert not triangle_is_right(*draws(reused))
    assert not triangle_is_right(*draws(on_a_curve))


def test_square():
    s, t = times(Square())
    assert min(kstest(s, "uniform").pvalue, kstest(t, "uniform").pvalue) > 1e-3
    assert abs(np.corrcoef(s, t)[0, 1]) < 4 / np.sqrt(NUM)
    assert abs((s < t).mean() - 0.5) < 2 / np.sqrt(NUM)


@pytest.mark.parametrize("name", LAWS)
def test_densities_integrate_to_one(name):
    law, num = LAWS[name], 400
    axis = (np.arange(num) + 0.5) / num
    density = jnp.exp(law.log_density(*map(jnp.asarray, np.meshgrid(axis, axis, indexing="ij"))))
    error = 1 / num if name == "triangle" else 1e-12  # cells on the diagonal count whole
    np.testing.assert_allclose(density.mean(), 1, rtol=0, atol=1.01 * error)
    for outside in [(-0.1, 0.5), (0.5, 1.1)]:
        assert law.log_density(*map(jnp.asarray, outside)) == -jnp.inf
    assert (Triangle().log_density(jnp.array(0.6), jnp.array(0.5)) == -jnp.inf) is not law.both_ways


def test_bundles_have_an_exact_share_of_diagonal_points():
    pairs = IndependentPairs(Normal(2), Normal(2, 1.0, 0.4))
    for k, m in ((3, 1), (1, 3)):
        source = Bundles(pairs, Triangle(), k, m)
        draw = functools.partial(source.draw, (), None, 32, progress=HALF)
        bundle, _, _ = jax.eval_shape(draw, key=jax.random.key(1))
        assert bundle.diagonal.t.shape == (32, k)
        assert bundle.off_diagonal.s.shape == bundle.off_diagonal.t.shape == (32, m)
        assert bundle.off_diagonal.x1.shape == (32, m, 2)
        points = bundle.diagonal.t.size + bundle.off_diagonal.t.size
        assert bundle.diagonal.t.size == int(np.floor(k / (k + m) * points))


def test_no_time_of_a_bundle_is_another():
    """Times, ends and bundles are all independent draws: no number occurs twice."""
    source = Bundles(IndependentPairs(Normal(1), Normal(1)), Triangle())
    bundle, _, _ = source.draw((), None, 500, progress=HALF, key=jax.random.key(2))
    on, off = bundle.diagonal, bundle.off_diagonal
    every = [np.ravel(a) for a in (on.t, off.s, off.t, on.x0, on.x1, off.x0, off.x1)]
    values = np.concatenate(every)
    assert np.unique(values).size == values.size
    s, t = (np.ravel(a) for a in (off.s, off.t))
    assert abs(np.corrcoef(s / t, np.ravel(off.x0))[0, 1]) < 4 / np.sqrt(500)


def test_map_pairs_leave_the_ends_of_their_source():
    pairs = IndependentPairs(Normal(2), Normal(2, 1.0, 0.4))
    source = MapPairs(pairs, Square())
    batch, state, _ = source.draw((), None, 64, progress=HALF, key=jax.random.key(3))
    assert state == source.init(None, key=jax.random.key(0)) == ()
    assert batch.s.shape == (64,)
    assert (np.asarray(batch.s) > np.asarray(batch.t)).any()
    assert abs(float(batch.x1.mean()) - 1) < 4 * 0.4 / np.sqrt(128)
    with pytest.raises(InputError, match="MapPairs"):
        Bundles(pairs, diagonal=0)
