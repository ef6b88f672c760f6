r"""A stochastic interpolant of data: learn a velocity once, sample with any noise afterwards.

1. Draw (t, x0, x1): x0 from a normal base, x1 from the data (`IndependentPairs`).
2. Train a network on the velocity of I_t = αx0 + βx1 (`Regression`).
3. Sample: `sde_kernel` with any ε, or `probability_flow(predictor)`, the ODE without noise.
4. Read densities: `log_likelihood` along the same ODE.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import Array, Context, Float, PRNGKey
from ..dynamics import InterpolantSDE
from ..networks import DriftMLP
from ..objectives import Regression
from ..paths import (
    AbstractAffine,
    AbstractPrediction,
    AbstractTimeLaw,
    Data,
    Epsilon,
    Linear,
    NoiseLevel,
    Predictor,
    UniformTime,
    VariancePreserving,
    Velocity,
)
from ..sources import IndependentPairs
from ..targets import AbstractDistribution, Normal
from .base import Recipe, key_or_default


def interpolant(
    data: Float[Array, "n *shape"] | AbstractDistribution,
    path: AbstractAffine | None = None,
    prediction: AbstractPrediction | None = None,
    *,
    network: Callable | None = None,
    epsilon: Epsilon | None = None,
    times: AbstractTimeLaw | None = None,
    labels: Context = None,
    width: int = 128,
    steps: int = 50,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of an interpolant between N(0, s0² 1) and `data`.

    Parameters
    ----------
    data
        Samples first, or a distribution to draw from. Good: centred, of unit width.
    path, prediction
        Default `Linear()`, `Velocity()`.
    network
        `net(t, x, context=..., key=...)`; default a `DriftMLP` of 3 hidden layers of `width`.
    epsilon
        Noise of the sampler, to be changed after training: `NoiseLevel()`.
    times
        Law of the training times; default uniform where path and prediction are finite.
    labels
        One for each row of the data; the network then reads `context`.

    References
    ----------
    Albergo, Boffi and Vanden-Eijnden 2023 (arXiv 2303.08797).
    """
    path, prediction = path or Linear(), prediction or Velocity()
    if isinstance(data, AbstractDistribution):
        shape = jax.eval_shape(lambda k: data.sample(key=k), jax.random.key(0)).shape
    else:
        data = jnp.asarray(data)
        if data.ndim < 2:
            raise InputError(f"data has shape {data.shape}, expected (n, ...): samples first")
        shape = data.shape[1:]
    base = Normal(shape, scale=path.base_scale)
    if network is None:
        network = DriftMLP(base.space.dim, width=width, key=key_or_default(key))
    times = times or UniformTime(*finite_times(path, prediction, 1e-5))
    source = IndependentPairs(base, data, times, labels)
    kernel = eqx.Partial(sde_kernel, path, prediction, epsilon or NoiseLevel())
    grid = jnp.linspace(*finite_times(path, prediction, 1e-3), steps + 1)
    return Recipe(network, kernel, Regression(path, prediction), source, grid, base)


def finite_times(
    path: AbstractAffine, prediction: AbstractPrediction, margin: float
) -> tuple[float, float]:
    """Return the times between which a prediction along a path is finite.

    Velocities of `Linear` and `Trigonometric`: [0, 1]. Noise and scores: 1e-3 from both ends, data
    from the last. `VariancePreserving`: [0, 1 − margin], margin 1e-5 in training, 1e-3 in sampling.
    """
    if isinstance(path, VariancePreserving):
        return 0.0, 1 - margin
    if isinstance(prediction, Velocity):
        return 0.0, 1.0
    return (0.0 if isinstance(prediction, Data) else 1e-3), 1 - 1e-3


def sde_kernel(
    path: AbstractAffine, prediction: AbstractPrediction, epsilon: Epsilon, model: Callable
) -> InterpolantSDE:
    """Return the SDE sampler of a trained network, `StochasticHeun` steps."""
    return InterpolantSDE(Predictor(model, path, prediction), epsilon)
