r"""LEAPS on the Ising torus at the critical coupling (arXiv 2502.10843), against exact numbers.

A network of jump rates is trained on walkers that cool from the uniform law; samples have the exact
weight of event-driven simulation. Beside it the untrained sampler, annealed heat bath, on the same
grid. log Z and the energy at every temperature are those of [kaufman1949], any size; |m| is
enumerated up to 4 x 4. Goals of a prototype: ESS .997 at 4 x 4 after 1,000 steps, .957 at 8 x 8
after 4,000.
"""

import pushforward as pf

from ..harness import GOAL, Fit, Group, at_least, exact, key, measured, paper, within
from ..harness import Config as Base
from ..harness.lazy import jax, jnp, np


class Network(Group):
    """The rates."""

    channels: int = key(6, "channels of the convolution", ge=1, le=256)
    layers: int = key(2, "layers after the first convolution", ge=1, le=20)
    kernel: int | None = key(None, "extent of the kernels, odd (none: the torus)", ge=3, le=129)


class Config(Base):
    """All keys of the experiment."""

    side: int = key(8, "extent L of the torus", ge=2, le=256)
    beta: float = key(0.4407, "coupling K = βJ at t = 1", gt=0, le=10)
    samples: int = key(2000, "walkers of a sampling run", ge=64, le=10**7, multiple_of=8)
    intervals: int = key(24, "intervals of the sampler", ge=2, multiple_of=2, le=10**5)
    delta: float = key(1.0, "heat-bath redraws of a site", ge=0, le=1e4)
    walkers: int = key(200, "walkers of a rollout of the training", ge=8, le=10**6)
    refresh: int = key(20, "training steps between rollouts", ge=1, le=10**6)
    network: Network = Network()
    fit: Fit = Fit(steps=4000, batch=400, learning_rate=2e-3, schedule="cosine", ema=0.99)


PRESETS = {
    "smoke": {"side": 4, "fit": {"steps": 360, "learning_rate": 6e-3}},
    "laptop": {},
    "paper": {
        "side": 15,
        "samples": 5000,
        "intervals": 100,
        "network": {"channels": 20, "layers": 4},
        "fit": {"steps": 400_000, "ema": 0.999},
    },
}


def recipe(config, key):
    """Return the sampler of the critical torus."""
    how, side = config.network, config.side
    kernel = 2 * (side // 2) + 1 if how.kernel is None else how.kernel
    network = pf.networks.LocallyEquivariantConv(
        (kernel,) * (1 + how.layers), channels=how.channels, key=jax.random.fold_in(key, 0)
    )
    return pf.recipes.leaps(
        pf.targets.Ising((side, side), config.beta),
        network=network,
        delta=config.delta,
        walkers=config.walkers,
        refresh=config.refresh,
        steps=config.intervals,
        key=jax.random.fold_in(key, 1),
    )


def expected(config, preset):
    """Yield Kaufman's numbers, and |m| where the states can be enumerated."""
    ess = {
        "smoke": at_least(0.97, GOAL),
        "laptop": at_least(0.95, measured("prototype of this network, 2 CPU cores")),
        "paper": at_least(0.6577, paper("leaps", "notebook of the code")),
    }
    if preset in ess:
        yield "ESS", ess[preset]
    known, source = exact_along(config, [1.0]), exact("Kaufman 1949")
    yield "log Z", within(4, known["log_z"][0], source)
    yield "energy per site", within(4, known["energy"][0], source)
    if "m" in known:
        yield "|m|", within(4, known["m"][0], exact("sum over all states"))


def run(config, lab):
    """Train the rates, sample with them, and sample without."""
    model = lab.train("train", lab.recipe, config.fit)
    for label, one in (("trained", model), ("untrained", lab.recipe.model)):
        samples = lab.simulate(
            f"sample-{label}", lab.recipe.kernel(one), config.samples, times=lab.recipe.times,
            observe=observables, keep=2, baseline=label == "untrained",
        )  # fmt: skip
        suffix = "" if label == "trained" else ", untrained"
        means = samples.mean(observables, force=True)
        yield f"ESS{suffix}", samples.ess
        yield f"log Z{suffix}", samples.log_z
        for name, text in (("energy", "energy per site"), ("m", "|m|"), ("sign", "sign of m")):
            yield f"{text}{suffix}", (means.value[name], means.error[name])
        for name in ("passes", "jumps"):
            yield f"{name} a sample{suffix}", samples.record[f"info.{name}"].sum() / len(samples)


def figures(config, done):
    """Draw training, path, observables at every coupling, weights, configurations."""
    plots = pf.report.plots
    if "train" in done:
        yield "training", plots.curves(done["train"])
    runs = done.matching("sample-*")
    if not runs:
        return
    times = np.asarray(next(iter(runs.values())).record["t"], float)
    known = exact_along(config, times)
    yield "along-path", plots.along_time(runs, exact=(times, known["log_z"]))
    names = {"energy": "energy per site $e$", "m": r"$\langle |m| \rangle$"}
    yield "observables", plots.curves(
        {text: {k: (config.beta * times, s.record[name]) for k, s in runs.items()}
         for name, text in names.items()},
        exact={names[name]: (config.beta * times, known[name]) for name in names if name in known},
        xlabel=r"coupling $t\beta$",
        title="Observables",
        caption="Weighted means along the path: the prefix up to t is a sampler at coupling tβ. "
        "Exact: Kaufman's formula, and a sum over all states for |m| where that is possible.",
    )  # fmt: skip
    yield "weights", plots.weights(runs)
    yield "configurations", plots.configurations(runs)


def observables(x):
    """Return −Σ x_i x_j/N over bonds, |Σ x_i|/N, and the sign of Σ x_i."""
    energy = -0.5 * jnp.mean(x * pf.targets.neighbour_sum(x))
    return {"energy": energy, "m": jnp.abs(jnp.mean(x)), "sign": jnp.sign(jnp.mean(x))}


def exact_along(config, times):
    """Return log Z_t of the path, the energy, and |m| up to 4 x 4."""
    exact, side = pf.targets.exact, config.side
    couplings = [float(t) * config.beta for t in times]
    base = side**2 * np.log(2)
    curves = {
        "log_z": [
            exact.kaufman_log_z(side, side, k) - (1 - t) * base if t > 0 else 0.0
            for t, k in zip(times, couplings, strict=True)
        ],
        "energy": [exact.kaufman_energy(side, side, k) if k > 0 else 0.0 for k in couplings],
    }
    if side <= 4:
        laws = [exact.enumerate_states(pf.targets.Ising((side, side), k)) for k in couplings]
        curves["m"] = [float(law.mean(observables)["m"]) for law in laws]
    return {name: np.array(values) for name, values in curves.items()}
