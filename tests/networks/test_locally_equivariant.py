"""Local equivariance of the convolution, exactly; symmetries; what is refused; broken twins."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from pushforward._errors import InputError
from pushforward.networks import LocallyEquivariantConv, locally_equivariant
from pushforward.targets import Ising

T = jnp.asarray(0.37)


def conv(kernels=(5, 5, 5), dim=2, **options):
    """Return a network with random numbers everywhere: the zero start proves nothing."""
    options = {"channels": 3, "width": 8} | options
    make = eqx.Partial(LocallyEquivariantConv, kernels, dim=dim, **options)
    blank, rng = eqx.filter_eval_shape(make, key=jax.random.key(0)), np.random.default_rng(0)

    def fresh(leaf):
        scale = 1 / np.sqrt(np.prod(leaf.shape[1:]))
        return jnp.asarray(scale * rng.normal(size=leaf.shape))

    is_shape = lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct)  # noqa: E731
    return jax.tree.map(lambda leaf: fresh(leaf) if is_shape(leaf) else leaf, blank)


@eqx.filter_jit
def rates_of(net, energy, x):
    return net(T, x, energy.local_differences(x))


def defect(net, energy, x):
    """Return G(i | x) + G(i | x with i flipped) for all i, and G; one compiled function of x."""
    x, here = np.asarray(x), np.asarray(rates_of(net, energy, x)).ravel()
    sums = np.empty_like(here)
    for i in range(x.size):
        y = x.copy().ravel()
        y[i] *= -1
        sums[i] = here[i] + np.ravel(rates_of(net, energy, jnp.asarray(y.reshape(x.shape))))[i]
    return sums, here


def spins(shape, seed):
    return jnp.asarray(np.random.default_rng(seed).choice([-1.0, 1.0], shape))


CASES = {
    "4x4, torus-wide": (conv(), (4, 4)),
    "6x3, different kernels": (conv((3, 5, 3)), (6, 3)),
    "free kernels, no parity": (conv((3, 5), tied=False, odd=False), (4, 4)),
    "ring": (conv((5, 7), dim=1), (6,)),
    "cube": (conv((3, 3), dim=3), (2, 3, 4)),
}


@pytest.mark.parametrize("name", CASES)
def test_local_equivariance_is_exact(name):
    net, shape = CASES[name]
    energy = Ising(shape, 0.44, 0.3)
    for seed in range(3):
        x = spins(energy.space.shape, seed)
        sums, rates = defect(net, energy, x)
        assert (np.asarray(sums) == 0).all()
        assert np.abs(rates).min() > 0
        assert np.abs(rates).max() > 1e-2


def jacobian_diagonal(net, energy, x):
    """Return ∂z_i/∂x_i of every feature at every site, the energy's part included."""

    def hollow(y):
        return net.hollow(T, y.reshape(x.shape), energy.local_differences(y.reshape(x.shape)))

    jacobian = jax.jacfwd(hollow)(jnp.ravel(x))
    return jnp.einsum("ifi->if", jacobian), jacobian


@pytest.mark.parametrize("name", ["4x4, torus-wide"])
def test_features_are_hollow(name):
    net, shape = CASES[name]
    energy = Ising(shape, 0.44)
    x = spins(energy.space.shape, 1)
    diagonal, jacobian = eqx.filter_jit(jacobian_diagonal)(net, energy, x)
    # The local field is x_i ΔU_i/2 = x_i² (...): off the spins ±1 its derivative is not zero.
    assert (np.asarray(diagonal)[:, :-1] == 0).all()
    assert np.abs(jacobian).max() > 0.1


def test_twin_a_kernel_with_its_centre(monkeypatch):
    orbits = locally_equivariant.displacement_orbits

    def with_centre(kernel, dim, tied):
        first, *rest = orbits(kernel, dim, tied)
        return [np.concatenate([first, np.zeros((1, dim), int)]), *rest]

    monkeypatch.setattr(locally_equivariant, "displacement_orbits", with_centre)
    energy = Ising((4, 4), 0.44)
    x = spins(energy.space.shape, 0)
    sums, _ = defect(conv(channels=4), energy, x)
    assert np.abs(sums).max() > 1e-2


@pytest.mark.parametrize(("kernel", "shape"), [(5, (2, 4)), (9, (4, 4)), (7, (5, 3))])
def test_a_window_that_comes_back_to_its_centre_is_refused(kernel, shape):
    x = jnp.ones(shape)
    with pytest.raises(InputError, match="comes back to its centre"):
        conv((kernel, 3))(T, x, x)


def test_twin_the_window_that_is_refused_is_not_hollow(monkeypatch):
    net, energy = conv((9, 9)), Ising((4, 4), 0.44)
    monkeypatch.setattr(locally_equivariant, "min", lambda *_, **__: 99, raising=False)
    x = spins(energy.space.shape, 0)
    sums, _ = defect(net, energy, x)
    assert np.abs(sums).max() > 1e-2


@pytest.mark.parametrize("kernels", [(5,), (4, 5), (5, 1), ()])
def test_kernels_are_odd_and_at_least_two(kernels):
    with pytest.raises(InputError, match="odd extents"):
        LocallyEquivariantConv(kernels, key=jax.random.key(0))


def test_dimensions_must_agree():
    with pytest.raises(InputError, match="dimensions"):
        conv()(T, jnp.ones(6), jnp.ones(6))


def test_symmetries_of_the_torus():
    """Z2, translations, rotations and reflections, to rounding; the twin without ties fails."""
    energy = Ising((5, 5), 0.44)

    def rates(net, x):
        return rates_of(net, energy, x)

    x = spins(energy.space.shape, 4)
    tied, free = conv(), conv(tied=False, odd=False)
    maps = {
        "flip": (lambda a: -a, lambda g: g),
        "shift": (lambda a: jnp.roll(a, (1, 2), (0, 1)),) * 2,
        "rotation": (jnp.rot90,) * 2,
        "reflection": (jnp.transpose,) * 2,
    }
    for name, (of_x, of_g) in maps.items():
        there, here = rates(tied, of_x(x)), of_g(rates(tied, x))
        np.testing.assert_allclose(there, here, rtol=0, atol=1e-12)
        broken = np.abs(rates(free, of_x(x)) - of_g(rates(free, x))).max()
        assert broken > 1e-2 if name != "shift" else broken < 1e-12


def test_leaves_do_not_know_the_size():
    net = conv((3, 5))
    for side in (4, 6):
        energy = Ising((side, side), 0.3)
        x = spins(energy.space.shape, side)
        sums, rates = defect(net, energy, x)
        assert rates.shape == (side**2,)
        assert (np.asarray(sums) == 0).all()


def test_orbits_of_the_square():
    assert len(locally_equivariant.displacement_orbits(5, 2, True)) == 5
    assert len(locally_equivariant.displacement_orbits(9, 2, True)) == 14
    assert len(locally_equivariant.displacement_orbits(5, 2, False)) == 24
    small = locally_equivariant.displacement_orbits(3, 2, False)
    large = locally_equivariant.displacement_orbits(5, 2, False)[: len(small)]
    assert {tuple(o[0]) for o in small} == {tuple(o[0]) for o in large}


def test_it_starts_at_zero():
    net = eqx.filter_jit(LocallyEquivariantConv)(key=jax.random.key(0))
    assert (np.asarray(rates_of(net, Ising((4, 4), 0.4), spins((4, 4), 0))) == 0).all()
