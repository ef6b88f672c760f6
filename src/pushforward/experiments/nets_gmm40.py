r"""NETS on forty modes in the plane (arXiv 2410.02711): the main job.

Headline: the geometric path, which knows the energy, its gradient and a width. Beside it the
mixture path, which is told the means of the target (a check of the machine, not an achievement),
and untrained SMC at the same number of gradient calls. Everything is exact here: log Z = 0 and
every mode weighs 1/40.
"""

from typing import Any, Literal

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Exact, Expected, Goal, at_least, within

CORE_WIDTH = 1.3132616875182228  # of every mode: softplus(1)


class Geometric(Group):
    """The geometric path U_t = (1 − s) U_0 + s U_1."""

    base_scale: float = Field(default=80.0, gt=1.4, le=1000, description="width of the base")
    kappa: float = Field(default=8.3, gt=0, le=30, description="warp of time, about 2 log(σ_0/s_1)")
    steps: int = Field(
        default=100, ge=4, multiple_of=4, le=10**5, description="Euler steps of the sampler"
    )


class Mixture(Group):
    """The mixture path: modes grow out of the base; it knows their means."""

    base_scale: float = Field(default=5.0, gt=1.4, le=100, description="width of the base")
    train_steps: int = Field(default=1000, ge=1, le=10**7, description="optimiser steps")
    steps: int = Field(
        default=20, ge=4, multiple_of=4, le=10**5, description="RK4 steps of the sampler"
    )
    langevin_steps: int = Field(
        default=400, ge=4, multiple_of=4, le=10**5, description="steps of Langevin"
    )


class Network(Group):
    """The drift."""

    width: int = Field(default=128, ge=4, le=4096, description="hidden units")
    depth: int = Field(default=3, ge=1, le=20, description="hidden layers")
    features: int = Field(default=128, ge=1, le=4096, description="random Fourier features")
    std: float = Field(
        default=0.2, gt=0, le=10, description="spread of their frequencies",
        json_schema_extra={"unit": "1/length"},
    )  # fmt: skip


class Training(Fit):
    """Training on the geometric path; the mixture path shares all but the number of steps."""

    steps: int = Field(default=2000, ge=1, le=10**8, description="optimiser steps, geometric path")
    batch: int = Field(default=1024, ge=1, le=2**20, description="samples per step")
    learning_rate: float = Field(default=3e-3, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="cosine", description="learning rate along the steps"
    )
    walkers: int = Field(default=512, ge=8, le=10**6, description="walkers of a rollout")
    refresh: int = Field(default=50, ge=1, le=10**6, description="steps between rollouts")
    noise: float = Field(default=30.0, gt=0, le=1e4, description="ε_t over the local variance")
    ema: float = Field(default=0.99, ge=0, lt=1, description="decay of the averaged weights")
    evaluations: int = Field(default=8, ge=0, le=1000, description="evaluations during training")


class Config(Base):
    """All keys of the experiment."""

    path: Literal["both", "geometric", "mixture"] = Field(
        default="both", description="which paths are trained"
    )
    walkers: int = Field(
        default=2000, ge=64, le=10**7, multiple_of=8, description="walkers of every sampling run"
    )
    fit: Training = Training()
    geometric: Geometric = Geometric()
    mixture: Mixture = Mixture()
    network: Network = Network()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "path": "mixture",
        "walkers": 512,
        "network": {"width": 64, "features": 32},
        "fit": {"evaluations": 0, "batch": 512, "ema": 0.9},
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

_FULL = ("laptop", "paper")
_ZERO = Exact("the target is normalised")
EXPECTED = (
    Expected("geometric: ESS", 0.88, at_least(), Goal(), presets=_FULL),
    Expected("geometric: log Z", 0.0, within(4), _ZERO, presets=_FULL),
    Expected("geometric: modes found", 40, at_least(), Exact("forty modes"), presets=_FULL),
    Expected("mixture: ESS", 0.95, at_least(), Goal(), presets=_FULL),
    Expected("mixture: ESS", 0.3, at_least(), Goal(), presets=("smoke",)),
    Expected("mixture: log Z", 0.0, within(4), _ZERO),
    Expected("mixture: modes found", 40, at_least(), Exact("forty modes"), presets=_FULL),
    Expected("mixture Langevin: log Z", 0.0, within(4), _ZERO, presets=_FULL),
    Expected("SMC: log Z", 0.0, within(4), _ZERO, presets=_FULL),
    Expected(
        "geometric: E|x|²", 1071.369916283017, within(4), Exact("moments of the mixture"),
        presets=_FULL,
    ),
)  # fmt: skip
REFERENCES = ("nets", "fab2023", "neal2001", "delmoral2006", "duane1987")
EXTENDS = "train-geometric"


