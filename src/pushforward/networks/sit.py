r"""SiT, the scalable interpolant transformer: patches, time and label in, one image out.

Tokens are patches plus fixed positions; time and label enter each block as shift, scale and gate
of its two residual branches ("adaLN-zero"): x += g1·attention(LN(x)(1 + s1) + b1), x +=
g2·MLP(LN(x)(1 + s2) + b2). Gates and output start at zero, so an untrained network returns 0.
The blocks are one stacked module and one scan: 28 of them compile like one.
"""

from typing import NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from .._errors import InputError
from .._tree import Frozen, scalar
from .._typing import PRNGKey, Time
from .embed import TIME_FEATURES, grid_positions, time_embedding

LABEL_STD = TIME_STD = 0.02


class Size(NamedTuple):
    """Depth, width and number of heads."""

    depth: int
    width: int
    heads: int


SIT_SIZES = {
    "S": Size(12, 384, 6),
    "B": Size(12, 768, 12),
    "L": Size(24, 1024, 16),
    "XL": Size(28, 1152, 16),
}


class Affine(eqx.Module):
    """W x + b on the last axis of any number of axes."""

    weight: Float[Array, "out in"]
    bias: Float[Array, " out"]

    @classmethod
    def xavier(cls, num_in: int, num_out: int, *, key: PRNGKey) -> "Affine":
        """Return weights uniform within ±√(6/(in + out)) and zero biases."""
        bound = (6 / (num_in + num_out)) ** 0.5
        weight = jax.random.uniform(key, (num_out, num_in), minval=-bound, maxval=bound)
        return cls(weight, jnp.zeros(num_out))

    @classmethod
    def normal(cls, num_in: int, num_out: int, std: float, *, key: PRNGKey) -> "Affine":
        """Return weights N(0, std²) and zero biases; std = 0 is the zero map."""
        weight = std * jax.random.normal(key, (num_out, num_in))
        return cls(weight, jnp.zeros(num_out))

    def __call__(self, x: Float[Array, "*axes in"]) -> Float[Array, "*axes out"]:
        y = jnp.matmul(x, self.weight.T)
        return y + self.bias.reshape((1,) * (y.ndim - 1) + (-1,))


