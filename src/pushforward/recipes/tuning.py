"""Pilot runs: length scales of a target, step sizes of HMC, the best noise for a trained drift."""

import math
from collections.abc import Callable, Sequence
from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._tree import scalar
from .._typing import Array, PRNGKey, X
from ..drivers import Samples, simulate
from ..dynamics import AbstractProcess
from ..mcmc import HMC, DualAveraging
from ..paths import uniform_times
from ..targets import AbstractEnergy, Normal, energy_and_gradient
from .base import euclidean_shape


class Scales(NamedTuple):
    """Length scales of a sampling problem on R^n.

    Attributes
    ----------
    base
        A normal base: centred on the chains, `widening` times their spread in each coordinate.
    wide, narrow
        σ_0, the geometric mean width of the base, and s_1 = √(d/E|∇U|²), the narrowest length.
    spread
        Width of the base in each coordinate.
    """

    base: Normal
    wide: float
    narrow: float
    spread: Array

    @property
    def kappa(self) -> float:
        """κ = 2 log(σ_0/s_1) for `ExponentialWarp`, at least 0.1."""
        return max(0.1, 2 * math.log(self.wide / self.narrow))

    @property
    def typical(self) -> float:
        """Geometric mean of both lengths: the size of the network's output."""
        return math.sqrt(self.wide * self.narrow)


def length_scales(
    target: AbstractEnergy,
    base: Normal | None = None,
    *,
    chains: int = 1000,
    steps: int = 100,
    rounds: int = 8,
    widening: float = 2.0,
    key: PRNGKey,
) -> Scales:
    """Measure a target on R^n with short MALA chains, whose step size adapts between rounds.

    The chains start from `base`, by default a standard normal one. Without a `base` the one
    returned is `widening` times wider than the chains' spread.
    """
    shape = euclidean_shape(target)
    start = base or Normal(shape)
    step, x = 0.1, chains
    for k in range(rounds):
        round_key = jax.random.fold_in(key, k)
        samples = simulate(
            HMC(target, step), x, steps=steps, initial=start, progress=False, key=round_key
        )
        x, acceptance = samples.x, _acceptance(samples)
        step *= math.exp(2 * (acceptance - 0.6))
    flat = np.asarray(x, dtype=float).reshape(chains, -1)
    if not np.isfinite(flat).all():
        raise InputError("short chains on the target left the finite numbers: give a base")
    _, gradient = jax.jit(jax.vmap(lambda y: energy_and_gradient(target, y)))(x)
    narrow = math.sqrt(flat.size / float(np.sum(np.asarray(gradient, float) ** 2)))
    if base is None:
        spread = widening * flat.std(0)
        base = Normal(shape, flat.mean(0).reshape(shape), spread.reshape(shape))
    spread = np.broadcast_to(np.asarray(base.scale, float), shape)
    wide = float(np.exp(np.log(spread).mean()))
    return Scales(base, wide, min(narrow, wide), scalar(np.array(spread)))


def _acceptance(samples: Samples) -> float:
    return float(samples.record["info.acceptance"].mean())


def adapt(
    kernel: HMC, x: X, *, target: float = 0.8, steps: int = 100, key: PRNGKey
) -> tuple[HMC, X]:
    """Return the kernel with the step size that meets an acceptance, and the chains where they are.

    The length τ = step_size · num_steps stays: each of `steps` updates runs one trajectory of every
    chain with ⌈τ/ε⌉ steps and hands their mean acceptance to `DualAveraging`; at the end the number
    of steps is rounded once and ε = τ/num_steps. What follows is a plain chain.

    Parameters
    ----------
    kernel
        `HMC` with a number as `step_size`, the first guess. Nothing compiles twice.
    x
        Chains, leading axis first. The more there are, the fewer updates suffice.
    target
        Mean acceptance. Good values: .8 for integrators of order 2, .9 for order 4.
    steps
        Updates: 50 to 200.
    """
    if callable(kernel.step_size) or kernel.step_size.ndim:
        raise InputError(
            "adapt needs one number as step_size to start from: HMC(action, 0.1, 10); got "
            f"{kernel.step_size}"
        )
    guess, dtype = float(kernel.step_size), kernel.step_size.dtype
    length = guess * int(kernel.num_steps)

    def with_steps(step_size: float) -> HMC:
        count = min(max(1, math.ceil(length / step_size - 1e-9)), 1000)
        new = jnp.asarray(min(step_size, length), dtype), jnp.asarray(count, jnp.int32)
        return eqx.tree_at(lambda k: (k.step_size, k.num_steps), kernel, new)

    averaging, rates, step_size = DualAveraging(target), [], guess
    state = averaging.init(kernel.step_size)
    for i in range(steps):
        key_now = jax.random.fold_in(key, i)
        samples = simulate(with_steps(step_size), x, steps=1, progress=False, key=key_now)
        x = samples.x
        rates.append(_acceptance(samples))
        state, proposed = averaging.update(state, scalar(rates[-1]))
        step_size = float(proposed)
    if not any(rates[steps // 2 :]):
        raise InputError(
            f"no trajectory was accepted, the last with step_size {step_size:.3g}: start from a "
            f"smaller one than {guess:.3g}, or from thermal chains"
        )
    count = int(with_steps(float(averaging.final(state))).num_steps)
    return eqx.tree_at(lambda k: k.num_steps, with_steps(length / count), count), x


def tune_epsilon(
    kernel: Callable[[Array], AbstractProcess],
    epsilons: Sequence[float],
    *,
    steps: int = 100,
    walkers: int = 512,
    key: PRNGKey,
) -> dict[str, np.ndarray]:
    """Return ESS and log Z of `kernel(ε)`, a trained process, against its noise ε.

    All members run as one stacked kernel; nothing is trained again. Values to try:
    `numpy.geomspace(.1, 100, 8)` times the narrowest length².
    """
    kernels = [kernel(scalar(e)) for e in epsilons]
    stacked = jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *kernels)
    base, times = kernels[0].path.base, uniform_times(steps)
    samples = simulate(stacked, walkers, times=times, stacked=True, initial=base, key=key)
    value, error, *_ = samples.log_z
    found = {"ess": samples.ess, "log_z": value, "log_z_error": error}
    return {"epsilon": np.asarray(epsilons, float)} | {k: np.asarray(v) for k, v in found.items()}
