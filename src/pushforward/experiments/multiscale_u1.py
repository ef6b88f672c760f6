r"""U(1) gauge theory in two dimensions from one site, doubled until it is a lattice (2404.10819).

New links are drawn from the exact conditional of each level, whose weights are constant, and from
the untrained one of matched coupling, whose ESS says how much is left to learn, level by level.
AIS from the matched flow to the action closes the rest with HMC. All β are one stacked kernel;
plaquette and ⟨Q²⟩ stand beside the sum over representations: no chain, so no frozen charge.
"""

import math
from typing import Any

from pydantic import Field

import pushforward as pf

from ._config import Config as Base
from ._expected import Estimate, Exact, Expected, Measured, at_least, relative, within
from ._u1_sums import Couplings, sums


class Config(Base):
    """The keys of the experiment."""

    x64: bool = Field(default=True, description="compute in float64")
    side: int = Field(default=16, ge=2, le=128, description="extent L, a power of two")
    beta: Couplings = Field(
        default=(2.0, 4.0, 7.0, 8.0, 16.0), min_length=1, description="couplings β, at most 16"
    )
    draws: int = Field(default=20000, ge=100, le=10**7, description="draws of the matched flow")
    exact_draws: int = Field(default=4000, ge=100, le=10**7, description="draws of the exact flow")
    annealed: int = Field(default=2000, ge=100, le=10**7, description="walkers of AIS")
    steps: int = Field(default=16, ge=1, le=10**4, description="temperatures of AIS")
    step_size: float = Field(
        default=0.25, gt=0, le=2, description="leapfrog step of AIS times √β",
        json_schema_extra={"unit": "rad"},
    )  # fmt: skip


PRESETS: dict[str, dict[str, Any]] = {
    "smoke": {
        "side": 8, "beta": (2.0, 4.0, 8.0), "draws": 2000, "exact_draws": 500, "annealed": 500,
        "steps": 4,
    },
    "laptop": {},
    "paper": {"draws": 200000, "exact_draws": 40000, "annealed": 20000, "steps": 64},
}  # fmt: skip
_SUM = Exact("sum over representations")
_MATCHED = {2: 0.870, 4: 0.610, 8: 0.681}
EXPECTED = tuple(
    Expected(f"matched: ESS (β = {b})", v, relative(0.1), Measured("L = 8, 20,000 draws"),
             presets=("smoke",))
    for b, v in _MATCHED.items()
)  # fmt: skip
REFERENCES = ("multiscale2024", "jarzynski1997", "duane1987")


def expected(config: Config) -> list[Expected]:
    """Return the exact sums; the matched flow is held to them where its weights are tame."""
    rows = []
    for beta, known in zip(config.beta, sums(config), strict=True):
        at = f"(β = {beta:g})"
        rows += [
            Expected(f"exact: ESS {at}", 1 - 1e-9, at_least(), Exact("constant weights")),
            Expected(f"exact: log Z {at}", known.log_z, relative(1e-10), _SUM),
            Expected(f"exact: plaquette {at}", known.plaquette, within(4), _SUM),
        ]
        if known.q2 * config.exact_draws >= 100:  # enough draws have a charge
            rows += [Expected(f"exact: <Q²> {at}", known.q2, within(4), _SUM)]
        if config.side <= 8:
            rows += [Expected(f"matched: plaquette {at}", known.plaquette, within(4), _SUM)]
    return rows


EXTENDS = "annealed"


def run(config: Config, folder, *, key) -> dict[str, Estimate]:
    """Draw from the exact and the matched flow, anneal the matched one, weigh all of them."""
    flows, results = pf.flows, {}
    matched = _draw(config, flows.MatchedConditional, config.draws, folder.stage("matched"), key)
    exact = _draw(
        config, flows.CharacterConditional, config.exact_draws, folder.stage("exact"), key
    )
    annealed = _anneal(config, matched, folder.stage("annealed"), key)
    for label, samples in (("exact", exact), ("matched", matched), ("annealed", annealed)):
        results |= _numbers(config, label, samples)
    levels = {
        "exact": _levels(config, flows.CharacterConditional, exact.x[:, :200]),
        "matched": _levels(config, flows.MatchedConditional, matched.x),
    }
    pf.save(folder.path / "model.safetensors", build(config))
    summary = folder.summary()
    summary["levels"] = {k: v.tolist() for k, v in levels.items()}
    folder.write_summary(summary)
    return results


