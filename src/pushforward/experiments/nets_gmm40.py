r"""NETS on forty modes in the plane (arXiv 2410.02711): the main job.

Headline: the geometric path, which knows the energy, its gradient and a width. Beside it the
mixture path, which knows the means of the target (a check of the machine, not an achievement), and
untrained AIS ([neal2001]) and SMC ([delmoral2006]) on the geometric path, SMC at the same number of
gradient calls. The target is that of [fab2023]: log Z = 0 and every mode weighs 1/40. Longer than
other experiments: two paths with a network each, five samplers, and what each of them costs.
"""

import dataclasses
from typing import Literal

import pushforward as pf

from ..harness import GOAL, Fit, Group, at_least, exact, key, within
from ..harness import Config as Base
from ..harness.lazy import eqx, jax, jnp

CORE_WIDTH = 1.3132616875182228  # of every mode: softplus(1)
NOTES = (
    "The geometric path knows the energy, its gradient and a width. The mixture path knows the "
    "means of the target: its numbers check the machine and are no achievement.",
    "One divergence in two dimensions is two Jacobian-vector products of the drift, each about the "
    "price of a gradient; they are counted apart.",
)


class Geometric(Group):
    """The geometric path U_t = (1 − s) U_0 + s U_1."""

    base_scale: float = key(80.0, "width of the base", gt=1.4, le=1000)
    kappa: float = key(8.3, "warp of time, about 2 log(σ_0/s_1)", gt=0, le=30)
    steps: int = key(100, "Euler steps of the sampler", ge=4, multiple_of=4, le=10**5)


class Mixture(Group):
    """The mixture path: modes grow out of the base; it knows their means."""

    base_scale: float = key(5.0, "width of the base", gt=1.4, le=100)
    train_steps: int = key(1000, "optimiser steps", ge=1, le=10**7)
    steps: int = key(20, "RK4 steps of the sampler", ge=4, multiple_of=4, le=10**5)
    langevin_steps: int = key(400, "steps of Langevin", ge=4, multiple_of=4, le=10**5)


class Network(Group):
    """The drift."""

    width: int = key(128, "hidden units", ge=4, le=4096)
    depth: int = key(3, "hidden layers", ge=1, le=20)
    features: int = key(128, "random Fourier features", ge=1, le=4096)
    std: float = key(0.2, "spread of their frequencies", gt=0, le=10, unit="1/length")


class Config(Base):
    """All keys of the experiment; the mixture path is trained with `fit` too, but for its steps."""

    path: Literal["both", "geometric", "mixture"] = key("both", "which paths are trained")
    walkers: int = key(2000, "walkers of every sampling run", ge=64, le=10**7, multiple_of=8)
    rollout: int = key(512, "walkers of a rollout of the training", ge=8, le=10**6)
    refresh: int = key(50, "training steps between rollouts", ge=1, le=10**6)
    noise: float = key(30.0, "ε_t of a rollout over the local variance", gt=0, le=1e4)
    evaluations: int = key(8, "evaluations during training", ge=0, le=1000)
    fit: Fit = Fit(steps=2000, batch=1024, learning_rate=3e-3, schedule="cosine", ema=0.99)
    geometric: Geometric = Geometric()
    mixture: Mixture = Mixture()
    network: Network = Network()


PRESETS = {
    "smoke": {
        "path": "mixture",
        "walkers": 512,
        "evaluations": 0,
        "network": {"width": 64, "features": 32},
        "fit": {"batch": 512, "ema": 0.9},
        "mixture": {"train_steps": 200, "langevin_steps": 200},
    },
    "laptop": {},
    "paper": {
        "walkers": 10000,
        "network": {"width": 256},
        "fit": {"steps": 20000, "ema": 0.999},
        "mixture": {"train_steps": 20000},
    },
}


def recipe(config, key):
    """Return the sampler of the headline path."""
    return parts(config, trained(config)[0], key)


def trained(config):
    """Return the names of the paths that are trained."""
    return ("geometric", "mixture") if config.path == "both" else (config.path,)


def annealing(config, name):
    """Return the path called `name`, and the width of its modes squared as a law of time."""
    target, paths, mixture = pf.targets.gmm40(), pf.paths, config.mixture
    if name == "mixture":
        path = paths.MixturePath(target, mixture.base_scale)
        return path, paths.MixtureVariance(mixture.base_scale, CORE_WIDTH)
    scale, warp = config.geometric.base_scale, paths.ExponentialWarp(config.geometric.kappa)
    path = paths.Annealing(pf.targets.Normal(2, 0.0, scale), target, warp)
    return path, paths.LocalVariance(warp, scale, CORE_WIDTH)


