r"""U(1) gauge theory in two dimensions by HMC [duane1987], against exact sums.

S = −β Σ_P cos θ_P on an L x L torus. The plaquette is easy at every β; the topological charge
Q = (1/2π) Σ wrap(θ_P) freezes as β grows, for it can only change where a plaquette passes π. All β
run as one stacked kernel. A charge that hardly moves gets a sentence instead of a number, and the
plaquette beside it no error bar: chains frozen in their sectors average the wrong mixture. Errors
are those of the Γ-method [wolff2004].
"""

import math

import pushforward as pf

from ..harness import Config as Base
from ..harness import Couplings, exact, key, within
from ..harness.lazy import eqx, jnp, np

LARGEST = {"plaquette": 4, "<Q²>": 3}  # the largest β at which plain HMC still moves


class Config(Base):
    """The keys of the experiment."""

    side: int = key(16, "extent L of the lattice", ge=2, le=512)
    beta: Couplings = key((1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0), "couplings β")
    chains: int = key(64, "chains of each β", ge=4, le=2**14)
    steps: int = key(3000, "trajectories of each chain", ge=50, le=10**7)
    burn_in: int = key(200, "trajectories before measuring", ge=0, le=10**7)
    step_size: float = key(0.1, "step of the leapfrog", gt=0, le=1)
    leapfrog: int = key(10, "leapfrog steps a trajectory", ge=1, le=1000)


BETAS = (1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0, 12.0, 16.0)
PRESETS = {
    "smoke": {"side": 8, "beta": (2.0,), "steps": 500, "burn_in": 100},
    "laptop": {},
    "paper": {"beta": BETAS, "steps": 20000, "burn_in": 1000},
}


def known(config):
    """Return {β: the exact numbers}."""
    sums, group = pf.targets.exact.gauge2d, pf.spaces.U1()
    return {beta: sums(group, beta, config.side**2) for beta in config.beta}


def recipe(config, key):
    """Return the chain of the first β; there is nothing to train."""
    lattice, group = pf.spaces.Lattice((config.side, config.side)), pf.spaces.U1()
    action = pf.targets.WilsonAction(config.beta[0], lattice, group)
    chain = eqx.Partial(pf.mcmc.HMC, step_size=config.step_size, num_steps=config.leapfrog)
    start = pf.targets.Haar(action.space)
    return pf.recipes.Recipe(action, chain, times=max(config.burn_in, 1), initial=start)


def expected(config, preset):
    """Yield the exact numbers at every coupling where HMC still moves."""
    source = exact("sum over representations")
    for beta, one in known(config).items():
        for name, value in (("plaquette", one.plaquette), ("<Q²>", one.q2)):
            if beta <= LARGEST[name]:
                yield f"{name} (β = {beta:g}, L = {config.side})", within(4, value, source)


def run(config, lab):
    """Run all couplings at once and read their series."""
    one, labels = lab.recipe.model, [f"β = {beta:g}" for beta in config.beta]
    action = eqx.tree_at(lambda s: s.beta, one, jnp.asarray(config.beta, one.beta.dtype))
    samples = lab.simulate(
        "hmc",
        lab.recipe.kernel(action),
        config.chains,
        steps=config.steps,
        burn_in=config.burn_in,
        initial=lab.recipe.initial,
        stacked=lambda kernel: kernel.path.beta,
        observe=eqx.Partial(observables, action.space),
        members=labels,
    )
    for k, label in enumerate(labels):
        column = {name: series[:, k] for name, series in samples.record.items()}
        yield from _numbers(column, f"({label}, L = {config.side})")


def figures(config, done):
    """Draw histories and histograms of the charge, autocorrelation, ours against exact."""
    if "hmc" not in done:
        return
    plots, record, exact = pf.report.plots, done["hmc"].record, known(config)
    runs = {
        f"β = {beta:g}": {name: record[name][:, k] for name in ("plaquette", "charge")}
        for k, beta in enumerate(config.beta)
    }
    laws = dict(zip(runs, exact.values(), strict=True))
    shown = list(runs)[:: max(1, len(runs) // 3)][:4]
    charges = {name: np.rint(runs[name]["charge"]) for name in shown}
    yield (
        "histories",
        plots.chains(charges, caption="The topological charge along one chain of each run."),
    )
    integers = np.arange(-30, 31)
    yield "charges", plots.integers(charges, {k: laws[k].charge_law(integers) for k in shown})
    symbols = {"Q": "charge", "P": "plaquette"}
    yield (
        "autocorrelation",
        plots.autocorrelation(
            {f"{s}, {name}": runs[name][key] for name in shown for s, key in symbols.items()}
        ),
    )
    rows = {}
    for name, series in runs.items():
        q2, plaquette = _mean(series["charge"] ** 2), _mean(series["plaquette"])
        if q2 and plaquette:  # else frozen: the plaquette's error bar is not honest either
            rows[f"⟨Q²⟩, {name}"] = (q2.mean, q2.error, laws[name].q2)
            rows[f"plaquette, {name}"] = (plaquette.mean, plaquette.error, laws[name].plaquette)
    yield "against-exact", plots.against_exact(rows)


def observables(space, links):
    """Return the mean plaquette and the topological charge."""
    return {
        "plaquette": pf.estimators.mean_plaquette(space, links),
        "charge": pf.estimators.topological_charge(space, links),
    }


def _numbers(column, at):
    charge = column["charge"]
    squares = _mean(charge**2)
    for name, found in (("<Q²>", squares), ("plaquette", _mean(column["plaquette"]))):
        if found is not None:
            yield f"{name} {at}", (found.mean, None if squares is None else found.error)
            yield f"tau of {name} {at}", (found.tau_int, found.tau_int_error)
    events = pf.estimators.count_events(charge)
    yield f"tunnelling a trajectory {at}", events.changes / events.trajectories
    yield f"acceptance {at}", column["info.acceptance"].mean()
    delta = max(float(column["info.delta_energy"].mean()), 0.0)
    yield f"erfc(√<ΔH>/2) {at}", math.erfc(math.sqrt(delta) / 2)


def _mean(series):
    """Return the Γ-method's mean, or None where the series is frozen or too short."""
    try:
        return pf.estimators.gamma_method(series)
    except (pf.errors.ChainTooShort, pf.errors.FrozenObservable):
        return None
