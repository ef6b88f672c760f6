"""The recipe of flow maps: untrained it is classical, trained it passes the gates."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import pushforward as pf
from pushforward._errors import InputError
from pushforward.objectives import FMM, LMD, LSD, PSD, Half, WithDiagonal
from pushforward.paths import Linear
from pushforward.sources import Bundles, MapPairs

BASE = pf.targets.Normal(2)
DATA = pf.targets.Normal(2, np.array([1.7, -0.6]), 0.4)
EXACT = pf.flows.GaussianFlowMap(Linear(), DATA.mean, DATA.scale)
KEY = jax.random.key(0)


def test_what_a_recipe_is_made_of():
    plain = pf.recipes.flow_map(BASE, DATA)
    assert isinstance(plain.objective, WithDiagonal)
    assert isinstance(plain.objective.off_diagonal, LSD)
    assert plain.objective.diagonal.teacher is None
    assert isinstance(plain.source, Bundles)
    assert not plain.model.both_ways

    taught = pf.recipes.flow_map(BASE, DATA, LMD(Linear(), EXACT.drift))
    assert taught.objective.diagonal.teacher is not None

    direct = pf.recipes.flow_map(BASE, DATA, FMM(Linear()))
    assert direct.model.both_ways
    assert isinstance(direct.source, MapPairs)
    assert direct.source.times.both_ways

    tied = pf.recipes.flow_map(BASE, DATA, LMD(Linear(), EXACT.drift), tie=EXACT.drift)
    assert isinstance(tied.objective, LMD)
    x, zero = jnp.array([0.4, -1.2]), jnp.zeros(())
    np.testing.assert_allclose(tied.model(0.0, 1.0, x), x + EXACT.drift(zero, x), atol=1e-15)
    np.testing.assert_array_equal(plain.model(0.0, 1.0, x), x)
    with pytest.raises(InputError, match="Normal\\(shape\\)"):
        pf.recipes.flow_map(None, DATA)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("method", "gate"),
    [
        (LSD(Linear()), 0.08),
        (LMD(Linear(), EXACT.drift), 0.08),
        (FMM(Linear()), 0.08),
        (PSD(Linear()), 0.12),
        (PSD(Linear(), Half()), 0.12),
    ],
    ids=["LSD", "LMD", "FMM", "PSD-U", "PSD-M"],
)
def test_training_gates(method, gate):
    """One step of a map trained on 6,000 batches of 512 points, against the exact map."""
    r = pf.recipes.flow_map(BASE, DATA, method)
    model, _ = pf.fit(
        r.model,
        r.objective,
        r.source,
        steps=6000,
        batch=512 if isinstance(method, FMM) else 128,
        optimiser=pf.recipes.flow_map_optimiser(3e-3, 1500.0),
        clip=10.0,
        ema=pf.drivers.EMA(0.99),
        key=KEY,
    )
    x0 = jax.random.normal(KEY, (20_000, 2))

    @eqx.filter_jit
    def squares(flow):
        return jax.vmap(lambda x: jnp.sum((flow(0.0, 1.0, x) - EXACT(0.0, 1.0, x)) ** 2))(x0)

    assert np.sqrt(np.mean(squares(model))) < gate
    assert np.sqrt(np.mean(squares(r.model))) > 1.5  # untrained: the identity
