r"""Ordinary differential equations as kernels: dx/dt = f(t, x), by any Diffrax solver.

The probability flow of an interpolant is f = E[İ|x], the velocity of a `Predictor`
(`probability_flow`). With the density along (`density_flow`) the state is (x, log p) and
d log p/dt = −div v: started from the base's log density it samples with densities; started at the
data with ℓ = 0 and marched to t = 0 it gives log p(x1) = log p0(x0) − ℓ.
"""

from collections.abc import Callable
from typing import Any, ClassVar

import diffrax
import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from .._errors import InputError
from .._fields import integer, positive
from .._tree import scalar
from .._typing import Array, Context, Count, Flag, PRNGKey, Scalar, Time, V, X
from ..paths.decoding import Predictor
from .base import AbstractTransition, Info, State

LARGEST_JACOBIAN = 256


class RungeKutta38(diffrax.AbstractERK):
    """Kutta's 3/8 rule: order 4, four evaluations a step (SiT's and torchdiffeq's "rk4").

    For fixed steps; it has no embedded method, so `Adaptive` refuses it.
    """

    tableau: ClassVar = diffrax.ButcherTableau(
        c=np.array([1 / 3, 2 / 3, 1.0]),
        b_sol=np.array([1 / 8, 3 / 8, 3 / 8, 1 / 8]),
        b_error=np.zeros(4),
        a_lower=(np.array([1 / 3]), np.array([-1 / 3, 1.0]), np.array([1.0, -1.0, 1.0])),
    )
    interpolation_cls: ClassVar = diffrax.ThirdOrderHermitePolynomialInterpolation.from_k


class Adaptive(eqx.Module):
    """Step sizes chosen by the solver's error estimate, for each sample by itself.

    Parameters
    ----------
    rtol, atol
        Good values 1e-5 both; 1e-8 in float64 for likelihoods.
    max_steps
        Of one interval of the grid; more and the simulation stops and says so.
    """

    rtol: Scalar = positive(default=1e-5, converter=scalar)
    atol: Scalar = positive(default=1e-5, converter=scalar)
    max_steps: int = integer(least=1, default=4096)


class ODE(AbstractTransition):
    r"""dx/dt = f(t, x), marched along the grid of `simulate` in either direction.

    Parameters
    ----------
    field
        f(t, x, context=..., key=None) for one sample x, a pytree.
    solver
        A Diffrax solver, one step an interval of the grid. Good values: `diffrax.Heun()` (default)
        with 25 intervals; `RungeKutta38()` with 100 for likelihoods.
    control
        None, or `Adaptive()`: as many steps inside an interval as the error asks for, with
        `diffrax.Tsit5()` or `diffrax.Dopri8()`; `times=[0, 1]` is then enough.
    """

    references: ClassVar[tuple[str, ...]] = ("diffrax2021",)
    field: Callable[..., V]
    solver: diffrax.AbstractSolver = diffrax.Heun()
    control: Adaptive | None = None

    def __check_init__(self):
        estimates = isinstance(self.solver, diffrax.AbstractAdaptiveSolver)
        if self.control is not None and (not estimates or isinstance(self.solver, RungeKutta38)):
            raise InputError(
                f"{type(self.solver).__name__} estimates no error, so it cannot choose its steps: "
                "write solver=diffrax.Tsit5() beside Adaptive()"
            )

    def _terms(self) -> diffrax.ODETerm:
        return diffrax.ODETerm(lambda t, x, context: self.field(t, x, context=context))

    def begin(self, x: X, t: Time, energy: Any, key: PRNGKey):
        return None, None

    def step(self, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        if self.control is not None:
            x, evaluations, failed = self._adaptive(state, t, t_next)
        else:
            x = self._fixed(state, t, t_next)
            evaluations, failed = jnp.asarray(self._stages, jnp.int32), jnp.zeros((), bool)
        return state.moved(x), Info(evaluations=evaluations, failed=failed)

    @property
    def _stages(self) -> int:
        tableau = getattr(self.solver, "tableau", None)  # Euler has none
        return 1 if tableau is None else tableau.num_stages

    def _fixed(self, state: State, t: Time, t_next: Time) -> X:
        terms, context = self._terms(), state.context
        memory = self.solver.init(terms, t, t_next, state.x, context)
        x, *_ = self.solver.step(terms, t, t_next, state.x, context, memory, made_jump=False)
        return x

    def _adaptive(self, state: State, t: Time, t_next: Time) -> tuple[X, Count, Flag]:
        control = self.control
        assert control is not None
        found = diffrax.diffeqsolve(
            self._terms(), self.solver, t, t_next, None, state.x, state.context,
            stepsize_controller=diffrax.PIDController(control.rtol, control.atol),
            max_steps=control.max_steps, throw=False, saveat=diffrax.SaveAt(t1=True),
        )  # fmt: skip
        taken = jnp.asarray(found.stats["num_steps"], jnp.int32)
        failed = found.result != diffrax.RESULTS.successful
        return jax.tree.map(lambda a: a[0], found.ys), taken * self._stages, failed

    def reversed(self) -> "ODE":
        """Return itself: down the grid it retraces its way, up to the order of the solver."""
        return self

    def failure(self, info: Info) -> str:
        """Say how far the solver came."""
        return (
            f"{type(self.solver).__name__} did not reach the end of the interval within "
            f"{self.control.max_steps if self.control else 1} steps, or left the finite numbers: "
            "loosen Adaptive(rtol, atol), shorten the intervals, or end the grid before t = 1"
        )


class VelocityField(eqx.Module):
    """f = E[İ|x] of a predictor."""

    predictor: Predictor

    def __call__(self, t: Time, x: X, *, context: Context = None) -> V:
        return self.predictor(t, x, context=context).velocity


class Dense(eqx.Module):
    """A sample with the log density that travels along: the state of `density_flow`."""

    x: Array
    log_density: Scalar


class DensityField(eqx.Module):
    """f = (v, −div v) on `Dense`: the divergence by d JVPs of one linearisation."""

    predictor: Predictor

    def __call__(self, t: Time, state: Dense, *, context: Context = None) -> Dense:
        x = state.x
        if x.size > LARGEST_JACOBIAN:
            raise InputError(
                f"an exact divergence of {x.size} components takes {x.size} evaluations at every "
                f"step, more than {LARGEST_JACOBIAN} are refused: a Hutchinson estimate is needed"
            )

        def flat(y: Array) -> Array:
            return jnp.ravel(self.predictor(t, y.reshape(x.shape), context=context).velocity)

        v, pushed = jax.linearize(flat, jnp.ravel(x))
        jacobian = jax.vmap(pushed)(jnp.eye(x.size, dtype=x.dtype))
        return Dense(v.reshape(x.shape), -jnp.trace(jacobian))


def probability_flow(
    predictor: Predictor,
    solver: diffrax.AbstractSolver | None = None,
    control: Adaptive | None = None,
) -> ODE:
    """Return the kernel of dx/dt = E[İ|x]: the sampler without noise, and the encoder.

    Marched from 0 to 1 it samples, from 1 to 0 it finds the latent of a datum.
    `solver` and `control` are those of `ODE`; default Heun, one step an interval.
    """
    return ODE(VelocityField(predictor), diffrax.Heun() if solver is None else solver, control)


def density_flow(
    predictor: Predictor,
    solver: diffrax.AbstractSolver | None = None,
    control: Adaptive | None = None,
) -> ODE:
    """Return the probability flow on `Dense` states, exact divergence included (d <= 256).

    The default solver is `RungeKutta38()`.
    """
    return ODE(DensityField(predictor), RungeKutta38() if solver is None else solver, control)
