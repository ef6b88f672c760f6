"""Ours beside theirs: verdicts are never made up."""

import math

import pytest

from pushforward._errors import ConfigError
from pushforward.experiments._expected import (
    Estimate,
    Exact,
    Expected,
    Goal,
    Measured,
    Paper,
    at_least,
    at_most,
    check_expected,
    judge,
    missed,
    relative,
    within,
)
from pushforward.experiments._load import find
from pushforward.spaces import U1
from pushforward.targets.exact import gauge2d


def verdict(ours, value, comparison):
    expected = Expected("x", value, comparison, Goal())
    results = {} if ours is None else {"x": ours}
    return judge(results, [expected])[0]["verdict"]


@pytest.mark.parametrize(
    ("ours", "value", "comparison", "expected"),
    [
        (Estimate(1.0, 0.1), 1.39, within(4.0), "within"),
        (Estimate(1.0, 0.1), 1.41, within(4.0), "MISSED"),
        (Estimate(1.0, 0.1), 0.59, within(4.0), "MISSED"),
        (Estimate(1.0), 1.0, within(), "none"),  # no error bar, no verdict
        (Estimate(1.0, 0.0), 1.0, within(), "within"),
        (Estimate(1.0, 0.0), 1.1, within(), "MISSED"),
        (Estimate(math.nan, 0.1), 1.0, within(), "MISSED"),
        (Estimate(1.0, math.nan), 1.0, within(), "MISSED"),
        (Estimate(0.9), 0.9, at_least(), "within"),
        (Estimate(0.89), 0.9, at_least(), "MISSED"),
        (Estimate(math.nan), 0.9, at_least(), "MISSED"),
        (Estimate(0.9), 0.9, at_most(), "within"),
        (Estimate(0.91), 0.9, at_most(), "MISSED"),
        (Estimate(math.nan), 0.9, at_most(), "MISSED"),
        (Estimate(-1.04), -1.0, relative(0.05), "within"),
        (Estimate(-1.06), -1.0, relative(0.05), "MISSED"),
        (None, 1.0, at_least(), "MISSED"),  # expected, but never found
    ],
)
def test_verdicts(ours, value, comparison, expected):
    assert verdict(ours, value, comparison) == expected


def test_a_number_without_error_bar_has_no_z_score():
    expected = [Expected("x", 1.0, at_least(), Exact("proof"))]
    assert "sigma" not in judge({"x": Estimate(2.0)}, expected)[0]["deviation"]
    assert judge({"x": Estimate(2.0, 0.5)}, expected)[0]["deviation"] == "+2.0 sigma"


def test_rows():
    expected = [
        Expected("a", 1.0, within(), Paper("nets", "Table 1"), unit="nats", note="hard"),
        Expected("b", 2.0, at_least(), Measured("2 cores")),
    ]
    rows = judge({"c": Estimate(3, unit="s"), "a": Estimate(1.1, 0.1)}, expected[:1])
    assert [row["name"] for row in rows] == ["a", "c"]
    assert rows[0]["source"] == "nets, Table 1"
    assert (rows[0]["unit"], rows[0]["note"], rows[1]["unit"]) == ("nats", "hard", "s")
    assert rows[1]["verdict"] == "none"
    assert rows[1]["expected"] is None
    rows = judge({"a": Estimate(1.1, 0.1)}, expected)
    assert missed(rows) == ["b"]
    assert rows[1]["value"] is None


def test_a_name_is_expected_once_a_preset():
    smoke = Expected("a", 1.0, at_least(), Goal(), presets=("smoke",))
    paper = Expected("a", 2.0, at_least(), Goal(), presets=("paper",))
    check_expected([smoke, paper], ["smoke", "paper"])
    with pytest.raises(ConfigError, match="a twice for preset 'smoke'"):
        check_expected([smoke, smoke], ["smoke", "paper"])


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("side=5", ["plaquette (β = 2, L = 5)", "<Q²> (β = 2, L = 5)"]),
        ("beta=[3.5]", ["plaquette (β = 3.5, L = 8)"]),
        ("beta=[6.0]", []),  # frozen: nothing is promised
    ],
)
def test_what_is_expected_follows_the_config(override, names):
    experiment = find("gauge-u1-2d")
    resolved = experiment.resolve(overrides=["preset=smoke", override])
    rows = experiment.expected(resolved)
    assert [row.name for row in rows] == names
    for row in rows:
        known = gauge2d(U1(), resolved.config.beta[0], resolved.config.side**2)
        assert row.value == (known.q2 if "Q" in row.name else known.plaquette)


@pytest.mark.parametrize("name", ["gauge-u1-2d", "trex-u1-2d", "multiscale-u1"])
@pytest.mark.parametrize(
    ("beta", "sentence"), [("[2.0,2.0]", "must be distinct"), ("[-2.0,3.0]", "beta")]
)
def test_couplings_are_positive_and_distinct(name, beta, sentence):
    with pytest.raises(ConfigError, match=sentence):
        find(name).resolve(overrides=["preset=smoke", f"beta={beta}"])
