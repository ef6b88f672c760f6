"""Flows on R^n from flowjax behind our interface: couplings, autoregressive flows, permutations.

The package is an extra (`flows`) and is imported where it is used. Any
of its unconditional bijections serves: `FromFlowjax(flow.bijection)`; `spline_couplings` makes the
one that adaptive Monte Carlo starts from, the identity up to a permutation of coordinates.
"""

from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError, missing_extra
from .._tree import Frozen, is_frozen
from .._typing import Array, PRNGKey, Scalar
from ..spaces import AbstractBijection


class FromFlowjax(AbstractBijection):
    """A flowjax bijection: `transform_and_log_det` is our `forward`.

    What flowjax marks as not trainable becomes `Frozen`.

    Parameters
    ----------
    bijection
        An unconditional one, such as the `bijection` of `flowjax.flows.coupling_flow(...)`.

    References
    ----------
    Ward, *FlowJax: distributions and normalizing flows in Jax*.
    """

    bijection: Any

    def __init__(self, bijection: Any):
        if not hasattr(bijection, "transform_and_log_det"):
            raise InputError(
                f"got {type(bijection).__name__}, expected a flowjax bijection: "
                "FromFlowjax(flow.bijection)"
            )
        if bijection.cond_shape is not None:
            raise InputError(
                f"the bijection is conditional, with cond_shape {bijection.cond_shape}: expected "
                "an unconditional one (cond_dim=None)"
            )
        fixed = _packages("FromFlowjax")[1].NonTrainable
        self.bijection = jax.tree.map(
            lambda node: Frozen(node) if isinstance(node, fixed) else node,
            bijection,
            is_leaf=lambda node: isinstance(node, fixed),
        )

    def forward(self, x: Array) -> tuple[Array, Scalar]:
        return _thawed(self.bijection).transform_and_log_det(x)

    def inverse(self, y: Array) -> tuple[Array, Scalar]:
        return _thawed(self.bijection).inverse_and_log_det(y)


def spline_couplings(
    dim: int,
    *,
    layers: int = 8,
    knots: int = 8,
    bound: float = 5.0,
    width: int = 64,
    depth: int = 1,
    key: PRNGKey,
) -> FromFlowjax:
    r"""Return rational-quadratic spline couplings with permutations between, at the identity.

    Each layer keeps ⌊d/2⌋ coordinates and moves the others by monotone splines on [−B, B] whose
    knots an MLP of the kept ones gives; outside, the identity. The last layers of the MLPs start
    at zero, so an untrained flow only permutes coordinates: q is an isotropic base itself.

    Parameters
    ----------
    dim
        d >= 2.
    layers, knots, bound
        Couplings, inner knots, B in units of the base's width. Good values 4 to 8, 8, 5.
    width, depth
        Hidden units and hidden layers of the MLPs.
    key
        Of the initial weights and the permutations.

    References
    ----------
    Dinh, Sohl-Dickstein and Bengio 2017; Durkan, Bekasov, Murray and Papamakarios 2019.
    """
    if dim < 2:
        raise InputError(f"dim is {dim}: a coupling needs two coordinates or more")
    fj, _ = _packages("spline_couplings")
    flow = fj.flows.coupling_flow(
        key,
        base_dist=fj.distributions.StandardNormal((dim,)),
        transformer=fj.bijections.RationalQuadraticSpline(knots=knots, interval=bound),
        flow_layers=layers,
        nn_width=width,
        nn_depth=depth,
        nn_activation=jax.nn.silu,
        invert=False,
    )

    def last(scan: Any) -> list[Array]:
        layer = scan.bijection.bijections[0].conditioner.layers[-1]
        return [layer.weight, layer.bias]

    start = eqx.tree_at(last, flow.bijection, [jnp.zeros_like(a) for a in last(flow.bijection)])
    return FromFlowjax(start)


def _thawed(bijection: Any) -> Any:
    return jax.tree.map(
        lambda node: node.value if is_frozen(node) else node, bijection, is_leaf=is_frozen
    )


def _packages(feature: str) -> tuple[Any, Any]:
    try:
        import flowjax.bijections
        import flowjax.distributions
        import flowjax.flows
        import paramax
    except ImportError as error:
        raise missing_extra(feature, "flowjax", "flows") from error
    return flowjax, paramax
