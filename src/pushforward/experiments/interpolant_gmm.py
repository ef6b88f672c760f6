r"""A stochastic interpolant of three Gaussians in the plane (arXiv 2303.08797, 2401.08740).

The velocity of the path is known here, so the sampler is judged apart from the network: bias of
E[−log p] for the ODE, for SDEs with any noise (one stacked kernel), and log densities along the
flow against the exact ones. Beside it a network that saw only samples.
"""

from typing import Any

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Exact, Expected, Measured, at_most, within

EPSILONS = (0.0, 0.1, 0.3, 1.0, 3.0)
SHOWN = (0.0, 0.3, 3.0)


class Training(Fit):
    """Training on fresh samples of the mixture."""

    steps: int = Field(default=4000, ge=1, le=10**8, description="optimiser steps")
    batch: int = Field(default=512, ge=1, le=2**20, description="samples a step")
    ema: float = Field(default=0.995, ge=0, lt=1, description="decay of the averaged weights")
    width: int = Field(default=128, ge=4, le=4096, description="hidden units of three layers")


class Sampling(Group):
    """All samplers march [0, 1] by equal steps."""

    walkers: int = Field(default=40_000, ge=500, le=10**8, description="samples of every run")
    steps: int = Field(default=48, ge=4, multiple_of=4, le=10**5, description="steps of Heun")
    paths: int = Field(default=24, ge=1, le=1000, description="paths that are drawn")


class Likelihood(Group):
    """Densities of samples of the mixture along the flow."""

    points: int = Field(default=500, ge=10, le=10**6, description="points")
    steps: int = Field(default=100, ge=1, le=10**5, description="steps of the 3/8 rule")


class Config(Base):
    """All keys of the experiment."""

    x64: bool = Field(default=True, description="compute in float64")
    fit: Training = Training()
    sampling: Sampling = Sampling()
    likelihood: Likelihood = Likelihood()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "fit": {"steps": 3000, "batch": 256, "ema": 0.99, "width": 64, "learning_rate": 3e-3},
        "sampling": {"walkers": 10_000, "steps": 40},
        "likelihood": {"points": 200},
    },
    "laptop": {"sampling": {"walkers": 200_000}},
    "paper": {
        "fit": {"steps": 20_000, "ema": 0.999, "width": 256},
        "sampling": {"walkers": 1_000_000, "steps": 100},
    },
}

ENTROPY = Exact("quadrature")
EXPECTED = (
    Expected("exact velocity, SDE: E[−log p]", 1.8629379501, within(4), ENTROPY),
    Expected("exact velocity, SDE: E[x1]", 0.3, within(4), Exact("moment of the mixture")),
    Expected("exact velocity, SDE: E[x2]", -0.55, within(4), Exact("moment of the mixture")),
    Expected("exact velocity: largest error of log p", 1e-4, at_most(), Measured("acceptance 9")),
    Expected("learned: E[log p − log q]", 0.1, at_most(), Measured("2 CPU cores, seed 0")),
)
REFERENCES = ("interpolants2023", "sit", "diffrax2021")
EXTENDS = "train"


def build(config: Config) -> Any:
    """Return the untrained velocity."""
    return recipe(config).model


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return the SDE sampler, its times and the base."""
    parts = recipe(config)
    return parts.kernel(model), parts.times, parts.initial


def recipe(config: Config) -> Any:
    """Return the interpolant of the mixture."""
    import jax

    return pf.recipes.interpolant(
        pf.targets.asymmetric_mixture(),
        width=config.fit.width,
        steps=config.sampling.steps,
        key=jax.random.key(config.seed % 2**32),
    )


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Train, sample by the exact and the learned velocity, scan the noise, read densities."""
    import jax

    keys = [jax.random.fold_in(key, k) for k in range(5)]
    parts, law = recipe(config), pf.targets.asymmetric_mixture()
    exact = pf.paths.ExactVelocity(pf.paths.Linear(), law)
    learned = _train(config, parts, folder, keys[0])

    results: dict[str, Estimate] = {}
    for label, velocity in (("exact velocity", exact), ("learned", learned)):
        samples = _sample(config, parts, parts.kernel(velocity), f"{label} sde", folder, keys[1])
        results |= _numbers(f"{label}, SDE", samples, law)
    flow = pf.dynamics.probability_flow(pf.paths.Predictor(learned, pf.paths.Linear()))
    results |= _numbers(
        "learned, ODE", _sample(config, parts, flow, "learned ode", folder, keys[1]), law
    )
    _scan(config, parts, parts.kernel(exact), folder, keys[2])
    _paths(config, parts, parts.kernel(exact), folder, keys[3])
    return results | _densities(config, law, exact, learned, folder, keys[4])


