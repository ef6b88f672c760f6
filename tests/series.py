"""Chains whose autocorrelation is known."""

import math

import numpy as np
from scipy.signal import lfilter


def ar1(a, draws, chains=None, seed=0):
    """Stationary AR(1) of unit variance, (draws,) or (draws, chains): mean 0, time `ar1_tau`."""
    shape = (draws,) if chains is None else (chains, draws)
    noise = np.random.default_rng(seed).standard_normal(shape)
    noise[..., 1:] *= math.sqrt(1 - a * a)
    return lfilter([1.0], [1.0, -a], noise, axis=-1).T


def ar1_tau(a):
    """Integrated autocorrelation time of AR(1)."""
    return (1 + a) / (2 * (1 - a))
