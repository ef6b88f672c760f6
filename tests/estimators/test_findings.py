"""A run that went wrong says so; a good one says nothing. Each finding beside its sound twin."""

import numpy as np
import pytest
from tests.series import ar1

from pushforward.estimators import chain_findings, pareto_k, rhat_split, weight_findings
from pushforward.estimators.findings import _split_rhat

GOOD = ar1(0.5, 2000, 8)
STUCK = np.where(np.arange(8) == 3, 0.25, GOOD)
HMC = {"info.acceptance": np.full(100, 0.8), "info.delta_energy": np.full(100, 0.1)}


def said(findings):
    return [(f.severity, f.subject) for f in findings]


def test_a_good_run_says_nothing():
    record = HMC | {"x": GOOD, "info.diverged": np.zeros(100, bool), "info.cost.gradient": 3}
    assert chain_findings(record) == []
    assert weight_findings(np.random.default_rng(0).normal(size=1000)) == []
    assert weight_findings(np.zeros(100)) == []


@pytest.mark.parametrize(
    ("series", "severity", "words"),
    [
        (np.full((300, 8), 2.0), "red", "0 events in 2400 trajectories of 8 chains"),
        (np.tile(np.arange(8) % 3, (300, 1)), "red", "never changed within a chain"),
        (STUCK, "amber", "1 of 8 chains never changed in 2000 draws"),
        (ar1(0.99, 400, 64), "red", "expected at least 10"),
        (ar1(0.95, 800, 64), "amber", "fewer than 50"),
        (GOOD + 1.2 * (np.arange(8) == 2), "red", "R-hat = 1.0"),
        (GOOD + 1.5 * (np.arange(8) < 4), "red", "R-hat = 1.2"),
        (np.where(np.arange(2000)[:, None] == 7, np.nan, GOOD), "red", "not finite in 8 of 16000"),
    ],
)
def test_chains(series, severity, words):
    found = chain_findings({"x": series})
    (finding,) = [f for f in found if words in f.text]
    assert finding[:2] == (severity, "x")
    assert str(finding) == finding.text


def test_cheap_on_long_series_and_equal_to_the_estimators():
    assert _split_rhat(GOOD.T) == pytest.approx(rhat_split(GOOD), rel=1e-12)
    long = np.tile(ar1(0.5, 2**15, 64), (4, 1))  # 8 million numbers
    assert chain_findings({"x": long}) == []
    slow = ar1(0.99999, 2**18, 16)
    assert ("red", "x") in said(chain_findings({"x": slow}))


def test_members_rungs_and_components_are_named():
    charge = np.round(3 * ar1(0.3, 500, 8 * 3)).reshape(500, 8, 3)
    charge[..., 2] = 0
    betas = ["β = 2", "β = 4", "β = 6"]
    (rung,) = chain_findings({"Q": charge}, betas)
    (member,) = chain_findings({"Q": charge.swapaxes(1, 2)}, betas, stacked=True)
    assert rung == member
    assert rung.text.startswith("Q at β = 6 never changed")
    (unnamed,) = chain_findings({"Q": charge})
    assert unnamed.text.startswith("Q[2] never changed")
    charge[..., 0] = 1
    (both,) = chain_findings({"Q": charge}, betas)
    assert "Q at β = 2" in both.text
    assert both.text.endswith("; the same at β = 6")
    assert chain_findings({"field": np.zeros((500, 8, 65))}) == []  # a field, no observable


@pytest.mark.parametrize(
    ("rate", "hmc", "swaps"),
    [
        (3e-17, "red", "amber"),
        (np.nan, "red", "amber"),
        (0.1, "amber", None),
        (0.999, "amber", None),
    ],
)
def test_acceptance(rate, hmc, swaps):
    rates = np.full((50, 3), 0.5)
    rates[:, 1] = rate
    other = {"info.acceptance": rates}
    for record, severity in (
        (other | {"info.delta_energy": rates}, hmc),
        (other, "red" if hmc == "red" and swaps else None),
        ({"info.swaps.acceptance": rates}, swaps),
    ):
        found = chain_findings(record, ["a", "b", "c"])
        assert [f.severity for f in found] == ([severity] if severity else [])
        assert all(" at b is " in f.text for f in found)
        named = chain_findings(record, stacked=True)
        assert all(" at member 1 is " in f.text for f in named)


def test_divergences():
    (finding,) = chain_findings(HMC | {"info.diverged": np.arange(100) < 3})
    assert finding.severity == "amber"
    assert "diverged of the kernel is 0.03 > 0, the share of 100 steps" in finding.text


@pytest.mark.parametrize(
    ("log_weight", "severity", "words"),
    [
        (np.full(20, -np.inf), "red", "no walker is inside the support: 0 of 20"),
        (np.array([np.nan, np.inf, 1.0]), "red", "2 of 3 log-weights are NaN or +inf"),
        (
            np.r_[50.0, np.zeros(99)],
            "red",
            "carries the weight, expected 10 or more: ESS 0.01",
        ),
        (np.r_[np.full(4, 50.0), np.zeros(96)], "red", "4 of 100 walkers carry"),
        (np.r_[np.zeros(3), np.full(97, -np.inf)], "red", "3 of 100 walkers are inside the supp"),
        (np.log(1 + np.random.default_rng(1).pareto(1.1, 5000)), "amber", "Pareto k = "),
    ],
)
def test_weights(log_weight, severity, words):
    (finding,) = weight_findings(log_weight)
    assert finding[:2] == (severity, "log_weight")
    assert words in finding.text
    stack = np.stack([np.zeros_like(log_weight), log_weight])
    assert "of cold" in weight_findings(stack, ["warm", "cold"])[-1].text


@pytest.mark.parametrize("shape", [0.2, 0.6, 1.0])
def test_pareto_k(shape):
    """Near the exact shape of Pareto weights, and the number that ArviZ gives."""
    from arviz_stats.base.array import array_stats

    log_weight = np.log1p(np.random.default_rng(0).pareto(1 / shape, 20_000))
    found = pareto_k(log_weight)
    assert abs(found - shape) < 0.12
    assert found == pytest.approx(float(array_stats.psislw(-log_weight, r_eff=1)[1]), abs=1e-10)
    assert np.isnan(pareto_k(np.zeros(1000)))


def test_a_record_along_times_has_no_chains():
    assert chain_findings({"x": np.zeros((9, 4))}) == []  # nor have a few steps
    assert chain_findings({"t": np.linspace(0, 1, 9), "x": np.zeros((9, 4))}) == []
