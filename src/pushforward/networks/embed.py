r"""Fixed embeddings of SiT: positions on a square grid (width first) and times (cosines first).

Both orders are conventions of published weights: swapped, they ruin imported networks silently.
"""

import math

import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._typing import Array, Float, Time

TIME_FEATURES = 256


def grid_positions(side: int, width: int) -> np.ndarray:
    """Return the (side², width) table in float64, rows over (h, w) with w running fastest.

    The first half of a row encodes w, the second h; each is [sin(p ω_k), cos(p ω_k)] with
    ω_k = 10000^{−k/(width/4)}, k < width/4.
    """
    if width % 4:
        raise InputError(f"width = {width}, expected a multiple of 4: two axes, sine and cosine")
    frequencies = 1.0 / 10000 ** (np.arange(width // 4, dtype=np.float64) / (width / 4))

    def axis(position: np.ndarray) -> np.ndarray:
        phase = position.reshape(-1, 1) * frequencies
        return np.concatenate([np.sin(phase), np.cos(phase)], axis=1)

    h, w = np.meshgrid(np.arange(side, dtype=float), np.arange(side, dtype=float), indexing="ij")
    return np.concatenate([axis(w), axis(h)], axis=1)


def time_embedding(t: Time, num: int = TIME_FEATURES) -> Float[Array, " num"]:
    """Return [cos(t f_k), sin(t f_k)], f_k = 10000^{−2k/num}: t in [0, 1], not times 1000."""
    half = num // 2
    frequencies = np.exp(-math.log(10000.0) * np.arange(half, dtype=np.float64) / half)
    phase = t * jnp.asarray(frequencies, dtype=t.dtype)
    return jnp.concatenate([jnp.cos(phase), jnp.sin(phase)])
