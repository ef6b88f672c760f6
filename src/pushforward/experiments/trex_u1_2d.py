r"""Replica exchange with flows on 2-D U(1) gauge theory (T-REX, arXiv 2404.11674).

Two couplings on one lattice. Plain swaps [swendsen1986] are hardly ever accepted; a flow of
residual layers [residual2023], two numbers each, trained on the work of its crossings at the
running replicas, raises the rate by more than an order of magnitude, and what is measured stays
exact. Every crossing is a work: its mean e^{−W} [jarzynski1997], and Bennett's ratio of both
directions, must give the exact log Z(β')/Z(β).
"""

from dataclasses import replace

import pushforward as pf

from ..harness import GOAL, Couplings, Fit, Group, at_least, exact, key, measured, within
from ..harness import Config as Base
from ..harness.lazy import eqx, jax, jnp, np


class Chains(Group):
    """The running replicas; the leapfrog step of a rung is `step_size` over √β."""

    num: int = key(64, "ladders at once", ge=4, le=2**14)
    steps: int = key(2000, "exchange steps measured", ge=100, le=10**7)
    burn_in: int = key(200, "exchange steps before", ge=0, le=10**7)
    step_size: float = key(0.28, "step of the leapfrog times √β", gt=0, le=2)
    leapfrog: int = key(8, "leapfrog steps a trajectory", ge=1, le=1000)


class Config(Base):
    """The keys of the experiment."""

    side: int = key(8, "extent L of the lattice", ge=2, le=256, multiple_of=2)
    beta: Couplings = key((2.0, 4.0), "couplings of the ladder, in order", min_length=2)
    sweeps: int = key(4, "times 4 residual layers a pair", ge=1, le=64)
    chains: Chains = Chains()
    fit: Fit = Fit(steps=500, batch=64, learning_rate=0.05, schedule="cosine")


