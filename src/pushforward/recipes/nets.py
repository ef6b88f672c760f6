r"""NETS: a neural sampler for an energy, exact weights included.

1. Put a path ρ_t between a wide base and the target: `Annealing` with warped time.
2. Let walkers run along it with noise and a drift b (`Langevin`), store them (`Rollout`).
3. Train b and F on the walkers until the continuity equation holds: `Continuity`.
4. Sample with weights that are exact however bad b is: `transport_kernel` (the map with its
   log-determinant, then one HMC step), or `langevin_kernel` where d is large.

Untrained (b = 0), step 4 is annealed importance sampling; with resampling it is SMC: `smc`.
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import scalar
from .._typing import PRNGKey, Scalar, Time
from ..dynamics import Compose, Euler, Langevin, RungeKutta, Transport, compose
from ..mcmc import HMC
from ..networks import DriftAndFreeEnergy, DriftMLP, FreeEnergy, RandomFourier, ScoreCut, ScoreSkip
from ..objectives import Continuity, ExactDivergence, HutchinsonDivergence
from ..paths import AbstractAnnealing, Annealing, ExponentialWarp, LocalVariance, uniform_times
from ..sources import Rollout
from ..targets import AbstractEnergy, Normal
from .base import Recipe, euclidean_shape, key_or_default
from .tuning import Scales, length_scales

LARGEST_JACOBIAN = 64


def nets(
    target: AbstractEnergy,
    base: Normal | None = None,
    *,
    path: AbstractAnnealing | None = None,
    variance: Callable | None = None,
    drift: Callable | None = None,
    width: int = 128,
    fourier: int = 0,
    walkers: int = 512,
    refresh: int = 50,
    noise: float = 30.0,
    steps: int = 100,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of a NETS sampler for `target` on R^n.

    Parameters
    ----------
    target
        Any energy, as from `from_log_density`.
    base
        Where walkers start; default a `Normal` twice as wide as 1,000 short chains spread. Give it
        when modes are far apart (those chains stay in the nearest ones): wider than the target.
    path, variance
        Both or neither. Default: the geometric path, its time warped by the ratio of the length
        scales that short chains measure, and its `LocalVariance`.
    drift
        b(t, x, g), zero before training. Default: `ScoreSkip` around a `DriftMLP` of 3 hidden
        layers of `width` units with `fourier` random features (64 to 128 for many modes).
    walkers, refresh, noise
        Of the training rollouts; ε_t there is `noise` times the local variance.

    References
    ----------
    Albergo and Vanden-Eijnden 2024, arXiv 2410.02711.
    """
    keys = [jax.random.fold_in(key_or_default(key), k) for k in range(3)]
    shape = euclidean_shape(target)
    if (path is None) != (variance is None):
        raise InputError("give both path and variance, or neither: variance=LocalVariance(...)")

    if path is None or variance is None or drift is None:
        scales = length_scales(target, base, key=keys[0])
        if path is None or variance is None:
            path = Annealing(scales.base, target, ExponentialWarp(scales.kappa))
            variance = LocalVariance(path.schedule, scales.wide, scales.narrow)
        drift = drift or _default_drift(scales, variance, width, fourier, keys[1])
    model = DriftAndFreeEnergy(drift, FreeEnergy(key=keys[2]))

    walk = eqx.Partial(langevin_kernel, path, Scaled(variance, noise), ScoreCut(variance))
    if math.prod(shape) <= LARGEST_JACOBIAN:
        kernel = eqx.Partial(transport_kernel, path, LocalStep(variance), Euler())
        divergence = ExactDivergence()
    else:
        kernel, divergence = walk, HutchinsonDivergence()
    objective = Continuity(walk, clip=1e3, divergence=divergence)
    source = Rollout(walk, walkers=walkers, num_times=100, refresh=refresh)
    return Recipe(model, kernel, objective, source, uniform_times(steps), path.base)


def _default_drift(scales: Scales, variance: Callable, width: int, fourier: int, key: PRNGKey):
    keys = [jax.random.fold_in(key, k) for k in range(3)]
    spread, dim = jnp.ravel(scales.spread), scales.spread.size
    features = RandomFourier(dim, fourier, 3 / scales.wide, key=keys[0]) if fourier else None
    network = DriftMLP(
        dim, width=width, scale=spread, out_scale=scales.typical, fourier=features, key=keys[1]
    )
    return ScoreSkip(network, variance, key=keys[2])


def smc(path: AbstractAnnealing, step_size: Any, *, num_steps: int = 5, integrator=None) -> Compose:
    """Return the classical kernel: reweight, then one HMC trajectory.

    It is AIS; with `simulate(..., resample=Systematic(.5), populations=8)` it is SMC.
    """
    options = {} if integrator is None else {"integrator": integrator}
    return compose(Transport(path), HMC(path, step_size, num_steps, **options))


def langevin_kernel(
    path: AbstractAnnealing, epsilon: Any, score: ScoreCut | None, model: DriftAndFreeEnergy
) -> Langevin:
    """Return Langevin dynamics with the model's drift and exact two-kernel weights."""
    return Langevin(path, model.drift, epsilon, score=score)


def transport_kernel(
    path: AbstractAnnealing, step_size: Any, integrator: RungeKutta, model: DriftAndFreeEnergy
) -> Compose:
    """Return the map of the model's drift with its log-determinant, then one HMC trajectory.

    Five leapfrog steps, cheap beside the determinant, even out what the drift left uneven.
    """
    return compose(Transport(path, model.drift, integrator), HMC(path, step_size, 5))


class Scaled(eqx.Module):
    """A noise that follows the local width along a path: ε_t = factor · ℓ²(t)."""

    law: Callable[[Time], Scalar]
    factor: Scalar = eqx.field(converter=scalar)

    def __call__(self, t: Time) -> Scalar:
        return self.factor * self.law(t)


class LocalStep(eqx.Module):
    """A step size √(factor · ℓ²(t)) that follows the local width along a path."""

    variance: Callable[[Time], Scalar]
    factor: Scalar = eqx.field(converter=scalar, default=0.3)

    def __call__(self, t: Time) -> Scalar:
        return jnp.sqrt(self.factor * self.variance(t))
