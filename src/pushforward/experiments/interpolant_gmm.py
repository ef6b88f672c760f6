r"""A stochastic interpolant of three Gaussians in the plane (arXiv 2303.08797, 2401.08740).

The velocity of the path is known here, so the sampler is judged apart from the network: bias of
E[−log p] for the ODE, for SDEs with any noise (one stacked kernel), and log densities along the
flow ([diffrax2021]) against the exact ones. Beside it a network that saw only samples.
"""

import pushforward as pf

from ..harness import Config as Base
from ..harness import Fit, Group, at_most, exact, key, measured, within
from ..harness.lazy import eqx, jax, jnp, np

EPSILONS = {"ODE": 0.0, "ε = 0.1 α": 0.1, "ε = 0.3 α": 0.3, "ε = α": 1.0, "ε = 3 α": 3.0}
SHOWN = {label: EPSILONS[label] for label in ("ODE", "ε = 0.3 α", "ε = 3 α")}
ENTROPY, LIMITS = 1.8629379501, (-4.0, 3.4, -4.2, 3.2)


class Sampling(Group):
    """All samplers march [0, 1] by equal steps."""

    walkers: int = key(40_000, "samples of every run", ge=500, le=10**8)
    steps: int = key(48, "steps of Heun", ge=4, multiple_of=4, le=10**5)
    paths: int = key(24, "paths that are drawn", ge=1, le=1000)


class Likelihood(Group):
    """Densities of samples of the mixture along the flow."""

    points: int = key(500, "points", ge=10, le=10**6)
    steps: int = key(100, "steps of the 3/8 rule", ge=1, le=10**5)


class Config(Base):
    """All keys of the experiment."""

    x64: bool = key(True, "compute in float64")
    width: int = key(128, "hidden units of each of three layers", ge=4, le=4096)
    fit: Fit = Fit(steps=4000, batch=512, ema=0.995)
    sampling: Sampling = Sampling()
    likelihood: Likelihood = Likelihood()


PRESETS = {
    "smoke": {
        "width": 64,
        "fit": {"steps": 3000, "batch": 256, "ema": 0.99, "learning_rate": 3e-3},
        "sampling": {"walkers": 10_000, "steps": 40},
        "likelihood": {"points": 200},
    },
    "laptop": {"sampling": {"walkers": 200_000}},
    "paper": {
        "width": 256,
        "fit": {"steps": 20_000, "ema": 0.999},
        "sampling": {"walkers": 1_000_000, "steps": 100},
    },
}


def recipe(config, key):
    """Return the interpolant of the mixture, sampled by an SDE."""
    return pf.recipes.interpolant(
        pf.targets.asymmetric_mixture(),
        width=config.width,
        steps=config.sampling.steps,
        key=jax.random.key(config.seed % 2**32),
    )


def expected(config, preset):
    """Yield entropy and mean of the mixture, and how near the densities should come."""
    moment = exact("moment of the mixture")
    yield "exact velocity, SDE: E[−log p]", within(4, ENTROPY, exact("quadrature"))
    yield "exact velocity, SDE: E[x1]", within(4, 0.3, moment)
    yield "exact velocity, SDE: E[x2]", within(4, -0.55, moment)
    yield "exact velocity: largest error of log p", at_most(1e-4, measured("acceptance 9"))
    yield "learned: E[log p − log q]", at_most(0.1, measured("2 CPU cores, seed 0"))


