r"""Hybrid Monte Carlo of a disordered metal: the action chooses the kernel, samples are stacked.

```python
model = disorder_samples(GaussianDisorder(), SpinFermion((2, 2), 10), 8, key=key)
kernel = metal_hmc(DenseAction(model), 0.2, 8)
simulate(kernel, 2, stacked=lambda k: k.path.model.disorder, initial=..., steps=500, key=key)
```

The mass is the spectrum of S_b, so that a free field would turn with frequency 1 in every mode: a
trajectory of 1 to 1.6 decorrelates all of them. From a hot start every trajectory
is rejected: start small.
"""

from typing import Any

from ..mcmc import HMC, AbstractMass, FourierMass, Omelyan2, Refreshed, Splitting
from ..targets import AbstractAugmented, BosonAction, DenseAction, PseudofermionAction


def metal_hmc(
    action: DenseAction | PseudofermionAction,
    step_size: Any = 0.2,
    num_steps: int = 6,
    *,
    mass: AbstractMass | None = None,
    integrator: Splitting | None = None,
) -> HMC | Refreshed:
    """Return HMC of the dense action, or `Refreshed` HMC of pseudofermions.

    Parameters
    ----------
    action
        `DenseAction(model)` or `PseudofermionAction(model)`; a stack of disorder samples or one.
    step_size, num_steps
        Good values: 6 to 8 steps of .2 with `Omelyan2` on small lattices; acceptance .7 to .98.
    mass
        Default `FourierMass(BosonAction(model).mass_spectrum())`, one for all samples.
    integrator
        Default `Omelyan2()`.

    References
    ----------
    Lunts, Albergo and Lindsey 2022 (arXiv 2204.14241); Patel, Lunts and Albergo 2024
    (arXiv 2410.05365).
    """
    mass = FourierMass(BosonAction(action.model).mass_spectrum()) if mass is None else mass
    integrator = Omelyan2() if integrator is None else integrator
    hmc = HMC(action, step_size, num_steps, integrator, mass)
    return Refreshed(hmc) if isinstance(action, AbstractAugmented) else hmc