PRESETS = {
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


def known(config):
    """Return the exact numbers at every coupling."""
    sums, group = pf.targets.exact.gauge2d, pf.spaces.U1()
    return [sums(group, beta, config.side**2) for beta in config.beta]


def pair_names(config):
    """Return (2, 4), ..."""
    return [f"({a:g}, {b:g})" for a, b in zip(config.beta, config.beta[1:], strict=False)]


def place(config, beta):
    """Return (β = 2, L = 8)."""
    return f"(β = {beta:g}, L = {config.side})"


def expected(config, preset):
    """Yield the exact sums (without a flow, where HMC moves), and swap rates seen before."""
    sums, source = known(config), exact("sum over representations")
    for beta, one in zip(config.beta, sums, strict=True):
        for label in ("plain", "flow") if beta <= 4 else ("flow",):
            yield f"{label}: plaquette {place(config, beta)}", within(4, one.plaquette, source)
            yield f"{label}: <Q²> {place(config, beta)}", within(4, one.q2, source)
    for pair, a, b in zip(pair_names(config), sums, sums[1:], strict=False):
        yield f"flow: BAR, ΔF {pair}", within(4, a.log_z - b.log_z, source)
    if config.beta == (2.0, 4.0) and config.side == 8:
        before = measured("an independent code, 400 chains: 0.0018(2)")
        yield "plain: swap rate (2, 4)", within(5, 0.0018, before)
        yield "flow: swap rate (2, 4)", at_least(0.018, GOAL, note="ten times plain")


def ladder(config):
    """Return HMC on every rung as one stacked kernel."""
    links, how = space(config), config.chains

    def one(beta):
        action = pf.targets.WilsonAction(beta, links.lattice, links.group)
        return pf.mcmc.HMC(action, how.step_size / jnp.sqrt(beta), how.leapfrog)

    return eqx.filter_vmap(one)(jnp.asarray(config.beta, float))


def space(config):
    """Return the space of links."""
    return pf.spaces.LinkSpace(pf.spaces.U1(), pf.spaces.Lattice((config.side, config.side)))


def recipe(config, key, walkers=None):
    """Return the exchange through flows, trained at `walkers`."""
    links = space(config)
    if walkers is None:
        walkers = jnp.zeros((1, len(config.beta), *links.shape))
    flow = pf.flows.residual_flow(links, config.sweeps)
    parts = pf.recipes.trex(ladder(config), flow, walkers)
    hot = pf.mcmc.ReplicaExchange(ladder(config)).path.base
    return replace(parts, times=max(config.chains.burn_in, 1), initial=hot)


def run(config, lab):
    """Run the plain ladder, train flows on it, run the ladder with flows."""
    how = config.chains
    options = {
        "steps": how.steps,
        "burn_in": how.burn_in,
        "observe": eqx.Partial(observables, space(config)),
        "keep": 20,
    }
    plain = lab.simulate("plain", pf.mcmc.ReplicaExchange(ladder(config)), how.num, **options)
    trained = recipe(config, lab.key, plain.x)
    model = lab.train("train", trained, config.fit)
    flow = lab.simulate("flow", trained.kernel(model), plain.x, **options)
    works = lab.compute("works", lambda: crossings(config, model, flow))
    for label, samples in (("plain", plain), ("flow", flow)):
        yield from _numbers(config, label, samples.record)
        for k, pair in enumerate(pair_names(config)):
            up, down = works[f"{label} forward"][:, k], works[f"{label} backward"][:, k]
            yield f"{label}: BAR, ΔF {pair}", pf.estimators.bar(up, down)
            yield f"{label}: Jarzynski, ΔF {pair}", pf.estimators.jarzynski(up)


def figures(config, done):
    """Draw swap rates, histories of the charge, works, training."""
    plots, pairs, runs = pf.report.plots, pair_names(config), ("plain", "flow")
    records = {name: done[name].record for name in runs if name in done}
    if records:
        rates = {name: _rates(record) for name, record in records.items()}
        yield "swap-rates", plots.bars(
            {name: rate[:2] for name, rate in rates.items()}, pairs,
            exact={name: rate[2] for name, rate in rates.items()}, log=True,
            exact_label=r"predicted, $\mathrm{erfc}(\sqrt{\langle D\rangle}/2)$",
            xlabel="pair of neighbours", ylabel="swap rate", title="Swap rates",
            caption="Accepted swaps of neighbours, and what the mean works predict.",
        )  # fmt: skip
        yield "histories", plots.chains(
            {f"{name}, β = {config.beta[r]:g}": np.rint(record["charge"][..., r])
             for name, record in records.items() for r in (0, len(config.beta) - 1)},
            caption="The topological charge on the first and the last rung of one ladder.",
        )  # fmt: skip
    if "works" in done:
        first, second, *_ = known(config)
        yield "works", plots.histogram(
            {name: {"$W_f$": done["works"][f"{name} forward"][:, 0],
                    "$-W_b$": -done["works"][f"{name} backward"][:, 0]} for name in runs},
            exact=first.log_z - second.log_z, xlabel="work", title="Works of the crossings",
            caption="Works up and minus works down of the first pair; they cross at ΔF (black).",
        )  # fmt: skip
    if "train" in done:
        yield (
            "training",
            plots.curves(
                done["train"], caption="Mean work of a swap, both directions: the symmetric KL."
            ),
        )


def observables(links, x):
    """Return plaquette and charge of every rung."""
    return {
        "plaquette": jax.vmap(lambda u: pf.estimators.mean_plaquette(links, u))(x),
        "charge": jax.vmap(lambda u: pf.estimators.topological_charge(links, u))(x),
    }


def crossings(config, model, samples):
    """Return the works of the trained and of the identity bridges at kept ladders."""
    path = pf.mcmc.ReplicaExchange(ladder(config)).path
    key = jax.random.key(0)  # these bridges draw nothing
    kept = np.asarray(samples.draws["x"])
    x = kept.reshape(-1, *kept.shape[2:])

    @eqx.filter_jit
    def both(bridge, x):
        ways = (pf.mcmc.forward_works, pf.mcmc.backward_works)
        return jax.lax.map(lambda y: [way(bridge, path, y, key=key) for way in ways], x,
                           batch_size=64)  # fmt: skip

    works = {}
    for label, bridge in (("plain", pf.mcmc.IdentityBridge()), ("flow", model)):
        works[f"{label} forward"], works[f"{label} backward"] = both(bridge, x)
    return works


def _numbers(config, label, record):
    swaps = {k.removeprefix("info.swaps."): v for k, v in record.items() if "swaps" in k}
    rates = pf.estimators.swap_rates(
        swaps["acceptance"], swaps["work"], swaps["not_converged"], config.chains.num
    )
    for k, pair in enumerate(pair_names(config)):
        found = pf.estimators.gamma_method(swaps["acceptance"][:, k], name=f"swap rate {pair}")
        yield f"{label}: swap rate {pair}", (found.mean, found.error)
        yield f"{label}: predicted swap rate {pair}", rates.predicted[k]
    for r, beta in enumerate(config.beta):
        at, charge = place(config, beta), record["charge"][..., r]
        series = {"plaquette": record["plaquette"][..., r], "<Q²>": charge**2}
        for name, found in {k: _mean(v) for k, v in series.items()}.items():
            if found is not None:
                yield f"{label}: {name} {at}", (found.mean, found.error)
    found = _mean(record["charge"][..., -1])
    if found is not None:
        last = place(config, config.beta[-1])
        yield f"{label}: tau of Q {last}", (found.tau_int, found.tau_int_error)
    yield f"{label}: round trips a ladder", record["info.round_trips"].sum() / config.chains.num


def _mean(series):
    """Return the Γ-method's mean, or None where the series is frozen or too short."""
    try:
        return pf.estimators.gamma_method(series)
    except (pf.errors.ChainTooShort, pf.errors.FrozenObservable):
        return None


def _rates(record):
    acceptance, work = record["info.swaps.acceptance"], record["info.swaps.work"]
    found = [pf.estimators.gamma_method(column) for column in acceptance.T]
    mean, error = np.array([(f.mean, f.error) for f in found]).T
    return mean, error, pf.estimators.acceptance_prediction(work.mean(0))
