r"""Double wells, one or many: the smallest targets with two modes of unequal weight.

u(x) = a x⁴ + b x² + c x, with a = 1, b = −6, c = −½ by default: minima near ±√3, 9 k_BT deep, the
left one holding 15.6 % of the mass. The tilt matters: a sign error that a symmetric target hides
shows here. Products of wells keep log Z exact while the number of modes grows as 2^n;
`targets.exact.well_log_z` gives the digits.
"""

from typing import ClassVar

import jax.numpy as jnp

from pushforward._tree import scalar
from pushforward._typing import Array, Float
from pushforward.spaces import Euclidean

from .base import AbstractLocalEnergy


class DoubleWell(AbstractLocalEnergy):
    r"""U = Σ_i [ a x_i⁴ + b x_i² + c x_i ], independent quartic wells.

    With the defaults, per coordinate: log Z = 9.37454117386919, E x = 1.187960983376147,
    E x² = 2.95980609049, P(x < 0) = 0.155692903789.

    Parameters
    ----------
    shape
        Shape of one sample.
    quartic, quadratic, linear
        Coefficients a > 0, b, c; broadcastable to `shape`.
    """

    quartic: Float[Array, "..."]
    quadratic: Float[Array, "..."]
    linear: Float[Array, "..."]
    space: Euclidean

    def __init__(self, shape: int | tuple[int, ...] = 1, quartic=1.0, quadratic=-6.0, linear=-0.5):
        self.quartic, self.quadratic = scalar(quartic), scalar(quadratic)
        self.linear = scalar(linear)
        self.space = Euclidean(shape)

    def terms(self, x: Array) -> Array:
        return ((self.quartic * x * x + self.quadratic) * x + self.linear) * x


class ManyWell(AbstractLocalEnergy):
    r"""U = Σ_pairs [ x⁴ − 6x² − x/2 + y²/2 ]: 2^pairs modes (Noé et al. 2019, Midgley et al. 2023).

    A sample is (x_1, y_1, x_2, y_2, ...), `pairs` of a well and a normal. With 16 pairs
    log Z = 164.69567531318.
    """

    references: ClassVar[tuple[str, ...]] = ("fab2023",)

    well: DoubleWell
    space: Euclidean

    def __init__(self, pairs: int = 16):
        self.well = DoubleWell(pairs)
        self.space = Euclidean(2 * pairs)

    def terms(self, x: Float[Array, " d"]) -> Float[Array, " d"]:
        """Return the terms of the wells, then those of the normals."""
        y = x[1::2]
        return jnp.concatenate([self.well.terms(x[::2]), 0.5 * y * y])
