"""A weighted Langevin step: 2,000 walkers x 200 steps on gmm40, against BlackJAX's MALA."""

import blackjax
import jax

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
    mala = blackjax.mala(target.log_prob, 0.5)

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

    @jax.jit
    def chains(x0, key):
        def step(states, k):
            return jax.vmap(mala.step)(jax.random.split(k, WALKERS), states)[0], None

        states = jax.vmap(mala.init)(x0)
        return jax.lax.scan(step, states, jax.random.split(key, STEPS))[0].position

    times_of = measure(
        {
            "pushforward simulate(Langevin), weights, record": ours,
            "pushforward march(Langevin), weights": march,
            "BlackJAX mala, vmapped, in a scan": lambda: chains(x0, key),
        }
    )
    title = f"Langevin, gmm40, {WALKERS} walkers x {STEPS} steps"
    first, _, peer = times_of
    return show(title, times_of, first, peer, ">= 2x")
