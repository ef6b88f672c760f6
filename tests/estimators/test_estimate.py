"""A number with its error: plain floats, written to the error's two digits, no invented z."""

import math

import jax.numpy as jnp
import numpy as np
import pytest

from pushforward.estimators import Estimate


@pytest.mark.parametrize("one", [np.float32(1.5), np.full((), 1.5), jnp.asarray(1.5)])
def test_one_number_is_a_plain_float(one):
    value, error = Estimate(one, one, "nats")
    assert (type(value), value, type(error), error) == (float, 1.5, float, 1.5)


def test_arrays_and_trees_stay_what_they_are():
    vector = np.array([1.0, 2.0])
    assert Estimate(vector).value is vector
    assert Estimate({"m": vector}).value["m"] is vector
    np.testing.assert_allclose(Estimate(vector, vector).z(0.0), 1.0)
    assert str(Estimate(vector, vector / 2)) == "[1. 2.] ± [0.5 1. ]"


@pytest.mark.parametrize(
    ("value", "error", "text"),
    [
        (1.23456, 0.0012, "1.2346 ± .0012"),
        (0.697742, 0.0000996, ".69774 ± .00010"),
        (-0.5, 0.1, "-.50 ± .10"),
        (-12.3456, 0.5, "-12.35 ± .50"),
        (10.04, 0.996, "10.0 ± 1.0"),
        (1234.6, 25.0, "1235 ± 25"),
        (12345.0, 1300.0, "12300 ± 1300"),
        (-3.1e-7, 2e-9, "-3.1e-07 ± 2e-09"),
        (1.0, 0.0, "1 ± 0"),
        (1.0, math.inf, "1 ± inf"),
        (math.nan, 0.1, "nan ± 0.1"),
        (1.23456789, None, "1.23457"),
    ],
)
def test_how_it_is_written(value, error, text):
    assert str(Estimate(value, error)) == text
    assert str(Estimate(value, error, "nats")) == f"{text} nats"


@pytest.mark.parametrize("error", [None, 0.0, math.inf, math.nan])
def test_no_honest_error_no_z(error):
    assert Estimate(1.0, error).z(0.5) is None
    assert Estimate(1.0, 0.25).z(0.5) == 2.0