def run(config: Config, folder, *, key) -> dict[str, Estimate]:
    """Train both paths, sample them, run SMC beside them."""
    results, costs = {}, []
    for name in _paths(config):
        model, history = _train(config, name, folder, key)
        samplers = _samplers(config, name)
        for label, (kernel_of, times) in samplers.items():
            samples = _sample(config, label, kernel_of(model), times, folder, key)
            results |= _numbers(label, samples)
            costs.append(_cost_row(label, samples, history))
    if "geometric" in _paths(config):
        samples = _sample_untrained(config, folder, key)
        results |= _numbers("AIS", samples)
        costs.append(_cost_row("AIS", samples, None))
        calls = costs[0]["gradient calls"] + 2 * costs[0]["divergence calls"]
        samples = _sample_smc(config, calls, folder, key)
        results |= _numbers("SMC", samples, ess=False)
        costs.append(_cost_row("SMC", samples, None))
    _summarise(folder, config, costs)
    return results


def build(config: Config):
    """Return the untrained model of the headline path."""
    return _recipe(config, _paths(config)[0]).model


def sampler(config: Config, model):
    """Return the kernel, times and base of the headline path."""
    kernel_of, times = next(iter(_samplers(config, _paths(config)[0]).values()))
    kernel = kernel_of(model)
    return kernel, times, kernel.path.base


def figures(folder) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._gmm40_figures import draw

    return draw(folder)


def _paths(config: Config) -> tuple[str, ...]:
    return ("geometric", "mixture") if config.path == "both" else (config.path,)


def annealing(config: Config, name: str):
    """Return the path called `name`."""
    target = pf.targets.gmm40()
    if name == "mixture":
        return pf.paths.MixturePath(target, config.mixture.base_scale)
    base = pf.targets.Normal(2, 0.0, config.geometric.base_scale)
    return pf.paths.Annealing(base, target, pf.paths.ExponentialWarp(config.geometric.kappa))


def _variance(config: Config, name: str):
    if name == "mixture":
        return pf.paths.MixtureVariance(config.mixture.base_scale, CORE_WIDTH)
    warp = pf.paths.ExponentialWarp(config.geometric.kappa)
    return pf.paths.LocalVariance(warp, config.geometric.base_scale, CORE_WIDTH)


