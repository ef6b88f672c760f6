"""The product of copies of one space: where the replicas of a ladder live, as ONE sample."""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from pushforward._errors import InputError
from pushforward._fields import integer
from pushforward._typing import PRNGKey, Scalar, V, X

from .base import AbstractManifold


class Power(AbstractManifold):
    """X × ... × X: `num` copies of the space `factor`, a leading axis on every leaf of a sample."""

    factor: AbstractManifold
    num: int = integer(least=1)

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of ONE sample, where a copy is one array."""
        return (self.num, *self.factor.shape)  # pyright: ignore[reportAttributeAccessIssue]

    def reference(self, *, key: PRNGKey) -> X:
        return jax.vmap(lambda k: self.factor.reference(key=k))(self._keys(key))

    def check(self, x: X, what: str = "x") -> None:
        shapes = [jnp.shape(leaf) for leaf in jax.tree.leaves(x)]
        if not shapes or any(shape[:1] != (self.num,) for shape in shapes):
            raise InputError(
                f"{what} has leaves of shape {shapes}, expected ONE sample of {self.num} copies: "
                f"({self.num}, *shape of a copy); particles come before that, and vmap is applied "
                "by simulate"
            )
        self.factor.check(jax.tree.map(lambda leaf: leaf[0], x), f"a copy of {what}")

    def noise(self, x: X, *, key: PRNGKey) -> V:
        return jax.vmap(lambda y, k: self.factor.noise(y, key=k))(x, self._keys(key))

    def retract(self, x: X, v: V) -> X:
        return jax.vmap(self.factor.retract)(x, v)

    def inner(self, u: V, v: V) -> Scalar:
        return jnp.sum(jax.vmap(self.factor.inner)(u, v))

    def gradient(self, f: Callable[[X], Any], x: X, *, has_aux: bool = False) -> Any:
        """Return the gradient in every copy, the others held: `num` gradients of f."""

        def of_copy(k):
            return self.factor.gradient(lambda y: f(_put(x, k, y)), _row(x, k), has_aux=has_aux)

        out = jax.vmap(of_copy)(jnp.arange(self.num))
        return (out[0], _row(out[1], 0)) if has_aux else out

    def divergence(self, b: Callable[[X], V], x: X, *, key: PRNGKey | None = None) -> Scalar:

        def of_copy(k, probe):
            def field(y):
                return _row(b(_put(x, k, y)), k)

            return self.factor.divergence(field, _row(x, k), key=probe)

        index = jnp.arange(self.num)
        if key is None:
            return jnp.sum(jax.vmap(lambda k: of_copy(k, None))(index))
        return jnp.sum(jax.vmap(of_copy)(index, self._keys(key)))

    def project(self, x: X) -> X:
        return jax.vmap(self.factor.project)(x)

    def _keys(self, key: PRNGKey) -> PRNGKey:
        return jax.vmap(lambda k: jax.random.fold_in(key, k))(jnp.arange(self.num))


def _row(x: X, k) -> X:
    return jax.tree.map(lambda leaf: leaf[k], x)


def _put(x: X, k, y: X) -> X:
    return jax.tree.map(lambda leaf, new: leaf.at[k].set(new), x, y)
