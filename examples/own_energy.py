"""Your own energy as an experiment: `pushforward run examples/own_energy.py preset=smoke`.

The posterior is that of `eight_schools.py` beside this file; here it gets a run folder, checkpoints
that resume, a page of figures and a table beside the exact numbers (quadrature).
"""

import pushforward as pf
from pushforward.harness import Config as Base
from pushforward.harness import Fit, at_least, exact, key, within
from pushforward.harness.lazy import jax


class Config(Base):
    fit: Fit = Fit(steps=600)
    walkers: int = key(2000, "walkers, a multiple of 8", ge=80, le=10**6)


PRESETS = {"smoke": {"fit": {"steps": 200}}, "laptop": {}, "paper": {"fit": {"steps": 5000}}}
EXACT = {
    "log evidence": -31.311347352293,
    "E mu": 4.396820713833,
    "E tau": 3.597705484098,
    "E theta_1": 6.2118842,
    "E theta_5": 3.61547702,
}


def recipe(config, key):
    from eight_schools import energy

    return pf.recipes.nets(energy, width=64, key=jax.random.key(1))


def expected(config, preset):
    quadrature = exact("quadrature over mu and tau")
    for name, value in EXACT.items():
        yield f"NETS: {name}", within(4, value, quadrature)
        yield f"SMC: {name}", within(4, value, quadrature)
    if preset != "smoke":
        yield "NETS: ESS", at_least(0.5, exact("a useful sampler"))


def run(config, lab):
    from eight_schools import numbers

    r = lab.recipe
    model = lab.train("train", r, config.fit)
    learned = lab.simulate("sample", r.kernel(model), config.walkers, times=r.times)
    classical = lab.simulate(
        "smc", pf.recipes.smc(r.kernel(model).path, 0.3), config.walkers, times=r.times,
        resample=pf.estimators.Systematic(0.5), populations=8,
    )  # fmt: skip
    yield "NETS: ESS", learned.ess
    for label, samples in (("NETS", learned), ("SMC", classical)):
        yield f"{label}: log evidence", samples.log_z
        value, error = samples.mean(numbers)
        for name in value:
            yield f"{label}: E {name}", (value[name], error[name])


def figures(config, done):
    runs = {name: done[name] for name in ("sample", "smc") if name in done}
    yield "along-path", pf.report.plots.along_time(runs, exact=EXACT["log evidence"])
    yield "weights", pf.report.plots.weights({k: s for k, s in runs.items() if k == "sample"})
