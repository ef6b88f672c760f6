r"""U(1) gauge theory in two dimensions by HMC, against the exact sum over representations.

S = −β Σ_P cos θ_P on an L x L torus. The plaquette is easy at every β; the topological charge
Q = (1/2π) Σ wrap(θ_P) freezes as β grows, for it can only change where a plaquette passes π. All β
run as one stacked kernel. A charge that hardly moves gets a sentence instead of a number, and the
plaquette beside it no error bar: chains frozen in their sectors average the wrong mixture.
"""

import math
from typing import Any

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._expected import Estimate, Exact, Expected, within
from ._u1_sums import Couplings, place, sums


class Config(Base):
    """The keys of the experiment."""

    side: int = Field(default=16, ge=2, le=512, description="extent L of the lattice")
    beta: Couplings = Field(
        default=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), min_length=1, description="couplings β"
    )
    chains: int = Field(default=64, ge=4, le=2**14, description="chains of each β")
    steps: int = Field(default=3000, ge=50, le=10**7, description="trajectories of each chain")
    burn_in: int = Field(default=200, ge=0, le=10**7, description="trajectories before measuring")
    step_size: float = Field(default=0.1, gt=0, le=1, description="step of the leapfrog")
    leapfrog: int = Field(default=10, ge=1, le=1000, description="leapfrog steps a trajectory")


_BETAS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0)
PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {"side": 8, "beta": (2.0,), "steps": 500, "burn_in": 100},
    "laptop": {},
    "paper": {"beta": (*_BETAS, 8.0, 12.0, 16.0), "steps": 20000, "burn_in": 1000},
}

_EXACT = Exact("sum over representations")
EXPECTED: tuple[Expected, ...] = ()  # all of it comes from the config
REFERENCES = ("duane1987", "wolff2004")
EXTENDS = "hmc"
_NAMES = (("plaquette", "plaquette", 4), ("<Q²>", "q2", 3))  # and the largest β HMC can serve


def expected(config: Config) -> list[Expected]:
    """Return the exact numbers at every coupling where HMC still moves."""
    return [
        Expected(f"{name} {place(config, beta)}", getattr(known, field), within(4), _EXACT)
        for beta, known in zip(config.beta, sums(config), strict=True)
        for name, field, largest in _NAMES
        if beta <= largest
    ]


def action(config: Config) -> Any:
    """Return the action, β a leaf with one entry a member."""
    import equinox as eqx
    import jax.numpy as jnp

    one = build(config)
    return eqx.tree_at(lambda s: s.beta, one, jnp.asarray(config.beta, one.beta.dtype))


def build(config: Config) -> Any:
    """Return the action at the first β: there is nothing to train."""
    spaces = pf.spaces
    lattice = spaces.Lattice((config.side, config.side))
    return pf.targets.WilsonAction(config.beta[0], lattice, spaces.U1())


def sampler(config: Config, model: Any) -> tuple[Any, Any, Any]:
    """Return the chain of the first β, its burn-in as a number of steps, and its start."""
    kernel = pf.mcmc.HMC(model, config.step_size, config.leapfrog)
    return kernel, max(config.burn_in, 1), pf.targets.Haar(model.space)


def run(config: Config, folder: Any, *, key: Any) -> dict[str, Estimate]:
    """Run all couplings at once and read their series."""
    import equinox as eqx

    energy = action(config)
    samples = pf.simulate(
        pf.mcmc.HMC(energy, config.step_size, config.leapfrog),
        config.chains,
        steps=config.steps,
        burn_in=config.burn_in,
        initial=pf.targets.Haar(energy.space),
        stacked=lambda kernel: kernel.path.beta,  # pyright: ignore[reportAttributeAccessIssue]
        observe=eqx.Partial(_observe, energy.space),
        folder=folder.stage("hmc"),
        key=key,
    )
    pf.save(folder.path / "model.safetensors", build(config))
    results, frozen = _read(config, samples.record)
    summary = folder.summary()
    if frozen:
        summary["headline"] = f"frozen, do not trust: {', '.join(frozen)}"
        summary["warnings"] = list(frozen.values())
    folder.write_summary(summary)
    return results


def figures(folder: Any) -> dict[str, Any]:
    """Return histories, histogram, autocorrelation and the comparison, from the disk."""
    from ._gauge_figures import draw

    return draw(folder)


def series_of(record: Any, k: int) -> dict[str, Any]:
    """Return the series of member k as (draws, chains)."""
    return {name: record[name][:, k] for name in ("plaquette", "charge")}


def _read(config: Config, record: Any) -> tuple[dict[str, Estimate], dict[str, str]]:
    results: dict[str, Estimate] = {}
    frozen: dict[str, str] = {}
    for k, beta in enumerate(config.beta):
        series, at = series_of(record, k), place(config, beta)
        charge = series["charge"]
        events = pf.estimators.count_events(charge)
        for name, value in (("<Q²>", charge**2), ("plaquette", series["plaquette"])):
            try:
                found = pf.estimators.gamma_method(value, name=f"{name} {at}")
            except (pf.errors.ChainTooShort, pf.errors.FrozenObservable) as error:
                frozen[f"{name} {at}"] = f"frozen, do not trust: {error}"
                continue
            stuck = f"<Q²> {at}" in frozen
            results[f"{name} {at}"] = Estimate(found.mean, None if stuck else found.error)
            tau = Estimate(found.tau_int, found.tau_int_error)
            results[f"tau of {name} {at}"] = tau
        results[f"tunnelling a trajectory {at}"] = Estimate(events.changes / events.trajectories)
        results[f"acceptance {at}"] = Estimate(record["info.acceptance"][:, k].mean())
        delta = max(float(record["info.delta_energy"][:, k].mean()), 0.0)
        results[f"erfc(√<ΔH>/2) {at}"] = Estimate(math.erfc(math.sqrt(delta) / 2))
    return results, frozen


def _observe(space: Any, links: Any) -> dict[str, Any]:
    return {
        "plaquette": pf.estimators.mean_plaquette(space, links),
        "charge": pf.estimators.topological_charge(space, links),
    }