def _train(config: Config, parts: Any, folder: Any, key: Any) -> Any:
    from ._choices import train

    model, _ = train(config.fit, parts, folder.stage("train"), key=key)
    pf.save(folder.path / "model.safetensors", model, metadata={"experiment": "interpolant-gmm"})
    return model


def _sample(config: Config, parts: Any, kernel: Any, label: str, folder: Any, key: Any) -> Any:
    return pf.simulate(
        kernel,
        config.sampling.walkers,
        times=parts.times,
        initial=parts.initial,
        keep=pf.drivers.Keep(config.sampling.steps // 4, particles=4000),
        folder=folder.stage(f"sample-{label.replace(' ', '-')}"),
        key=key,
    )


def _noise(kernel: Any) -> Any:
    return kernel.epsilon.scale


def scanned(kernel: Any, scales: Any) -> Any:
    """Return the SDE kernel with a stack of noises: the factors n of ε = n α."""
    import equinox as eqx
    import jax.numpy as jnp

    return eqx.tree_at(_noise, kernel, jnp.asarray(scales, float))


def _scan(config: Config, parts: Any, kernel: Any, folder: Any, key: Any) -> None:
    """Sample with every noise at once; what is kept is −log p of the samples."""
    import jax.numpy as jnp

    law, num = pf.targets.asymmetric_mixture(), config.sampling.walkers // len(EPSILONS)
    pf.simulate(
        scanned(kernel, EPSILONS),
        num,
        times=jnp.linspace(0.0, 1.0, config.sampling.steps + 1),
        initial=parts.initial,
        stacked=_noise,
        observe=lambda x: {"energy": law(x), "energy2": law(x) ** 2},
        folder=folder.stage("scan"),
        key=key,
    )


def _paths(config: Config, parts: Any, kernel: Any, folder: Any, key: Any) -> None:
    """March the same starting points with three noises and keep every step."""
    import jax
    import jax.numpy as jnp

    draw = jax.vmap(lambda k: parts.initial.sample(key=k))
    start = draw(jax.random.split(key, config.sampling.paths))
    pf.simulate(
        scanned(kernel, SHOWN),
        jnp.broadcast_to(start[None], (len(SHOWN), *start.shape)),
        times=jnp.linspace(0.0, 1.0, 4 * config.sampling.steps + 1),
        stacked=_noise,
        keep=pf.drivers.Keep(1),
        folder=folder.stage("paths"),
        key=key,
    )


def _numbers(label: str, samples: Any, law: Any) -> dict[str, Estimate]:
    mean, energy = samples.mean(), samples.mean(law)
    return {f"{label}: E[−log p]": Estimate(float(energy.value), float(energy.error))} | {
        f"{label}: E[x{i + 1}]": Estimate(float(mean.value[i]), float(mean.error[i]))
        for i in range(2)
    }


def _densities(config, law, exact, learned, folder, key) -> dict[str, Estimate]:
    import jax
    import jax.numpy as jnp
    import numpy as np

    keys = jax.random.split(key, config.likelihood.points)
    x = jax.vmap(lambda k: law.sample(key=k))(keys)
    times, truth = jnp.linspace(0.0, 1.0, config.likelihood.steps + 1), jax.vmap(law.log_prob)(x)
    found = {
        name: pf.recipes.log_likelihood(
            pf.paths.Predictor(velocity, pf.paths.Linear()), x, times=times
        ).value
        for name, velocity in (("exact velocity", exact), ("learned", learned))
    }
    pf.formats.write_npz(folder.path / "densities.npz", {"x": x, "truth": truth} | found)
    gap = np.asarray(truth - found["learned"])
    return {
        "exact velocity: largest error of log p": Estimate(
            float(jnp.max(jnp.abs(found["exact velocity"] - truth)))
        ),
        "learned: E[log p − log q]": Estimate(
            float(gap.mean()), float(gap.std(ddof=1) / np.sqrt(gap.size))
        ),
    }


def figures(folder: Any) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._interpolant_figures import draw

    return draw(folder)
