r"""The drift that transports a path of 1-D densities, by quadrature.

In one dimension the continuity equation has one solution without flux at infinity,

b_t(x) = −∂_t CDF_t(x) / ρ_t(x) = (1/ρ_t(x)) ∫_{−∞}^x (∂_t U − ⟨∂_t U⟩_t) ρ_t dy,

what any learned drift must tend to. The integral runs from the nearer tail, where its terms do
not cancel.
"""

import jax
import jax.numpy as jnp
import numpy as np


def drift_1d(energy, t, x, *, lower=-10.0, upper=10.0, cells=2000):
    """Return b_t at the points `x` in (lower, upper), from U_t(x) as `energy(t, x)` of scalars.

    Every cell has four Gauss–Legendre nodes.
    """
    points = np.asarray(x, np.float64)
    edges = np.linspace(lower, upper, cells + 1)
    u, du = _energy_and_rate(energy, t, _nodes(edges[:-1], edges[1:]))
    least, weights = u.min(), _WEIGHTS * (edges[1] - edges[0])
    density = np.exp(least - u)
    mean_du = np.sum(weights * density * du) / np.sum(weights * density)
    flux = (weights * density * (du - mean_du)).sum(1)
    from_left = np.concatenate([[0.0], np.cumsum(flux)])
    from_right = np.concatenate([np.cumsum(flux[::-1])[::-1], [0.0]])
    mass = np.cumsum((weights * density).sum(1))
    left_half = np.concatenate([[True], mass < 0.5 * mass[-1]])

    flat = points.ravel()
    cell = np.clip(np.searchsorted(edges, flat) - 1, 0, cells - 1)
    start = np.where(left_half, from_left, -from_right)[cell]
    u_part, du_part = _energy_and_rate(energy, t, _nodes(edges[cell], flat))
    part = _WEIGHTS * (flat - edges[cell])[:, None] * np.exp(least - u_part) * (du_part - mean_du)
    here, _ = _energy_and_rate(energy, t, flat)
    return ((start + part.sum(1)) * np.exp(here - least)).reshape(points.shape)


_NODES, _WEIGHTS = (a / 2 for a in np.polynomial.legendre.leggauss(4))


def _nodes(left, right):
    return left[:, None] + (right - left)[:, None] * (0.5 + _NODES)


def _energy_and_rate(energy, t, x):
    time = jnp.asarray(t, dtype=float)

    def at(y):
        return jax.jvp(lambda s: energy(s, y), (time,), (jnp.ones_like(time),))

    u, du = jax.vmap(at)(jnp.asarray(x).ravel())
    return np.asarray(u, np.float64).reshape(x.shape), np.asarray(du, np.float64).reshape(x.shape)
