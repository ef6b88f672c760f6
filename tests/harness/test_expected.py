"""Ours beside theirs: verdicts are never made up."""

import math

import pytest

from pushforward._errors import ConfigError, InputError
from pushforward.estimators import Estimate
from pushforward.experiments import REGISTRY
from pushforward.harness import GOAL, at_least, at_most, exact, paper, relative, within
from pushforward.harness.expected import collected, judge, missed
from pushforward.harness.experiment import find
from pushforward.spaces import U1
from pushforward.targets.exact import gauge2d

INF, NAN = math.inf, math.nan


def row(ours, expected):
    return judge({} if ours is None else {"x": ours}, {"x": expected})[0]


@pytest.mark.parametrize(
    ("ours", "expected", "verdict"),
    [
        ((1.0, 0.1), within(4.0, 1.39, GOAL), "within"),
        (Estimate(1.0, 0.1), within(4.0, 1.39, GOAL), "within"),
        ((1.0, 0.1), within(4.0, 1.41, GOAL), "MISSED"),
        ((1.0, 0.1), within(4.0, 0.59, GOAL), "MISSED"),
        (1.0, within(4.0, 1.0, GOAL), "none"),  # no error bar, no verdict
        ((1.0, 0.0), within(4.0, 1.0, GOAL), "within"),
        ((1.0, 0.0), within(4.0, 1.1, GOAL), "MISSED"),
        (0.9, at_least(0.9, GOAL), "within"),
        (0.89, at_least(0.9, GOAL), "MISSED"),
        (0.9, at_most(0.9, GOAL), "within"),
        (0.91, at_most(0.9, GOAL), "MISSED"),
        (-1.04, relative(0.05, -1.0, GOAL), "within"),
        (-1.06, relative(0.05, -1.0, GOAL), "MISSED"),
        (None, at_least(1.0, GOAL), "MISSED"),  # expected, but never found
    ],
)
def test_verdicts(ours, expected, verdict):
    assert row(ours, expected)["verdict"] == verdict


RULES = (within(4.0, 1.0, GOAL), at_least(1, GOAL), at_most(1, GOAL), relative(1e9, 1.0, GOAL))


@pytest.mark.parametrize("expected", RULES, ids=lambda e: e.comparison)
@pytest.mark.parametrize("ours", [(NAN, 0.1), (1.0, NAN), (1.0, INF), (-INF, INF), (INF, None)])
def test_what_is_not_finite_has_missed(ours, expected):
    assert row(ours, expected)["verdict"] == "MISSED"


def test_a_number_without_error_bar_has_no_z_score():
    assert "sigma" not in row(2.0, at_least(1.0, exact("proof")))["deviation"]
    assert row((2.0, 0.5), at_least(1.0, exact("proof")))["deviation"] == "+2.0 sigma"


def test_rows():
    one = within(4, 1.0, paper("nets", "Table 1"), unit="nats", note="hard")
    rows = judge({"c": Estimate(3, None, "s"), "a": (1.1, 0.1)}, {"a": one})
    assert [row["name"] for row in rows] == ["a", "c"]
    assert rows[0]["source"] == "nets, Table 1"
    assert (rows[0]["unit"], rows[0]["note"], rows[1]["unit"]) == ("nats", "hard", "s")
    assert rows[1]["verdict"] == "none"
    assert rows[1]["expected"] is None
    rows = judge({"a": (1.1, 0.1)}, {"a": one, "b": at_least(2.0, GOAL)})
    assert missed(rows) == ["b"]
    assert rows[1]["value"] is None


def test_values_are_plain_floats():
    import numpy as np

    ours = row((np.float32(1.5), np.ones(())), at_least(1, GOAL))
    assert (type(ours["value"]), type(ours["error"])) == (float, float)


@pytest.mark.parametrize(
    ("pairs", "error", "words"),
    [
        ([("a", 1), ("a", 2)], ConfigError, "'a' twice"),
        ([1.0], InputError, "gave 1.0; expected pairs"),
        (3, InputError, "gave int"),
        (None, InputError, "gave NoneType"),
    ],
)
def test_only_named_rows_are_taken(pairs, error, words):
    with pytest.raises(error, match=words):
        collected(pairs, "run()", "pairs")


def test_a_result_that_is_no_number():
    with pytest.raises(InputError, match="the result 'x' is 'text'"):
        judge({"x": "text"}, {})


@pytest.mark.parametrize(
    ("override", "names"),
    [
        ("side=5", ["plaquette (β = 2, L = 5)", "<Q²> (β = 2, L = 5)"]),
        ("beta=[3.5]", ["plaquette (β = 3.5, L = 8)"]),
        ("beta=[6.0]", []),  # frozen: nothing is promised
    ],
)
def test_what_is_expected_follows_the_config(override, names):
    experiment = find("gauge-u1-2d", REGISTRY)
    resolved = experiment.resolve(overrides=["preset=smoke", override])
    rows = experiment.expected(resolved)
    assert list(rows) == names
    for name, row in rows.items():
        known = gauge2d(U1(), resolved.config.beta[0], resolved.config.side**2)
        assert row.value == (known.q2 if "Q" in name else known.plaquette)


def test_nothing_is_expected_of_couplings_that_are_not_run():
    experiment = find("multiscale-u1", REGISTRY)
    resolved = experiment.resolve(overrides=["preset=smoke", "beta=6"])
    assert all("β = 6" in name for name in experiment.expected(resolved))


@pytest.mark.parametrize("name", ["gauge-u1-2d", "trex-u1-2d", "multiscale-u1"])
@pytest.mark.parametrize(
    ("beta", "sentence"), [("[2.0,2.0]", "must be distinct"), ("[-2.0,3.0]", "beta")]
)
def test_couplings_are_positive_and_distinct(name, beta, sentence):
    with pytest.raises(ConfigError, match=sentence):
        find(name, REGISTRY).resolve(overrides=["preset=smoke", f"beta={beta}"])
