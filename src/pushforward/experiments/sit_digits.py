r"""SiT on 8 x 8 digits (arXiv 2401.08740): class-conditional samples from a small transformer.

Pixels are dequantised (17 levels), labels dropped one time in ten, so that one network serves with
and without guidance. Sampled are a grid of ten of each class for every guidance scale (one stacked
kernel), and the way of one sample from noise to digit for several noises of the SDE.

Without a trained classifier the judge is the nearest class mean of the training digits: it names
about nine test digits in ten rightly, and says of samples how often they look like their label.
"""

from typing import Any, Literal

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Expected, Goal, Measured, at_least, at_most

EPSILONS = (0.0, 0.3, 1.0, 3.0)
CLASSES = 10


class Training(Fit):
    """Training on the 1,438 training digits."""

    steps: int = Field(default=4000, ge=1, le=10**8, description="optimiser steps")
    batch: int = Field(default=64, ge=1, le=2**16, description="digits a step")
    optimiser: Literal["adam", "adamw", "radam", "sgd", "lion"] = Field(
        default="adamw", description="rule of the update"
    )
    learning_rate: float = Field(default=2e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="warmup_cosine", description="learning rate along the steps"
    )
    ema: float = Field(default=0.995, ge=0, lt=1, description="decay of the averaged weights")


class Network(Group):
    """The transformer."""

    width: int = Field(default=96, ge=4, le=4096, multiple_of=4, description="width of a token")
    depth: int = Field(default=4, ge=1, le=64, description="blocks")
    heads: int = Field(default=4, ge=1, le=64, description="heads; divides the width")


class Sampling(Group):
    """Stochastic Heun on equal steps of [0, 1]."""

    steps: int = Field(default=25, ge=5, multiple_of=5, le=10**5, description="steps")
    each: int = Field(default=20, ge=10, le=10**5, description="samples of each class")
    guidance: tuple[float, ...] = Field(default=(1.0, 2.0), description="guidance scales")


class Config(Base):
    """All keys of the experiment."""

    fit: Training = Training()
    network: Network = Network()
    sampling: Sampling = Sampling()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "fit": {"steps": 2000, "ema": 0.99, "learning_rate": 4e-3},
        "network": {"width": 32, "depth": 2},
        "sampling": {"steps": 20, "each": 10},
    },
    "laptop": {},
    "paper": {
        "fit": {"steps": 50_000, "batch": 256, "learning_rate": 1e-4, "ema": 0.9999},
        "network": {"width": 384, "depth": 12, "heads": 6},
        "sampling": {"steps": 50, "each": 200},
    },
}
EXPECTED = (
    Expected(
        "training loss, last tenth", 0.75, at_most(), Measured("2 CPU cores, seed 0"),
        presets=("smoke",),
    ),
    Expected(
        "training loss, last tenth", 0.45, at_most(), Measured("a prototype, without noise: .384"),
        presets=("laptop", "paper"),
    ),
    Expected("look like their label, guidance 2", 0.8, at_least(), Goal(), presets=("laptop",)),
)  # fmt: skip
REFERENCES = ("sit", "interpolants2023")
EXTENDS = "train"


def build(config: Config) -> Any:
    """Return the untrained transformer."""
    return recipe(config).model


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return the unguided sampler of one class (its context is the null label)."""
    parts = recipe(config)
    path, noise = pf.paths.Linear(), pf.paths.NoiseLevel()
    return (
        pf.recipes.sde_kernel(path, pf.paths.Velocity(), noise, model),
        parts.times,
        parts.initial,
    )


def recipe(config: Config) -> Any:
    """Return the SiT recipe on the training digits."""
    import jax

    network = config.network
    train, _ = pf.formats.split_digits()
    return pf.recipes.sit(
        train.images,
        train.labels,
        pf.networks.Size(network.depth, network.width, network.heads),
        num_classes=CLASSES,
        augment=pf.sources.Dequantise(pf.formats.digits.LEVELS),
        steps=config.sampling.steps,
        key=jax.random.key(config.seed % 2**32),
    )


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Train, sample every class with every guidance, and one sample with every noise."""
    import jax

    keys = [jax.random.fold_in(key, k) for k in range(3)]
    parts = recipe(config)
    model, loss = _train(config, parts, folder, keys[0])
    samples = _grids(config, parts, model, folder, keys[1])
    _ways(config, parts, model, folder, keys[2])
    results = {
        "training loss, last tenth": Estimate(loss),
        "test digits nearest to their class mean": _share(*_test()),
    }
    for scale, x in zip(config.sampling.guidance, samples, strict=True):
        results[f"look like their label, guidance {scale:g}"] = _share(x, _labels(config))
    return results


