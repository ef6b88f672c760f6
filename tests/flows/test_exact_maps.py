"""Exact maps and inverses against numbers from elsewhere (closed forms, quadrature)."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.stats import norm

from pushforward._errors import InputError
from pushforward.dynamics import end_tangent
from pushforward.flows import (
    FixedPoint,
    GaussianFlowMap,
    MapBijection,
    Newton,
    ProductFlowMap,
    Pushforward,
    QuantileFlowMap,
    with_log_det,
)
from pushforward.networks import FlowMap
from pushforward.paths import Linear, Trigonometric
from pushforward.targets import Mixture, Normal

GAUSSIAN = GaussianFlowMap(Linear(), 1.7, 0.4)
HALVES = QuantileFlowMap(Linear(), [0.5, 0.5], [1.0, -1.0], 0.25)
TILTED = QuantileFlowMap(Linear(), [0.3, 0.7], [1.0, -1.0], 0.25)
JUMPS = [(0.0, 1.0, -1.3), (0.0, 1.0, 0.2), (0.0, 1.0, 0.9), (0.25, 0.8, 0.2)]


@eqx.filter_jit
def mapped(flow, s, t, x):
    return with_log_det(lambda v: flow(s, t, v), x)


@eqx.filter_jit
def ends(flow, x):
    return jax.vmap(lambda v: flow(0.1, 0.9, v))(x)


def close(value, expected, tolerance=1e-14):
    np.testing.assert_allclose(value, expected, rtol=0, atol=tolerance)


def test_gaussian_map_in_numbers():
    s, t, x = jnp.array(0.3), jnp.array(0.85), jnp.array(0.77)
    y, log_det, sign = mapped(GAUSSIAN, s, t, x)
    close(y, 1.5810450198378476)
    close(GAUSSIAN.velocity(s, t, x), 1.4746273087960864)
    close(GAUSSIAN.drift(s, x), 1.363917525773196)
    close(GAUSSIAN.drift(t, y), 1.6862083252879807)
    close(log_det, -0.6476957718377591)
    assert sign == 1
    close(GAUSSIAN(0.0, 1.0, jnp.array(-1.3)), 1.18)
    close(GAUSSIAN(t, s, x), -0.7800141453849507)


@pytest.mark.parametrize(
    ("flow", "values"),
    [
        (HALVES, [-1.2161756972280826, 0.7498596181413073, 1.084209010546499, 0.5605075447905763]),
        (
            TILTED,
            [-1.2720126256876365, -0.7639034147102409, 0.9278646999572596, -0.3867816099103103],
        ),
    ],
)
def test_quantile_map_in_numbers(flow, values):
    for (s, t, x), expected in zip(JUMPS, values, strict=True):
        close(mapped(flow, *map(jnp.asarray, (s, t, x)))[0], expected)


def test_quantile_map_volumes():
    """log ∂_x X = log p_s(x) − log p_t(X), and in numbers."""
    expected = [-1.2826924689133004, -0.6036866365076514, -0.5456935446962025, 0.32258365438455694]
    for (s, t, x), value in zip(JUMPS, expected, strict=True):
        s, t, x = map(jnp.asarray, (s, t, x))
        y, log_det, _ = mapped(TILTED, s, t, x)
        close(log_det, value, 2e-14)
        close(log_det, TILTED.log_density(s, x) - TILTED.log_density(t, y), 2e-14)


def test_bisection_alone_has_no_derivative():
    """Twin: without the Newton step the map's value is right and all its derivatives are zero."""
    s, t, x = map(jnp.asarray, JUMPS[1])

    def bisected(s, t, x):
        return TILTED._bisect(*jax.lax.stop_gradient((s, t, x)))

    close(bisected(s, t, x), TILTED(s, t, x), 1e-12)
    assert jax.grad(bisected, 2)(s, t, x) == 0
    assert abs(end_tangent(TILTED, s, t, x)[1] - TILTED.drift(t, TILTED(s, t, x))) < 1e-12


