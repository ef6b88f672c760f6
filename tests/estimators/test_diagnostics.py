import math

import numpy as np
import pytest

from pushforward._errors import ChainTooShort, FrozenObservable, InputError, NonFinite
from pushforward.estimators import (
    ess_bulk,
    ess_mean,
    ess_tail,
    mcse,
    rhat,
    rhat_split,
)


def _chains(seed, a, C, n):
    noise = np.random.RandomState(seed).standard_normal((C, n))  # noqa: NPY002, frozen stream
    x = noise.copy()
    for t in range(1, n):
        x[:, t] = a * x[:, t - 1] + math.sqrt(1 - a * a) * noise[:, t]
    return x.T


C4 = np.arange(4)
CASES = {
    "independent": (
        lambda: _chains(0, 0.0, 4, 1000),
        (0.9996150944412519, 0.9996049895787104, 3971.651487555094),
        (3803.598679802998, 3969.004501384349, 0.015587448691203704),
    ),
    "autoregressive": (
        lambda: _chains(0, 0.9, 4, 1000),
        (1.0103098483986237, 1.0103342761994194, 257.30942585433434),
        (504.536342978048, 254.1100668640741, 0.060927030839373855),
    ),
    "shifted": (
        lambda: _chains(0, 0.9, 4, 1000) + 0.3 * C4,
        (1.0783633974630702, 1.0778957961795168, 63.86395521570737),
        (414.96002981575793, 64.0433654003397, 0.12851085093559883),
    ),
    "cauchy": (
        lambda: np.random.RandomState(1).standard_cauchy((4, 1000)).T,  # noqa: NPY002
        (1.0006129807845754, 1.0000272696963974, 3780.1219832282686),
        (3852.9451154490785, 4014.8826511508314, 10.014118348587623),
    ),
    "scaled": (
        lambda: _chains(0, 0.0, 4, 1000) * (1 + 0.2 * C4),
        (1.0252904805026333, 0.9995625944801642, 3916.4889846065),
        (3196.354851997071, 3911.0940174014354, 0.02078041440868385),
    ),
    "odd length": (
        lambda: _chains(2, 0.5, 2, 501),
        (1.0030380464507913, 1.0031060085881671, 380.5143081238797),
        (604.3038803855303, 381.63098067400887, 0.05049177207306386),
    ),
}


def test_the_frozen_stream():
    x = _chains(0, 0.9, 4, 1000)
    assert x[0, 0] == 1.764052345967664
    assert x[999, 3] == pytest.approx(0.68364904587475, rel=1e-13)


@pytest.mark.parametrize("case", CASES)
def test_reference_table(case):
    make, first, second = CASES[case]
    x = make()
    got = [f(x) for f in (rhat, rhat_split, ess_bulk, ess_tail, ess_mean, mcse)]
    np.testing.assert_allclose(got, first + second, rtol=1e-9)
    assert all(type(value) is float for value in got)


def _unsplit_rhat(x):
    n = x.shape[0]
    within, between = x.var(0, ddof=1).mean(), n * x.mean(0).var(ddof=1)
    return math.sqrt(((n - 1) / n * within + between / n) / within)


def test_drift_within_a_chain():
    """Both chains drift alike: only halves disagree. The unsplit twin sees nothing."""
    x = _chains(5, 0.0, 2, 1000) + np.linspace(-1, 1, 1000)[:, None]
    assert rhat(x) > 1.1
    assert rhat_split(x) > 1.1
    assert _unsplit_rhat(x) < 1.01


def test_refusals():
    with pytest.raises(FrozenObservable, match="constant"):
        rhat(np.ones((100, 4)))
    with pytest.raises(FrozenObservable):
        ess_bulk(np.ones(100))
    with pytest.raises(ChainTooShort, match="3 draws"):
        ess_tail(np.arange(6.0).reshape(3, 2))
    with pytest.raises(InputError, match="2 chains or more"):
        rhat(np.arange(100.0))
    with pytest.raises(NonFinite, match="draw 3, chain 0"):
        mcse(np.array([1.0, 2, 3, np.nan, 5]))
    with pytest.raises(InputError, match=r"\(2, 5, 3\)"):
        ess_mean(np.zeros((2, 5, 3)))
