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
from .._typing import PRNGKey, Time, X
from ..dynamics import AbstractStationary, Info, State
from ..targets import AbstractAugmented
from .hmc import HMC


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
    failure: ClassVar[str] = HMC.failure
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

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return None, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey) -> tuple[State, Info]:
        """Redraw the auxiliary field at x, then run one trajectory at fixed field."""
        keys = [jax.random.fold_in(key, k) for k in range(3)]
        auxiliary = self.path.refresh(state.x, key=keys[0])
        hmc = eqx.tree_at(lambda h: h.path, self.hmc, self.path.given(auxiliary))
        now = jnp.maximum(t, t_next)
        start = state.moved(state.x, *hmc.begin(state.x, now, None, keys[1]))
        moved, info = hmc.step(start, now, now, key=keys[2])
        info = eqx.tree_at(lambda i: i.cost.gradient, info, info.cost.gradient + 1)
        return state.moved(moved.x), info
