r"""Exact simulation of a jump process, event by event, with exact weights.

Energies and rates are frozen in every interval [t, t'] of the grid at its midpoint s; that chain
is simulated exactly (Gillespie 1977). For a path that is constant in pieces Feynman–Kac holds
exactly, so E e^A = Z_1/Z_0 with ANY number of intervals. With the jumps x_0 → ... → x_N,

ΔA = U_t(x_0) − U_t'(x_N) + Σ_jumps ΔU_s − ∫ K_s(x) dt.

Down the grid the time-reversed chain runs, whose K is −K: the same jumps back undo the weight.
"""

from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp

from .._fields import integer
from .._typing import Array, Count, Flag, Float, PRNGKey, Scalar, Time, X
from ..targets import energy_difference, energy_terms
from .base import Info, State
from .jump_methods import AbstractJumpMethod

EVENTS_PER_SITE = 64


class Clock(NamedTuple):
    """Where `advance` stands: the interval, the time spent in it, the events so far."""

    interval: Count
    elapsed: Scalar
    events: Count


class EventDriven(AbstractJumpMethod):
    """Exact simulation with exact weights (default): one evaluation of the rates an event.

    Unbiased with any number of intervals; 10 to 50 are good values. Under vmap an interval lasts
    until its busiest walker is done; `Jump.advance` avoids that. The info counts `passes`
    (evaluations of the rates) and `jumps`, and holds the largest total `rate`.

    Parameters
    ----------
    max_events
        Of one interval, after which the run stops; None for 64 D.
    """

    exact: ClassVar[bool] = True
    max_events: int | None = integer(least=1, default=None)

    def step(self, process, state: State, t: Time, t_next: Time, *, key: PRNGKey):
        most = self.max_events or EVENTS_PER_SITE * process.space.size

        def unfinished(carry):
            *_, arrived, info = carry
            return ~arrived & (info.passes < most)

        def body(carry):
            x, weight, elapsed, _, info = carry
            event = _event(process, t, t_next, x, elapsed, jax.random.fold_in(key, info.passes))
            info = Info(
                passes=info.passes + 1,
                jumps=info.jumps + (~event.arrived).astype(jnp.int32),
                rate=jnp.maximum(info.rate, event.rate),
                overflow=info.overflow | event.overflow,
            )
            return event.x, weight.add(event.work), event.elapsed, event.arrived, info

        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)
        rate = jnp.zeros((), state.log_weight.high.dtype)
        info = Info(passes=zero, jumps=zero, rate=rate, overflow=no)
        start = (state.x, state.log_weight, jnp.zeros_like(t), no, info)
        x, weight, _, arrived, info = jax.lax.while_loop(unfinished, body, start)
        energy = energy_terms(process.path.at(t_next), x)
        weight = weight.add(-energy_difference(energy, state.energy))
        info = Info(**vars(info), failed=~arrived | info.overflow)
        return State(x, weight, state.context, energy, state.memory), info

    def failure(self, info: Info) -> str:
        """Return what went wrong and what to try."""
        if info.overflow:
            return (
                "a reverse rate needs e^{−ΔU} > 1e30 and is never clipped: train longer at early "
                "times, or use more intervals, as in uniform_times(2 * n)"
            )
        return (
            f"{int(info.jumps)} jumps in one interval did not reach its end, at a total rate of up "
            f"to {float(info.rate):.3g}: use more intervals, a smaller delta or |G|, or "
            "EventDriven(max_events=...)"
        )

    def advance(
        self, process, state: State, times: Float[Array, " n"], num_events: Count, *, key: PRNGKey
    ) -> tuple[State, Info]:
        """Run `num_events` events along `times` (a jump or the end of an interval is one).

        The info counts `jumps` and says whether the end of the grid was reached (`arrived`).
        """
        zero, no = jnp.zeros((), jnp.int32), jnp.zeros((), bool)

        def body(_, carry):
            state, jumps, overflow = carry
            new, event = _next(process, state, times, key)
            done = state.memory.interval >= times.shape[0] - 1
            state = jax.tree.map(lambda a, b: jnp.where(done, a, b), state, new)
            jumped = ~(event.arrived | done)
            overflow = overflow | (event.overflow & ~done)
            return state, jumps + jumped.astype(jnp.int32), overflow

        state, jumps, overflow = jax.lax.fori_loop(0, num_events, body, (state, zero, no))
        arrived = state.memory.interval >= times.shape[0] - 1
        return state, Info(jumps=jumps, arrived=arrived, failed=overflow)


class _Event(NamedTuple):
    x: X
    work: Scalar
    elapsed: Scalar
    arrived: Flag
    rate: Scalar
    overflow: Flag


def _event(process, t: Time, t_next: Time, x: X, elapsed: Scalar, key: PRNGKey) -> _Event:
    """Wait and jump, or wait until the end of the interval, everything frozen at its midpoint.

    work = ΔU_s of the jump − (time waited) K_s; downwards in time the chain is the reversed one,
    whose K is −K.
    """
    forward = t_next >= t
    moves = process.moves(0.5 * (t + t_next), x)
    balance = jnp.where(forward, moves.balance, -moves.balance)
    rates = jnp.ravel(jnp.where(forward, moves.out, moves.back))
    wait_key, move_key = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)

    sums = jnp.cumsum(rates)
    total = sums[-1]
    wait = jax.random.exponential(wait_key, (), total.dtype)
    wait = jnp.where(total > 0, wait / jnp.where(total > 0, total, 1), jnp.inf)
    left = jnp.abs(t_next - t) - elapsed
    arrived = wait >= left
    # u in (0, 1] and the first sum >= u: a move of rate zero is never taken
    u = (1 - jax.random.uniform(move_key, (), total.dtype)) * total
    k = jnp.argmax(sums >= u)
    jumped = process.space.move(x, k)

    held = jnp.where(arrived, left, wait)
    work = jnp.where(arrived, 0, jnp.ravel(moves.differences)[k]) - held * balance
    x = jax.tree.map(lambda a, b: jnp.where(arrived, a, b), x, jumped)
    return _Event(x, work, elapsed + held, arrived, total, moves.overflow)


def _next(process, state: State, times: Float[Array, " n"], key: PRNGKey) -> tuple[State, _Event]:
    """Run one event wherever the state stands; on arrival the weight takes up U_t − U_t'."""
    clock = state.memory
    i = jnp.minimum(clock.interval, times.shape[0] - 2)
    t, t_next = times[i], times[i + 1]
    event_key = jax.random.fold_in(key, clock.events)
    event = _event(process, t, t_next, state.x, clock.elapsed, event_key)
    there = energy_terms(process.path.at(t_next), event.x)
    waiting = state.log_weight.add(event.work)
    arrived = waiting.add(-energy_difference(there, state.energy))

    def arrive(a, b):
        return jax.tree.map(lambda a, b: jnp.where(event.arrived, a, b), a, b)

    clock = Clock(
        clock.interval + event.arrived.astype(jnp.int32),
        arrive(jnp.zeros_like(event.elapsed), event.elapsed),
        clock.events + 1,
    )
    weight, energy = arrive(arrived, waiting), arrive(there, state.energy)
    return State(event.x, weight, state.context, energy, clock), event
