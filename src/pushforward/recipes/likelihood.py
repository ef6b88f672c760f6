r"""The density of a trained interpolant at given points, by its probability flow.

x1 is carried back to its latent x0 along dx/dt = v, and log p(x1) = log N(x0; 0, s0² 1) −
∫_0^1 div v dt. The density is that of the flow: of a perfect model, of the data.
"""

from typing import NamedTuple

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._typing import Array, Context, Float
from ..drivers import simulate
from ..dynamics import Adaptive, Dense, density_flow
from ..paths import Predictor, uniform_times
from ..targets import Normal


class LogLikelihood(NamedTuple):
    """Log densities of n points."""

    value: Float[Array, " n"]  # log p(x1)
    latent: Array  # x0 of every point
    num_evaluations: float  # of the velocity with its divergence, for each point


def log_likelihood(
    predictor: Predictor,
    x1: Float[Array, "n *shape"],
    *,
    times: Float[Array, " m"] | None = None,
    solver: diffrax.AbstractSolver | None = None,
    control: Adaptive | None = None,
    context: Context = None,
    batch_size: int | None = None,
) -> LogLikelihood:
    """Return log p(x1) in nats, with the exact divergence (up to 256 components).

    Parameters
    ----------
    predictor
        What was trained, its path and what its output means.
    x1, context
        The points, samples first, and a label for each (or None).
    times
        Increasing grid; default 100 equal steps of [0, 1]. `VariancePreserving` is singular at
        t = 1 and scores at t = 0: end or begin 1e-3 away.
    solver, control
        As of `density_flow`. With `diffrax.Tsit5()` and `Adaptive(1e-8, 1e-8)`, times `[0, 1]`.
    batch_size
        Points at once.

    References
    ----------
    Chen et al. 2018 (arXiv 1806.07366), theorem 1; Song et al. 2021 (arXiv 2011.13456), eq. 39.
    """
    x1 = jnp.asarray(x1)
    if x1.ndim < 2 or not jnp.issubdtype(x1.dtype, jnp.floating):
        raise InputError(
            f"x1 has shape {x1.shape} and dtype {x1.dtype}, expected floating points along a "
            "leading axis: one point alone is x1[None]"
        )
    grid = np.asarray(uniform_times(100) if times is None else times)
    if grid.ndim != 1 or grid.size < 2 or grid[0] > grid[-1]:
        raise InputError("times is the grid from base to data, expected increasing numbers")
    found = simulate(
        density_flow(predictor, solver, control),
        Dense(x1, jnp.zeros(x1.shape[0], x1.dtype)),
        times=jnp.asarray(grid[::-1]),
        context=context,
        batch_size=batch_size,
        key=jax.random.key(0),  # nothing is drawn
    )
    base = Normal(x1.shape[1:], scale=predictor.path.base_scale)
    value = jax.vmap(base.log_prob)(found.x.x) - found.x.log_density
    evaluations = found.record["info.evaluations"].sum() / x1.shape[0]
    return LogLikelihood(value, found.x.x, float(evaluations))
