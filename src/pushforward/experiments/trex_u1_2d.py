r"""Replica exchange with flows on 2-D U(1) gauge theory (T-REX, arXiv 2404.11674).

Two couplings on one lattice. Plain swaps are hardly ever accepted; a flow of residual layers, two
numbers each, trained on the work of its crossings at the running replicas, raises the rate by more
than an order of magnitude, and what is measured stays exact. Every crossing is a work: its mean
e^{−W}, and Bennett's ratio of both directions, must give the exact log Z(β')/Z(β).
"""

from typing import Any, Literal

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._config import Fit, Group
from ._expected import Estimate, Exact, Expected, Goal, Measured, at_least, within
from ._u1_sums import Couplings, place, sums


class Chains(Group):
    """The running replicas; the leapfrog step of a rung is `step_size` over √β."""

    num: int = Field(default=64, ge=4, le=2**14, description="ladders at once")
    steps: int = Field(default=2000, ge=100, le=10**7, description="exchange steps measured")
    burn_in: int = Field(default=200, ge=0, le=10**7, description="exchange steps before")
    step_size: float = Field(default=0.28, gt=0, le=2, description="step of the leapfrog times √β")
    leapfrog: int = Field(default=8, ge=1, le=1000, description="leapfrog steps a trajectory")


class Training(Fit):
    """Training of the flows on running replicas."""

    steps: int = Field(default=500, ge=1, le=10**7, description="optimiser steps")
    batch: int = Field(default=64, ge=1, le=2**16, description="ladders per step")
    learning_rate: float = Field(default=0.05, gt=0, le=1, description="peak learning rate")
    schedule: Literal["constant", "cosine", "warmup_cosine", "sqrt_decay", "exponential"] = Field(
        default="cosine", description="learning rate along the steps"
    )


class Config(Base):
    """The keys of the experiment."""

    side: int = Field(default=8, ge=2, le=256, multiple_of=2, description="extent L of the lattice")
    beta: Couplings = Field(
        default=(2.0, 4.0), min_length=2, description="couplings of the ladder, in order"
    )
    sweeps: int = Field(default=4, ge=1, le=64, description="times 4 residual layers a pair")
    chains: Chains = Chains()
    fit: Training = Training()


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"chains": {"steps": 400, "burn_in": 100}, "fit": {"steps": 150}},
    "laptop": {},
    "paper": {
        "side": 16,
        "beta": (5.0, 6.0, 7.0),
        "sweeps": 8,
        "chains": {"steps": 20000, "burn_in": 1000},
        "fit": {"steps": 2000},
    },
}
_EXACT = Exact("sum over representations")
_BEFORE = Measured("an independent code, 400 chains: 0.0018(2)")
EXPECTED: tuple[Expected, ...] = ()  # all of it comes from the config
REFERENCES = ("trex2024", "residual2023", "swendsen1986", "duane1987", "jarzynski1997")
EXTENDS = "train"


def expected(config: Config) -> list[Expected]:
    """Return the exact sums (without a flow, where HMC moves), and swap rates seen before."""
    rows, known = [], sums(config)
    for beta, one in zip(config.beta, known, strict=True):
        for run in ("plain", "flow") if beta <= 4 else ("flow",):
            name = f"{run}: {{}} {place(config, beta)}"
            rows += [Expected(name.format("plaquette"), one.plaquette, within(4), _EXACT)]
            rows += [Expected(name.format("<Q²>"), one.q2, within(4), _EXACT)]
    for pair, a, b in zip(pair_names(config), known, known[1:], strict=False):
        rows += [Expected(f"flow: BAR, ΔF {pair}", a.log_z - b.log_z, within(4), _EXACT)]
    if config.beta == (2.0, 4.0) and config.side == 8:
        rows += [
            Expected("plain: swap rate (2, 4)", 0.0018, within(5), _BEFORE),
            Expected("flow: swap rate (2, 4)", 0.018, at_least(), Goal(), note="ten times plain"),
        ]
    return rows


def space(config: Config) -> Any:
    """Return the space of links."""
    return pf.spaces.LinkSpace(pf.spaces.U1(), pf.spaces.Lattice((config.side, config.side)))


def local_kernel(config: Config) -> Any:
    """Return HMC on every rung as one stacked kernel."""
    import equinox as eqx
    import jax.numpy as jnp

    links, how = space(config), config.chains

    def one(beta):
        action = pf.targets.WilsonAction(beta, links.lattice, links.group)
        return pf.mcmc.HMC(action, how.step_size / jnp.sqrt(beta), how.leapfrog)

    return eqx.filter_vmap(one)(jnp.asarray(config.beta, float))


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Run the plain ladder, train flows on it, run the ladder with flows."""
    from ._choices import train

    plain = _simulate(config, pf.mcmc.ReplicaExchange(local_kernel(config)), folder, "plain", key)
    recipe = _recipe(config, plain.x)
    model, _ = train(config.fit, recipe, folder.stage("train"), key=key)
    pf.save(folder.path / "model.safetensors", model)
    flow = _simulate(config, recipe.kernel(model), folder, "flow", key, walkers=recipe.initial)
    works = _works(config, model, flow)
    pf.formats.write_npz(folder.path / "works.npz", works)
    results: dict[str, Estimate] = {}
    for label, samples in (("plain", plain), ("flow", flow)):
        results |= _read(config, label, samples.record)
        results |= _free_energies(config, label, works)
    return results


def build(config: Config) -> Any:
    """Return the untrained bridges."""
    import jax.numpy as jnp

    walkers = jnp.zeros((1, len(config.beta), *space(config).shape))
    return _recipe(config, walkers).model


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return the exchange through trained bridges, its burn-in in steps, and hot ladders."""
    exchange = pf.mcmc.ReplicaExchange(local_kernel(config), model)
    return exchange, max(config.chains.burn_in, 1), exchange.path.base


