"""Your own energy as an experiment: `pushforward run examples/own_energy.py preset=smoke`.

The posterior is that of `eight_schools.py` beside this file; here it gets a run folder, checkpoints
that resume, a page of figures and a table beside the exact numbers (quadrature).
"""

from pydantic import Field

import pushforward as pf
from pushforward.experiments import Config as Base
from pushforward.experiments import Estimate, Exact, Expected, Fit, at_least, within


class Config(Base):
    fit: Fit = Fit(steps=600)
    walkers: int = Field(default=2000, ge=80, le=10**6, description="walkers, a multiple of 8")


PRESETS = {"smoke": {"fit": {"steps": 200}}, "laptop": {}, "paper": {"fit": {"steps": 5000}}}
QUADRATURE = Exact("quadrature over mu and tau")
EXACT = {
    "log evidence": -31.311347352293,
    "E mu": 4.396820713833,
    "E tau": 3.597705484098,
    "E theta_1": 6.2118842,
    "E theta_5": 3.61547702,
}
EXPECTED = (
    *(Expected(f"NETS: {name}", value, within(4), QUADRATURE) for name, value in EXACT.items()),
    *(Expected(f"SMC: {name}", value, within(4), QUADRATURE) for name, value in EXACT.items()),
    Expected("NETS: ESS", 0.5, at_least(), Exact("a useful sampler"), presets=("laptop", "paper")),
)


def build(config):
    return recipe().model


def sampler(config, model):
    r = recipe()
    return r.kernel(model), r.times, r.initial


def run(config, folder, *, key):
    r, fit = recipe(), config.fit
    model, _ = pf.fit(
        r.model, r.objective, r.source, steps=fit.steps, batch=fit.batch,
        folder=folder.stage("train"), key=key,
    )  # fmt: skip
    pf.save(folder.path / "model.safetensors", model)
    learned = pf.simulate(
        r.kernel(model), config.walkers, times=r.times, folder=folder.stage("sample"), key=key
    )
    classical = pf.simulate(
        pf.recipes.smc(r.kernel(model).path, 0.3), config.walkers, times=r.times,
        resample=pf.estimators.Systematic(0.5), populations=8, folder=folder.stage("smc"), key=key,
    )  # fmt: skip
    rows = {"NETS: ESS": Estimate(learned.ess)}
    return rows | numbers_of("NETS", learned) | numbers_of("SMC", classical)


def figures(folder):
    series = {s.name: s.series() for s in folder.stages() if s.finished and s.name != "train"}
    curves = {name: (s["t"], s["ess"], s["log_z"]) for name, s in series.items()}
    return {"along-path": pf.report.along_time(curves, exact=EXACT["log evidence"])}


def recipe():
    import jax

    from eight_schools import energy

    return pf.recipes.nets(energy, width=64, key=jax.random.key(1))


def numbers_of(label, samples):
    from eight_schools import numbers

    value, error = samples.mean(numbers)
    rows = {f"{label}: log evidence": Estimate(*samples.log_z)}
    return rows | {f"{label}: E {name}": Estimate(value[name], error[name]) for name in value}


EXTENDS = "train"