def run(config, lab):
    """Train, sample by the exact and the learned velocity, scan the noise, read densities."""
    keys, how = [jax.random.fold_in(lab.key, k) for k in range(5)], config.sampling
    parts, law, path = lab.recipe, pf.targets.asymmetric_mixture(), pf.paths.Linear()
    learned = lab.train("train", parts, config.fit, key=keys[0])
    velocities = {"exact velocity": pf.paths.ExactVelocity(path, law), "learned": learned}

    kernels = {f"{label}, SDE": parts.kernel(b) for label, b in velocities.items()}
    kernels["learned, ODE"] = pf.dynamics.probability_flow(pf.paths.Predictor(learned, path))
    grid = {"times": parts.times, "initial": parts.initial}
    for label, kernel in kernels.items():
        samples = lab.simulate(
            f"sample-{label.replace(', ', '-').replace(' ', '-').lower()}", kernel, how.walkers,
            keep=pf.drivers.Keep(how.steps // 4, particles=4000), key=keys[1], **grid,
        )  # fmt: skip
        mean = samples.mean()
        yield f"{label}: E[−log p]", samples.mean(law)
        for i in range(2):
            yield f"{label}: E[x{i + 1}]", (mean.value[i], mean.error[i])

    sde = kernels["exact velocity, SDE"]
    lab.simulate(  # every noise at once
        "scan", with_noises(sde, EPSILONS), how.walkers // len(EPSILONS), **grid,
        stacked=noise, observe=lambda x: {"energy": law(x), "energy2": law(x) ** 2},
        members=list(EPSILONS), key=keys[2],
    )  # fmt: skip
    start = jax.vmap(lambda k: parts.initial.sample(key=k))(jax.random.split(keys[3], how.paths))
    lab.simulate(
        "paths", with_noises(sde, SHOWN), jnp.broadcast_to(start, (len(SHOWN), *start.shape)),
        times=jnp.linspace(0.0, 1.0, 4 * how.steps + 1), stacked=noise,
        keep=pf.drivers.Keep(1), members=list(SHOWN), key=keys[3],
    )  # fmt: skip

    found = lab.compute("densities", lambda: densities(config, law, velocities, keys[4]))
    error, gap = (found["truth"] - found[label] for label in velocities)
    yield "exact velocity: largest error of log p", np.max(np.abs(error))
    yield "learned: E[log p − log q]", (gap.mean(), gap.std(ddof=1) / np.sqrt(gap.size))


def figures(config, done):
    """Draw training, samples, the cloud along the path, trajectories, the noise, densities."""
    plots, runs = pf.report.plots, done.matching("sample-*")
    if "train" in done:
        yield "training", plots.curves(done["train"])
    if runs:
        clouds = {label: samples.draws["x"][-1] for label, samples in runs.items()}
        yield "samples", plots.scatter(clouds, limits=LIMITS, density=log_density)
        yield "along", plots.particles(
            {label: samples for label, samples in runs.items() if "sde" in label},
            limits=LIMITS, density=lambda label, t, x: log_density(x, t),
        )  # fmt: skip
    if "paths" in done:
        tracks = np.moveaxis(done["paths"].draws["x"], 1, 0)
        yield "paths", plots.trajectories(
            dict(zip(SHOWN, tracks, strict=True)), limits=LIMITS,
            density=lambda x: 0.3 * log_density(x),  # flattened, so that all modes are seen
            caption="The same starting points carried by the exact velocity, with three noises.",
        )  # fmt: skip
    if "scan" in done:
        mean, second = (done["scan"].record[name][-1] for name in ("energy", "energy2"))
        place, num = np.arange(len(EPSILONS)), config.sampling.walkers // len(EPSILONS)
        figure = plots.curves(
            {"exact velocity, SDE": (place, mean - ENTROPY, np.sqrt((second - mean**2) / num))},
            exact=0.0, xlabel=r"$\varepsilon/\alpha$", points=True, title="Any noise",
            caption=f"Every noise has the same law: {config.sampling.steps} steps of stochastic "
            f"Heun with the exact velocity, {num} samples each, one compilation.",
        )  # fmt: skip
        figure.axes[0].set(
            ylabel=r"bias of $E[-\log p]$", xticks=place, xticklabels=EPSILONS.values()
        )
        yield "noise", figure
    if "densities" in done:
        yield from likelihoods(done["densities"])


def likelihoods(found):
    """Draw log densities along both flows against the exact ones."""
    plots = pf.report.plots
    truth, labels = found["truth"], ("exact velocity", "learned")
    span = np.array([truth.min(), truth.max()])
    text = "Log densities of samples of the mixture by the flow, against the exact ones."
    yield "densities", plots.curves(
        {r"$\log q(x)$ along the flow": {label: (truth, found[label]) for label in labels}},
        exact=(span, span), xlabel=r"$\log p(x)$", points=True, title="Densities", caption=text,
    )  # fmt: skip
    yield "density-errors", plots.histogram(
        {label: np.maximum(np.abs(found[label] - truth), 1e-12) for label in labels},
        xlabel=r"$|\log q - \log p|$", log=True, title="Errors of the densities", caption=text,
    )  # fmt: skip


def log_density(x, t=1.0):
    """Return log ρ_t at one point: each Gaussian has mean t m_k, covariance t² C_k + (1 − t)²."""
    law = pf.targets.asymmetric_mixture()
    variances = t**2 * law.variances + (1 - t) ** 2
    return -type(law)(law.log_weights, t * law.means, variances, law.axes)(x)


def densities(config, law, velocities, key):
    """Return points of the mixture, their exact log densities and those along each flow."""
    keys = jax.random.split(key, config.likelihood.points)
    x = jax.vmap(lambda k: law.sample(key=k))(keys)
    times, found = jnp.linspace(0.0, 1.0, config.likelihood.steps + 1), {}
    for label, velocity in velocities.items():
        flow = pf.paths.Predictor(velocity, pf.paths.Linear())
        found[label] = pf.recipes.log_likelihood(flow, x, times=times).value
    return {"x": x, "truth": jax.vmap(law.log_prob)(x)} | found


def noise(kernel):
    """Return the factor n of ε = n α."""
    return kernel.epsilon.scale


def with_noises(kernel, scales):
    """Return the SDE kernel with a stack of noises, {name: n}."""
    return eqx.tree_at(noise, kernel, jnp.asarray(list(scales.values()), float))
