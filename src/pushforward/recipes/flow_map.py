r"""Flow maps: one network that jumps from any time to any other, trained on samples or a drift.

1. Take pairs (x0, x1) of base and data and a path I_t between them.
2. Train X_{s,t}(x) = x + (t − s) v_{s,t}(x): its diagonal by regression, the rest by a defect of
   the flow it should be: `LSD` (default), `PSD`, `LMD` (of a known drift), `FMM` (all at once).
3. Sample in N steps, N = 1, 2, 4, ... from the same weights: `FlowMapKernel(model)`; with energies
   at both ends, `FlowMapKernel(model, Annealing(base, target))` has exact weights.

Untrained, X is the identity; tied to a drift, it is Euler's method.
"""

from collections.abc import Callable
from functools import lru_cache
from typing import Any

import jax.numpy as jnp
import optax

from .._errors import InputError
from .._typing import PRNGKey
from ..dynamics import FlowMapKernel
from ..networks import FlowMap, TiedFlowMap, TwoTimeMLP
from ..objectives import FMM, LSD, AbstractMapObjective, Diagonal, WithDiagonal
from ..paths import Linear, Square, Triangle, uniform_times
from ..sources import Bundles, IndependentPairs, MapPairs
from ..targets import Normal
from .base import Recipe, key_or_default


def flow_map(
    base: Normal,
    data: Any,
    method: AbstractMapObjective | None = None,
    *,
    tie: Callable | None = None,
    width: int = 64,
    depth: int = 2,
    scale: float = 1.0,
    diagonal: int = 3,
    off_diagonal: int = 1,
    steps: int = 1,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of a flow map from `base` to `data`.

    Parameters
    ----------
    base, data
        Law of x0; samples (n, *shape) of x1, or a distribution.
    method
        An objective of `MapPair`s with its path: default `LSD(Linear())`. `LMD(path, drift)` learns
        the diagonal from its drift, `FMM(path)` has none and trains both directions.
    tie
        b(t, x): train a `TiedFlowMap` around this drift, without a diagonal term.
    width, depth, scale
        Of the `TwoTimeMLP`; the scale is that of the data.
    diagonal, off_diagonal
        Points of a bundle; `batch` counts bundles. Good values 3, 1.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825v2).
    """
    if not isinstance(base, Normal):
        raise InputError(f"base is {type(base).__name__}, expected a normal one: Normal(shape)")
    method = LSD(Linear(base.scale)) if method is None else method
    sizes = {"width": width, "depth": depth, "scale": scale, "out_scale": scale}
    net = TwoTimeMLP(base.space.dim, **sizes, key=key_or_default(key))
    pairs, both_ways = IndependentPairs(base, data), isinstance(method, FMM)
    times = Square() if both_ways else Triangle()
    model = FlowMap(net, both_ways) if tie is None else TiedFlowMap(tie, net, both_ways)
    if both_ways or tie is not None:
        objective, source = method, MapPairs(pairs, times)
    else:
        teacher = getattr(method, "drift", None)
        objective = WithDiagonal(Diagonal(method.path, teacher), method)
        source = Bundles(pairs, times, diagonal, off_diagonal)
    return Recipe(model, FlowMapKernel, objective, source, uniform_times(steps), base)


@lru_cache(maxsize=64)
def flow_map_optimiser(peak: float = 1e-3, decay: float = 1000.0) -> optax.GradientTransformation:
    """Return the paper's optimiser: RAdam at peak/√max(k/decay, 1).

    Good values: peak 3e-3 and a quarter of the steps for small networks; give `fit` clip=10.
    """
    return optax.radam(lambda k: peak / jnp.sqrt(jnp.maximum(k / decay, 1.0)))