def test_quantile_map_of_one_component_is_the_gaussian_map_deep_into_both_tails():
    x = jnp.array([-30.0, -8.0, -1.0, 0.3, 8.0, 30.0])  # up to 33 widths: beyond 38, F is 0
    for path in (Linear(1.0), Trigonometric(0.9)):
        one, other = QuantileFlowMap(path, [1.0], [1.7], 0.4), GaussianFlowMap(path, 1.7, 0.4)
        np.testing.assert_allclose(ends(one, x), other(0.1, 0.9, x), rtol=2e-14, atol=2e-14)


def test_quantile_map_carries_the_law():
    """F_1(X(x)) = F_0(x), the mixture's distribution function from SciPy."""
    x = np.linspace(-5, 5, 41)
    y = np.asarray(eqx.filter_jit(jax.vmap(lambda v: TILTED(0.0, 1.0, v)))(jnp.asarray(x)))
    cdf = 0.3 * norm.cdf(y, 1, 0.25) + 0.7 * norm.cdf(y, -1, 0.25)
    close(cdf, norm.cdf(x), 1e-14)


@pytest.mark.parametrize("grid", [[0, 1], [0, 0.5, 1], [0, 0.11, 0.4, 0.93, 1], [0, 0.9, 0.2, 1]])
def test_composition_over_any_grid(grid):
    """X_{s,u} = X_{t,u} ∘ X_{s,t}: the end point does not know the grid."""
    product = ProductFlowMap.of([HALVES, TILTED])
    for flow in (GAUSSIAN, product):
        x = start = jnp.array([0.77, -1.3])
        for s, t in zip(grid[:-1], grid[1:], strict=True):
            x = mapped(flow, jnp.asarray(float(s)), jnp.asarray(float(t)), x)[0]
        close(x, mapped(flow, jnp.asarray(0.0), jnp.asarray(1.0), start)[0], 1e-12)


def test_fixed_point_and_newton_in_numbers():
    y, root = jnp.array(1.18), -1.3

    def image(x):
        return GAUSSIAN(0.0, 1.0, x)

    errors = {1: 1.488, 5: 0.1928448, 10: 1.49956e-2, 20: 9.06727e-5, 30: 5.48263e-7}
    for steps, expected in errors.items():
        found = FixedPoint(steps)(image, y, y)
        np.testing.assert_allclose(abs(found.x - root), expected, rtol=1e-5)
        assert not found.converged
        assert found.steps == steps
    found = FixedPoint()(image, y, y)
    assert found.converged
    close(found.x, root, 1e-13)
    close(Newton(1)(image, y, y).x, root)
    assert Newton()(image, y, y).steps == 2  # one to be there, one to see it


class Steep(eqx.Module):
    """v(x) = 1.5 sin x: x + v is not a contraction's fixed point."""

    def __call__(self, s, t, x):
        return 1.5 * jnp.sin(x)


def test_an_inverse_that_is_not_found_has_no_density():
    x = jnp.array([0.4, -0.9])
    steep = FlowMap(Steep())
    y = steep(0.0, 1.0, x)
    lost = MapBijection(steep, search=FixedPoint(50))
    found = lost.solve(y)
    assert not found.converged
    assert found.error > 1e-3
    assert jnp.isnan(lost.inverse(y)[1])
    back, log_det = MapBijection(steep).inverse(y)
    close(back, x, 1e-14)
    close(log_det, -MapBijection(steep).forward(x)[1], 1e-14)
    with pytest.raises(InputError, match="max_steps is .*, expected an integer >= 1"):
        Newton(0)


def test_a_map_as_a_bijection_pushes_the_base_to_the_data():
    bijection = MapBijection(ProductFlowMap.of([TILTED, HALVES]))
    law = Pushforward(Normal(2), bijection)
    parts = [
        Mixture.of([Normal((), 1.0, 0.25), Normal((), -1.0, 0.25)], jnp.log(jnp.array(w)))
        for w in ([0.3, 0.7], [0.5, 0.5])
    ]
    x = jnp.array([0.8, -1.1])
    close(law(x), sum(part(v) for part, v in zip(parts, x, strict=True)), 1e-12)
    half = MapBijection(GAUSSIAN, 0.3, 0.85)
    close(half.forward(jnp.array(0.77))[1], -0.6476957718377591)


def test_a_fold_has_no_log_determinant():
    """x + 1.5 sin x turns back at cos x = −2/3."""
    assert jnp.isnan(MapBijection(FlowMap(Steep())).forward(jnp.array(3.0))[1])
