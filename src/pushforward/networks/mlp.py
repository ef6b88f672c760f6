"""Multilayer perceptrons in time and space, with fixed Fourier features; and the zero drift."""

from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._tree import Frozen, scalar
from .._typing import Array, Context, Float, PRNGKey, Scalar, Time

NUM_TIME_FREQUENCIES = 8


def time_features(t: Time, num: int = NUM_TIME_FREQUENCIES) -> Float[Array, " 1+2num"]:
    """Return t, sin(2^j π t/2), cos(2^j π t/2), j < num."""
    phase = t * (0.5 * jnp.pi) * 2.0 ** jnp.arange(num, dtype=t.dtype)
    return jnp.concatenate([t[None], jnp.sin(phase), jnp.cos(phase)])


class RandomFourier(eqx.Module):
    r"""sin(ω_k·x), cos(ω_k·x) with fixed frequencies ω_k ~ N(0, std²), drawn once, never trained.

    Parameters
    ----------
    dim
        Dimension of x.
    num
        Number of frequencies; good values 64 to 128.
    std
        Spread of ω in units of 1/length of x as the network sees it.
    """

    frequencies: Frozen[Float[Array, "num dim"]]

    def __init__(self, dim: int, num: int, std: float, *, key: PRNGKey):
        self.frequencies = Frozen(std * jax.random.normal(key, (num, dim)))

    def __call__(self, x: Float[Array, " dim"]) -> Float[Array, " 2num"]:
        phase = self.frequencies.value @ x
        return jnp.concatenate([jnp.sin(phase), jnp.cos(phase)])


class DriftMLP(eqx.Module):
    r"""A drift b(t, x, g) = out_scale · MLP(x/scale, features(t), Fourier(x), squash(g s_1)).

    The last layer starts at zero, so an untrained drift is the classical algorithm (law 4).

    Parameters
    ----------
    dim
        Number of coordinates; x may have any shape of that size.
    width, depth
        Hidden units and hidden layers. Good values 128, 3.
    scale
        Length by which x is divided; about the width of the base.
    out_scale
        Multiplies the output; about the distance travelled in unit time.
    fourier
        `RandomFourier` features of x (in its own units), or None. Needed for many modes.
    score_scale
        s_1, the narrowest length of the target: adds squash(s_1 g), squash(h) = h/(1 + |h|/4), to
        the inputs. None leaves the gradient out.
    activation
        Default tanh (better than SiLU on forty modes).
    """

    mlp: eqx.nn.MLP
    fourier: RandomFourier | None
    scale: Frozen[Scalar]
    out_scale: Frozen[Scalar]
    score_scale: Frozen[Scalar] | None

    def __init__(
        self,
        dim: int,
        *,
        width: int = 128,
        depth: int = 3,
        scale: ArrayLike = 1.0,
        out_scale: ArrayLike = 1.0,
        fourier: RandomFourier | None = None,
        score_scale: ArrayLike | None = None,
        activation: Callable = jnp.tanh,
        key: PRNGKey,
    ):
        size = dim + 1 + 2 * NUM_TIME_FREQUENCIES
        size += 0 if fourier is None else 2 * fourier.frequencies.value.shape[0]
        size += 0 if score_scale is None else dim
        self.mlp = zero_last_layer(eqx.nn.MLP(size, dim, width, depth, activation, key=key))
        self.fourier = fourier
        self.scale, self.out_scale = Frozen(scalar(scale)), Frozen(scalar(out_scale))
        self.score_scale = None if score_scale is None else Frozen(scalar(score_scale))

    def __call__(self, t: Time, x: Array, g: Array | None = None, **_) -> Array:
        flat = jnp.ravel(x)
        parts = [flat / self.scale.value, time_features(t)]
        if self.fourier is not None:
            parts.append(self.fourier(flat))
        if self.score_scale is not None and g is not None:
            h = jnp.ravel(g) * self.score_scale.value
            parts.append(h / (1 + jnp.abs(h) / 4))
        return (self.out_scale.value * self.mlp(jnp.concatenate(parts))).reshape(x.shape)


