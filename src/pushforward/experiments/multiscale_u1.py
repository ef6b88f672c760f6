r"""U(1) gauge theory in two dimensions from one site, doubled until it is a lattice (2404.10819).

New links are drawn from the exact conditional of each level, whose weights are constant, and from
the untrained one of matched coupling, whose ESS says how much is left to learn, level by level.
AIS [jarzynski1997] from the matched flow to the action closes the rest with HMC. All β are one
stacked kernel; plaquette and ⟨Q²⟩ stand beside the sum over representations: no chain, so no frozen
charge.
"""

import math

import pushforward as pf

from ..harness import Config as Base
from ..harness import Couplings, at_least, exact, key, measured, relative, within
from ..harness.lazy import eqx, jax, jnp, np

MATCHED_ESS = {2: 0.870, 4: 0.610, 8: 0.681}  # of the matched flow at L = 8


class Config(Base):
    """The keys of the experiment."""

    x64: bool = key(True, "compute in float64")
    side: int = key(16, "extent L, a power of two", ge=2, le=128)
    beta: Couplings = key((2.0, 4.0, 7.0, 8.0, 16.0), "couplings β, at most 16")
    draws: int = key(20000, "draws of the matched flow", ge=100, le=10**7)
    exact_draws: int = key(4000, "draws of the exact flow", ge=100, le=10**7)
    annealed: int = key(2000, "walkers of AIS", ge=100, le=10**7)
    steps: int = key(16, "temperatures of AIS", ge=1, le=10**4)
    step_size: float = key(0.25, "leapfrog step of AIS times √β", unit="rad", gt=0, le=2)


PRESETS = {
    "smoke": {
        "side": 8, "beta": (2.0, 4.0, 8.0), "draws": 2000, "exact_draws": 500, "annealed": 500,
        "steps": 4,
    },
    "laptop": {},
    "paper": {"draws": 200000, "exact_draws": 40000, "annealed": 20000, "steps": 64},
}  # fmt: skip


def recipe(config, key):
    """Return the sampler that weighs draws of the matched flow at the largest β."""
    beta = max(config.beta)
    model = flow(config, pf.flows.MatchedConditional, beta)
    kernel = eqx.Partial(weighing, action(config, beta))
    return pf.recipes.Recipe(model, kernel, times=[0.0, 1.0], initial=model)


def expected(config, preset):
    """Yield the exact sums; the matched flow is held to them where its weights are tame."""
    source, seen = exact("sum over representations"), measured("L = 8, 20,000 draws")
    for beta in config.beta:
        known = pf.targets.exact.gauge2d(pf.spaces.U1(), beta, config.side**2)
        at = f"(β = {beta:g})"
        yield f"exact: ESS {at}", at_least(1 - 1e-9, exact("constant weights"))
        yield f"exact: log Z {at}", relative(1e-10, known.log_z, source)
        yield f"exact: plaquette {at}", within(4, known.plaquette, source)
        if known.q2 * config.exact_draws >= 100:  # enough draws have a charge
            yield f"exact: <Q²> {at}", within(4, known.q2, source)
        if config.side <= 8:
            yield f"matched: plaquette {at}", within(4, known.plaquette, source)
        if config.side == 8 and beta in MATCHED_ESS:
            yield f"matched: ESS {at}", relative(0.1, MATCHED_ESS[beta], seen)


def run(config, lab):
    """Draw from the exact and the matched flow, anneal the matched one, weigh all of them."""
    matched, exact = pf.flows.MatchedConditional, pf.flows.CharacterConditional
    times = pf.paths.uniform_times(config.steps)
    weigh = {c: [weighing(action(config, b), flow(config, c, b)) for b in config.beta]
             for c in (matched, exact)}  # fmt: skip
    anneal = [
        pf.recipes.smc(
            pf.paths.Annealing(flow(config, matched, b), action(config, b)),
            config.step_size / math.sqrt(b),
        )
        for b in config.beta
    ]
    found = {"matched": _simulate(config, lab, "matched", weigh[matched], config.draws, [0.0, 1.0])}
    found["exact"] = _simulate(config, lab, "exact", weigh[exact], config.exact_draws, [0.0, 1.0])
    start = found["matched"].x[:, : config.annealed]
    found["annealed"] = _simulate(config, lab, "annealed", anneal, start, times)
    for label in ("exact", "matched", "annealed"):
        yield from _numbers(config, label, found[label])
    lab.compute(
        "levels",
        lambda: {
            "exact": levels(config, exact, found["exact"].x[:, :200]),
            "matched": levels(config, matched, found["matched"].x),
        },
    )


