r"""One-dimensional quadrature: log ∫ e^{−U} and means, to 12 digits.

The midpoint rule converges faster than any power of the step for smooth densities that decay at
both ends, so a plain grid is the best quadrature here.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np

from pushforward._errors import InputError
from pushforward.targets.base import AbstractEnergy


def well_log_z(
    energy: AbstractEnergy | Callable, lower: float = -10.0, upper: float = 10.0, num: int = 8192
) -> float:
    """Return log ∫ e^{−U(x)} dx.

    Parameters
    ----------
    energy
        An energy of one coordinate, or a function of an array of points.
    lower, upper, num
        The grid; an `InputError` says when the density has not decayed at its ends.
    """
    _, weights, log_scale = _weights(energy, lower, upper, num)
    return float(np.log(weights.sum()) + log_scale)


def well_mean(
    f: Callable,
    energy: AbstractEnergy | Callable,
    lower: float = -10.0,
    upper: float = 10.0,
    num: int = 8192,
) -> float:
    """Return E f(x) under e^{−U}/Z; `f` is a NumPy function of the array of grid points."""
    x, weights, _ = _weights(energy, lower, upper, num)
    return float(np.sum(f(x) * weights) / weights.sum())


def _weights(
    energy: AbstractEnergy | Callable, lower: float, upper: float, num: int
) -> tuple[np.ndarray, np.ndarray, float]:
    step = (upper - lower) / num
    x = lower + step * (np.arange(num) + 0.5)
    u = _on_grid(energy, x)
    least = u.min()
    weights = np.exp(least - u)
    if max(weights[0], weights[-1]) > 1e-12:
        raise InputError(
            f"e^-U is {weights[0]:.1e} and {weights[-1]:.1e} of its maximum at the ends of "
            f"[{lower}, {upper}]: choose a wider interval"
        )
    return x, weights, np.log(step) - least


def _on_grid(energy: AbstractEnergy | Callable, x: np.ndarray) -> np.ndarray:
    if isinstance(energy, AbstractEnergy):
        shape = getattr(energy.space, "shape", None)
        if shape not in ((), (1,)):
            raise InputError(f"quadrature needs an energy of one coordinate, got shape {shape}")
        points = jnp.asarray(x).reshape(-1, *shape)
        return np.asarray(jax.vmap(energy)(points), np.float64)
    return np.asarray(energy(x), np.float64)
