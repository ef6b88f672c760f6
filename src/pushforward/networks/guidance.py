r"""Classifier-free guidance: r = r_null + scale (r_label − r_null), and the dropout that trains it.

A network that sometimes sees the null label instead of its own learns both the conditional and the
unconditional field. Conversions between velocity, noise, score and data are affine in the raw
output at fixed (t, x), so guiding any of them is guiding all.
"""

from collections.abc import Callable

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._fields import in_unit_interval
from .._tree import concrete, scalar
from .._typing import Context, PRNGKey, Scalar, Time, V, X


class LabelDropout(eqx.Module):
    """Replaces the context of a training sample by `null` with probability `rate`.

    Parameters
    ----------
    null
        What "no label" looks like, of the structure of a context: for SiT the integer
        `num_classes`.
    rate
        Good value .1.
    """

    null: Context = eqx.field(converter=lambda null: jax.tree.map(jnp.asarray, null))
    rate: Scalar = in_unit_interval(default=0.1, example=0.1)

    def __call__(self, context: Context, *, key: PRNGKey) -> Context:
        if jax.tree.structure(context) != jax.tree.structure(self.null):
            raise InputError(
                f"the context is {jax.tree.structure(context)}, the null label "
                f"{jax.tree.structure(self.null)}: give the source labels, as in "
                "IndependentPairs(base, images, labels=labels), or drop the LabelDropout"
            )
        drop = jax.random.bernoulli(key, self.rate)
        return jax.tree.map(
            lambda value, null: jnp.where(drop, null.astype(value.dtype), value), context, self.null
        )


class Guided(eqx.Module):
    r"""r_null + scale (r_label − r_null) inside a window of times, r_label outside.

    Parameters
    ----------
    model
        `model(t, x, context=label, key=...)`, trained with `LabelDropout(null)`.
    scale
        1 is no guidance. Good values 1.5 to 4.
    null
        The null label: `num_classes` of the model.
    interval
        (low, high): times at which to guide; elsewhere one evaluation. REPA's noise times
        [0, .7] are (.3, 1) here.
    channels
        Only the first so many channels are guided (SiT's published numbers: 3 of 4); None for all.

    References
    ----------
    Ho and Salimans 2022 (arXiv 2207.12598), eq. 6; Kynkäänniemi et al. 2024 (arXiv 2404.07724).
    """

    model: Callable
    scale: Scalar = eqx.field(converter=scalar)
    null: Context = eqx.field(converter=lambda null: jax.tree.map(jnp.asarray, null))
    interval: tuple[Scalar, Scalar] = eqx.field(
        default=(0.0, 1.0), converter=lambda pair: (scalar(pair[0]), scalar(pair[1]))
    )
    channels: int | None = eqx.field(static=True, default=None)

    def __check_init__(self):
        low, high = (concrete(t) for t in self.interval)
        if low is not None and high is not None and not (0 <= low < high <= 1):
            raise InputError(
                f"the guidance interval is ({low}, {high}), expected 0 <= low < high <= 1 in house "
                "time, 0 the base: noise times [0, .7] are (.3, 1)"
            )

    def __call__(self, t: Time, x: X, *, context: Context = None, key: PRNGKey | None = None) -> V:
        """Return the guided raw output; both labels are one vmap of size 2."""
        if context is None:
            raise InputError(
                "guidance needs a label: simulate(..., context=labels), one for each particle"
            )

        def both() -> V:
            pair = jax.tree.map(
                lambda label, null: jnp.stack([label, null.astype(jnp.result_type(label))]),
                context,
                self.null,
            )
            label, null = jax.vmap(lambda c: self.model(t, x, context=c, key=key))(pair)
            guided = null + self.scale.astype(label.dtype) * (label - null)
            if self.channels is None:
                return guided
            return jnp.concatenate([guided[: self.channels], label[self.channels :]])

        def one() -> V:
            return self.model(t, x, context=context, key=key)

        low, high = (end.astype(t.dtype) for end in self.interval)
        guiding = (low <= t) & (t <= high) & (self.scale != 1)
        return jax.lax.cond(guiding, both, one)
