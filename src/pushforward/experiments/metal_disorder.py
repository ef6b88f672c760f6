r"""Strange metal: an order-parameter field and electrons with random couplings (arXiv 2410.05365).

H = Σ ε_b(k) c†c + Σ_r g' ξ_r φ_r · (ψ_x† σ ψ_y + h.c.), ξ_r ~ N(0, 1) quenched, N = 2. All disorder
samples and their chains are one stacked kernel in one vmap of HMC [duane1987]. The same samples
with complex pseudofermions must agree; these forget their past ten times more slowly where the
coupling is strong (τ_int of χ_0 about 6 trajectories against ½), so they get more of them. The
parameters are ours: those of the paper are not known here, and no number of it is claimed.
"""

import pushforward as pf

from ..harness import GOAL, Group, at_least, at_most, exact, key, within
from ..harness import Config as Base
from ..harness.lazy import eqx, jax, jnp, np


class Model(Group):
    """The clean part: bands of the table in docs/systems/metals.md, c = 2, κ = 1."""

    sides: tuple[int, ...] = key((2, 4), "lattice extents, one run each")
    betas: tuple[float, ...] = key((1.0, 2.0, 4.0), "inverse temperatures β")
    dtau: float = key(0.1, "time step Δτ", gt=0, le=1)
    mass: float = key(1.0, "boson mass r", ge=-100, le=100)
    quartic: float = key(1.0, "boson quartic u", gt=0, le=100)


class Disorder(Group):
    """The law of the coupling λ_r = g + g' ξ_r."""

    g: float = key(0.0, "mean coupling g", ge=-100, le=100)
    g_prime: float = key(1.0, "width of the coupling g'", ge=0, le=100)
    samples: int = key(16, "samples of disorder", ge=4, le=10**4)


class Chains(Group):
    """How each sample is run."""

    chains: int = key(2, "chains a sample", ge=2, le=1024)
    burn_in: int = key(100, "trajectories before measuring", ge=0, le=10**6)
    steps: int = key(400, "trajectories measured", ge=40, le=10**7)
    step_size: float = key(0.2, "step; all modes turn with ω ≈ 1", gt=0, le=2)
    leapfrog: int = key(6, "2MN steps a trajectory", ge=1, le=1000)


class Config(Base):
    """All keys of the experiment."""

    x64: bool = key(True, "compute in float64")
    model: Model = Model()
    disorder: Disorder = Disorder()
    run: Chains = Chains()
    pseudofermions: int = key(10, "their trajectories for one dense; 0: no such run", ge=0, le=1000)


PRESETS = {
    "smoke": {
        "model": {"sides": (2,), "betas": (1.0,)},
        "disorder": {"samples": 8},
        "run": {"burn_in": 40, "steps": 240},
        "pseudofermions": 6,
    },
    "laptop": {},
    "paper": {
        "model": {"sides": (4, 6), "betas": (2.0, 4.0, 8.0)},
        "disorder": {"samples": 32},
        "run": {"burn_in": 300, "steps": 1000, "step_size": 0.12, "leapfrog": 10},
    },
}


def recipe(config, key):
    """Return the chain of the first sample of disorder: there is nothing to train."""
    first = jax.random.key(config.seed % 2**32)
    stack = model(config, config.model.sides[0], config.model.betas[0], first)
    one = jax.tree.map(lambda a: a[0], stack.disorder)
    action = pf.targets.DenseAction(eqx.tree_at(lambda m: m.disorder, stack, one))
    steps = max(config.run.burn_in, 1)
    return pf.recipes.Recipe(action, lambda a: hmc(config, a), times=steps, initial=start(action))


def expected(config, preset):
    """Yield what both actions must agree on, and how chains must behave."""
    if config.pseudofermions:
        yield "chi_0: dense − pseudofermions", within(4, 0.0, exact("both sample one law"))
    yield "smallest acceptance", at_least(0.6, GOAL)
    yield "largest split R-hat", at_most(1.05, GOAL)


def run(config, lab):
    """Run all sizes and temperatures with the dense action, the first with pseudofermions too."""
    worst, acceptance, quenched = 0.0, 1.0, pf.estimators.quenched
    for number, (label, side, beta) in enumerate(points(config)):
        stack = model(config, side, beta, lab.key)
        dense = _simulate(config, lab, label, pf.targets.DenseAction(stack))
        series, phi2 = chi(config, dense), quenched(dense.record["phi2"], key=lab.key)
        mean = quenched(series, key=lab.key)
        yield f"{label}: chi_0", (mean.mean, mean.error)
        yield f"{label}: chi_0, thermal error", mean.thermal
        yield f"{label}: phi²", (phi2.mean, phi2.error)
        worst = max(worst, *(float(pf.estimators.rhat_split(a)) for a in series.swapaxes(0, 1)))
        acceptance = min(acceptance, _smallest(dense))
        if number == 0 and config.pseudofermions:
            action, other_key = (
                pf.targets.PseudofermionAction(stack),
                jax.random.fold_in(lab.key, 1),
            )
            name, times = f"{label}-pseudofermions", config.pseudofermions
            other = _simulate(config, lab, name, action, times, key=other_key)
            twin = quenched(chi(config, other), key=other_key)
            # the samples are the same, so only thermal noise is left
            error = (mean.thermal**2 + twin.thermal**2) ** 0.5
            yield "chi_0: dense − pseudofermions", (mean.mean - twin.mean, error)
            acceptance = min(acceptance, _smallest(other))
    yield "smallest acceptance", acceptance
    yield "largest split R-hat", worst
    lab.note(
        "The parameters are ours; those of the paper are unknown here, and none of its numbers is "
        "claimed. Lattices this small establish neither a phase nor a law in T."
    )
    lab.note(
        f"Disorder average over {config.disorder.samples} samples: the error bar holds the scatter "
        "between samples; the thermal part of it stands beside."
    )


