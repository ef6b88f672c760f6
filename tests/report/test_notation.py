"""Numbers with their error in brackets."""

import math

import numpy as np
import pytest

from pushforward.report import format_count, format_seconds, format_value


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (0.523618, 0.00021, "0.52362(21)"),
        (0.523618, 0.000209, "0.52362(21)"),
        (-0.000213, 0.00070, "-0.00021(70)"),
        (1071.37, 2.1, "1071.4(2.1)"),
        (1071.37, 21, "1071(21)"),
        (1071.37, 210, "1070(210)"),
        (0.998, 0.00996, "0.998(10)"),  # the error rounds up to the next power
        (0.002, 3.0, "0.0(3.0)"),
        (-0.0001, 0.05, "0.000(50)"),  # no negative zero
        (-3.1e-7, 2e-9, "-3.100(20)e-7"),
        (1.2e12, 3e9, "1.2000(30)e12"),
        (1e6, 1.0, "1000000.0(1.0)"),
        (0.0, 1e-9, "0.0(1.0)e-9"),
        (1e300, 1e280, "1e300"),
        (1e-310, 1e-312, "1.000(10)e-310"),
        (0.5, None, "0.5"),
        (0.5, 0, "0.5"),
        (0.5, math.nan, "0.5(nan)"),
        (0.5, "nan", "0.5(nan)"),
        (0.5, math.inf, "0.5(inf)"),
        (0.5, -0.1, "0.5(nan)"),
        (0.5, "n/a", "0.5(nan)"),
        (math.nan, 0.1, "nan"),
        ("inf", 0.1, "inf"),
        ("0.25", 0.01, "0.250(10)"),
        (None, None, "–"),
        (None, 0.1, "–"),
        (40, None, "40"),
        (123456789, None, "123456789"),
        (10**400, None, "a huge integer"),
        (1e-7, None, "1e-7"),
        (1071.369916, None, "1071.37"),
        (True, None, "yes"),
        ("left well", 0.1, "left well"),
        ([1, 2], None, "[1, 2]"),
        (np.float32(0.5), np.float64(0.01), "0.500(10)"),
        (np.int64(1234567), None, "1234567"),
    ],
)
def test_value(value, error, text):
    assert format_value(value, error) == text


def test_brackets_read_back():
    """Value and error, read from the text again, are right to half of the error's last digit."""
    random = np.random.RandomState(0)
    for _ in range(2000):
        value = random.standard_normal() * 10.0 ** random.uniform(-9, 9)
        error = abs(value) * 10.0 ** random.uniform(-9, 3)
        body, _, exponent = format_value(value, error).partition("e")
        shown, bracket = body.rstrip(")").split("(")
        scale = 10.0 ** int(exponent or 0)
        decimals = len(shown.partition(".")[2])
        unit = scale * 10.0**-decimals
        found = float(bracket) * (scale if "." in bracket else unit)
        assert math.isclose(found, error, rel_tol=0.051)
        last = 10.0 ** (int(f"{error:.1e}".split("e")[1]) - 1)
        assert abs(float(shown) * scale - value) <= 0.5 * last + 1e-14 * abs(value)


def test_count_and_seconds():
    assert [format_count(n) for n in (7, 9999, 5120000, None, 0.5, "nan")] == [
        "7",
        "9999",
        "5\u202f120\u202f000",
        "–",
        "0.5",
        "nan",
    ]
    seconds = (0.0123, 0.84, 9.99, 12.4, 170, 3600, 11520, 187200, None, -1, math.inf)
    assert [format_seconds(s) for s in seconds] == [
        "0.012 s",
        "0.84 s",
        "10 s",
        "12 s",
        "2 min 50 s",
        "1 h",
        "3 h 12 min",
        "2 d 4 h",
        "–",
        "-1",
        "inf",
    ]
