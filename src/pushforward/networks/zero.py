"""The drift of the classical algorithms."""

import equinox as eqx
import jax.numpy as jnp

from .._typing import Array, Time


class Zero(eqx.Module):
    """b = 0: with it NETS is AIS, `Transport` is a reweighting, SMC needs no second code."""

    def __call__(self, t: Time, x: Array, g: Array | None = None, **_) -> Array:
        """Return zeros like x."""
        return jnp.zeros_like(x)