def figures(config, done):
    """Draw χ_0 of every sample, histories and the order parameter of every run that ended."""
    plots = pf.report.plots
    for label, side, beta in (point for point in points(config) if point[0] in done):
        stack = model(config, side, beta, done.key)
        strength = np.mean(np.asarray(stack.coupling) ** 2, axis=(1, 2))
        runs, title = {"dense": chi(config, done[label])}, f"L = {side}, β = {beta:g}"
        if (other := f"{label}-pseudofermions") in done:
            runs["pseudofermions"] = chi(config, done[other])
        means = {k: pf.estimators.quenched(v, key=jax.random.key(0)) for k, v in runs.items()}
        pairs = {k: (mean.per_sample, mean.per_sample_error) for k, mean in means.items()}
        figure = plots.curves(
            {r"$\chi_0$ of each sample": {k: (range(len(strength)), *v) for k, v in pairs.items()},
             r"$\chi_0$": {k: (strength, *v) for k, v in pairs.items()}},
            points=True, title=f"Susceptibility, {title}",
            caption="Susceptibility of the order parameter of each sample with its thermal error; "
            f"the disorder average is {means['dense']}. Right: electrons soften the field where "
            "they couple strongly.",
        )  # fmt: skip
        figure.axes[0].set_xlabel("sample of disorder")
        figure.axes[1].set_xlabel(r"$\lambda_r^2$ averaged over the sites")
        yield f"chi-{label}", figure
        order = np.argsort(runs["dense"].mean((0, 2)))
        yield f"histories-{label}", plots.chains(
            {f"sample {s}": runs["dense"][:, s] for s in order[[0, len(order) // 2, -1]]},
            r"\beta V |m|^2", num=2, title=f"Histories, {title}",
            caption="Two chains of the samples with the smallest, the middle and the largest "
            "susceptibility. A chain that stays away from its partner has not forgotten its start.",
        )  # fmt: skip
        m = np.moveaxis(np.asarray(done[label].record["m"]), 1, 0)
        m = m.reshape(len(m), -1, m.shape[-1])
        yield (
            f"order-{label}",
            plots.scatter(
                {f"sample {s}": m[s] for s in order[[0, len(order) // 2, -1]]},
                limits=1.05 * float(np.abs(m).max()),
                title=f"Order parameter, {title}",
                caption="The mean m of φ over sites and slices. Rotations are a symmetry of every "
                "sample, so the law is a ring or a disc.",
            ),
        )


def points(config):
    """Return (name of the run, as in L2-beta1, size, inverse temperature) of every run."""
    sizes = config.model.sides
    return [(f"L{side}-beta{beta:g}", side, beta) for side in sizes for beta in config.model.betas]


def model(config, side, beta, key):
    """Return all samples of disorder at one size and temperature, stacked.

    The couplings depend on the size and the sample's number alone: temperatures share them.
    """
    clean = pf.targets.SpinFermion(
        (side, side),
        max(1, round(beta / config.model.dtau)),
        dtau=config.model.dtau,
        mass=config.model.mass,
        quartic=config.model.quartic,
    )
    law = pf.targets.GaussianDisorder(config.disorder.g, config.disorder.g_prime)
    fields = jax.random.fold_in(jax.random.fold_in(key, 0), side)
    return pf.targets.disorder_samples(law, clean, config.disorder.samples, key=fields)


def hmc(config, action):
    """Return the chain of an action."""
    return pf.recipes.metal_hmc(action, config.run.step_size, config.run.leapfrog)


def start(action):
    """Return small fields: from large ones nothing is accepted."""
    return pf.targets.Normal(action.model.space.shape, scale=0.3)


def observables(x):
    """Return m, |m|² and ⟨|φ|²⟩."""
    mean = jnp.mean(x, axis=(1, 2, 3))
    return {"m": mean, "m2": jnp.sum(mean**2), "phi2": jnp.mean(jnp.sum(x * x, 0))}


def _simulate(config, lab, name, action, times=1, **options):
    return lab.simulate(
        name,
        hmc(config, action),
        config.run.chains,
        steps=times * config.run.steps,
        burn_in=times * config.run.burn_in,
        initial=start(action),
        stacked=lambda kernel: kernel.path.model.disorder,
        observe=observables,
        members=[f"sample {s}" for s in range(config.disorder.samples)],
        **options,
    )


def chi(config, samples):
    """Return the series of χ_0 = β V |m|², (trajectories, samples, chains)."""
    shape = samples.x.shape[-3:]
    return config.model.dtau * shape[0] * shape[1] * shape[2] * samples.record["m2"]


def _smallest(samples):
    return float(samples.record["info.acceptance"].mean(0).min())
