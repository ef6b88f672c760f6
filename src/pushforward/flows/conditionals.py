r"""Conditionals of new links that need no training: the exact one, and that of a matched coupling.

Both are w_k(X A⁺) w_k(C X⁺)/w_{k+1}(C A⁺) of `targets/characters.py`: the exact conditional of
level k at β itself, the matched one at level 0 and the coupling b_k whose single plaquette has the
mean that coarse-graining leaves, λ_f/λ_0 (b_k) = (λ_f/λ_0 (β))^{2^k}. For U(1) the latter is von
Mises about the midpoint of A and C with concentration 2 b_k cos(δ), 2δ the coarse angle, negative
beyond δ = π/2: the sign matters where the arms are opposite.

U(1) links are drawn by inverting the distribution function: with X = (A + C)/2 + u the density is
even in u, its Fourier series comes from 128 points, and Newton's steps in a bracket find u.
"""

import math

import equinox as eqx
import jax
import jax.numpy as jnp
from jaxtyping import ArrayLike

from .._errors import InputError
from .._typing import Array, Float, PRNGKey, Scalar
from ..spaces import U1, AbstractGroup
from ..targets.characters import check_characters, log_character_weight, log_ratios
from .multiscale import AbstractLinkConditional

POINTS, NEWTON_STEPS, BISECTIONS = 128, 12, 54


class CharacterConditional(AbstractLinkConditional):
    """The exact conditional w_k(X A⁺) w_k(C X⁺)/w_{k+1}(C A⁺) of 2-D gauge theory at level k.

    Parameters
    ----------
    beta
        β of the finest level, 0 < β <= 16.
    level
        k: 0 for the last doubling, K − 1 for the first of K.
    group
        `U1()`, or SU(2), whose links cannot be drawn yet (`log_prob` alone).
    """

    beta: Scalar
    level: int = eqx.field(static=True)
    group: AbstractGroup

    def __init__(self, beta, level: int, group: AbstractGroup):
        self.beta, self.level = check_characters(group, beta, level), int(level)
        self.group = group

    def log_prob(self, x: Array, a: Array, c: Array) -> Array:
        overlap, n = self.group.overlap, self.group.n
        pair = self._log_w(overlap(x, a) / n) + self._log_w(overlap(c, x) / n)
        return pair - self._log_w(overlap(c, a) / n, 1)

    def sample(self, a: Array, c: Array, *, key: PRNGKey) -> tuple[Array, Array]:
        """Draw X given A and C by inverse distribution functions, U(1) only."""
        if not isinstance(self.group, U1):
            raise InputError(f"new links of {self.group} cannot be drawn yet: U1() can")
        uniform = jax.random.uniform(key, a.shape, a.dtype)
        draw = jax.vmap(self._quantile)
        u = draw(jnp.ravel(0.5 * (c - a)), jnp.ravel(uniform)).reshape(a.shape)
        x = 0.5 * (a + c) + u
        return x, self.log_prob(x, a, c)

    def _log_w(self, t: Array, up: int = 0) -> Array:
        return log_character_weight(self.group, self.beta, self.level + up, t)

    def _quantile(self, delta: Scalar, uniform: Scalar) -> Scalar:
        """Return u with F(u) = uniform, for the density ∝ w_k(δ + u) w_k(δ − u) on [−π, π)."""

        def log_p(u: Array) -> Array:
            return self._log_w(jnp.cos(delta + u)) + self._log_w(jnp.cos(delta - u))

        step = 2 * math.pi / POINTS
        grid = jnp.linspace(-math.pi, math.pi, POINTS, endpoint=False, dtype=delta.dtype)
        values = log_p(grid)
        top = jnp.max(values)
        series = jnp.fft.rfft(jnp.exp(values - top)).real
        n = jnp.arange(1, POINTS // 2).astype(delta.dtype)
        terms = series[1:-1] / (series[0] * math.pi * n)  # of sin n(u + π)
        mass = 2 * math.pi * series[0] / POINTS

        def distribution(u: Scalar) -> Scalar:
            return (u + math.pi) / (2 * math.pi) + _sines(terms, u + math.pi)

        # A bracket from F on the grid, then Newton's steps, halving where they leave it.
        spectrum = -0.5 * POINTS * jnp.pad(terms, 1)
        sines = jnp.fft.irfft(jax.lax.complex(jnp.zeros_like(spectrum), spectrum), POINTS)
        place = jnp.sum((grid + math.pi) / (2 * math.pi) + sines <= uniform) - 1
        low = grid[jnp.clip(place, 0)]

        def closer(_, carry: tuple[Scalar, Scalar, Scalar]) -> tuple[Scalar, Scalar, Scalar]:
            u, low, high = carry
            excess = distribution(u) - uniform
            low, high = jnp.where(excess > 0, low, u), jnp.where(excess > 0, u, high)
            newton = u - excess * mass / jnp.exp(log_p(u) - top)
            inside = (newton >= low) & (newton <= high)
            return jnp.where(inside, newton, 0.5 * (low + high)), low, high

        start = low + 0.5 * step, low, low + step
        return jax.lax.fori_loop(0, NEWTON_STEPS, closer, start)[0]


def MatchedConditional(  # noqa: N802 - a conditional, named as one
    beta: ArrayLike, level: int, group: AbstractGroup
) -> CharacterConditional:
    """Return the untrained conditional: that of level 0 at the matched coupling b_k."""
    return CharacterConditional(matched_coupling(group, beta, level), 0, group)


def matched_coupling(group: AbstractGroup, beta: ArrayLike, level: int) -> Scalar:
    """Return b_k in (0, β] with λ_f/λ_0 (b_k) = (λ_f/λ_0 (β))^{2^k}, by bisection of its log."""
    return _matched(group, check_characters(group, beta, level), 2.0**level)


@eqx.filter_jit
def _matched(group: AbstractGroup, beta: Scalar, power: float) -> Scalar:
    wanted = power * log_ratios(group, beta, 1)[0]

    def bisect(_, ends: tuple[Scalar, Scalar]) -> tuple[Scalar, Scalar]:
        low, high = ends
        middle = 0.5 * (low + high)
        above = log_ratios(group, jnp.exp(middle), 1)[0] > wanted
        return jnp.where(above, low, middle), jnp.where(above, middle, high)

    # λ_f/λ_0 <= b for all b, so b_k is not below the wanted mean
    low, high = jax.lax.fori_loop(0, BISECTIONS, bisect, (wanted, jnp.log(beta)))
    return jnp.exp(0.5 * (low + high))


def _sines(terms: Float[Array, " n"], u: Scalar) -> Scalar:
    """Return Σ_n a_n sin(n u) by Clenshaw's recurrence."""

    def down(carry: tuple[Scalar, Scalar], a: Scalar) -> tuple[tuple[Scalar, Scalar], None]:
        b, c = carry
        return (a + 2 * jnp.cos(u) * b - c, b), None

    zero = jnp.zeros_like(u)
    (b, _), _ = jax.lax.scan(down, (zero, zero), terms[::-1])
    return b * jnp.sin(u)