def _recipe(config: Config, name: str):
    import jax

    key = jax.random.fold_in(jax.random.key(config.seed % 2**32), config.seed // 2**32)
    keys = [jax.random.fold_in(key, k) for k in range(4)]
    network, networks, variance = config.network, pf.networks, _variance(config, name)
    features = networks.RandomFourier(2, network.features, network.std, key=keys[0])
    drift = networks.DriftMLP(
        2, width=network.width, depth=network.depth, scale=30.0, out_scale=10.0, fourier=features,
        key=keys[1],
    )  # fmt: skip
    return pf.recipes.nets(
        pf.targets.gmm40(),
        path=annealing(config, name),
        variance=variance,
        drift=networks.ScoreSkip(drift, variance, key=keys[2]),
        walkers=config.fit.walkers,
        refresh=config.fit.refresh,
        noise=config.fit.noise if name == "geometric" else 1.0,
        key=keys[3],
    )


def _train(config: Config, name: str, folder, key):
    from ._choices import train

    fit = config.fit
    if name == "mixture":
        fit = fit.model_copy(update={"steps": config.mixture.train_steps, "schedule_steps": None})
    kernel_of, times = next(iter(_samplers(config, name).values()))

    def evaluate(model, *, key):
        samples = pf.simulate(kernel_of(model), 512, times=times, key=key)
        return {
            "ess": samples.ess,
            "log_z": samples.log_z.value,
            "log_z_error": samples.log_z.error,
        }

    stage, options = folder.stage(f"train-{name}"), {}
    if fit.evaluations:
        options = {"evaluate": evaluate, "evaluate_every": max(1, fit.steps // fit.evaluations)}
    model, history = train(fit, _recipe(config, name), stage, key=key, **options)
    if name == _paths(config)[0]:
        pf.save(folder.path / "model.safetensors", model, metadata={"experiment": "nets-gmm40"})
    return model, history


def _samplers(config: Config, name: str) -> dict[str, Any]:
    """Return {label: (model -> kernel, times)}; the first is the one of the headline."""
    from equinox import Partial

    recipes, paths = pf.recipes, pf.paths
    path, step = annealing(config, name), recipes.LocalStep(_variance(config, name))
    integrator = pf.dynamics.RK4() if name == "mixture" else pf.dynamics.Euler()
    steps = config.mixture.steps if name == "mixture" else config.geometric.steps
    transport = Partial(recipes.transport_kernel, path, step, integrator)
    samplers = {name: (transport, paths.uniform_times(steps))}
    if name == "mixture":
        noise = recipes.Scaled(_variance(config, name), 5.0)
        langevin = Partial(recipes.langevin_kernel, path, noise, None)
        samplers["mixture Langevin"] = (
            langevin,
            paths.uniform_times(config.mixture.langevin_steps),
        )
    return samplers


def _observe(x):
    import jax.numpy as jnp

    return {"x": x, "x2": jnp.sum(x**2)}


def _kept(state):
    return {"x": state.x, "log_weight": state.log_weight.value}


def _sample(config: Config, label: str, kernel, times, folder, key, **options):
    return pf.simulate(
        kernel,
        config.walkers,
        times=times,
        observe=_observe,
        keep=pf.drivers.Keep((len(times) - 1) // 4, pf.drivers.OfState(_kept)),
        folder=folder.stage(f"sample-{label.replace(' ', '-')}"),
        key=key,
        **options,
    )


def _sample_untrained(config: Config, folder, key):
    """Run the kernel and grid of the headline with b = 0: annealed importance sampling."""
    kernel_of, times = _samplers(config, "geometric")["geometric"]
    untrained = pf.networks.DriftAndFreeEnergy(pf.networks.Zero(), lambda t: 0 * t)
    return _sample(config, "AIS", kernel_of(untrained), times, folder, key)


def _sample_smc(config: Config, calls: float, folder, key):
    """Run untrained SMC on the geometric path with about `calls` gradient calls."""
    leapfrog = 5
    steps = 4 * max(3, round(calls / (4 * config.walkers * (leapfrog + 1))))
    step = pf.recipes.LocalStep(_variance(config, "geometric"))
    kernel = pf.recipes.smc(annealing(config, "geometric"), step, num_steps=leapfrog)
    times = pf.paths.uniform_times(steps)
    resample = pf.estimators.Systematic(0.5)
    return _sample(config, "SMC", kernel, times, folder, key, resample=resample, populations=8)


def _numbers(label: str, samples, ess: bool = True) -> dict[str, Estimate]:
    import jax
    import jax.numpy as jnp

    weights = pf.estimators
    target = pf.targets.gmm40()
    responsibility = jax.vmap(target.responsibilities)(samples.x)
    modes = jnp.asarray(samples.mean(responsibility).value)
    second = samples.mean(lambda x: (x**2).sum())
    rows = {
        f"{label}: log Z": Estimate(*samples.log_z),
        f"{label}: modes found": Estimate(int((modes > 0.25 / 40).sum())),
        f"{label}: TV of mode weights": Estimate(
            float(weights.total_variation(modes, jnp.full(40, 1 / 40)))
        ),
        f"{label}: E|x|²": Estimate(float(second.value), float(second.error)),
    }
    if ess:
        rows = {f"{label}: ESS": Estimate(samples.ess)} | rows
        rows[f"{label}: ELBO"] = Estimate(samples.elbo)
    return rows


def _cost_row(label: str, samples, history) -> dict[str, Any]:
    record = samples.record
    count = {kind: _calls(record, kind) for kind in ("energy", "gradient", "divergence")}
    return (
        {"sampler": label}
        | {f"{kind} calls": n for kind, n in count.items()}
        | {
            "log Z error": samples.log_z.error,
            "training seconds": None if history is None else history.seconds,
            "samples": len(samples),
        }
    )


def _calls(record, kind: str) -> float:
    return float(sum(v.sum() for k, v in record.items() if k.endswith(f"cost.{kind}")))


def _summarise(folder, config: Config, costs: list[dict[str, Any]]) -> None:
    fit = config.fit
    rollouts = -(-fit.steps // fit.refresh)
    training = fit.steps * fit.batch * 4 + rollouts * fit.walkers * 100
    summary = folder.summary()
    summary["cost"] = {"columns": list(costs[0]), "rows": [list(row.values()) for row in costs]}
    notes = [
        "The geometric path knows the energy, its gradient and a width. The mixture path is told "
        "the means of the target: its numbers check the machine and are no achievement.",
        "One divergence in two dimensions is two Jacobian-vector products of the drift, each about "
        "the price of a gradient; they are counted apart.",
    ]
    if (smc := [row for row in costs if row["sampler"] == "SMC"]) and "geometric" in _paths(config):
        notes.append(_break_even(costs[0], smc[0], training))
    summary["notes"] = notes
    folder.write_summary(summary)


def _break_even(ours: dict[str, Any], smc: dict[str, Any], training: float) -> str:
    """Say from which number of samples training has paid for itself, if ever.

    The variance of log Z times the calls spent is constant for each method; training adds a fixed
    number of calls. Equal variance at equal calls: 1/v = T / (k_smc − k_ours).
    """

    def calls(row):
        return row["gradient calls"] + 2 * row["divergence calls"]

    ours_price = ours["log Z error"] ** 2 * calls(ours)
    smc_price = smc["log Z error"] ** 2 * calls(smc)
    head = (
        f"Training cost about {training:.2g} calls (four per sample and step, and the rollouts). "
        f"Variance of log Z times sampling calls: {ours_price:.3g} trained, {smc_price:.3g} SMC. "
    )
    if smc_price <= ours_price:
        return head + (
            "In two dimensions SMC is the cheaper way to log Z at any precision; what the trained "
            "map buys is independent weighted samples at a fixed price each."
        )
    precision = training / (smc_price - ours_price)
    samples = precision * ours["log Z error"] ** 2 * ours["samples"]
    return head + (
        "In two dimensions SMC is the cheaper way to log Z up to an error of "
        f"{precision**-0.5:.2g}; beyond it, after {samples:.2g} samples, "
        "the trained map has paid for itself."
    )
