r"""One kernel after another: compose(Transport, HMC) is SMC's mutation, reweight then move.

A clock runs inside the step. A process moves it from t to t_next, a stationary kernel acts at the
present time; `State.energy` is handed on, so no member evaluates what another knows. The reversal
is the reversed members in reverse order: (move at t', reweight to t). Marching the SAME compose
down the grid is another algorithm: it moves at t, after the reweighting; its works satisfy
Jarzynski's equality but they are not the reversal of the works going up.
"""

from typing import Any

import equinox as eqx
import jax

from .._errors import InputError
from .._typing import PRNGKey, Time, X
from .base import AbstractKernel, State, failure_of


class Compose(AbstractKernel):
    """Members applied in order; at most one of them moves along the path. See `compose`."""

    members: tuple[AbstractKernel, ...]

    def __check_init__(self):
        if not self.members or not all(isinstance(m, AbstractKernel) for m in self.members):
            names = [type(m).__name__ for m in self.members]
            raise InputError(f"compose takes one or more kernels, got {names}")
        if any(getattr(m, "signed", False) for m in self.members):
            raise InputError(
                "compose makes memories anew in every step and would lose the signs of a map with "
                "signed=True: march that flow map alone, or write FlowMapKernel(map, path)"
            )
        movers = [type(m).__name__ for m in self.members if not m.stationary]
        if len(movers) > 1:
            raise InputError(
                f"compose got {len(movers)} kernels that move along the path "
                f"({', '.join(movers)}), expected at most one: put one process beside stationary "
                "kernels such as HMC"
            )

    @property
    def stationary(self) -> bool:
        """True when all members are."""
        return all(member.stationary for member in self.members)

    @property
    def weighted(self) -> bool:
        """True when a member is."""
        return any(member.weighted for member in self.members)

    @property
    def forgets_energy(self) -> bool:
        return any(member.forgets_energy for member in self.members)

    @property
    def path(self) -> Any:
        """The path of the member that moves along it, else of the first."""
        movers = [m for m in self.members if not m.stationary] or list(self.members)
        return movers[0].path  # pyright: ignore[reportAttributeAccessIssue]

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        held, _ = self.members[0].begin(x, t, energy, key)
        return None if self.forgets_energy else held, None  # memories are made at every step

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        now, infos = t, []
        for k, member in enumerate(self.members):
            then = now if member.stationary else t_next
            start_key, step_key = (jax.random.fold_in(key, 2 * k + j) for j in (0, 1))
            start = state.moved(state.x, *member.begin(state.x, now, state.energy, start_key))
            state, info = member.step(start, now, then, key=step_key)
            now = then
            infos.append(_with_start(info, member))
        energy = None if self.forgets_energy else state.energy
        return state.moved(state.x, energy), tuple(infos)

    def reversed(self) -> "Compose":
        return Compose(tuple(member.reversed() for member in reversed(self.members)))

    def failure(self, info: tuple) -> str:
        """Return the sentence of the member that failed."""
        for member, part in zip(self.members, info, strict=True):
            if bool(getattr(part, "failed", False)):
                return failure_of(member, part)
        return "a member of the composition failed"


def compose(*kernels: AbstractKernel) -> Compose:
    """Return the kernel that applies `kernels` in order.

    Good values: `compose(Transport(path), HMC(path, step_size))` is AIS (SMC with resampling).
    """
    return Compose(kernels)


def _with_start(info: Any, member: AbstractKernel) -> Any:
    """Count the gradients that a member cost where it took over (its step does not)."""
    if not member.start_gradients or not hasattr(info, "cost"):
        return info
    total = info.cost.gradient + member.start_gradients
    return eqx.tree_at(lambda i: i.cost.gradient, info, total)