def figures(config, done):
    """Draw the ESS of every level, the weights at the largest β, the charges."""
    plots = pf.report.plots
    if "levels" in done:
        ess = done["levels"]
        labels = ["exact", *(f"matched, β = {b:g}" for b in config.beta)]
        curves = dict(zip(labels, [ess["exact"][0], *ess["matched"]], strict=True))
        sites = config.side**2 / 2.0 ** np.arange(ess["exact"].shape[-1])
        figure = plots.curves(
            {"ess": {label: (sites, row) for label, row in curves.items()}},
            xlabel="sites of the level", title="Level by level",
            caption="ESS of the flow stopped at each level, against the theory coarse-grained "
            "exactly to it. The last doubling loses nothing, for its matched coupling is β.",
        )  # fmt: skip
        figure.axes[0].set_xscale("log", base=2)
        yield "levels", figure
    weighed = [name for name in ("matched", "annealed") if name in done]
    if weighed:
        last = f"β = {config.beta[-1]:g}"
        yield (
            "weights",
            plots.weights({f"{name}, {last}": done[name].log_weight[-1] for name in weighed}),
        )
    if {"exact", "matched"} <= set(done):
        space = action(config, 1.0).space
        charge = jax.jit(jax.vmap(lambda x: pf.estimators.topological_charge(space, x)))
        rows = {}
        for k, b in enumerate(config.beta):
            q = {
                name: np.rint(np.asarray(charge(done[name].x[k]))) for name in ("exact", "matched")
            }
            weighted = (q["matched"], done["matched"].log_weight[k])
            rows[f"β = {b:g}"] = {"exact conditional": q["exact"], "matched, weighted": weighted,
                                  "matched": q["matched"]}  # fmt: skip
        yield (
            "charge",
            plots.integers(rows, caption="Independent draws, so every sector is there at every β."),
        )


def action(config, beta):
    """Return Wilson's action at one β."""
    return pf.targets.WilsonAction(beta, pf.spaces.Lattice((config.side,) * 2), pf.spaces.U1())


def flow(config, conditional, beta):
    """Return the flow at one β."""
    return pf.recipes.multiscale((config.side, config.side), beta, pf.spaces.U1(), conditional)


def weighing(action, flow):
    """Return the kernel that weighs draws of a flow by an action."""
    return pf.dynamics.Transport(pf.paths.Annealing(flow, action))


def _stacked(members):
    return jax.tree.map(lambda *a: jnp.stack(a) if eqx.is_array(a[0]) else a[0], *members)


def _simulate(config, lab, name, kernels, x0, times):
    members = [f"β = {b:g}" for b in config.beta]
    return lab.simulate(
        name, _stacked(kernels), x0, times=times, stacked=True, keep=1, members=members
    )


def _numbers(config, label, samples):
    space = action(config, 1.0).space

    def observe(x):
        charge = pf.estimators.topological_charge(space, x)
        return {"plaquette": pf.estimators.mean_plaquette(space, x), "<Q²>": charge**2}

    means, log_z, ess = samples.mean(observe, force=True), samples.log_z, samples.ess
    for k, b in enumerate(config.beta):
        at = f"(β = {b:g})"
        yield f"{label}: ESS {at}", ess[k]
        yield f"{label}: log Z {at}", (log_z.value[k], log_z.error[k])
        for name in ("plaquette", "<Q²>"):
            yield f"{label}: {name} {at}", (means.value[name][k], means.error[name][k])


def levels(config, conditional, x):
    """Return the ESS of every level against the exactly coarse-grained theory, the finest first."""

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
    return members(flows, jnp.asarray(config.beta, x.dtype), x)
