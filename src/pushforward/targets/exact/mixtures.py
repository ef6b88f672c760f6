r"""Moments of Gaussian mixtures: E x = Σ_k w_k m_k, E|x|² = Σ_k w_k ( |m_k|² + Σ_i s_ki² )."""

import numpy as np

from pushforward._errors import InputError
from pushforward._typing import Array
from pushforward.targets.gaussian import Normal
from pushforward.targets.mixtures import Mixture


def mixture_mean(mixture: Mixture) -> np.ndarray:
    """Return E x, an array of the shape of one sample."""
    weights, means, _ = _parameters(mixture)
    return np.tensordot(weights, means, axes=1)


def mixture_second_moment(mixture: Mixture) -> float:
    """Return E|x|²."""
    weights, means, scales = _parameters(mixture)
    squares = (means**2 + scales**2).reshape(len(weights), -1)
    return float(weights @ squares.sum(1))


def _parameters(mixture: Mixture) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    components, shape = mixture.components, mixture.space.shape  # type: ignore[attr-defined]
    if not isinstance(components, Normal):
        raise InputError(
            f"moments are known for Normal components, got {type(components).__name__}"
        )
    weights = np.exp(np.asarray(mixture.log_weights, np.float64))

    def full(leaf: Array) -> np.ndarray:
        array = np.asarray(leaf, np.float64)
        missing = 1 + len(shape) - array.ndim
        array = array.reshape(array.shape[:1] + (1,) * missing + array.shape[1:])
        return np.broadcast_to(array, (len(weights), *shape))

    return weights / weights.sum(), full(components.mean), full(components.scale)
