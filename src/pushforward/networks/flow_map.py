r"""Flow maps: one function X_{s,t} that jumps along a flow from any time s to any time t.

X_{s,t}(x) = x + (t − s) v_{s,t}(x). The velocity is a network, so X_{s,s} = id without a
division by t − s; on the diagonal it is the drift, v_{t,t} = b_t, since lim ∂_t X_{s,t} = b_t.
Given that, and v continuous in (s, t), X is the flow of b iff one of three identities holds
(`dynamics.map_defects`), each a way to train it (`objectives.maps`).

Known special cases: v_{s,t} = b_s is Euler's method (an untrained `TiedFlowMap`); t = 1 only is a
consistency model; v = 0 is the identity (an untrained `FlowMap`).
"""

from abc import abstractmethod
from collections.abc import Callable
from typing import ClassVar

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._errors import InputError
from .._tree import Frozen, concrete, scalar
from .._typing import Array, Context, PRNGKey, Time, V, X
from .mlp import zero_last_layer


class AbstractFlowMap(eqx.Module):
    """A two-time map with its velocity and its drift, of one sample.

    Attributes
    ----------
    both_ways
        Whether X_{s,t} with t < s means anything: exact maps, and networks trained on the square.
    tied
        Whether the drift v_{t,t} is given; if not, a loss must constrain the diagonal.
    """

    both_ways: eqx.AbstractVar[bool]
    tied: eqx.AbstractClassVar[bool]

    @abstractmethod
    def __call__(
        self, s: Time, t: Time, x: X, *, context: Context = None, key: PRNGKey | None = None
    ) -> X:
        """Return X_{s,t}(x)."""

    @abstractmethod
    def velocity(
        self, s: Time, t: Time, x: X, *, context: Context = None, key: PRNGKey | None = None
    ) -> V:
        """Return v_{s,t}(x) with X_{s,t}(x) = x + (t − s) v_{s,t}(x)."""

    @abstractmethod
    def drift(self, t: Time, x: X, *, context: Context = None, key: PRNGKey | None = None) -> V:
        """Return v_{t,t}(x)."""


