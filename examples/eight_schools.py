"""Eight schools (Rubin 1981): your own posterior, by NETS and by untrained SMC.

Exact, by quadrature: log evidence -31.3113, E mu 4.3968, E tau 3.5977, E theta_1 6.2119.
"""

import jax
import jax.numpy as jnp

import pushforward as pf
from pushforward.targets import Positive, Real, Transformed

y = jnp.array([28.0, 8.0, -3.0, 7.0, -1.0, 1.0, 18.0, 12.0])
s = jnp.array([15.0, 10.0, 16.0, 11.0, 9.0, 11.0, 10.0, 18.0])


def normal(x, mean, scale):
    return -0.5 * jnp.sum(((x - mean) / scale) ** 2 + jnp.log(2 * jnp.pi * scale**2))


def log_density(p):
    theta = p["mu"] + p["tau"] * p["eta"]  # non-centred: eta ~ N(0, 1)
    half_cauchy = jnp.log(2 / (5 * jnp.pi)) - jnp.log1p((p["tau"] / 5) ** 2)
    prior = normal(p["mu"], 0.0, 5.0) + half_cauchy + normal(p["eta"], 0.0, 1.0)
    return prior + normal(y, theta, s)


def numbers(x):
    p = energy.constrain(x)
    theta = p["mu"] + p["tau"] * p["eta"]
    return {"mu": p["mu"], "tau": p["tau"], "theta_1": theta[0], "theta_5": theta[4]}


energy = Transformed.from_log_density(
    log_density, {"mu": Real(), "tau": Positive(), "eta": Real(8)}
)


def main(steps=400, walkers=2000):
    key = jax.random.key(0)
    r = pf.recipes.nets(energy, width=64, key=key)
    model, _ = pf.fit(r.model, r.objective, r.source, steps=steps, key=key)
    learned = pf.simulate(r.kernel(model), walkers, times=r.times, key=key)

    kernel = pf.recipes.smc(r.kernel(r.model).path, 0.3)
    resample = pf.estimators.Systematic(0.5)
    classical = pf.simulate(
        kernel, walkers, times=r.times, resample=resample, populations=8, key=key
    )
    return {"NETS": learned, "untrained SMC": classical}


if __name__ == "__main__":
    for name, samples in main().items():
        print(f"{name}: log evidence {samples.log_z}, ESS {samples.ess:.2f}")
        value, error = samples.mean(numbers)
        for key in value:
            print(f"    E {key} = {value[key]:.3f} ± {error[key]:.3f}")
