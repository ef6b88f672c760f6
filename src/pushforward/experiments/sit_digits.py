r"""SiT on 8 x 8 digits (arXiv 2401.08740): class-conditional samples from a small transformer.

Pixels are dequantised (17 levels), labels dropped one time in ten, so that one network serves with
and without guidance. Sampled are a grid of ten of each class for every guidance scale (one stacked
kernel), and the way of one sample from noise to digit for several noises of the SDE.

Without a trained classifier the judge is the nearest class mean of the training digits: it names
about nine test digits in ten rightly, and says of samples how often they look like their label.
"""

import dataclasses

import pushforward as pf

from ..harness import GOAL, Fit, Group, at_least, at_most, key, measured
from ..harness import Config as Base
from ..harness.lazy import eqx, jax, jnp, np

CLASSES, LABELS = 10, (3, 8)
EPSILONS, NOISES = (0.0, 0.3, 1.0, 3.0), ("ODE", "ε = 0.3 α", "ε = α", "ε = 3 α")


class Network(Group):
    """The transformer."""

    width: int = key(96, "width of a token", ge=4, le=4096, multiple_of=4)
    depth: int = key(4, "blocks", ge=1, le=64)
    heads: int = key(4, "heads; divides the width", ge=1, le=64)


class Sampling(Group):
    """Stochastic Heun on equal steps of [0, 1]."""

    steps: int = key(25, "steps", ge=5, multiple_of=5, le=10**5)
    each: int = key(20, "samples of each class", ge=10, le=10**5)
    guidance: tuple[float, ...] = key((1.0, 2.0), "guidance scales")


class Config(Base):
    """All keys of the experiment."""

    fit: Fit = Fit(steps=4000, batch=64, optimiser="adamw", learning_rate=2e-3, ema=0.995)
    network: Network = Network()
    sampling: Sampling = Sampling()


PRESETS = {
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


def recipe(config, key):
    """Return SiT on the training digits, sampled without guidance."""
    how = pf.paths.Linear(), pf.paths.Velocity(), pf.paths.NoiseLevel()
    return dataclasses.replace(guided(config), kernel=eqx.Partial(pf.recipes.sde_kernel, *how))


def guided(config):
    """Return SiT on the training digits; its kernel has a guidance scale."""
    network, (train, _) = config.network, pf.formats.split_digits()
    return pf.recipes.sit(
        train.images,
        train.labels,
        pf.networks.Size(network.depth, network.width, network.heads),
        num_classes=CLASSES,
        augment=pf.sources.Dequantise(pf.formats.digits.LEVELS),
        steps=config.sampling.steps,
        key=jax.random.key(config.seed % 2**32),
    )


def expected(config, preset):
    """Yield how low the loss should come, and how often samples look like their label."""
    if preset == "smoke":
        yield "training loss, last tenth", at_most(0.75, measured("2 CPU cores, seed 0"))
    if preset in ("laptop", "paper"):
        source = measured("a prototype, without noise: .384")
        yield "training loss, last tenth", at_most(0.45, source)
    if preset == "laptop" and 2.0 in config.sampling.guidance:
        yield "look like their label, guidance 2", at_least(0.8, GOAL)


def run(config, lab):
    """Train, sample every class with every guidance, and one sample with every noise."""
    keys = [jax.random.fold_in(lab.key, k) for k in range(3)]
    model = lab.train("train", lab.recipe, config.fit, key=keys[0])
    pf.formats.write_sit(lab.folder.path / "sit.safetensors", model)
    loss = lab.done["train"].metrics["loss"]
    yield "training loss, last tenth", loss[-max(1, len(loss) // 10) :].mean()
    _, test = pf.formats.split_digits()
    yield "test digits nearest to their class mean", share(test.images / 8.0 - 1, test.labels)

    parts, scales, steps = guided(config), config.sampling.guidance, config.sampling.steps
    kernel, labels = parts.kernel(model), np.repeat(np.arange(CLASSES), config.sampling.each)
    shape = (len(scales), len(labels))
    start = jax.vmap(lambda k: parts.initial.sample(key=k))(jax.random.split(keys[1], shape[1]))
    samples = lab.simulate(
        "grids", eqx.tree_at(guidance, kernel, jnp.asarray(scales)),
        jnp.broadcast_to(start, (*shape, *start.shape[1:])),  # every scale from one noise
        times=parts.times, stacked=guidance, context=jnp.broadcast_to(labels, shape),
        index=jnp.broadcast_to(jnp.arange(shape[1]), shape), keep=pf.drivers.Keep(steps),
        members=[f"guidance {scale:g}" for scale in scales], key=keys[1],
    )  # fmt: skip
    for scale, x in zip(scales, samples.x, strict=True):
        yield f"look like their label, guidance {scale:g}", share(x, labels)

    shape, start = (len(EPSILONS), len(LABELS)), parts.initial.sample(key=keys[2])
    kernel = eqx.tree_at(guidance, kernel, jnp.asarray(2.0))
    lab.simulate(
        "ways", eqx.tree_at(noise, kernel, jnp.asarray(EPSILONS)),
        jnp.broadcast_to(start, (*shape, *start.shape)), times=parts.times, stacked=noise,
        context=jnp.broadcast_to(jnp.array(LABELS), shape), keep=pf.drivers.Keep(steps // 5),
        members=NOISES, key=keys[2],
    )  # fmt: skip


def figures(config, done):
    """Draw training, ten digits of each class, and the ways from noise to digit."""
    plots, (train, _) = pf.report.plots, pf.formats.split_digits()
    if "train" in done:
        yield "training", plots.curves(done["train"])
    if "grids" in done:
        real = [train.images[train.labels == c][:10, 0] / 8.0 - 1 for c in range(CLASSES)]
        x = np.clip(done["grids"].draws["x"][-1], -1, 1)  # (scales, classes and samples, 1, 8, 8)
        grids = {"training digits": np.stack(real)}
        for scale, digits in list(zip(config.sampling.guidance, x, strict=True))[:2]:
            grids[f"samples, guidance {scale:g}"] = digits.reshape(CLASSES, -1, 8, 8)[:, :10]
        text = "One row a class. Every guidance scale starts from the same noise."
        yield "grids", plots.images(grids, title="Digits", caption=text)
    if "ways" in done:
        x = np.clip(done["ways"].draws["x"], -1, 1)  # (times, noises, labels, 1, 8, 8)
        ways = {f"the same noise, label {c}": x[:, :, k, 0] for k, c in enumerate(LABELS)}
        text = "From noise to digit along the ODE and along SDEs with more noise, guidance 2."
        yield "ways", plots.images(
            {title: pictures.swapaxes(0, 1) for title, pictures in ways.items()}, xlabel="$t$",
            xticks=[f"{t:.3g}" for t in np.linspace(0, 1, len(x))], yticks=NOISES,
            title="Ways", caption=text,
        )  # fmt: skip


def guidance(kernel):
    """Return the guidance scale of a kernel."""
    return kernel.predictor.model.scale


def noise(kernel):
    """Return the factor n of ε = n α."""
    return kernel.epsilon.scale


def share(x, labels):
    """Return how many images are nearest to the mean training digit of their class."""
    train, _ = pf.formats.split_digits()
    means = np.stack([train.images[train.labels == c].mean(0) for c in range(CLASSES)]) / 8.0 - 1
    distance = ((np.asarray(x)[:, None] - means[None]) ** 2).sum((2, 3, 4))
    share = float((distance.argmin(1) == labels).mean())
    return share, max((share * (1 - share) / len(labels)) ** 0.5, 1 / len(labels))
