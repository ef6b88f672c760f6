r"""Mean and variance of a stream that is never held: count, mean, and M2 = Σ (x − mean)².

Two parts a and b of the data merge, with δ = mean_b − mean_a and n = n_a + n_b, into

    mean = mean_a + δ n_b / n,      M2 = M2_a + M2_b + δ² n_a n_b / n,

exactly and in any order: no difference of large sums is ever taken (Chan, Golub and LeVeque,
*Updating formulae and a pairwise algorithm for computing sample variances*, 1979).
"""

from typing import Any

import equinox as eqx
import numpy as np

from .._errors import InputError


class Moments(eqx.Module):
    """Count, mean and M2 of what has been seen, in float64 (complex128 for a complex mean).

    ```python
    moments = Moments.of(first_block)
    moments = moments.merge(Moments.of(next_block))
    moments.mean, moments.variance()
    ```
    """

    count: int
    mean: np.ndarray
    M2: np.ndarray

    @classmethod
    def of(cls, block: Any) -> "Moments":
        """Return the moments of a block of draws, leading axis first; it may be empty."""
        block = np.asarray(block)
        if block.ndim == 0:
            raise InputError("a block of draws has a leading axis: Moments.of(x[None]) for one")
        kind = np.complex128 if block.dtype.kind == "c" else np.float64
        block = block.astype(kind)
        if len(block) == 0:
            shape = block.shape[1:]
            return cls(0, np.zeros(shape, kind), np.zeros(shape))
        mean = block.mean(0)
        return cls(len(block), mean, (np.abs(block - mean) ** 2).sum(0))

    def merge(self, other: "Moments") -> "Moments":
        """Return the moments of both parts together."""
        if self.mean.shape != other.mean.shape:
            raise InputError(
                f"moments of shapes {self.mean.shape} and {other.mean.shape} do not merge"
            )
        n = self.count + other.count
        if n == 0:
            return self
        delta = other.mean - self.mean
        mean = self.mean + delta * (other.count / n)
        M2 = self.M2 + other.M2 + np.abs(delta) ** 2 * (self.count * other.count / n)
        return Moments(n, mean, M2)

    def variance(self, ddof: int = 1) -> np.ndarray:
        """Return M2 / (count − ddof); NaN where there are too few draws."""
        if self.count <= ddof:
            return np.full_like(self.M2, np.nan)
        return self.M2 / (self.count - ddof)
