r"""HMC of a marginal: redraw the auxiliary field exactly, move x at fixed field, forget the field.

For e^{−U(x)} = ∫ e^{−U(x, a)} da (`AbstractAugmented`) one step is a ~ e^{−U(x, ·)} (a Gibbs step),
then one HMC trajectory of U(·, a). Both leave the joint law invariant, so x keeps e^{−U}, exactly,
though U itself is never evaluated. It is the only kernel whose energy changes inside a step: the
a of a step, and with it U(·, a), ends with the step, and `State.energy` is None, for nobody knows
U(x). (U(x, a) would be the wrong number to hand to a neighbour in `compose`.)
"""

from typing import Any, ClassVar

import equinox as eqx
import jax
import jax.numpy as jnp

from .._errors import InputError
from .._typing import Context, PRNGKey, Time, X
from ..dynamics import AbstractStationary, State, no_weight
from ..targets import AbstractAugmented
from .hmc import HMC, HMCInfo


class Refreshed(AbstractStationary):
    """One step: the auxiliary field of `hmc.path` redrawn, then a trajectory of `hmc` given it.

    Parameters
    ----------
    hmc
        An `HMC` whose path is an `AbstractAugmented` energy, such as a `PseudofermionAction`. Its
        forces are noisier than those of U: good step sizes are somewhat smaller.

    References
    ----------
    Gottlieb, Liu, Toussaint, Renken and Sugar 1987 (the Φ algorithm).
    """

    references: ClassVar[tuple[str, ...]] = ("duane1987",)
    forgets_energy: ClassVar[bool] = True
    hmc: HMC

    def __init__(self, hmc: HMC):
        self.hmc = hmc

    def __check_init__(self):
        if not isinstance(self.hmc.path, AbstractAugmented):
            raise InputError(
                f"Refreshed got HMC of {type(self.hmc.path).__name__}, expected one whose path is "
                "an AbstractAugmented energy: Refreshed(HMC(PseudofermionAction(model), ...)); "
                "an energy without auxiliary field needs HMC alone"
            )

    @property
    def path(self) -> AbstractAugmented:
        """The marginal energy whose law is left invariant."""
        return self.hmc.path  # pyright: ignore[reportReturnType]

    def init(
        self, x: X, t: Time, *, context: Context = None, energy: Any = None, key: PRNGKey
    ) -> State:
        """Return the state at x; no energy is known, and one that is given is not kept."""
        return State(x, no_weight(x), context)

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey) -> tuple[State, HMCInfo]:
        """Redraw the auxiliary field at x, then run one trajectory at fixed field."""
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        auxiliary = self.path.refresh(state.x, key=keys[0])
        hmc = eqx.tree_at(lambda h: h.path, self.hmc, self.path.given(auxiliary))
        now = jnp.maximum(t, t_next)
        start = hmc.init(state.x, now, context=state.context, key=keys[1])
        start = State(state.x, state.log_weight, state.context, start.energy, start.memory)
        moved, info = hmc.step(start, now, now, key=keys[2])
        info = eqx.tree_at(lambda i: i.cost.gradient, info, info.cost.gradient + 1)
        return State(moved.x, moved.log_weight, moved.context), info

    def reversed(self) -> "Refreshed":
        """Return itself: the chain of x satisfies detailed balance."""
        return self

    def explain(self, info: HMCInfo) -> str:
        """Return the sentence for a failed trajectory."""
        return self.hmc.explain(info)
