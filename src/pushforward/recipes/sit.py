r"""SiT: a transformer on images or latents, labels dropped now and then, guided when sampling.

Train `SiT` on the velocity of a path with one label in ten replaced by the null label; sample with
`guided_kernel(scale, ...)`: the velocity is pushed away from the unconditional one.
"""

from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._errors import InputError
from .._tree import scalar
from .._typing import PRNGKey
from ..dynamics import InterpolantSDE
from ..networks import Guided, LabelDropout, SiT, Size
from ..objectives import Regression
from ..paths import AbstractAffine, AbstractTimeLaw, Epsilon, Linear, NoiseLevel, Velocity
from ..sources import IndependentPairs
from ..targets import Normal
from .base import Recipe, key_or_default
from .interpolant import sde_kernel


def sit(
    images: ArrayLike,
    labels: ArrayLike,
    size: Size,
    *,
    num_classes: int | None = None,
    patch: int = 2,
    path: AbstractAffine | None = None,
    scale: ArrayLike = 1.0,
    epsilon: Epsilon | None = None,
    dropout: float = 0.1,
    times: AbstractTimeLaw | None = None,
    augment: Callable[..., Any] | None = None,
    steps: int = 50,
    key: PRNGKey | None = None,
) -> Recipe:
    """Return the parts of a class-conditional SiT.

    Train with `optax.adamw(1e-4, weight_decay=0)`, batch 256 and EMA .9999 for 400k steps as the
    paper does; good values for small runs: 1e-3 to 2e-3, warm-up 100, cosine, EMA .995.

    Parameters
    ----------
    images
        (n, C, H, H), in [−1, 1], or integers with `augment=Dequantise(levels)`.
    labels
        (n,) integers in [0, num_classes).
    size
        `SIT_SIZES["S"]` to "XL", or `Size(depth, width, heads)`.
    num_classes, patch
        Default one more than the largest label (it is the null label too); side of a patch.
    path, epsilon, scale
        Default `Linear()`, `NoiseLevel()`, no guidance (1); guidance 1.5 to 4.
    dropout, times, augment
        Share of labels replaced by the null label; the others as of `IndependentPairs`.

    References
    ----------
    Ma et al. 2024 (arXiv 2401.08740).
    """
    path = path or Linear()
    images, labels = jnp.asarray(images), jnp.asarray(labels)
    num_classes = int(labels.max()) + 1 if num_classes is None else num_classes
    if not jnp.issubdtype(labels.dtype, jnp.integer) or not (
        0 <= int(labels.min()) <= int(labels.max()) < num_classes
    ):
        raise InputError(
            f"labels have dtype {labels.dtype} in [{labels.min()}, {labels.max()}], expected "
            f"integers in [0, {num_classes})"
        )
    network = SiT(images.shape[1:], size, num_classes, patch=patch, key=key_or_default(key))  # pyright: ignore[reportArgumentType]
    base = Normal(images.shape[1:], scale=path.base_scale)
    kernel = eqx.Partial(guided_kernel, path, epsilon or NoiseLevel(), scale)
    objective = Regression(path, dropout=LabelDropout(num_classes, scalar(dropout)))
    source = IndependentPairs(base, images, times, labels, augment)
    return Recipe(network, kernel, objective, source, jnp.linspace(0.0, 1.0, steps + 1), base)


def guided_kernel(
    path: AbstractAffine, epsilon: Epsilon, scale: ArrayLike, model: SiT
) -> InterpolantSDE:
    """Return the SDE sampler of the network guided with `scale`."""
    return sde_kernel(path, Velocity(), epsilon, Guided(model, scale, model.num_classes))
