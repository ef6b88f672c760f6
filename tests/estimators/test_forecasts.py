"""Scores of ensembles: perfect Gaussian ensembles have known scores, whatever their size."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.estimators import (
    biased_crps,
    counts_kl,
    fair_crps,
    fair_energy_score,
    sector_counts,
    sector_masses,
)

CASES = 100_000
FAIR = 0.5641895835477563  # 1/√π
crps, biased, energy = (jax.jit(jax.vmap(f)) for f in (fair_crps, biased_crps, fair_energy_score))


def perfect(members, dim=None, cases=CASES, seed=0):
    shape = () if dim is None else (dim,)
    rng = np.random.default_rng(seed)
    return rng.normal(size=(cases, members, *shape)), rng.normal(size=(cases, *shape))


def z_score(values, expected):
    values = np.asarray(values)
    return abs(values.mean() - expected) / (values.std() / np.sqrt(values.size))


@pytest.mark.parametrize(("members", "inflated"), [(5, 0.6770), (10, 0.6206), (50, 0.5755)])
def test_fair_crps_of_a_perfect_ensemble(members, inflated):
    x, y = perfect(members)
    assert abs((1 + 1 / members) * FAIR - inflated) < 1e-4
    assert z_score(crps(x, y), FAIR) < 4
    assert z_score(biased(x, y), (1 + 1 / members) * FAIR) < 4
    # twin: the score that is not fair misses the fair value by far
    assert z_score(biased(x, y), FAIR) > 4


def test_the_sorted_form_is_the_double_sum():
    x, y = perfect(7, cases=50)
    pairs = np.abs(x[:, :, None] - x[:, None]).sum((1, 2))
    expected = np.abs(x - y[:, None]).mean(1) - pairs / (2 * 7 * 6)
    np.testing.assert_allclose(crps(x, y), expected, rtol=1e-12)
    np.testing.assert_allclose(energy(x[..., None], y[:, None]), expected, rtol=1e-12)


@pytest.mark.parametrize("dim", [1, 2, 10, 50])
def test_fair_energy_score_of_a_perfect_ensemble(dim):
    x, y = perfect(5, dim, cases=20_000)
    expected = math.gamma((dim + 1) / 2) / math.gamma(dim / 2)
    assert z_score(energy(x, y), expected) < 4
    assert z_score(energy(1.5 * x, y), expected) > 4  # twin: too wide


def test_fields_are_scored_point_by_point():
    x, y = perfect(6, 12, cases=1)
    field = fair_crps(jnp.asarray(x[0]).reshape(6, 3, 4), jnp.asarray(y[0]).reshape(3, 4))
    flat = jnp.stack([fair_crps(x[0, :, k], y[0, k]) for k in range(12)])
    np.testing.assert_allclose(field.ravel(), flat, rtol=1e-13)


def test_equality_with_scoringrules():
    scoringrules = pytest.importorskip("scoringrules")
    x, y = perfect(9, cases=200)
    np.testing.assert_allclose(
        crps(x, y), scoringrules.crps_ensemble(y, x, estimator="fair"), rtol=0, atol=1e-6
    )
    x, y = perfect(9, 4, cases=200)
    theirs = scoringrules.es_ensemble(y, x, estimator="fair")
    np.testing.assert_allclose(energy(x, y), theirs, rtol=0, atol=1e-6)


def test_sectors():
    """Masses of an off-centre normal by quadrature against its samples; KL of a shifted one."""

    def log_density(x):
        return -jnp.sum((x - 1) ** 2) / 2 - math.log(2 * math.pi)

    masses = sector_masses(log_density, radius=9.0, bins=16)
    assert abs(masses.sum() - 1) < 1e-12
    num = 100_000
    x = 1 + np.random.default_rng(1).normal(size=(num, 2))
    counts = sector_counts(x, bins=16)
    assert counts.sum() == num
    error = np.sqrt(masses * (1 - masses) * num)
    assert np.abs((counts - masses * num) / error).max() < 4.5
    assert abs(counts_kl(masses * num, counts) - 7.5 / num) < 4 * 3 / num  # χ²_15 / 2n
    assert counts_kl(masses * num, sector_counts(x + 0.2, bins=16)) > 0.005


def test_bad_ensembles():
    with pytest.raises(InputError, match="at least two members"):
        fair_crps(jnp.zeros((1, 3)), jnp.zeros(3))
    with pytest.raises(InputError, match="vmap over cases"):
        fair_crps(jnp.zeros((5, 4, 3)), jnp.zeros(3))
    with pytest.raises(InputError, match=r"expected \(bins,\)"):
        counts_kl(np.zeros(3), np.zeros(4))