class Block(eqx.Module):
    """Attention and MLP, each shifted, scaled and gated by the condition."""

    qkv: Affine
    project: Affine
    fc1: Affine
    fc2: Affine
    modulation: Affine
    heads: int = eqx.field(static=True)

    def __init__(self, width: int, heads: int, *, key: PRNGKey):
        keys = [jax.random.fold_in(key, k) for k in range(5)]
        self.qkv = Affine.xavier(width, 3 * width, key=keys[0])
        self.project = Affine.xavier(width, width, key=keys[1])
        self.fc1 = Affine.xavier(width, 4 * width, key=keys[2])
        self.fc2 = Affine.xavier(4 * width, width, key=keys[3])
        self.modulation = Affine.normal(width, 6 * width, 0.0, key=keys[4])
        self.heads = heads

    def __call__(
        self, x: Float[Array, "tokens width"], modulation: Float[Array, " 6*width"]
    ) -> Float[Array, "tokens width"]:
        """Return the tokens after both branches; `modulation` is `self.modulation(condition)`."""
        shift1, scale1, gate1, shift2, scale2, gate2 = modulation.reshape(6, 1, -1)
        x = x + gate1 * self.attention(modulated(x, shift1, scale1))
        hidden = jax.nn.gelu(self.fc1(modulated(x, shift2, scale2)), approximate=True)
        return x + gate2 * self.fc2(hidden)

    def attention(self, x: Float[Array, "tokens width"]) -> Float[Array, "tokens width"]:
        """Return softmax(q kᵀ/√d) v of all heads, projected."""
        tokens, width = x.shape
        q, k, v = jnp.moveaxis(self.qkv(x).reshape(tokens, 3, self.heads, -1), 1, 0)
        # jax.nn.dot_product_attention passes through float32 even for float64 (0.10.2)
        logits = jnp.einsum("thd,shd->hts", q, k) / (width // self.heads) ** 0.5
        mixed = jnp.einsum("hts,shd->thd", jax.nn.softmax(logits), v)
        return self.project(mixed.reshape(tokens, width))


def modulated(x: Array, shift: Array, scale: Array) -> Array:
    """Return LN(x)(1 + scale) + shift; LN without weights, biased variance, eps 1e-6."""
    centred = x - jnp.mean(x, axis=-1, keepdims=True)
    variance = jnp.mean(centred**2, axis=-1, keepdims=True)
    return centred * jax.lax.rsqrt(variance + 1e-6) * (1 + scale) + shift


class SiT(eqx.Module):
    r"""The transformer of SiT for one image (C, H, H), a time and a label.

    Parameters
    ----------
    shape
        (C, H, H) of an image or a latent; H a multiple of `patch`.
    size
        `SIT_SIZES["S"]`, "B", "L", "XL", or `Size(depth, width, heads)`; width a multiple of 4 and
        of heads.
    patch
        Side of a patch. Good values 2 for latents of 32 and for 8x8 digits, 4 for 28x28.
    num_classes
        Labels are 0..num_classes−1, and num_classes itself is the null label.
    learn_sigma
        Doubles the output and throws the second half away: the layout of the published weights.

    References
    ----------
    Ma et al. 2024 (arXiv 2401.08740); the blocks of Peebles and Xie 2022 (arXiv 2212.09748).
    """

    patches: Affine
    position: Frozen[Float[Array, "tokens width"]]
    time: tuple[Affine, Affine]
    labels: Float[Array, "classes+1 width"]
    blocks: Block
    modulation: Affine
    output: Affine
    shape: tuple[int, int, int] = eqx.field(static=True)
    patch: int = eqx.field(static=True)
    learn_sigma: bool = eqx.field(static=True)

    def __init__(
        self,
        shape: tuple[int, int, int],
        size: Size,
        num_classes: int,
        *,
        patch: int = 2,
        learn_sigma: bool = False,
        key: PRNGKey,
    ):
        self.shape, self.patch, self.learn_sigma = shape, patch, learn_sigma
        check_sizes(shape, size, patch, num_classes)
        channels, side, width = self.shape[0], self.shape[1] // patch, size.width
        keys = [jax.random.fold_in(key, k) for k in range(7)]
        self.patches = Affine.xavier(channels * patch**2, width, key=keys[0])
        self.position = Frozen(scalar(grid_positions(side, width)))
        self.time = (
            Affine.normal(TIME_FEATURES, width, TIME_STD, key=keys[1]),
            Affine.normal(width, width, TIME_STD, key=keys[2]),
        )
        self.labels = LABEL_STD * jax.random.normal(keys[3], (num_classes + 1, width))
        block_keys = jax.vmap(lambda k: jax.random.fold_in(keys[4], k))(jnp.arange(size.depth))
        self.blocks = eqx.filter_vmap(lambda k: Block(width, size.heads, key=k))(block_keys)
        self.modulation = Affine.normal(width, 2 * width, 0.0, key=keys[5])
        rows = patch**2 * channels * (2 if learn_sigma else 1)
        self.output = Affine.normal(width, rows, 0.0, key=keys[6])

    @property
    def num_classes(self) -> int:
        """Number of classes; also the null label."""
        return self.labels.shape[0] - 1

    def tokens(self, x: Float[Array, "c h w"]) -> Float[Array, "tokens width"]:
        """Return patches, row-major over (h, w), times the kernel plus positions."""
        c, h, _ = self.shape
        p, n = self.patch, h // self.patch
        rows = x.reshape(c, n, p, n, p).transpose(1, 3, 0, 2, 4).reshape(n * n, c * p * p)
        return self.patches(rows) + self.position.value

    def condition(self, t: Time, label: Int[Array, ""]) -> Float[Array, " width"]:
        """Return the embedding of time plus that of the label."""
        first, second = self.time
        dtype = first.weight.dtype
        embedded = second(jax.nn.silu(first(time_embedding(t.astype(dtype)))))
        return embedded + self.labels[label]

    def transformed(self, x: Array, condition: Array) -> Float[Array, "tokens width"]:
        """Return the tokens after all blocks; `condition` has passed the SiLU."""
        arrays, rest = eqx.partition(self.blocks, eqx.is_array)
        # no block waits for another's: one product instead of one a turn of the scan
        modulations = jax.vmap(lambda affine: affine(condition))(self.blocks.modulation)

        def body(x, inputs):
            block, modulation = inputs
            return eqx.combine(block, rest)(x, modulation), None

        return jax.lax.scan(body, x, (arrays, modulations))[0]

    def image(self, rows: Float[Array, "tokens out"]) -> Float[Array, "c h w"]:
        """Put (h, w, p, q, c) back together, the first `C` channels of it."""
        c, h, w = self.shape
        p, n = self.patch, h // self.patch
        pieces = rows.reshape(n, n, p, p, -1).transpose(4, 0, 2, 1, 3)
        return pieces.reshape(-1, h, w)[:c]

    def __call__(
        self, t: Time, x: Float[Array, "c h w"], *, context: Array | None = None, key=None
    ) -> Float[Array, "c h w"]:
        """Return the raw output, of x's shape; `context` is the label, by default the null one."""
        label = jnp.asarray(self.num_classes if context is None else context)
        self.check(x, label)
        condition = jax.nn.silu(self.condition(t, label))
        x = self.transformed(self.tokens(x), condition)
        shift, scale = self.modulation(condition).reshape(2, 1, -1)
        return self.image(self.output(modulated(x, shift, scale)))

    def check(self, x: Array, label: Array) -> None:
        """Raise `InputError` unless x is one image and the label one integer."""
        if x.shape != self.shape:
            raise InputError(
                f"x has shape {x.shape}, expected (C, H, W) = {self.shape}"
                + (": vmap over the batch" if x.shape[1:] == self.shape else "")
            )
        if label.shape != () or not jnp.issubdtype(label.dtype, jnp.integer):
            raise InputError(
                f"the label has shape {label.shape} and dtype {label.dtype}, expected one integer "
                f"in [0, {self.num_classes}], {self.num_classes} for none"
            )


def check_sizes(shape: tuple[int, ...], size: Size, patch: int, num_classes: int) -> None:
    """Raise `InputError` unless a network can be built like that."""
    if len(shape) != 3 or shape[1] != shape[2]:
        raise InputError(f"shape is {shape}, expected (C, H, H): channels first, square")
    if patch < 1 or shape[1] % patch:
        raise InputError(f"patch = {patch} does not divide the side {shape[1]} of {shape}")
    if min(size) < 1 or size.width % size.heads or size.width % 4:
        raise InputError(f"{size}: width must be a multiple of 4 and of heads, all positive")
    if num_classes < 0:
        raise InputError(f"num_classes = {num_classes}, expected 0 (one null label) or more")