class PointMLP(eqx.Module):
    r"""out_scale · MLP((x − c)/scale, (x0 − c)/scale, features(t), context), zero at first.

    Parameters
    ----------
    dim
        Number of coordinates; x and x0 may have any shape of that size.
    width, depth
        Hidden units and hidden layers. Good values 128, 4.
    scale
        Length by which x and x0 are divided: the rms of the data.
    out_scale
        Multiplies the output; default `scale`.
    centre
        c, subtracted first: the mean of the data.
    num_context
        Numbers in the context (history, forcing, a flattened pytree), 0 for none.
    activation
        Default SiLU.
    """

    mlp: eqx.nn.MLP
    scale: Frozen[Scalar]
    out_scale: Frozen[Scalar]
    centre: Frozen[Scalar]

    def __init__(
        self,
        dim: int,
        *,
        width: int = 128,
        depth: int = 4,
        scale: ArrayLike = 1.0,
        out_scale: ArrayLike | None = None,
        centre: ArrayLike = 0.0,
        num_context: int = 0,
        activation: Callable = jax.nn.silu,
        key: PRNGKey,
    ):
        size = 2 * dim + 1 + 2 * NUM_TIME_FREQUENCIES + num_context
        self.mlp = zero_last_layer(eqx.nn.MLP(size, dim, width, depth, activation, key=key))
        self.scale, self.centre = Frozen(scalar(scale)), Frozen(scalar(centre))
        self.out_scale = Frozen(scalar(scale if out_scale is None else out_scale))

    def __call__(
        self, t: Time, x: Array, x0: Array, *, context: Context = None, key: PRNGKey | None = None
    ) -> Array:
        parts = [jnp.ravel((v - self.centre.value) / self.scale.value) for v in (x, x0)]
        given = [jnp.ravel(leaf).astype(x.dtype) for leaf in jax.tree.leaves(context)]
        out = self.mlp(jnp.concatenate([*parts, time_features(t), *given]))
        return (self.out_scale.value * out.reshape(x.shape)).astype(x.dtype)


class FreeEnergy(eqx.Module):
    """F_t = f(t) − f(0), f a small MLP in time; zero before training.

    Parameters
    ----------
    width, depth
        Good values 64, 3.
    frequencies
        Of the time features. The losses use ∂_t F, in which frequency j counts 2^j times: 2 where
        ∂_t F is large and smooth (an extensive system), else training learns noise.
    """

    mlp: eqx.nn.MLP
    frequencies: int = eqx.field(static=True)

    def __init__(
        self,
        width: int = 64,
        depth: int = 3,
        frequencies: int = NUM_TIME_FREQUENCIES,
        *,
        key: PRNGKey,
    ):
        mlp = eqx.nn.MLP(1 + 2 * frequencies, "scalar", width, depth, jnp.tanh, key=key)
        self.mlp, self.frequencies = zero_last_layer(mlp), frequencies

    def __call__(self, t: Time) -> Scalar:
        def f(t: Time) -> Scalar:
            return self.mlp(time_features(t, self.frequencies))

        return f(t) - f(jnp.zeros_like(t))


class Zero(eqx.Module):
    """b = 0: with it NETS is AIS, `Transport` is a reweighting, SMC needs no second code.

    With `stages = 0` kernels skip its evaluations, the gradient and the determinant.
    """

    stages: ClassVar[int] = 0

    def __call__(self, t: Time, x: Array, g: Array | None = None, **_) -> Array:
        return jnp.zeros_like(x)


class DriftAndFreeEnergy(eqx.Module):
    """What a neural sampler trains: the model of the `Continuity` objective.

    Parameters
    ----------
    drift
        b(t, x, g), g = ∇U_t(x); for jump processes the rates.
    free_energy
        F(t) with F(0) = 0; the objective uses its derivative.
    """

    drift: Callable
    free_energy: Callable


def is_zero(drift: Callable) -> bool:
    """Tell whether a drift says `stages = 0`: kernels then skip it, as they do `Zero`."""
    return getattr(drift, "stages", 1) == 0


def zero_last_layer(mlp: eqx.nn.MLP) -> eqx.nn.MLP:
    """Return the MLP with its last weight and bias set to zero."""
    return eqx.tree_at(
        lambda m: (m.layers[-1].weight, m.layers[-1].bias), mlp, replace_fn=jnp.zeros_like
    )
