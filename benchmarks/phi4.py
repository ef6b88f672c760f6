"""HMC of a scalar field: φ⁴ on 16², 64 chains, 100 trajectories of 10 leapfrog steps."""

import blackjax
import jax
import jax.numpy as jnp

import pushforward as pf

from ._timing import measure, show

SHAPE, CHAINS, TRAJECTORIES, STEP, LEAPFROG = (16, 16), 64, 100, 0.08, 10


def run() -> dict:
    action, key = pf.targets.Phi4(SHAPE, -1.0, 0.9), jax.random.key(0)
    kernel = pf.mcmc.HMC(action, STEP, LEAPFROG)
    x0 = jax.random.normal(key, (CHAINS, *SHAPE))
    size = SHAPE[0] * SHAPE[1]
    peer = blackjax.hmc(
        lambda x: -action(x),
        STEP,
        inverse_mass_matrix=jnp.ones(size),
        num_integration_steps=LEAPFROG,
    )

    def observe(x):
        return {"phi2": jnp.mean(x**2)}

    def ours():
        samples = pf.simulate(kernel, x0, steps=TRAJECTORIES, observe=observe, key=key)
        return samples.x

    @jax.jit
    def chains(x0, key):
        def step(states, k):
            states, info = jax.vmap(peer.step)(jax.random.split(k, CHAINS), states)
            return states, jnp.mean(states.position**2, axis=(1, 2))

        states = jax.vmap(peer.init)(x0)
        return jax.lax.scan(step, states, jax.random.split(key, TRAJECTORIES))

    times = measure(
        {
            "pushforward simulate(HMC), series of φ²": ours,
            "BlackJAX hmc, vmapped, in a scan": lambda: chains(x0, key),
        }
    )
    title = f"HMC, φ⁴ {SHAPE}, {CHAINS} chains x {TRAJECTORIES} trajectories x {LEAPFROG} steps"
    first, second = times
    return show(title, times, first, second, ">= 1x")
