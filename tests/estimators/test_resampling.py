import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward._tree import Sum
from pushforward.estimators import Multinomial, Never, Stratified, Systematic, log_z, reset

METHODS = [Systematic, Stratified, Multinomial]
INF = jnp.inf


def _counts(method, log_weights, rounds, key=0):
    keys = jax.random.split(jax.random.key(key), rounds)
    indices, resampled = jax.jit(jax.vmap(lambda k: method(log_weights, key=k)))(keys)
    assert resampled.all()
    return np.asarray(jax.vmap(lambda i: jnp.bincount(i, length=log_weights.size))(indices))


@pytest.mark.parametrize("method", METHODS)
def test_expected_counts(method):
    weights = np.array([0.5, 3.0, 0.0, 1.2, 0.01, 2.29])
    share = weights / weights.sum()
    counts = _counts(method(1.0), jnp.log(jnp.array(weights)), 20_000)
    sigma = np.maximum(counts.std(0), 1e-12) / math.sqrt(20_000)
    assert np.all(np.abs(counts.mean(0) - 6 * share) < 4.5 * sigma)
    assert counts[:, 2].max() == 0


@pytest.mark.parametrize("method", [Systematic])
def test_systematic_counts_are_rounded_shares(method):
    share = np.random.default_rng(3).dirichlet(np.full(50, 0.3))
    counts = _counts(method(1.0), jnp.log(jnp.array(share)), 200)
    assert np.all(np.abs(counts - 50 * share) < 1)
    # Broken twin: independent points are not that even.
    counts = _counts(Multinomial(1.0), jnp.log(jnp.array(share)), 200)
    assert not np.all(np.abs(counts - 50 * share) < 1)


def test_systematic_is_quieter():
    share = np.random.default_rng(3).dirichlet(np.full(50, 0.3))
    spread = [_counts(m(1.0), jnp.log(jnp.array(share)), 500).var(0).sum() for m in METHODS]
    assert spread[0] < spread[1] < spread[2]


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("dtype", [jnp.float32, jnp.float64])
def test_the_dead_are_never_drawn(method, dtype):
    alive = jax.random.bernoulli(jax.random.key(0), 0.3, (4097,)).at[jnp.array([0, -1])].set(False)
    noise = jax.random.normal(jax.random.key(1), (4097,), dtype)
    weights = jnp.where(alive, noise, -INF)
    keys = jax.random.split(jax.random.key(2), 50)
    indices, _ = jax.vmap(lambda k: method(1.0)(weights, key=k))(keys)
    assert alive[indices].all()
    assert indices.min() > 0
    assert indices.max() < 4096


def test_threshold():
    weights = jnp.log(jnp.array([1.0, 2.0, 5.0]))  # ESS = .711
    for method in METHODS:
        indices, resampled = method(0.7)(weights, key=jax.random.key(0))
        assert not resampled
        np.testing.assert_array_equal(indices, [0, 1, 2])
        assert method(0.72)(weights, key=jax.random.key(0))[1]
    indices, resampled = Never()(jnp.array([0.0, -INF, -INF]), key=jax.random.key(0))
    assert not resampled
    np.testing.assert_array_equal(indices, [0, 1, 2])


@pytest.mark.parametrize("weights", [[-INF] * 3, [0.0, jnp.nan, 0.0]])
def test_nothing_to_draw_from(weights):
    indices, resampled = Systematic(1.0)(jnp.array(weights), key=jax.random.key(0))
    assert not resampled
    np.testing.assert_array_equal(indices, [0, 1, 2])


def test_one_walker():
    for method in METHODS:
        indices, resampled = method(1.0)(jnp.array([2.0]), key=jax.random.key(0))
        assert not resampled
        np.testing.assert_array_equal(indices, [0])


def test_one_trace_over_thresholds():
    traces = []

    @jax.jit
    def run(method, weights, key):
        traces.append(0)
        return method(weights, key=key)

    for threshold in (0.1, 0.5, 1):
        run(Systematic(threshold), jnp.zeros(4), jax.random.key(0))
    assert len(traces) == 1


@pytest.mark.parametrize("threshold", [-0.1, 1.5, jnp.nan])
def test_bad_threshold(threshold):
    with pytest.raises(InputError, match=r"\[0, 1\]"):
        Stratified(threshold)


