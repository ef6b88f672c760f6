r"""A probabilistic forecaster: from pairs (present, future) to ensembles from the present on.

1. Draw (t, x0, x1): x1 a lag after x0 (`PairSimulator`, or `Arrays` of `Pair`s).
2. Train b on R along I_t = α x0 + β x1 + σ W_t (`Regression` along a point-mass path).
3. Forecast one lag: `simulate(r.kernel(model), x0, times=r.times, key=key)`; with any noise.
4. Roll out: `simulate(Lead(r.kernel(model), r.times), x0, steps=leads, key=key)`.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import PRNGKey
from ..dynamics import (
    AbstractParametrisation,
    AbstractSDEStep,
    EulerMaruyama,
    Plain,
    PointDrift,
    PointForecast,
)
from ..networks import PointMLP
from ..objectives import Regression
from ..paths import AbstractPointMass, Epsilon, FollmerEpsilon, QuadraticPoint, uniform_times
from ..sources import AbstractSource, Pair
from .base import Recipe, key_or_default


def forecaster(
    source: AbstractSource,
    path: AbstractPointMass | None = None,
    parametrisation: AbstractParametrisation | None = None,
    *,
    network: Callable | None = None,
    epsilon: Epsilon | None = None,
    solver: AbstractSDEStep | None = None,
    width: int = 128,
    depth: int = 4,
    steps: int = 50,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of a forecaster of real vectors or fields.

    Parameters
    ----------
    source
        Draws `Pair(t, x0, x1, context)`, x1 a lag after x0: `PairSimulator(system)`.
    path
        Default `QuadraticPoint(rms of the data)`.
    parametrisation
        `Plain()` (default), `Endpoint(path)`, `AffineReference.fit(path, x0, x1)`.
    network
        `net(t, x, x0, context=..., key=...)`; default a `PointMLP` of `depth` hidden layers of
        `width`, scaled by the mean and the rms of the data.
    epsilon, solver
        Of the sampler, to be changed after training: `FollmerEpsilon()`, `EulerMaruyama()`.
    steps
        Steps of the sampling grid; with few (5 to 20) write `MatchedEpsilon()`,
        `StochasticHeun()` and the times `1 - power_times(n, 1.5)[::-1]`.

    References
    ----------
    Chen et al. 2024 (arXiv 2403.13724).
    """
    key = key_or_default(key)
    pairs = _drawn(source, jax.random.fold_in(key, 0))
    if not isinstance(pairs, Pair):
        raise InputError(
            f"the source draws {type(pairs).__name__}, expected Pair(t, x0, x1): "
            "PairSimulator(system), or Arrays(Pair(t, x0, x1))"
        )
    mean = jnp.mean(pairs.x1, axis=0)
    rms = jnp.sqrt(jnp.mean((pairs.x1 - mean[None]) ** 2))
    if not (jnp.isfinite(rms) and rms > 0):
        raise InputError(f"the pairs have a standard deviation of {rms}: nothing to forecast")
    path = path or QuadraticPoint(rms)
    if network is None:
        num_context = sum(leaf[0].size for leaf in jax.tree.leaves(pairs.context))
        network = PointMLP(
            mean.size, width=width, depth=depth, scale=rms, centre=mean, num_context=num_context,
            key=jax.random.fold_in(key, 1),
        )  # fmt: skip
    kernel = eqx.Partial(
        PointForecast, path=path, epsilon=epsilon or FollmerEpsilon(),
        solver=solver or EulerMaruyama(),
    )  # fmt: skip
    model = PointDrift(network, parametrisation or Plain())
    initial = getattr(source, "initial", None)
    return Recipe(model, kernel, Regression(path), source, uniform_times(steps), initial)


@eqx.filter_jit
def _drawn(source: AbstractSource, key: PRNGKey) -> Any:
    state = source.init(None, key=jax.random.fold_in(key, 0))
    return source.draw(state, None, 4096, progress=jnp.zeros(()), key=jax.random.fold_in(key, 1))[0]
