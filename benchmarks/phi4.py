"""HMC of a scalar field: φ⁴, 64 chains, trajectories of 10 leapfrog steps.

Against BlackJAX's kernel on the same energy, and against a plain loop in PyTorch that has the
gradient written out by hand (`pip install torch`; left out when absent).
"""

import math

import blackjax
import jax
import jax.numpy as jnp
import numpy as np

import pushforward as pf

from ._timing import ON_GPU, measure, show, to_torch

CHAINS, STEP, LEAPFROG = 64, 0.08, 10
TRAJECTORIES = 500 if ON_GPU else 50
M2, COUPLING = -1.0, 0.9


def run(side: int = 32) -> dict:
    shape, key = (side, side), jax.random.key(0)
    action = pf.targets.Phi4(shape, M2, COUPLING)
    x0 = jax.random.normal(key, (CHAINS, *shape))
    rows = {
        "pushforward simulate(HMC), series of φ²": ours(action, x0, key),
        "BlackJAX hmc, vmapped, in a scan": peer(action, x0, key),
    }
    if loop := torch_loop(np.asarray(x0)):
        rows["PyTorch loop, gradient by hand"] = loop
    times = measure(rows)
    title = f"HMC, φ⁴ {shape}, {CHAINS} chains x {TRAJECTORIES} trajectories x {LEAPFROG} steps"
    first, *others = times
    goals = {name: goal for name, goal in zip(others, (">= 1x", ">= 5x"), strict=False)}
    return show(title, times, first, goals)


def ours(action, x0, key):
    kernel = pf.mcmc.HMC(action, STEP, LEAPFROG)

    def observe(x):
        return {"phi2": jnp.mean(x**2)}

    return lambda: pf.simulate(kernel, x0, steps=TRAJECTORIES, observe=observe, key=key).x


def peer(action, x0, key):
    hmc = blackjax.hmc(
        lambda x: -jnp.sum(action.terms(x)),  # the plain sum is the faster one
        STEP,
        inverse_mass_matrix=jnp.ones(action.space.shape[0] * action.space.shape[1]),
        num_integration_steps=LEAPFROG,
    )

    @jax.jit
    def chains(x0, key):
        def step(states, k):
            states, info = jax.vmap(hmc.step)(jax.random.split(k, CHAINS), states)
            return states, jnp.mean(states.position**2, axis=(1, 2))

        states = jax.vmap(hmc.init)(x0)
        return jax.lax.scan(step, states, jax.random.split(key, TRAJECTORIES))[0].position

    return lambda: chains(x0, key)


def torch_loop(x0):
    try:
        import torch
    except ImportError:
        return None

    def neighbours(x):
        return sum(torch.roll(x, s, d) for d in (1, 2) for s in (1, -1))

    def action(x):
        forward = torch.roll(x, -1, 1) + torch.roll(x, -1, 2)
        return (-2 * x * forward + (4 + M2) * x**2 + COUPLING * x**4).sum((1, 2))

    def force(x):
        return 2 * neighbours(x) - 2 * (4 + M2) * x - 4 * COUPLING * x**3

    @torch.no_grad()
    def loop():
        (x,), series = to_torch(x0), []
        energy = action(x)
        for _ in range(TRAJECTORIES):
            p = torch.randn_like(x)
            y, start = x.clone(), energy + 0.5 * (p**2).sum((1, 2))
            p += 0.5 * STEP * force(y)
            for k in range(LEAPFROG):
                y += STEP * p
                p += (STEP if k + 1 < LEAPFROG else 0.5 * STEP) * force(y)
            new = action(y)
            delta = new + 0.5 * (p**2).sum((1, 2)) - start
            accept = torch.rand(CHAINS, device=x.device) < torch.exp(-delta)
            x = torch.where(accept[:, None, None], y, x)
            energy = torch.where(accept, new, energy)
            series.append((x**2).mean((1, 2)))
        assert math.isfinite(float(series[-1].sum()))
        return x

    return loop
