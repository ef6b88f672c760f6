r"""Annealings: U_t = (1 − s(t)) U_0 + s(t) U_1, or a family of energies along a curve.

The geometric path needs no knowledge of the target beyond its energy. Its weakness: once modes have
separated at s*, their weights still change by e^{(1−s*)|μ_k|²/2σ_0²} until t = 1 and no smooth
drift moves mass between separated modes; so take the base wider than the target, and warp time.
"""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import PyTree

from .._errors import InputError
from .._typing import Scalar, Time, X
from ..targets import AbstractEnergy, mix
from .base import AbstractAnnealing
from .times import AbstractSchedule, Identity


class Annealing(AbstractAnnealing):
    r"""The geometric path U_t = (1 − s(t)) U_0 + s(t) U_1.

    Parameters
    ----------
    base, target
        Energies on the same space; log Z is the target's own when the base is an
        `AbstractDistribution`. Good base: 1.5 to 2 times wider than the target.
    schedule
        s(t); `ExponentialWarp(2 log(σ_0/s_1))` when the widths differ much.

    References
    ----------
    Neal 2001; Albergo and Vanden-Eijnden 2024 (arXiv 2410.02711), section 2.
    """

    base: AbstractEnergy
    target: AbstractEnergy
    schedule: AbstractSchedule = Identity()

    def __check_init__(self):
        if self.base.space != self.target.space:
            raise InputError(
                f"base lives on {self.base.space}, target on {self.target.space}: "
                "give both the same space, as in Normal(target.space.shape, scale=3.), or "
                "Uniform(target.space) on a finite one"
            )

    def at(self, t: Time) -> AbstractEnergy:
        s = self.schedule(t)
        return mix((self.base, self.target), jnp.stack([1 - s, s]))

    def denergy_dt(self, t: Time, x: X) -> Scalar:
        return self.schedule.rate(t) * (self.target(x) - self.base(x))


class ParameterPath(AbstractAnnealing):
    r"""A family of energies along a curve of parameters, U_t = U(·; α(t)).

    Parameters
    ----------
    family
        Maps parameters α to an energy.
    curve
        Maps t to α (for φ⁴: mass and coupling, linear in t).
    base
        The energy at t = 0, sampleable and equal to `family(curve(0))` up to a constant.
    """

    family: Callable[[PyTree], AbstractEnergy]
    curve: Callable[[Time], PyTree]
    base: AbstractEnergy

    def at(self, t: Time) -> AbstractEnergy:
        return self.family(self.curve(t))

    def denergy_dt(self, t: Time, x: X) -> Scalar:
        return jax.jvp(lambda s: self.at(s)(x), (t,), (jnp.ones_like(t),))[1]
