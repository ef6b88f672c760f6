r"""Adaptive Monte Carlo: chains feed a map, the map feeds the chains.

1. Put walkers into every mode you know, in any proportion.
2. Let them move: a local HMC trajectory, then one independence Metropolis jump to x = f(z)
   (`RunningChains`, with the present f inside the kernel).
3. Follow the gradient of −mean log q_f at the walkers (`ForwardKL`), so that f learns the modes.
4. Freeze f, and measure with `simulate`: the kernel leaves the target invariant whatever f is.

Untrained (f the identity), the jump proposes from the base: a mixture of HMC and importance
resampling. With the weights of `importance`, f also gives log Z.
"""

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._tree import scalar
from .._typing import Array, Count, PRNGKey, Scalar
from ..dynamics import Compose, Transport, compose
from ..flows import AbstractBijection, Pushforward, spline_couplings
from ..mcmc import HMC, IndependenceMetropolis
from ..objectives import ForwardKL
from ..paths import Annealing
from ..sources import RunningChains
from ..targets import AbstractDistribution, AbstractEnergy, Normal
from .base import Recipe, euclidean_shape, key_or_default


def adaptive_mc(
    target: AbstractEnergy,
    walkers: Array,
    *,
    bijection: AbstractBijection | None = None,
    base: AbstractDistribution | None = None,
    step_size: ArrayLike = 0.1,
    num_steps: int = 10,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of adaptive Monte Carlo for `target`; its model is the bijection.

    Train with `batch=len(walkers)`, sample with `simulate(r.kernel(model), r.initial, steps=1000)`.

    Parameters
    ----------
    target
        Any energy; on R^n of one axis unless the bijection is given.
    walkers
        Where they start, walker axis first: at least one in every mode known, since a mode without
        walkers is never found. Good value: 30 to 100 of them.
    bijection, base
        f and the law of z. Default: `spline_couplings` (extra `flows`) on a standard normal.
    step_size, num_steps
        Of the local HMC trajectory between two jumps. Good values: acceptance .6 to .9, 10 steps.

    References
    ----------
    Gabrié, Rotskoff and Vanden-Eijnden 2022 (arXiv 2105.12603); arXiv 2310.11232.
    """
    if base is None:
        base = Normal(euclidean_shape(target))
    if bijection is None:
        (dim,) = euclidean_shape(target)
        bijection = spline_couplings(dim, key=key_or_default(key))
    steps = jnp.asarray(num_steps, jnp.int32)
    kernel = eqx.Partial(adaptive_kernel, target, base, scalar(step_size), steps)
    objective = ForwardKL(eqx.Partial(Pushforward, base))
    return Recipe(bijection, kernel, objective, RunningChains(kernel, walkers), None, walkers)


def adaptive_kernel(
    target: AbstractEnergy,
    base: AbstractDistribution,
    step_size: Scalar,
    num_steps: Count,
    bijection: AbstractBijection,
) -> Compose:
    """Return one local HMC trajectory, then one jump to a draw of the map."""
    jump = IndependenceMetropolis(target, Pushforward(base, bijection))
    return compose(HMC(target, step_size, num_steps), jump)


def importance(
    target: AbstractEnergy, base: AbstractDistribution, bijection: AbstractBijection
) -> Transport:
    """Return the kernel that weighs draws of the map: `simulate(..., 4000, times=[0, 1])`."""
    return Transport(Annealing(Pushforward(base, bijection), target))