def parts(config, name, key):
    """Return the parts of the path called `name`."""
    keys = [jax.random.fold_in(key, k) for k in range(4)]
    how, networks = config.network, pf.networks
    path, variance = annealing(config, name)
    features = networks.RandomFourier(2, how.features, how.std, key=keys[0])
    drift = networks.DriftMLP(
        2, width=how.width, depth=how.depth, scale=30.0, out_scale=10.0, fourier=features,
        key=keys[1],
    )  # fmt: skip
    nets = pf.recipes.nets(
        pf.targets.gmm40(),
        path=path,
        variance=variance,
        drift=networks.ScoreSkip(drift, variance, key=keys[2]),
        walkers=config.rollout,
        refresh=config.refresh,
        noise=config.noise if name == "geometric" else 1.0,
        steps=config.mixture.steps if name == "mixture" else config.geometric.steps,
        key=keys[3],
    )
    integrator = pf.dynamics.RK4() if name == "mixture" else pf.dynamics.Euler()
    step = pf.recipes.LocalStep(variance)
    kernel = eqx.Partial(pf.recipes.transport_kernel, path, step, integrator)
    return dataclasses.replace(nets, kernel=kernel)


def expected(config, preset):
    """Yield log Z = 0 and E|x|², goals for the ESS, and forty modes."""
    zero = within(4, 0.0, exact("the target is normalised"))
    goals = {"geometric": 0.88, "mixture": 0.95} if preset in ("laptop", "paper") else {}
    for name in trained(config):
        yield f"{name}: log Z", zero
        if name in goals:
            yield f"{name}: ESS", at_least(goals[name], GOAL)
            yield f"{name}: modes found", at_least(40, exact("forty modes"))
    if "mixture" in trained(config):
        yield "mixture Langevin: log Z", zero
        if preset == "smoke":
            yield "mixture: ESS", at_least(0.3, GOAL)
    if "geometric" in trained(config):
        yield "SMC: log Z", zero
        second = exact("moments of the mixture")
        yield "geometric: E|x|²", within(4, 1071.369916283017, second)


def run(config, lab):
    """Train both paths, sample them, run AIS and SMC beside them."""
    for name in trained(config):
        nets, (path, variance) = parts(config, name, lab.key), annealing(config, name)
        model = train(config, lab, name, nets)
        yield from sample(config, lab, name, nets.kernel(model), nets.times)
        if name == "mixture":
            noise = pf.recipes.Scaled(variance, 5.0)
            langevin = pf.recipes.langevin_kernel(path, noise, None, model)
            times = pf.paths.uniform_times(config.mixture.langevin_steps)
            yield from sample(config, lab, "mixture Langevin", langevin, times)
    done = lab.done
    if "geometric" in trained(config):
        nets, (path, variance) = parts(config, "geometric", lab.key), annealing(config, "geometric")
        # the kernel and grid of the headline with b = 0: annealed importance sampling
        still = pf.networks.DriftAndFreeEnergy(pf.networks.Zero(), lambda t: 0 * t)
        yield from sample(config, lab, "AIS", nets.kernel(still), nets.times, baseline=True)
        leapfrog, budget = 5, price(done["sample-geometric"])
        steps = 4 * max(3, round(budget / (4 * config.walkers * (leapfrog + 1))))
        smc = pf.recipes.smc(path, pf.recipes.LocalStep(variance), num_steps=leapfrog)
        options = {"resample": pf.estimators.Systematic(), "populations": 8}
        yield from sample(config, lab, "SMC", smc, pf.paths.uniform_times(steps), **options)
    seconds = {name: done[f"train-{name}"].seconds for name in trained(config)}
    lab.cost([
        {
            "sampler": label,
            **{f"{kind} calls": calls(s, kind) for kind in ("energy", "gradient", "divergence")},
            "log Z error": s.log_z.error,
            "training seconds": seconds.get(label.split()[0]),
            "samples": len(s),
        }
        for label, s in done.matching("sample-*").items()
    ])  # fmt: skip
    for note in NOTES:
        lab.note(note)
    if "geometric" in trained(config):
        lab.note(break_even(config, done["sample-geometric"], done["sample-SMC"]))


