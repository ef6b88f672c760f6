r"""LEAPS: a neural sampler for an energy of spins, exact weights included.

1. Begin at the uniform law and cool: `Annealing(Uniform(space), target)`.
2. Let walkers jump along it with one-way rates G and some heat bath, all sites at once
   (`TauLeaping`: what a network is trained on need not be exact), store them (`Rollout`).
3. Train G and F on the walkers until the continuity equation holds: the same `Continuity` as NETS.
4. Sample with weights that are exact on any grid, however bad G is: `EventDriven`.

Untrained (G = 0), step 4 is annealed importance sampling with heat bath.
"""

import math
from collections.abc import Callable

import equinox as eqx
import jax
import numpy as np

from .._errors import InputError
from .._tree import scalar
from .._typing import PRNGKey, Scalar
from ..dynamics import AbstractJumpMethod, EventDriven, Jump, TauLeaping
from ..networks import DriftAndFreeEnergy, FreeEnergy, LocallyEquivariantConv
from ..objectives import Continuity
from ..paths import AbstractAnnealing, Annealing, uniform_times
from ..sources import Horizon, Rollout
from ..spaces import Spins
from ..targets import AbstractFiniteEnergy, Uniform
from .base import Recipe, key_or_default


def leaps(
    target: AbstractFiniteEnergy,
    *,
    path: AbstractAnnealing | None = None,
    network: Callable | None = None,
    symmetric: bool = True,
    channels: int = 6,
    delta: float = 1.0,
    walkers: int = 200,
    refresh: int = 20,
    steps: int = 50,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of a LEAPS sampler for `target` on spins.

    Parameters
    ----------
    target
        An energy on `Spins`, such as `Ising((8, 8), .28)` or `FiniteEnergy(fn, Spins((8, 8)))`.
    path
        Default: from the uniform law, U_t = (1 − t) D log 2 + t U_1.
    network
        G(t, x, ΔU), zero before training. Default: `LocallyEquivariantConv`, kernels as large as
        the torus and `channels` channels.
    symmetric
        The default network keeps the symmetries of the lattice and of a global flip; False for
        energies with a field or with couplings that differ from bond to bond.
    delta
        Heat-bath redraws of a site in unit time when sampling (training walkers have 2).
    walkers, refresh, steps
        Of the training rollouts, each of 50 leaps; intervals of `times`, 10 to 50.

    References
    ----------
    Holderrieth, Albergo and Jaakkola 2025, arXiv 2502.10843.
    """
    key, space = key_or_default(key), target.space
    if not isinstance(space, Spins):
        raise InputError(
            f"this recipe needs an energy on Spins, got one on {space}: write "
            "FiniteEnergy(fn, Spins((8, 8)))"
        )
    path = path or Annealing(Uniform(space), target)
    if network is None:
        if symmetric:
            _check_symmetric(target, space)
        kernel = 2 * (min(space.shape) // 2) + 1
        network = LocallyEquivariantConv(
            (kernel,) * 3, channels=channels, tied=symmetric, odd=symmetric, dim=len(space.shape),
            key=jax.random.fold_in(key, 0),
        )  # fmt: skip
    model = DriftAndFreeEnergy(network, FreeEnergy(frequencies=2, key=jax.random.fold_in(key, 1)))

    walk = eqx.Partial(jump_kernel, path, 2.0, TauLeaping())
    kernel = eqx.Partial(jump_kernel, path, delta, EventDriven())
    horizon = Horizon(scalar(0.1), scalar(0.5))
    source = Rollout(walk, walkers=walkers, num_times=50, refresh=refresh, horizon=horizon)
    objective = Continuity(walk, clip=1e4)
    return Recipe(model, kernel, objective, source, uniform_times(steps), path.base)


def jump_kernel(
    path: AbstractAnnealing, delta: Scalar, method: AbstractJumpMethod, model: DriftAndFreeEnergy
) -> Jump:
    """Return the jump process with the model's rates."""
    return Jump(path, model.drift, delta, method)


def _check_symmetric(target: AbstractFiniteEnergy, space: Spins) -> None:
    x = space.reference(key=jax.random.key(0))
    energy, flipped = float(target(x)), float(target(-x))
    if not math.isclose(energy, flipped, rel_tol=1e-4, abs_tol=1e-4 * np.sqrt(space.size)):
        raise InputError(
            f"U(x) = {energy:.6g} but U(−x) = {flipped:.6g}: the energy is not symmetric under a "
            "global flip, and the symmetric network cannot follow it; write symmetric=False"
        )