def figures(folder: Any) -> dict[str, Any]:
    """Draw the figures of a run from its folder."""
    from ._trex_figures import draw

    return draw(folder)


def pair_names(config: Config) -> list[str]:
    """Return (2, 4), ..."""
    return [f"({a:g}, {b:g})" for a, b in zip(config.beta, config.beta[1:], strict=False)]


def _recipe(config: Config, walkers: Any) -> Any:
    flow = pf.flows.residual_flow(space(config), config.sweeps)
    return pf.recipes.trex(local_kernel(config), flow, walkers)


def _observe(links: Any, x: Any) -> dict[str, Any]:
    import jax

    return {
        "plaquette": jax.vmap(lambda u: pf.estimators.mean_plaquette(links, u))(x),
        "charge": jax.vmap(lambda u: pf.estimators.topological_charge(links, u))(x),
    }


def _simulate(config: Config, kernel: Any, folder: Any, name: str, key: Any, walkers: Any = None):
    import equinox as eqx

    how = config.chains
    return pf.simulate(
        kernel,
        how.num if walkers is None else walkers,
        steps=how.steps,
        burn_in=how.burn_in,
        observe=eqx.Partial(_observe, space(config)),
        keep=pf.drivers.Keep(max(1, how.steps // 20)),
        folder=folder.stage(name),
        key=key,
    )


def _works(config: Config, model: Any, samples: Any) -> dict[str, Any]:
    """Return the works of the trained and of the identity bridges at kept ladders."""
    import equinox as eqx
    import jax
    import numpy as np

    ladder = pf.mcmc.ReplicaExchange(local_kernel(config)).path
    key = jax.random.key(0)  # these bridges draw nothing
    kept = np.asarray(samples.draws["x"])
    x = kept.reshape(-1, *kept.shape[2:])

    @eqx.filter_jit
    def both(bridge, x):
        ways = (pf.mcmc.forward_works, pf.mcmc.backward_works)
        return jax.lax.map(
            lambda y: [way(bridge, ladder, y, key=key) for way in ways], x, batch_size=64
        )

    works = {}
    for label, bridge in (("plain", pf.mcmc.IdentityBridge()), ("flow", model)):
        up, down = both(bridge, x)
        works |= {f"{label} forward": np.asarray(up), f"{label} backward": np.asarray(down)}
    return works


def _read(config: Config, label: str, record: Any) -> dict[str, Estimate]:
    results: dict[str, Estimate] = {}
    swaps = {k.removeprefix("info.swaps."): v for k, v in record.items() if "swaps" in k}
    rates = pf.estimators.swap_rates(
        swaps["acceptance"], swaps["work"], swaps["not_converged"], config.chains.num
    )
    for k, pair in enumerate(pair_names(config)):
        found = pf.estimators.gamma_method(swaps["acceptance"][:, k], name=f"swap rate {pair}")
        results[f"{label}: swap rate {pair}"] = Estimate(found.mean, found.error)
        results[f"{label}: predicted swap rate {pair}"] = Estimate(rates.predicted[k])
    for r, beta in enumerate(config.beta):
        at = place(config, beta)
        charge = record["charge"][..., r]
        for name, series in (("plaquette", record["plaquette"][..., r]), ("<Q²>", charge**2)):
            results |= _estimate(f"{label}: {name} {at}", series)
        if (found := _estimate("Q", charge, "tau")) and r == len(config.beta) - 1:
            results[f"{label}: tau of Q {at}"] = found["Q"]
    results[f"{label}: round trips a ladder"] = Estimate(
        record["info.round_trips"].sum() / config.chains.num
    )
    return results


def _estimate(name: str, series: Any, what: str = "mean") -> dict[str, Estimate]:
    try:
        found = pf.estimators.gamma_method(series, name=name)
    except (pf.errors.ChainTooShort, pf.errors.FrozenObservable):
        return {}
    if what == "tau":
        return {name: Estimate(found.tau_int, found.tau_int_error)}
    return {name: Estimate(found.mean, found.error)}


def _free_energies(config: Config, label: str, works: dict[str, Any]) -> dict[str, Estimate]:
    results = {}
    for k, pair in enumerate(pair_names(config)):
        up, down = works[f"{label} forward"][:, k], works[f"{label} backward"][:, k]
        both = pf.estimators.bar(up, down)
        results[f"{label}: BAR, ΔF {pair}"] = Estimate(*both)
        results[f"{label}: Jarzynski, ΔF {pair}"] = Estimate(*pf.estimators.jarzynski(up))
    return results
