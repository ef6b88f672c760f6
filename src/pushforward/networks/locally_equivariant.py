r"""Jump rates from one pass: locally equivariant networks.

A function G(i | x) of the flip of spin i is locally equivariant when G(i | x) = −G(i | y), y = x
with spin i flipped. Then the rate of the flip back, [G(i | y)]_+, is [−G(i | x)]_+, and one
evaluation gives all rates out of x and into it. For spins this says

G_i(x) = −x_i H_i(x),   H_i independent of x_i: H is *hollow*.

Maps of (H_i, i, t) site by site keep H hollow, a mixing of H between sites destroys it. So layers
cannot be stacked as usual: here every layer reads the RAW spins around i, never i itself, through
kernels that depend on i's own hollow features. The receptive field is the largest kernel, not the
sum of them; near criticality it must reach the correlation length.
"""

import itertools
from collections.abc import Sequence

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._typing import Array, Float, PRNGKey, Time
from .mlp import time_features, zero_last_layer


class LocallyEquivariantConv(eqx.Module):
    r"""G_i = −x_i [m(z_i) − m(−z_i)], z_i the hollow features of a deep convolution on a torus.

    With a kernel K: (K * x)(i) = Σ_{j≠0} K_j x(i+j),

    h⁰_c = K⁰_c * x,   h_c ← h_c + Σ_k a_k · (A_ck * x) + s_c(t) (B_c * x),   a = h tanh h,

    z = (h⁰, h, f), f_i = ½ x_i ΔU_i the local field. Times enter s (an MLP) and m. The last layer
    starts at zero: untrained, Jump is annealed heat bath. No array depends on the extents L: the
    same weights run on any torus that the kernels fit into.

    Parameters
    ----------
    kernels
        Extents of the kernels, odd, one a layer, the first for h⁰. Need (K − 1)/2 < L. At
        criticality as large as the torus: 2⌊L/2⌋ + 1.
    channels
        C. Good values 6 (kernels tied) to 20.
    tied
        One weight for all displacements that the symmetries of the (hyper)cube map to each other.
    odd
        G(−x) = G(x), right without a field: the readout is odd in z. Otherwise m(z) alone.
    width, depth
        Of the readout m. Good values 48, 2.
    dim
        Dimension of the lattice.
    frequencies
        Of the time features; 2, rates are smooth in t.

    References
    ----------
    Holderrieth, Albergo and Jaakkola 2025, arXiv 2502.10843, section 5; tied kernels, local field
    and the odd readout are ours.
    """

    first: Float[Array, "c o"]
    mixers: tuple[Float[Array, "c k o"], ...]
    drives: tuple[Float[Array, "c o"], ...]
    clock: eqx.nn.MLP
    readout: eqx.nn.MLP
    kernels: tuple[int, ...] = eqx.field(static=True)
    tied: bool = eqx.field(static=True)
    odd: bool = eqx.field(static=True)
    dim: int = eqx.field(static=True)
    frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        kernels: Sequence[int] = (5, 5, 5),
        *,
        channels: int = 6,
        tied: bool = True,
        odd: bool = True,
        width: int = 48,
        depth: int = 2,
        dim: int = 2,
        frequencies: int = 2,
        key: PRNGKey,
    ):
        self.kernels, self.tied, self.odd = tuple(kernels), tied, odd
        self.dim, self.frequencies = dim, frequencies
        if len(self.kernels) < 2 or any(k < 3 or k % 2 == 0 for k in self.kernels):
            raise InputError(
                f"kernels are {self.kernels}, expected two or more odd extents from 3 upwards: a "
                "kernel has a centre, which is left out; write kernels=(5, 5, 5)"
            )
        keys = [jax.random.fold_in(key, n) for n in range(5)]
        counts = [len(displacement_orbits(k, dim, tied)) for k in self.kernels]
        num, times = len(counts) - 1, 1 + 2 * frequencies

        def normal(key, *shape):
            return jax.random.normal(key, shape) / np.sqrt(np.prod(shape[1:]))

        def layers(key, *shape):
            each = [jax.random.fold_in(key, n) for n in range(num)]
            return tuple(normal(k, *shape, o) for k, o in zip(each, counts[1:], strict=True))

        self.first = normal(keys[0], channels, counts[0])
        self.mixers = layers(keys[1], channels, channels)
        self.drives = layers(keys[2], channels)
        self.clock = eqx.nn.MLP(times, num * channels, 32, 1, jnp.tanh, key=keys[3])
        size = 2 * channels + 1 + times
        readout = eqx.nn.MLP(size, "scalar", width, depth, jax.nn.silu, key=keys[4])
        self.readout = zero_last_layer(readout)

    def __call__(
        self, t: Time, x: Float[Array, "..."], differences: Float[Array, "..."], **_
    ) -> Float[Array, "..."]:
        """Return G of every flip, of x's shape."""
        features = self.hollow(t, x, differences)
        times = time_features(t, self.frequencies)

        def read(z):
            return self.readout(jnp.concatenate([z, times]))

        def site(z):
            return read(z) - read(-z) if self.odd else read(z)

        return -x * jax.vmap(site)(features).reshape(x.shape)

    def hollow(
        self, t: Time, x: Float[Array, "..."], differences: Float[Array, "..."]
    ) -> Float[Array, "sites features"]:
        """Return z, one row a site (flattened): row i does not depend on x_i."""
        sums = self._sums(x)
        start = h = self.first @ sums[: self.first.shape[-1]]
        strengths = self.clock(time_features(t, self.frequencies))
        strengths = strengths.reshape(len(self.mixers), -1, 1)
        for mixer, drive, strength in zip(self.mixers, self.drives, strengths, strict=True):
            near = sums[: drive.shape[-1]]
            gates = h * jnp.tanh(h)
            moved = jnp.einsum("ki,cki->ci", gates, jnp.tensordot(mixer, near, 1))
            h = h + moved + strength * (drive @ near)
        field = 0.5 * jnp.ravel(x * differences)
        return jnp.concatenate([start, h, field[None]]).T

    def _sums(self, x: Array) -> Float[Array, "orbits sites"]:
        """Return Σ_{j in o} x(i+j)/√|o| for every orbit o of displacements."""
        largest = max(self.kernels)
        reach = largest // 2
        if x.ndim != self.dim or reach >= min(x.shape):
            raise InputError(
                f"kernels {self.kernels} on a torus {x.shape}: expected {self.dim} dimensions and "
                f"(K − 1)/2 < L, or the window comes back to its centre; write kernels up to "
                f"{2 * (min(x.shape, default=1) // 2) + 1}, as large as the torus"
            )
        stencils = jnp.asarray(_stencils(largest, self.dim, self.tied), x.dtype)
        wrapped = jnp.pad(x, reach, mode="wrap")[None, None]
        sums = jax.lax.conv_general_dilated(wrapped, stencils, (1,) * self.dim, "VALID")
        return sums.reshape(stencils.shape[0], -1)


def displacement_orbits(kernel: int, dim: int, tied: bool) -> list[np.ndarray]:
    """Return the classes of displacements j ≠ 0 in a kernel, those of smaller kernels first."""
    reach = range(-(kernel // 2), kernel // 2 + 1)
    classes: dict[tuple[int, ...], list[tuple[int, ...]]] = {}
    for j in itertools.product(reach, repeat=dim):
        name = tuple(sorted(map(abs, j))) if tied else j
        if any(j):
            classes.setdefault(name, []).append(j)
    order = sorted(classes, key=lambda name: (max(map(abs, name)), name))
    return [np.array(classes[name]) for name in order]


def _stencils(kernel: int, dim: int, tied: bool) -> np.ndarray:
    orbits = displacement_orbits(kernel, dim, tied)
    stencils = np.zeros((len(orbits), 1, *(kernel,) * dim))
    for stencil, orbit in zip(stencils, orbits, strict=True):
        stencil[(0, *(orbit + kernel // 2).T)] = 1 / np.sqrt(len(orbit))
    return stencils
