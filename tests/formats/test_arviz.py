"""Chains reach ArviZ the right way round."""

import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.formats import to_arviz

arviz = pytest.importorskip("arviz")


def test_draws_and_chains_are_not_swapped():
    drift = np.linspace(0, 1, 200)[:, None] + np.zeros((200, 3))  # along draws, not along chains
    found = to_arviz({"x": drift, "info.acceptance": drift, "steps": np.zeros(200)})
    posterior = found["posterior"]
    assert dict(posterior.sizes) == {"chain": 3, "draw": 200}
    np.testing.assert_array_equal(posterior["x"].values[0], drift[:, 0])
    assert list(found["sample_stats"].data_vars) == ["acceptance"]


def test_a_march_along_times_is_refused():
    with pytest.raises(InputError, match="no chains"):
        to_arviz({"t": np.zeros(3), "ess": np.zeros(3)})
