r"""Strange metal: an order-parameter field and electrons with random couplings (arXiv 2410.05365).

H = Σ ε_b(k) c†c + Σ_r g' ξ_r φ_r · (ψ_x† σ ψ_y + h.c.), ξ_r ~ N(0, 1) quenched, N = 2. All disorder
samples and their chains are one stacked kernel in one vmap. The same samples with complex
pseudofermions must agree; these forget their past ten times more slowly where the coupling is
strong (τ_int of χ_0 about 6 trajectories against ½), so they get more of them. The parameters are
ours: those of the paper are not known here, and no number of it is claimed.
"""

from typing import Any

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Group
from ._expected import Estimate, Exact, Expected, Goal, at_least, at_most, within


class Model(Group):
    """The clean part: bands of the table in docs/systems/metals.md, c = 2, κ = 1."""

    sides: tuple[int, ...] = Field(default=(2, 4), description="lattice extents, one run each")
    betas: tuple[float, ...] = Field(default=(1.0, 2.0, 4.0), description="inverse temperatures β")
    dtau: float = Field(default=0.1, gt=0, le=1, description="time step Δτ")
    mass: float = Field(default=1.0, ge=-100, le=100, description="boson mass r")
    quartic: float = Field(default=1.0, gt=0, le=100, description="boson quartic u")


class Disorder(Group):
    """The law of the coupling λ_r = g + g' ξ_r."""

    g: float = Field(default=0.0, ge=-100, le=100, description="mean coupling g")
    g_prime: float = Field(default=1.0, ge=0, le=100, description="width of the coupling g'")
    samples: int = Field(default=16, ge=4, le=10**4, description="samples of disorder")


class Chains(Group):
    """How each sample is run."""

    chains: int = Field(default=2, ge=2, le=1024, description="chains a sample")
    burn_in: int = Field(default=100, ge=0, le=10**6, description="trajectories before measuring")
    steps: int = Field(default=400, ge=40, le=10**7, description="trajectories measured")
    step_size: float = Field(default=0.2, gt=0, le=2, description="step; all modes turn with ω ≈ 1")
    leapfrog: int = Field(default=6, ge=1, le=1000, description="2MN steps a trajectory")


class Config(Base):
    """All keys of the experiment."""

    x64: bool = Field(default=True, description="compute in float64")
    model: Model = Model()
    disorder: Disorder = Disorder()
    run: Chains = Chains()
    pseudofermions: int = Field(
        default=10, ge=0, le=1000, description="their trajectories for one dense; 0: no such run"
    )


