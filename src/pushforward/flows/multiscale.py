r"""Coarse-to-fine flows of gauge fields in two dimensions: one site, doubled to a whole lattice.

`DoublingLayer` halves the spacing along a direction ν. With x an old site, y the new one between x
and its neighbour x', and U^c the coarse links:

1. split: U_ν(x) = V ~ Haar, U_ν(y) = V⁺ U^c_ν(x), which preserves the Haar measure;
2. keep: U_μ(x) = U^c_μ(x);
3. draw the new links X = U_μ(y) from a conditional density: the two plaquettes that X closes are
   conjugate to X A⁺ and C X⁺, A = U_ν(x)⁺ U_μ(x) U_ν(x+μ), C = U_ν(y) U_μ(x') U_ν(y+μ)⁺, and
   C A⁺ is conjugate to the coarse plaquette.

So log q(fine) = log q(coarse) + Σ log q(X | A, C), in both directions. With the conditional
w_k(X A⁺) w_k(C X⁺)/w_{k+1}(C A⁺) (`CharacterConditional`) the flow is the theory itself: its
weights are constant. `MatchedConditional` is the untrained one. arXiv 2404.10819.
"""

from abc import abstractmethod

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._tree import compensated_sum
from .._typing import Array, PRNGKey, Scalar
from ..spaces import AbstractGroup, Lattice, LinkSpace
from ..targets import AbstractDistribution
from .pushforward import AbstractFlow


class AbstractLinkConditional(eqx.Module):
    """The density of new links given the two arms they close, with respect to Haar."""

    group: eqx.AbstractVar[AbstractGroup]

    @abstractmethod
    def sample(self, a: Array, c: Array, *, key: PRNGKey) -> tuple[Array, Array]:
        """Draw X given A and C, fields (*matrix, *sites); return it with log q at every site."""

    @abstractmethod
    def log_prob(self, x: Array, a: Array, c: Array) -> Array:
        """Return log q(X | A, C) at every site."""


class DoublingLayer(eqx.Module):
    """Twice as many sites along a direction; see the head of this file.

    Parameters
    ----------
    axis
        The direction ν, 0 or 1, whose spacing is halved.
    conditional
        How new links are drawn.
    """

    axis: int = eqx.field(static=True)
    conditional: AbstractLinkConditional

    def __check_init__(self):
        if self.axis not in (0, 1):
            raise InputError(f"axis is {self.axis}, expected 0 or 1: doubling is two-dimensional")

    def sample(self, coarse: Array, *, key: PRNGKey) -> tuple[Array, Scalar]:
        """Return the fine field and log q of the links that were added."""
        group, nu, mu = self.conditional.group, self.axis, 1 - self.axis
        halves, links = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
        first = group.haar(coarse.shape[-2:], key=halves, dtype=coarse.dtype)
        second = group.mul(group.adjoint(first), coarse[nu])
        new, log_q = self.conditional.sample(*self._arms(first, second, coarse[mu]), key=links)
        fine = {nu: self._woven(first, second), mu: self._woven(coarse[mu], new)}
        return jnp.stack([group.project(fine[0]), group.project(fine[1])]), compensated_sum(log_q)

    def inverse(self, fine: Array) -> tuple[Array, Scalar]:
        """Return the coarse field and the same log q."""
        group, nu, mu = self.conditional.group, self.axis, 1 - self.axis
        extent = fine.shape[nu - 2]
        if extent % 2:
            raise InputError(
                f"the field has {extent} sites along {nu}, expected an even number: a multiscale "
                "flow ends at the extents of its prior times powers of two"
            )
        (first, second), (kept, new) = self._parted(fine[nu]), self._parted(fine[mu])
        log_q = self.conditional.log_prob(new, *self._arms(first, second, kept))
        coarse = {nu: group.mul(first, second), mu: kept}
        return jnp.stack([coarse[0], coarse[1]]), compensated_sum(log_q)

    def _arms(self, first: Array, second: Array, kept: Array) -> tuple[Array, Array]:
        """Return A and C from U_ν(x), U_ν(y), U_μ(x), fields on the coarse lattice."""
        group, nu, mu = self.conditional.group, self.axis, 1 - self.axis
        lattice, mul, dagger = Lattice(first.shape[-2:]), group.mul, group.adjoint
        a = mul(mul(dagger(first), kept), lattice.shift(first, mu))
        c = mul(mul(second, lattice.shift(kept, nu)), dagger(lattice.shift(second, mu)))
        return a, c

    def _woven(self, old: Array, new: Array) -> Array:
        """Return the fine field with `old` at even and `new` at odd sites."""
        axis = old.ndim - 2 + self.axis
        shape = list(old.shape)
        shape[axis] *= 2
        return jnp.stack([old, new], axis + 1).reshape(shape)

    def _parted(self, fine: Array) -> tuple[Array, Array]:
        axis = fine.ndim - 2 + self.axis
        shape = [*fine.shape[:axis], fine.shape[axis] // 2, 2, *fine.shape[axis + 1 :]]
        pairs = fine.reshape(shape)
        return jnp.take(pairs, 0, axis + 1), jnp.take(pairs, 1, axis + 1)


class MultiscaleFlow(AbstractFlow):
    """A prior on a coarse lattice and doubling layers, the coarsest first.

    Gauge invariant throughout; translations are those of the coarse lattice. What is observed may
    be shifted at random, the state never: log q of a shifted field is another number.

    Parameters
    ----------
    prior
        A distribution of links in two dimensions, such as `OnePlaquette(beta, 6, U1())`.
    layers
        A tuple of `DoublingLayer`.
    """

    prior: AbstractDistribution
    layers: tuple[DoublingLayer, ...]
    space: LinkSpace

    def __init__(self, prior: AbstractDistribution, layers: tuple[DoublingLayer, ...]):
        space = prior.space
        if not isinstance(space, LinkSpace) or space.lattice.ndim != 2:
            raise InputError(f"the prior lives on {space}, expected links of a 2-D lattice")
        shape = list(space.lattice.shape)
        for layer in layers:
            shape[layer.axis] *= 2
            if layer.conditional.group != space.group:
                raise InputError(
                    f"the prior is of {space.group}, a layer of {layer.conditional.group}"
                )
        self.prior, self.layers = prior, tuple(layers)
        self.space = LinkSpace(space.group, Lattice(tuple(shape)))

    def sample_with_log_prob(self, *, key: PRNGKey) -> tuple[Array, Scalar]:
        x = self.prior.sample(key=jax.random.fold_in(key, 0))
        log_q = [self.prior.log_prob(x)]
        for k, layer in enumerate(self.layers):
            x, added = layer.sample(x, key=jax.random.fold_in(key, k + 1))
            log_q.append(added)
        return x, compensated_sum(jnp.stack(log_q))

    def __call__(self, x: Array) -> Scalar:
        return -self.levels(x)[0][1]

    def levels(self, x: Array) -> list[tuple[Array, Scalar]]:
        """Return the field of every level with its own log q, the finest first."""
        fields, added = [x], []
        for layer in reversed(self.layers):
            x, log_q = layer.inverse(x)
            fields.append(x)
            added.append(log_q)
        parts = [*added, self.prior.log_prob(x)]
        return [(f, compensated_sum(jnp.stack(parts[k:]))) for k, f in enumerate(fields)]
