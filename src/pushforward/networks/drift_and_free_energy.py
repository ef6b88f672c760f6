"""What a neural sampler trains: a drift (or jump rates) and a free energy."""

from collections.abc import Callable

import equinox as eqx


class DriftAndFreeEnergy(eqx.Module):
    """The model of the `Continuity` objective.

    Parameters
    ----------
    drift
        b(t, x, g), g = ∇U_t(x); for jump processes the rates.
    free_energy
        F(t) with F(0) = 0; the objective uses its derivative.
    """

    drift: Callable
    free_energy: Callable