def _train(config: Config, parts: Any, folder: Any, key: Any) -> tuple[Any, float]:
    from ._choices import train

    model, history = train(config.fit, parts, folder.stage("train"), key=key)
    pf.formats.write_sit(folder.path / "sit.safetensors", model)
    pf.save(folder.path / "model.safetensors", model, metadata={"experiment": "sit-digits"})
    loss = history.metrics["loss"]
    return model, float(loss[-max(1, len(loss) // 10) :].mean())


def _guidance(kernel: Any) -> Any:
    return kernel.predictor.model.scale


def _noise(kernel: Any) -> Any:
    return kernel.epsilon.scale


def _labels(config: Config) -> Any:
    import numpy as np

    return np.repeat(np.arange(CLASSES), config.sampling.each)


def _grids(config: Config, parts: Any, model: Any, folder: Any, key: Any) -> Any:
    """Sample all classes; the guidance scales are one stacked kernel."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    scales, labels = jnp.asarray(config.sampling.guidance), _labels(config)
    shape = (len(scales), len(labels))
    start = jax.vmap(lambda k: parts.initial.sample(key=k))(jax.random.split(key, shape[1]))
    kernel = eqx.tree_at(_guidance, parts.kernel(model), scales)
    samples = pf.simulate(
        kernel,
        jnp.broadcast_to(start[None], (*shape, *start.shape[1:])),  # every scale from one noise
        times=parts.times,
        stacked=_guidance,
        context=jnp.broadcast_to(labels[None], shape),
        index=jnp.broadcast_to(jnp.arange(shape[1])[None], shape),
        keep=pf.drivers.Keep(config.sampling.steps),
        folder=folder.stage("grids"),
        key=key,
    )
    return np.asarray(samples.x)


def _ways(config: Config, parts: Any, model: Any, folder: Any, key: Any) -> None:
    """March one noise to a digit with every ε, guidance 2, and keep a few times."""
    import equinox as eqx
    import jax.numpy as jnp

    labels, size = jnp.array([3, 8]), len(EPSILONS)
    start = jnp.stack([parts.initial.sample(key=key)] * 2)
    kernel = eqx.tree_at(
        lambda k: (_guidance(k), _noise(k)),
        parts.kernel(model),
        (jnp.asarray(2.0), jnp.asarray(EPSILONS)),
    )
    pf.simulate(
        kernel,
        jnp.broadcast_to(start[None], (size, *start.shape)),
        times=parts.times,
        stacked=_noise,
        context=jnp.broadcast_to(labels[None], (size, 2)),
        keep=pf.drivers.Keep(config.sampling.steps // 5),
        folder=folder.stage("ways"),
        key=key,
    )


def _test() -> tuple[Any, Any]:
    _, test = pf.formats.split_digits()
    return test.images / 8.0 - 1, test.labels


def _share(x: Any, labels: Any) -> Estimate:
    """Return how many images are nearest to the mean training digit of their class."""
    import numpy as np

    train, _ = pf.formats.split_digits()
    means = np.stack([train.images[train.labels == c].mean(0) for c in range(CLASSES)]) / 8.0 - 1
    distance = ((np.asarray(x)[:, None] - means[None]) ** 2).sum((2, 3, 4))
    share = float((distance.argmin(1) == labels).mean())
    return Estimate(share, max((share * (1 - share) / len(labels)) ** 0.5, 1 / len(labels)))


def figures(folder: Any) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._sit_figures import draw

    return draw(folder)