def build(config: Config):
    """Return the matched flow at the largest β; nothing is trained yet."""
    return flow(config, pf.flows.MatchedConditional, max(config.beta))


def sampler(config: Config, model):
    """Return the kernel that weighs draws of a flow, its two times and the flow."""
    path = pf.paths.Annealing(model, action(config, max(config.beta)))
    return pf.dynamics.Transport(path), [0.0, 1.0], model


def figures(folder) -> dict[str, Any]:
    """Draw the figures of a run, finished or not, from its folder alone."""
    from ._multiscale_figures import draw

    return draw(folder)


def action(config: Config, beta: float):
    """Return Wilson's action at one β."""
    spaces = pf.spaces
    return pf.targets.WilsonAction(beta, spaces.Lattice((config.side,) * 2), spaces.U1())


def flow(config: Config, conditional, beta: float):
    """Return the flow at one β."""
    return pf.recipes.multiscale((config.side, config.side), beta, pf.spaces.U1(), conditional)


def _stacked(members):
    import equinox as eqx
    import jax
    import jax.numpy as jnp

    return jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *members)


def _kept(state):
    return {"x": state.x, "log_weight": state.log_weight.value}


def _simulate(config: Config, kernels, x0, times, stage, key):
    steps = len(times) - 1
    return pf.simulate(
        _stacked(kernels),
        x0,
        times=times,
        stacked=True,
        keep=pf.drivers.Keep(steps, pf.drivers.OfState(_kept)),
        folder=stage,
        key=key,
    )


def _draw(config: Config, conditional, num: int, stage, key):
    annealing, transport = pf.paths.Annealing, pf.dynamics.Transport
    kernels = [
        transport(annealing(flow(config, conditional, b), action(config, b))) for b in config.beta
    ]
    return _simulate(config, kernels, num, [0.0, 1.0], stage, key)


def _anneal(config: Config, matched, stage, key):
    """Run AIS from draws of the matched flow."""
    conditional = pf.flows.MatchedConditional
    kernels = [
        pf.recipes.smc(
            pf.paths.Annealing(flow(config, conditional, b), action(config, b)),
            config.step_size / math.sqrt(b),
        )
        for b in config.beta
    ]
    times = pf.paths.uniform_times(config.steps)
    return _simulate(config, kernels, matched.x[:, : config.annealed], times, stage, key)


def _numbers(config: Config, label: str, samples) -> dict[str, Estimate]:
    space = action(config, 1.0).space

    def observe(x):
        charge = pf.estimators.topological_charge(space, x)
        return {"plaquette": pf.estimators.mean_plaquette(space, x), "<Q²>": charge**2}

    means, log_z, ess = samples.mean(observe, force=True), samples.log_z, samples.ess
    results = {}
    for k, b in enumerate(config.beta):
        at = f"(β = {b:g})"
        results[f"{label}: ESS {at}"] = Estimate(ess[k])
        results[f"{label}: log Z {at}"] = Estimate(log_z.value[k], log_z.error[k])
        for name in ("plaquette", "<Q²>"):
            pair = Estimate(means.value[name][k], means.error[name][k])
            results[f"{label}: {name} {at}"] = pair
    return results


def _levels(config: Config, conditional, x):
    """Return the ESS of every level against the exactly coarse-grained theory, the finest first."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import numpy as np

    def log_weights(flow, beta, x):
        def weigh(k, field, log_q):
            lattice = pf.spaces.Lattice(field.shape[-2:])
            target = pf.targets.CharacterAction(beta, k, lattice, flow.space.group)
            return -target(field) - log_q

        return jnp.stack([weigh(k, *pair) for k, pair in enumerate(flow.levels(x))])

    @eqx.filter_jit
    def members(flows, betas, x):
        def one(flow, beta, x):
            weights = jax.vmap(lambda y: log_weights(flow, beta, y), out_axes=1)(x)
            return jax.vmap(pf.estimators.ess)(weights)

        return eqx.filter_vmap(one)(flows, betas, x)

    flows = _stacked([flow(config, conditional, b) for b in config.beta])
    return np.asarray(members(flows, jnp.asarray(config.beta, x.dtype), x))
