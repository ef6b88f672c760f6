r"""Observables of lattice gauge fields: JAX functions of ONE configuration, for `observe=`.

All are gauge invariant. The topological charge of a 2-D U(1) field is an integer on every
configuration; a kernel that never changes it freezes, which the plaquette does not show: read it
with `gamma_method`, which refuses a charge that never moved, and count its changes with
`count_events`.
"""

import math

import jax.numpy as jnp

from .._errors import InputError
from .._typing import Array, Scalar
from ..spaces import U1, LinkSpace, wrap
from ..targets import plaquette_traces, plaquettes


def mean_plaquette(space: LinkSpace, links: Array) -> Scalar:
    """Return the mean of Re tr P / N over sites and planes."""
    return jnp.mean(plaquette_traces(space, links))


def topological_charge(space: LinkSpace, links: Array) -> Scalar:
    """Return Q = (1/2π) Σ_P wrap(θ_P) of a 2-D U(1) field, an integer up to rounding.

    `wrap` brings an angle to [−π, π); M. Lüscher 1982 for the geometric idea.
    """
    if not isinstance(space.group, U1) or space.lattice.ndim != 2:
        raise InputError(
            "this charge is that of U(1) in two dimensions, got "
            f"{type(space.group).__name__} on a lattice {space.lattice.shape}"
        )
    return jnp.sum(wrap(plaquettes(space, links))) / (2 * math.pi)
