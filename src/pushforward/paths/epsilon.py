r"""The noise of a sampler, chosen after training: one class `Epsilon`, and a table of its laws.

Along an affine path dX = (v + ε s) dt + √(2ε) dW has the laws ρ_t for every ε_t >= 0. Its drift is
v − (ε/α) e/s0² with e = E[x0|x], so a law gives ε/α too: it stays finite at t = 1 where the score
does not. Papers write the noise in two ways; the factor 2 is the most frequent mistake:

| source | its SDE | ours |
|---|---|---|
| SiT's code, `diffusion` w | dX = (v + w s) dt + √(2w) dW | ε = w |
| SiT's paper w, REPA, g² | dX = (v + w s/2) dt + √w dW | ε = w/2 |

"sigma" of SiT's code is ε = α, which is the paper's w = 2α. From a point mass (a forecast) the SDE
is dX = (b + (ε − ½σ²) s) dt + √(2ε) dW, with `MatchedEpsilon` or `FollmerEpsilon`; the paper's g is
√(2ε). There less than half of ½σ² near t = 0 converges slowly: a point cannot spread without noise.

One more law is a function of (path, t, n), and a second one where ε/α needs a limit at α = 0:

    def cosine(path, t, n):
        return n * jnp.cos(0.5 * jnp.pi * t) ** 2

    kernel = InterpolantSDE(predictor, Epsilon("cosine", cosine))
"""

import math
from collections.abc import Callable
from typing import Any

import equinox as eqx
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._fields import non_negative
from .._tree import scalar
from .._typing import Scalar, Time

Law = Callable[[Any, Time, Scalar], Scalar]


class Epsilon(eqx.Module):
    r"""ε_t >= 0 in dX = (v + ε s) dt + √(2ε) dW, and ε/α.

    Parameters
    ----------
    name
        For messages.
    law
        ε(path, t, n), a function at the top of a file (a new one for each kernel compiles again).
    scale
        n >= 0: the leaf to scan, one compilation for all values.
    law_over_alpha
        ε/α as a function of the same arguments. Default: the quotient; at α = 0 it is 0 where ε
        vanishes too, else infinite.

    References
    ----------
    Albergo, Boffi and Vanden-Eijnden 2023 (arXiv 2303.08797), eq. 2.33; Ma et al. 2024
    (arXiv 2401.08740), eq. 4; from a point: Chen et al. 2024 (arXiv 2403.13724), section 3.
    """

    name: str = eqx.field(static=True)
    law: Law
    scale: Scalar = non_negative(default=1.0)
    law_over_alpha: Law | None = None

    def value(self, path: Any, t: Time) -> Scalar:
        """Return ε(t)."""
        return self.law(path, t, self.scale)

    def over_alpha(self, path: Any, t: Time) -> Scalar:
        """Return ε(t)/α(t), by its limit where α = 0."""
        if self.law_over_alpha is not None:
            return self.law_over_alpha(path, t, self.scale)
        value, alpha = self.value(path, t), path.alpha(t)
        limit = jnp.where(value == 0, 0.0, jnp.inf).astype(value.dtype)
        return jnp.where(alpha > 0, value / jnp.where(alpha > 0, alpha, 1), limit)


def _linear(path, t, n):
    c = path.coefficients(t)
    inside = (1 - t) / jnp.where(c.alpha > 0, c.alpha, 1)
    return n * jnp.where(c.alpha > 0, inside, -1 / c.dalpha)  # (1 − t)/α is −1/α' at t = 1


def _score(path, t, n):
    return n * path.base_scale**2 / path.inverse_coefficients(t).beta_over_delta


# ε(path, t, n) and, where the quotient is not enough, ε/α
_LAWS: dict[str, tuple[Law, Law | None]] = {
    "ZeroEpsilon": (lambda path, t, n: jnp.zeros_like(t), lambda path, t, n: jnp.zeros_like(t)),
    "NoiseLevel": (lambda path, t, n: n * path.alpha(t), lambda path, t, n: n * jnp.ones_like(t)),
    "ScoreSDE": (lambda path, t, n: path.alpha(t) * _score(path, t, n), _score),
    "ConstantEpsilon": (lambda path, t, n: n * jnp.ones_like(t), None),
    "LinearEpsilon": (lambda path, t, n: n * (1 - t), _linear),
    "DecreasingEpsilon": (lambda path, t, n: 0.25 * (n * jnp.cos(math.pi * t) + 1) ** 2, None),
    # sin π(1 − t) in place of sin πt: exactly 0 at t = 1
    "SinSquaredEpsilon": (lambda path, t, n: n * jnp.sin(math.pi * (1 - t)) ** 2, None),
    "MatchedEpsilon": (lambda path, t, n: n * (0.5 * path.variance(t)), None),
    "FollmerEpsilon": (lambda path, t, n: n * (0.5 * abs(path.follmer_gap(t))), None),
}


def _made(name: str, scale: ArrayLike) -> Epsilon:
    law, law_over_alpha = _LAWS[name]
    return Epsilon(name, law, scalar(scale), law_over_alpha)


def ZeroEpsilon() -> Epsilon:
    """ε = 0: the SDE sampler becomes the probability-flow ODE."""
    return _made("ZeroEpsilon", 0.0)


def NoiseLevel(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n α (SiT's code "sigma", its paper's w = 2α): the default, finite at both ends."""
    return _made("NoiseLevel", scale)


def ScoreSDE(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n s0² αΔ/β: the time reversal of a diffusion (SiT's code "SBDM", ε = w = its g²/2).

    Infinite at t = 0 where β = 0: begin at t = 1e-3, say.
    """
    return _made("ScoreSDE", scale)


def ConstantEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n (SiT's code "constant"); ε/α is infinite at t = 1: end at t = .995. Good value 1/2."""
    return _made("ConstantEpsilon", scale)


def LinearEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n (1 − t) (SiT's code "linear"); with the path `Linear` it is `NoiseLevel`."""
    return _made("LinearEpsilon", scale)


def DecreasingEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = ¼ (n cos πt + 1)² (SiT's code "decreasing"); ends at 0 for n = 1 alone."""
    return _made("DecreasingEpsilon", scale)


def SinSquaredEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n sin²(πt) (SiT's code "increasing-decreasing"): no noise at either end."""
    return _made("SinSquaredEpsilon", scale)


def MatchedEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n ½σ² from a point mass: for n = 1 the path's own noise; the drift is b, no score."""
    return _made("MatchedEpsilon", scale)


def FollmerEpsilon(scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n ½|G| from a point mass, G = 2tσ² d/dt log(β/(√t σ)): smallest path KL at n = 1.

    Chen et al. 2024 (arXiv 2403.13724), section 3.3; for any schedules: derived.
    """
    return _made("FollmerEpsilon", scale)


def EpsilonFunction(function: Callable[[Time], Scalar], scale: ArrayLike = 1.0) -> Epsilon:
    """ε = n f(t), f any function: the w of SiT's code (n = 1), or g² of a noise g dW (n = 1/2)."""
    return Epsilon("EpsilonFunction", eqx.Partial(_of_time, function), scalar(scale))


def _of_time(function, path, t, n):
    return n * function(t)