PRESETS: dict[str, dict[str, Any]] = {
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

EXPECTED = (
    Expected("chi_0: dense − pseudofermions", 0.0, within(4), Exact("both sample one law")),
    Expected("smallest acceptance", 0.6, at_least(), Goal()),
    Expected("largest split R-hat", 1.05, at_most(), Goal()),
)
REFERENCES = ("duane1987", "wolff2004")
EXTENDS = "L2-beta1"


def run(config: Config, folder, *, key) -> dict[str, Estimate]:
    """Run all sizes and temperatures with the dense action, the first with pseudofermions too."""
    import jax

    results, worst, acceptance = {}, 0.0, 1.0
    points = [(side, beta) for side in config.model.sides for beta in config.model.betas]
    for number, (side, beta) in enumerate(points):
        stack = model(config, side, beta, key)
        dense = _simulate(config, pf.targets.DenseAction(stack), folder, name(side, beta), 1, key)
        chi = _average(dense["chi"], key)
        results |= _numbers(name(side, beta), dense, chi, key)
        chains = dense["chi"].swapaxes(0, 1)
        worst = max(worst, *(float(pf.estimators.rhat_split(a)) for a in chains))
        acceptance = min(acceptance, float(dense["acceptance"].min()))
        if number == 0 and config.pseudofermions:
            action = pf.targets.PseudofermionAction(stack)
            label, other_key = f"{name(side, beta)}-pseudofermions", jax.random.fold_in(key, 1)
            times = config.pseudofermions
            other = _simulate(config, action, folder, label, times, other_key)
            results["chi_0: dense − pseudofermions"] = _difference(chi, other["chi"], other_key)
            acceptance = min(acceptance, float(other["acceptance"].min()))
    results["smallest acceptance"] = Estimate(acceptance)
    results["largest split R-hat"] = Estimate(worst)
    _note(config, folder)
    return results


def build(config: Config) -> Any:
    """Return the dense action of the first sample of disorder: there is nothing to train."""
    import equinox as eqx
    import jax

    first = config.model.sides[0], config.model.betas[0]
    stack = model(config, *first, jax.random.key(config.seed % 2**32))
    one = jax.tree.map(lambda a: a[0], stack.disorder)
    return pf.targets.DenseAction(eqx.tree_at(lambda m: m.disorder, stack, one))


def sampler(config: Config, action: Any) -> tuple[Any, Any, Any]:
    """Return the chain of the first sample, its burn-in in trajectories, and its start."""
    kernel = pf.recipes.metal_hmc(action, config.run.step_size, config.run.leapfrog)
    return kernel, max(config.run.burn_in, 1), start(action)


def start(action: Any) -> Any:
    """Return small fields: from large ones nothing is accepted."""
    return pf.targets.Normal(action.model.space.shape, scale=0.3)


def figures(folder) -> dict[str, Any]:
    """Draw χ_0 of every sample, histories and the order parameter."""
    from ._metal_figures import draw

    return draw(folder)


def name(side: int, beta: float) -> str:
    """Return the name of a run, as in L2-beta1."""
    return f"L{side}-beta{beta:g}"


def model(config: Config, side: int, beta: float, key) -> Any:
    """Return all samples of disorder at one size and temperature, stacked.

    The couplings depend on the size and the sample's number alone: temperatures share them.
    """
    import jax

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


def _fields(kernel):
    return kernel.path.model.disorder


def _observe(x):
    import jax.numpy as jnp

    mean = jnp.mean(x, axis=(1, 2, 3))
    return {"m": mean, "m2": jnp.sum(mean**2), "phi2": jnp.mean(jnp.sum(x * x, 0))}


def _simulate(config: Config, action, folder, stage: str, times: int, key) -> dict[str, Any]:
    """Return series (trajectories, samples, chains) of χ_0 = β V |m|², |m|² and ⟨|φ|²⟩."""
    import numpy as np

    shape = action.model.space.shape
    samples = pf.simulate(
        pf.recipes.metal_hmc(action, config.run.step_size, config.run.leapfrog),
        config.run.chains,
        steps=times * config.run.steps,
        burn_in=times * config.run.burn_in,
        initial=start(action),
        stacked=_fields,
        observe=_observe,
        folder=folder.stage(stage),
        key=key,
    )
    record = samples.record
    volume = config.model.dtau * shape[1] * shape[2] * shape[3]
    series = {k: np.asarray(record[k]) for k in ("m2", "phi2")}
    return series | {"chi": volume * series["m2"], "acceptance": record["info.acceptance"].mean(0)}


def _average(values, key) -> Any:
    return pf.estimators.quenched(values, key=key)


def _numbers(label: str, series: dict[str, Any], chi, key) -> dict[str, Estimate]:
    phi2 = _average(series["phi2"], key)
    return {
        f"{label}: chi_0": Estimate(chi.mean, chi.error),
        f"{label}: chi_0, thermal error": Estimate(chi.thermal),
        f"{label}: phi²": Estimate(phi2.mean, phi2.error),
    }


def _difference(chi, values, key) -> Estimate:
    """Return the mean paired difference: samples are the same, so only thermal noise is left."""
    other = _average(values, key)
    return Estimate(chi.mean - other.mean, (chi.thermal**2 + other.thermal**2) ** 0.5)


def _note(config: Config, folder) -> None:
    summary = folder.summary()
    summary["notes"] = [
        "The parameters are ours; those of the paper are unknown here, and none of its numbers is "
        "claimed. Lattices this small establish neither a phase nor a law in T.",
        "Disorder average over "
        f"{config.disorder.samples} samples: the error bar holds the scatter between samples; the "
        "thermal part of it stands beside.",
    ]
    folder.write_summary(summary)