def train(config, lab, name, nets):
    """Train the drift of one path, evaluated now and then by short runs of its sampler."""
    fit, often = config.fit, config.evaluations
    if name == "mixture":
        update = {"steps": config.mixture.train_steps, "schedule_steps": None}
        fit = fit.model_copy(update=update)

    def evaluate(model, *, key):
        samples = pf.simulate(nets.kernel(model), 512, times=nets.times, key=key)
        log_z, error = samples.log_z
        return {"ess": samples.ess, "log_z": log_z, "log_z_error": error}

    every = {"evaluate": evaluate, "evaluate_every": max(1, fit.steps // often)} if often else {}
    return lab.train(f"train-{name}", nets, fit, **every)


def sample(config, lab, label, kernel, times, **options):
    """Run one sampler and yield its numbers; after resampling there is no ESS and no bound."""
    samples = lab.simulate(
        f"sample-{label.replace(' ', '-')}", kernel, config.walkers, times=times,
        observe=lambda x: {"x": x, "x2": jnp.sum(x**2)}, keep=4, **options,
    )  # fmt: skip
    if "resample" not in options:
        yield f"{label}: ESS", samples.ess
        yield f"{label}: ELBO", samples.elbo
    modes = mode_weights(samples)
    yield f"{label}: log Z", samples.log_z
    yield f"{label}: modes found", (modes > 0.25 / 40).sum()
    distance = pf.estimators.total_variation(modes, jnp.full(40, 1 / 40))
    yield f"{label}: TV of mode weights", distance
    yield f"{label}: E|x|²", samples.mean(lambda x: (x**2).sum())


def figures(config, done):
    """Draw samples, walkers along the path, log Z, modes, weights, evaluations."""
    plots, target, trainings = pf.report.plots, pf.targets.gmm40(), done.matching("train-*")
    trainings = {name: history for name, history in trainings.items() if history.evaluations}
    if trainings:
        yield "evaluations", plots.curves(
            trainings, ("ess", "log_z"), exact={"log_z": 0.0}, title="Evaluations during training",
            caption="Short runs of the sampler while its drift is trained.",
        )  # fmt: skip
    runs = done.matching("sample-*")
    if not runs:
        return
    text = "Samples, drawn in proportion to their exact weights, over the exact density."
    yield "samples", plots.scatter(runs, limits=55, density=lambda x: -target(x), caption=text)
    paths = {name: annealing(config, name)[0] for name in trained(config) if name in runs}
    yield "particles", plots.particles(
        {name: runs[name] for name in paths}, limits=[None] * 4 + [55],
        density=lambda name, t, x: -paths[name].energy(t, x),
    )  # fmt: skip
    yield "along-path", plots.along_time(runs)
    shares = {label: mode_weights(samples) for label, samples in runs.items()}
    counts = {label: samples.ess * len(samples) for label, samples in runs.items()}
    yield "modes", plots.modes(shares, 1 / 40, count=counts)
    plain = {label: s for label, s in runs.items() if not s.record["resampled"].any()}
    yield "weights", plots.weights(plain)


def mode_weights(samples):
    """Return the weight found in each mode."""
    share = jax.vmap(pf.targets.gmm40().responsibilities)(samples.x)
    return jnp.asarray(samples.mean(share).value)


def calls(samples, kind):
    """Return how often all walkers called the energy, its gradient or a divergence."""
    counts = (v.sum() for k, v in samples.record.items() if k.endswith(f"cost.{kind}"))
    return float(sum(counts))


def price(samples):
    """Return the calls of a run, in gradients."""
    return calls(samples, "gradient") + 2 * calls(samples, "divergence")


def break_even(config, ours, smc):
    """Say from which number of samples training has paid for itself, if ever.

    The variance of log Z times the calls spent is constant for each method; training adds a fixed
    number of calls. Equal variance at equal calls: 1/v = T / (k_smc − k_ours).
    """
    rollouts = -(-config.fit.steps // config.refresh)
    training = config.fit.steps * config.fit.batch * 4 + rollouts * config.rollout * 100
    k_ours, k_smc = (s.log_z.error**2 * price(s) for s in (ours, smc))
    text = (
        f"Training cost about {training:.2g} calls (four per sample and step, and the rollouts). "
        f"Variance of log Z times sampling calls: {k_ours:.3g} trained, {k_smc:.3g} SMC. "
        "In two dimensions SMC is the cheaper way to log Z "
    )
    if k_smc <= k_ours:
        return text + (
            "at any precision; what the trained map buys is independent weighted samples at a "
            "fixed price each."
        )
    precision = training / (k_smc - k_ours)
    samples = precision * ours.log_z.error**2 * len(ours)
    return text + (
        f"up to an error of {precision**-0.5:.2g}; beyond it, after {samples:.2g} samples, the "
        "trained map has paid for itself."
    )