# A chain on four states, asymmetric: weight by g1, move by K, weight by g2, move, weight by g3.
G = np.array([[0.1, 2.0, 0.7, 5.0], [3.0, 0.2, 1.0, 0.4], [0.5, 0.1, 4.0, 2.0]])
K = np.array(
    [[0.7, 0.1, 0.1, 0.1], [0.3, 0.5, 0.1, 0.1], [0.0, 0.2, 0.6, 0.2], [0.1, 0.1, 0.5, 0.3]]
)
P0 = np.array([0.4, 0.3, 0.2, 0.1])


def _exact():
    measure = P0 * G[0]
    for g in G[1:]:
        measure = (measure @ K) * g
    return float(measure.sum()), np.asarray(measure / measure.sum())


def _run(method, renew, key, n=24):
    """Resample before a weight is even (once, with threshold), so incoming weights are uneven."""
    key, first = jax.random.split(key)
    factors, moves = jnp.asarray(G), jnp.asarray(K)
    x = jax.random.choice(first, 4, (n,), p=jnp.asarray(P0))
    a = jnp.log(factors[0, x])
    for k, g in enumerate(factors[1:]):
        draw, move = jax.random.split(jax.random.fold_in(key, k))
        indices, resampled = method(a, key=draw)
        x, a = x[indices], renew(a, resampled)
        step = jax.vmap(lambda k, i: jax.random.choice(k, 4, p=moves[i]))
        x = step(jax.random.split(move, n), x)
        a = a + jnp.log(g[x])
    return jnp.exp(log_z(a)), jnp.exp(a) @ jax.nn.one_hot(x, 4, dtype=a.dtype) / n


def _mean_over(method, renew, rounds=20_000):
    keys = jax.random.split(jax.random.key(7), rounds)
    z, occupation = jax.jit(jax.vmap(lambda k: _run(method, renew, k)))(keys)
    return np.column_stack([z, occupation])


@pytest.mark.parametrize(
    "method", [Never(), Systematic(0.5), Systematic(1.0), Stratified(0.6), Multinomial(0.6)]
)
def test_z_is_unbiased(method):
    z, occupation = _exact()
    runs = _mean_over(method, reset)
    exact = np.array([z, *(z * occupation)])
    sigma = runs.std(0) / math.sqrt(len(runs))
    assert np.all(np.abs(runs.mean(0) - exact) < 4.5 * sigma)


@pytest.mark.parametrize(
    "renew",
    [
        lambda a, resampled: jnp.where(resampled, 0, a),  # the ledger dropped
        lambda a, resampled: jnp.where(resampled, jnp.mean(a), a),  # mean of logs
        lambda a, resampled: a,  # weights counted twice
    ],
)
def test_broken_resets_are_seen(renew):
    z, _ = _exact()
    runs = _mean_over(Systematic(0.6), renew)[:, 0]
    assert abs(runs.mean() - z) > 8 * runs.std() / math.sqrt(len(runs))


def test_reset():
    a = jnp.log(jnp.array([1.0, 2.0, 6.0]))
    np.testing.assert_allclose(reset(a, jnp.array(True)), np.full(3, math.log(3)))
    np.testing.assert_array_equal(reset(a, jnp.array(False)), a)
    assert (reset(jnp.full(3, -INF), jnp.array(True)) == -INF).all()


def test_reset_keeps_the_digits_of_a_sum():
    """A hundred resamplings near A = 4000 in float32: the Sum keeps what the plain array loses."""
    key = jax.random.key(0)
    increments = jax.random.normal(key, (100, 64), jnp.float32)
    kept = Sum.of(jnp.full(64, 4000.123, jnp.float32))
    plain = kept.value
    exact = plain.astype(jnp.float64)
    for step in increments:
        kept, plain = reset(kept.add(step), jnp.array(True)), reset(plain + step, jnp.array(True))
        exact = reset(exact + step.astype(jnp.float64), jnp.array(True))
    value = kept.high.astype(jnp.float64) + kept.low.astype(jnp.float64)
    assert jnp.abs(value - exact).max() < 1e-5
    assert jnp.abs(plain.astype(jnp.float64) - exact).max() > 1e-4  # the twin

    dead = Sum.of(jnp.array([-INF, 1.0, -INF]))
    assert reset(dead, jnp.array(True)).value == pytest.approx(jnp.full(3, 1 - math.log(3)))
    assert (reset(Sum.of(jnp.full(3, -INF)), jnp.array(True)).value == -INF).all()
    untouched = reset(Sum(dead.high, jnp.array([0.0, 1e-20, 0.0])), jnp.array(False))
    assert untouched.low[1] == 1e-20
