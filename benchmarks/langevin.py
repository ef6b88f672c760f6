"""A weighted Langevin step: 2,000 walkers x 200 steps on gmm40, against BlackJAX's MALA.

BlackJAX runs twice: on our energy (kernel against kernel; nine tenths of both are its gradient)
and on the energy as one writes it with `logsumexp`.
"""

import blackjax
import jax
import jax.numpy as jnp

import pushforward as pf

from ._timing import measure, show

WALKERS, STEPS = 2000, 200


def run() -> dict:
    target, key = pf.targets.gmm40(), jax.random.key(0)
    path = pf.paths.Annealing(pf.targets.Normal(2, 0.0, 30.0), target)
    kernel = pf.dynamics.Langevin(path, epsilon=1.0)
    times = pf.paths.uniform_times(STEPS)
    keys = jax.random.split(key, WALKERS)
    x0 = jax.vmap(lambda k: path.base.sample(key=k))(keys)
    means, scale = target.components.mean, target.components.scale[0]

    def written(x):
        return jax.nn.logsumexp(-0.5 * jnp.sum(((x - means) / scale) ** 2, axis=-1))

    def ours():
        return pf.simulate(kernel, x0, times=times, key=key).log_weight

    def march():
        return marched(x0, keys)

    @jax.jit
    def marched(x0, keys):
        def one(x, k):
            state = kernel.init(x, times[0], key=k)
            return pf.dynamics.march(kernel, state, times, key=k)[0].log_weight.value

        return jax.vmap(one)(x0, keys)

    def chains(log_density):
        mala = blackjax.mala(log_density, 0.5)

        def step(states, k):
            return jax.vmap(mala.step)(jax.random.split(k, WALKERS), states)[0], None

        @jax.jit
        def run(x0, key):
            states = jax.vmap(mala.init)(x0)
            return jax.lax.scan(step, states, jax.random.split(key, STEPS))[0].position

        return lambda: run(x0, key)

    times_of = measure(
        {
            "pushforward simulate(Langevin), weights, record": ours,
            "pushforward march(Langevin), weights": march,
            "BlackJAX mala, our energy": chains(target.log_prob),
            "BlackJAX mala, energy by logsumexp": chains(written),
        }
    )
    title = f"Langevin, gmm40, {WALKERS} walkers x {STEPS} steps"
    first, _, same, peer = times_of
    return show(title, times_of, first, {same: "report", peer: ">= 2x"})
