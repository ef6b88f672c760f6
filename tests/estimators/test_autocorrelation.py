import math
import warnings

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tests.series import ar1, ar1_tau

from pushforward import estimators
from pushforward._errors import ChainTooShort, FrozenObservable, InputError, NonFinite
from pushforward.estimators import (
    ChainMean,
    Estimate,
    autocovariance,
    count_events,
    derived,
    gamma_method,
)


def textbook(series, S):
    """The formulas of the docstring, sum by sum."""
    chains = series.T
    C, draws = chains.shape
    n = C * draws
    d = chains - chains.mean()

    def gamma(t):
        return sum(d[c, i] * d[c, i + t] for c in range(C) for i in range(draws - t)) / (
            C * (draws - t)
        )

    g0, tau, W = gamma(0), 0.5, 0
    while True:
        W += 1
        tau += gamma(W) / g0
        slow = S / math.log((2 * tau + 1) / (2 * tau - 1)) if tau > 0.5 else 1e-9
        if math.exp(-W / slow) - slow / math.sqrt(W * n) < 0:
            break
    tau = max(tau, 0.5)
    error = math.sqrt(2 * tau * g0 / n * (1 + (2 * W + 1) / n))
    return ChainMean(d.mean(), error, tau, tau * math.sqrt(4 * (W + 0.5 - tau) / n), W, n)


@pytest.mark.filterwarnings("ignore:.*fewer than 50")
@pytest.mark.parametrize("S", [1.5, 2.0])
@pytest.mark.parametrize(("a", "draws", "chains"), [(0, 150, 1), (0.6, 100, 3), (-0.5, 90, 2)])
def test_equal_to_the_textbook(a, draws, chains, S):
    chains = ar1(a, draws, chains, seed=3) + 7
    got, expected = gamma_method(chains, S=S), textbook(chains, S)
    assert got.mean == pytest.approx(chains.mean(), rel=1e-14)
    assert got.window == expected.window
    assert got.n == expected.n
    np.testing.assert_allclose(got[1:4], expected[1:4], rtol=1e-11)


def test_autocovariance_by_hand():
    series = np.array([[1.0, 2.0, 4.0], [0.0, 3.0, 2.0]])
    d = series - 2
    expected = [
        (d**2).sum() / 6,
        (d[:, :2] * d[:, 1:]).sum() / 4,
        (d[:, 0] * d[:, 2]).sum() / 2,
    ]
    np.testing.assert_allclose(autocovariance(series.T), expected, atol=1e-14)


@pytest.mark.parametrize("a", [0.5, 0.9, 0.99])
def test_ar1_time_and_coverage(a):
    """60 series of 2e5: mean of tau/exact 1 ± .02, 1-sigma coverage of both errors .55 to .85."""
    estimates = [gamma_method(ar1(a, 200_000, seed=seed)) for seed in range(60)]
    tau = np.array([e.tau_int for e in estimates])
    error = np.array([e.tau_int_error for e in estimates])
    assert abs(tau.mean() / ar1_tau(a) - 1) < 0.02
    assert 0.55 < np.mean(np.abs(tau - ar1_tau(a)) < error) < 0.85

    mean = np.array([e.mean for e in estimates])
    bar = np.array([e.error for e in estimates])
    assert 0.55 < np.mean(np.abs(mean) < bar) < 0.85
    exact = math.sqrt(2 * ar1_tau(a) / 200_000)
    assert bar.mean() == pytest.approx(exact, rel=0.02)
    # Broken twin: the error bar without tau.
    naive = np.array([ar1(a, 200_000, seed=seed).std() for seed in range(60)]) / math.sqrt(200_000)
    assert not 0.55 < np.mean(np.abs(mean) < naive) < 0.85


def test_many_chains_equal_one_long_one():
    a = 0.9
    split = gamma_method(ar1(a, 2000, 64, seed=1))
    assert split.n == 128_000
    assert split.tau_int == pytest.approx(ar1_tau(a), abs=4 * split.tau_int_error)
    assert split.error == pytest.approx(math.sqrt(2 * ar1_tau(a) / 128_000), rel=0.05)
    assert split.effective == pytest.approx(128_000 / (2 * split.tau_int))