class FlowMap(AbstractFlowMap):
    r"""X_{s,t}(x) = x + (t − s) N_{s,t}(x), N a network.

    Parameters
    ----------
    net
        N(s, t, x, context=, key=), such as `TwoTimeMLP`; zero at the start: X is the identity.
    both_ways
        True when it is trained on both orders of (s, t) (`Square`): then X_{t,s} is its inverse.

    References
    ----------
    Boffi, Albergo and Vanden-Eijnden 2025 (arXiv 2505.18825), section 2.
    """

    tied: ClassVar[bool] = False
    net: Callable
    both_ways: bool = eqx.field(static=True)

    def __init__(self, net: Callable, both_ways: bool = False):
        self.net, self.both_ways = net, both_ways

    def __call__(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> X:
        s, t = time_pair(s, t)
        return x + (t - s) * self.net(s, t, x, **extra_arguments(context, key))

    def velocity(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return self.net(*time_pair(s, t), x, **extra_arguments(context, key))

    def drift(self, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return self.velocity(t, t, x, context=context, key=key)


class TiedFlowMap(AbstractFlowMap):
    r"""X_{s,t}(x) = x + δ b_s(x) + ½ δ² N_{s,t}(x), δ = t − s, with a known drift b.

    The tangent is exact by construction: no diagonal term is needed. Untrained (N = 0) it is
    Euler's method; at the exact map N_{s,s} = ∂_s b + ∇b b.

    Parameters
    ----------
    drift
        b(t, x), a function or a trained network; frozen.
    net
        N(s, t, x, context=, key=), such as `TwoTimeMLP`.
    both_ways
        As in `FlowMap`.
    """

    tied: ClassVar[bool] = True
    known: Frozen[Callable]
    net: Callable
    both_ways: bool = eqx.field(static=True)

    def __init__(self, drift: Callable, net: Callable, both_ways: bool = False):
        self.known, self.net, self.both_ways = Frozen(drift), net, both_ways

    def __call__(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> X:
        s, t = time_pair(s, t)
        return x + (t - s) * self.velocity(s, t, x, context=context, key=key)

    def velocity(self, s: Time, t: Time, x: X, *, context: Context = None, key=None) -> V:
        s, t = time_pair(s, t)
        bend = self.net(s, t, x, **extra_arguments(context, key))
        return self.drift(s, x, context=context) + 0.5 * (t - s) * bend

    def drift(self, t: Time, x: X, *, context: Context = None, key=None) -> V:
        return _like(self.known.value(t, x, **extra_arguments(context)), x)


class TwoTimeMLP(eqx.Module):
    r"""N_{s,t}(x) = out_scale · MLP(s, t − s, x/scale): a small network for two times.

    The last layer starts at zero, so an untrained map is the classical one (law 4).

    Parameters
    ----------
    dim
        Number of coordinates; x may have any shape of that size.
    width, depth
        Hidden units and hidden layers. Good values: 64, 2 in the plane; 512, 4 for a checkerboard.
    scale, out_scale
        Length by which x is divided, and size of a velocity; both about the spread of the data.
    activation
        Default tanh: smooth, for derivatives are trained too, and bounded, so that X is proper of
        degree 1. (With SiLU, as in the papers, v grows linearly and maps folded in the tails.)
    """

    mlp: eqx.nn.MLP
    scale: Frozen[Array]
    out_scale: Frozen[Array]

    def __init__(
        self,
        dim: int,
        *,
        width: int = 64,
        depth: int = 2,
        scale: ArrayLike = 1.0,
        out_scale: ArrayLike = 1.0,
        activation: Callable = jnp.tanh,
        key: PRNGKey,
    ):
        mlp = eqx.nn.MLP(dim + 2, dim, width, depth, activation, key=key)
        self.mlp = zero_last_layer(mlp)
        self.scale, self.out_scale = Frozen(scalar(scale)), Frozen(scalar(out_scale))

    def __call__(self, s: Time, t: Time, x: Array, **_) -> Array:
        times = jnp.stack([s, t - s]).astype(x.dtype)
        inputs = jnp.concatenate([times, jnp.ravel(x) / self.scale.value])
        return (self.out_scale.value * self.mlp(inputs)).reshape(x.shape)


def time_pair(s: Time, t: Time) -> tuple[Time, Time]:
    """Return both times as scalars, or refuse batches, half precision and what is outside [0, 1].

    Values are checked where they are known, shapes and dtypes always.
    """
    s, t = scalar(s), scalar(t)
    for name, time in (("s", s), ("t", t)):
        if time.shape != ():
            raise InputError(
                f"{name} has shape {time.shape}, expected one time (): a map takes ONE sample, "
                "write jax.vmap(map, (None, None, 0))(s, t, x)"
            )
        if jnp.finfo(time.dtype).bits < 32:
            raise InputError(
                f"{name} has dtype {time.dtype}, expected float32 or more: times near each other "
                "are lost in half precision; cast the network, not the times"
            )
        value = concrete(time)
        if value is not None and not 0 <= value <= 1:
            raise InputError(f"{name} = {value} lies outside [0, 1]: 0 is the base, 1 the data")
    return s, t


def extra_arguments(context: Context, key: PRNGKey | None = None) -> dict:
    """Return context= and key= of a network's call, without those that are None."""
    return {k: v for k, v in (("context", context), ("key", key)) if v is not None}


def _like(velocity: V, x: X) -> V:
    got, want = jnp.shape(velocity), jnp.shape(x)
    if got != want or jnp.result_type(velocity) != jnp.result_type(x):
        raise InputError(
            f"the drift returned {jnp.result_type(velocity)}{list(got)} for a sample "
            f"{jnp.result_type(x)}{list(want)}: it must return one velocity like x"
        )
    return velocity