def test_chains_that_disagree_show_it():
    """Twin: subtracting each chain's own mean would hide that the chains never met."""
    chains = ar1(0.3, 1000, 4) + 3.0 * np.arange(4)
    with pytest.raises(ChainTooShort):
        gamma_method(chains)
    own = chains - chains.mean(0)
    assert gamma_method(own).tau_int < 2


def test_anticorrelated_draws_never_beat_independent_ones():
    estimate = gamma_method(ar1(-0.9, 10_000))
    assert estimate.tau_int == 0.5
    assert estimate.error == pytest.approx(0.01, rel=0.05)


@pytest.mark.parametrize(("chains", "refused"), [(1, 0.65), (4, 0.9), (32, 1.0)])
def test_five_autocorrelation_times_refuse(chains, refused):
    tau = 100
    a = (2 * tau - 1) / (2 * tau + 1)
    raised = warned = 0
    for seed in range(40):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            try:
                gamma_method(ar1(a, 5 * tau, chains, seed=seed))
                warned += bool(caught)
            except ChainTooShort:
                raised += 1
    assert raised >= refused * 40
    assert raised + warned == 40


def test_twenty_warn_and_two_hundred_are_silent():
    a = 0.9  # tau = 9.5
    with pytest.warns(UserWarning, match=r"plaq: chains of 200 draws with tau_int = .* last"):
        gamma_method(ar1(a, 200, 64), name="plaq")
    gamma_method(ar1(a, 2000, 64))


def test_frozen():
    with pytest.raises(FrozenObservable, match="0 events in 100 trajectories"):
        gamma_method(np.zeros(100))
    # 64 chains frozen at different charges: the series varies, no chain does.
    charges = np.tile(np.arange(64) % 5, (100, 1))
    with pytest.raises(FrozenObservable, match=r"Q never changed.*0 events in 6400.*64 chains"):
        gamma_method(charges, name="Q")
    mixed = ar1(0.5, 4000, 8)
    mixed[:, 3] = 0.1
    with pytest.warns(UserWarning, match="1 of 8 chains never changed"):
        gamma_method(mixed)


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_non_finite(bad):
    series = ar1(0.5, 100, 3)
    series[17, 2] = bad
    with pytest.raises(NonFinite, match="draw 17, chain 2"):
        gamma_method(series)


@pytest.mark.parametrize(
    ("series", "message"),
    [
        (np.ones(9, complex), "real and imaginary"),
        (np.zeros((2, 3, 4)), r"\(2, 3, 4\).*take one member, record\[name\]\[:, 0\]"),
        (np.zeros((0,)), r"\(0,\)"),
        (np.array(["a", "b"]), "dtype"),
        (3.0, r"\(\)"),
    ],
)
def test_bad_series(series, message):
    with pytest.raises(InputError, match=message):
        gamma_method(series)
    with pytest.raises(InputError, match="S is"):
        gamma_method(np.arange(100.0), S=0.0)


@pytest.mark.parametrize("draws", [2, 9])
def test_a_handful_of_draws(draws):
    with pytest.raises(ChainTooShort, match=f"{draws} draws a chain, expected 10"):
        gamma_method(np.arange(2.0 * draws).reshape(draws, 2))


def test_integers_booleans_and_jax_arrays():
    flips = np.random.default_rng(0).random(4000) < 0.3
    expected = gamma_method(flips.astype(float))
    assert gamma_method(flips) == expected
    assert gamma_method(flips.astype(int)) == expected
    assert gamma_method(jnp.asarray(flips)) == expected


def test_derived_of_one_series_is_linear():
    x = ar1(0.8, 5000, 4) + 2
    plain, doubled = gamma_method(x), derived(lambda m: 3 * m + 1, x)
    assert doubled.mean == pytest.approx(3 * plain.mean + 1, rel=1e-14)
    assert doubled.error == pytest.approx(3 * plain.error, rel=1e-12)
    assert doubled.tau_int == pytest.approx(plain.tau_int, rel=1e-12)


def test_derived_ratio_knows_the_correlation():
    """x and y = 2x + noise: the ratio of means is far better known than either."""
    ratios, errors = [], []
    for seed in range(200):
        x = ar1(0.8, 2000, 2, seed) + 5
        y = 2 * x + 0.1 * ar1(0.5, 2000, 2, seed + 1000)
        estimate = derived(lambda a, b: b / a, x, y)
        ratios.append(estimate.mean)
        errors.append(estimate.error)
    pulls = (np.array(ratios) - 2) / errors
    assert pulls.std() == pytest.approx(1, abs=0.2)
    assert abs(pulls.mean()) < 4 / math.sqrt(200)
    # Broken twin: errors added as if independent.
    ex, ey = gamma_method(x).error / 5, gamma_method(y).error / 10
    assert 2 * math.hypot(ex, ey) > 5 * np.mean(errors)


@pytest.mark.filterwarnings("ignore:.*fewer than 50")
def test_the_leading_axis_is_time():
    """Twin: transposed, slow chains look like many independent ones: less than half the error."""
    slow = ar1(0.9, 400, 80)
    right = gamma_method(slow)
    with pytest.warns(UserWarning, match=r"80 draws of 400 chains.*write series\.T"):
        wrong = gamma_method(slow.T)
    assert wrong.error < 0.5 * right.error


READERS = {
    "derived": lambda a: derived(lambda m: m, a),
    "jackknife": lambda a: estimators.jackknife(lambda m: m, a, block=1),
    "stationary_bootstrap": lambda a: estimators.stationary_bootstrap(
        lambda m: m, a, length=2, copies=2, key=jax.random.key(0)
    ),
}
NAMES = ["autocovariance", "count_events", "ess_bulk", "ess_mean", "ess_tail", "gamma_method"]
NAMES += ["mcse", "rhat", "rhat_split"]


@pytest.mark.filterwarnings("ignore:.*fewer than 50")
@pytest.mark.parametrize("name", [*READERS, *NAMES])
def test_every_reader_of_chains_says_that_an_array_may_be_transposed(name):
    read, series = READERS.get(name) or getattr(estimators, name), ar1(0.5, 60, 40)
    with pytest.warns(UserWarning, match="40 draws of 60 chains, fewer draws than chains"):
        read(series.T)


def test_derived_refuses():
    x = ar1(0.5, 1000)
    with pytest.raises(InputError, match="equal ones"):
        derived(lambda a, b: a * b, x, x[:-1])
    with pytest.raises(NonFinite, match="gradient"):
        derived(lambda a: jnp.log(a), x - x.mean() - 1)


def test_events():
    charge = np.array([[0.02, 0.98, 1.01, -0.03], [2.0, 2.1, 1.9, 2.0]])
    events = count_events(charge.T)
    assert events == (2, 8, 1, 2)
    assert str(events) == "2 events in 8 trajectories (1 of 2 chains never moved)"


def test_prints_like_a_paper():
    estimate = ChainMean(0.69774, 0.00012, 2.71, 0.11, 9, 1000)
    assert str(estimate) == ".69774 ± .00012, tau 2.71 ± .11"
    assert estimate.estimate == Estimate(0.69774, 0.00012)


@pytest.mark.parametrize("a", [0.5, 0.9])
def test_equal_to_pyerrors(a):
    pe = pytest.importorskip("pyerrors", reason="the reference implementation is an extra")
    series = ar1(a, 4000, 3, seed=11) + 1
    ours, mean = gamma_method(series), series.mean()
    # Left alone it subtracts each chain's own mean, blind to chains that disagree: hand it ours.
    names = ["e|r1", "e|r2", "e|r3"]
    observable = pe.Obs(list(series.T - mean), names, means=[mean] * 3)
    observable.gamma_method(S=2.0)
    assert observable.e_windowsize["e"] == ours.window
    assert observable.dvalue == pytest.approx(ours.error, rel=1e-10)
