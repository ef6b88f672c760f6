"""The spin-fermion model against transfer matrices, spectra and an independent construction.

The independent one is NumPy, 4V x 4V: both spins and bands, `expm` of φ·σ, the plain product of
all slices.
"""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm
from tests.oracles.metal import boson_modes, free_metal

from pushforward._errors import InputError
from pushforward.targets import (
    BosonAction,
    DenseAction,
    GaussianDisorder,
    PseudofermionAction,
    SpinFermion,
    disorder_samples,
)
from pushforward.targets.exact import one_site_transfer
from pushforward.targets.metal import block_log_det, green, log_det
from pushforward.targets.metal.dense import block_matrix
from pushforward.targets.metal.hyperbolic import cosh_root, sinhc_root


def one_site(num_components, **changes):
    numbers = {"hopping": 0.0, "chemical_potential": (0.3, -0.7), "coupling": 1.3, "mass": 0.5}
    return SpinFermion((1, 1), 20, num_components=num_components, **numbers | changes)


def two_sites(num_components=1, num_slices=3):
    """Everything at once: random couplings, potential in one band more than in the other."""
    return SpinFermion(
        (2, 1), num_slices, num_components=num_components, dtau=0.3, velocity=1.5, quartic=0.7,
        coupling=jnp.array([[1.1], [-0.6]]), mass=jnp.array([[0.4], [0.9]]),
        potential=jnp.array([[[0.2], [-0.3]], [[0.5], [0.1]]]),
    )  # fmt: skip


@eqx.filter_jit
def value(energy, x):
    return energy(x)


@eqx.filter_jit
def values(energy, xs):
    return jax.vmap(energy)(xs)


@eqx.filter_jit
def force(energy, x):
    return jax.grad(lambda y: energy(y))(x)


jitted_log_det, jitted_green = jax.jit(log_det), jax.jit(green)


def field(model, seed=0, scale=1.0):
    return scale * jax.random.normal(jax.random.key(seed), model.space.shape)


def derivative(model, phi, of):
    """Return ∂ log det / ∂(a leaf of the model)."""
    return _derivative(of(model), model, phi, of)


@eqx.filter_jit
def _derivative(leaf, model, phi, of):
    return jax.grad(lambda leaf: log_det(eqx.tree_at(of, model, leaf), phi))(leaf)


# ------------------------------------------------------------------ one site, exact at finite dtau


def test_one_site_ising():
    found = one_site_transfer(one_site(1))
    expected = (10.366004834175710, 1.0859307064021790, 2.692439530337227, 0.549984973176881)
    np.testing.assert_allclose(found[:4], expected, rtol=1e-12)
    assert abs(found.density - 1.839837894867495) < 1e-12
    assert abs(found.phi) < 1e-14
    np.testing.assert_allclose(one_site_transfer(one_site(1), nodes=80), found, atol=2e-13)


def test_one_site_in_a_field():
    found = one_site_transfer(one_site(1), field=0.2)
    expected = (10.42013407349073, 1.113651952411885, 2.80079960391599, 0.582383554316113,
                1.843697666016467, -0.26787157999899)  # fmt: skip
    np.testing.assert_allclose(found, expected, rtol=1e-12)
    # d log Z / dh = −β⟨φ⟩: with the other sign of h it would be off by twice as much.
    up, down = (one_site_transfer(one_site(1), field=0.2 + d).log_z for d in (1e-4, -1e-4))
    assert abs((up - down) / 2e-4 + 2.0 * found.phi) < 1e-7


def test_one_site_xy():
    found = one_site_transfer(one_site(2), nodes=40)
    expected = (17.38620876066, 1.698339902316, 4.850252836031, 0.6177460087452, 1.88679461988)
    np.testing.assert_allclose(found[:5], expected, rtol=3e-13)


def test_one_site_determinant_is_a_trace_over_fock_space():
    """The sum of e^{−U} over a grid of fields is Z: two slices, so that a plain sum is possible."""
    model = SpinFermion(
        (1, 1), 2, num_components=1, dtau=0.5, hopping=0.0, chemical_potential=(0.3, -0.7),
        coupling=1.3, mass=0.5, potential=jnp.array([[[0.4]], [[-0.2]]]),
    )  # fmt: skip
    grid = 0.08 * jnp.arange(-60.0, 61.0)
    pairs = jnp.stack(jnp.meshgrid(grid, grid), -1).reshape(-1, 1, 2, 1, 1)
    energies = values(DenseAction(model), pairs)
    log_z = jax.scipy.special.logsumexp(-energies) + 2 * np.log(0.08)
    assert abs(log_z - one_site_transfer(model).log_z) < 1e-11
    # Twin: periodic electrons.
    twin = values(lambda x: BosonAction(model)(x) - _periodic_log_det(model, x), pairs)
    log_z = jax.scipy.special.logsumexp(-twin) + 2 * np.log(0.08)
    assert abs(log_z - one_site_transfer(model).log_z) > 0.1


def _periodic_log_det(model, phi):
    product = jnp.eye(2 * model.num_sites, dtype=model.slices(phi).dtype)
    for b in model.slices(phi):
        product = b @ product
    return 2 * jnp.linalg.slogdet(jnp.eye(len(product)) - product)[1]


# ------------------------------------------------------------------------------- no coupling


@pytest.mark.parametrize(
    ("slices", "expected"),
    [
        (20, (65.8273043296696, 1.58099279916656, -1.41240647881518, 1.10145143919923)),
        (80, (224.508320890305, 1.50449808904963, -1.73425054209052, 1.24324979330767)),
    ],
)
def test_free_electrons(slices, expected):
    model = SpinFermion((4, 4), slices, coupling=0.0, num_components=1)
    exact, beta = free_metal(model), 0.1 * slices
    found = (exact.log_det, exact.density, exact.energy, exact.kinetic[0])
    np.testing.assert_allclose(found, expected, rtol=1e-13)
    assert abs(exact.kinetic[1] - expected[3]) < 1e-13

    phi = field(model)
    assert abs(jitted_log_det(model, phi) - expected[0]) < 1e-10
    density = derivative(model, phi, lambda m: m.chemical_potential).sum() / beta / 16
    assert abs(density - expected[1]) < 1e-10
    by_hopping = derivative(model, phi, lambda m: m.hopping) * model.hopping / beta / 16
    np.testing.assert_allclose(by_hopping.sum(0), expected[3], atol=1e-10)
    energy = -by_hopping.sum() - model.chemical_potential[0] * density
    assert abs(energy - expected[2]) < 1e-10


def potential():
    x, y = np.meshgrid(np.arange(4), np.arange(4), indexing="ij")
    return jnp.asarray(((37 * (4 * x + y)) % 16) / 8 - 0.9375)


def test_random_potential_converges_as_dtau_squared():
    exact = free_metal(SpinFermion((4, 4), 20, potential=potential())).kinetic[0]
    assert abs(exact - 1.05251113005) < 1e-11
    errors = []
    for slices in (10, 20, 40):
        model = SpinFermion(
            (4, 4), slices, dtau=2 / slices, coupling=0.0, potential=potential(), num_components=1
        )
        slope = derivative(model, field(model), lambda m: m.hopping) * model.hopping
        errors.append(abs(slope.sum(0)[0] / 32 - exact))
    slopes = np.log2(np.array(errors)[:-1] / np.array(errors)[1:])
    np.testing.assert_allclose(slopes, 2.0, atol=0.1)


def test_free_green_function_at_all_pairs_of_times():
    """G(l, l') = e^{−(l−l')ΔτK} (1 − f), and −e^{−(l−l')ΔτK} f for l < l'."""
    model = SpinFermion((2, 2), 6, coupling=0.0, dtau=0.2)
    found = jitted_green(model, field(model)).real
    for band in range(2):
        rows = slice(4 * band, 4 * band + 4)
        waves = np.kron(*[np.array([[1, 1], [1, -1]]) / np.sqrt(2)] * 2)
        levels = np.ravel(model.dispersion[band])
        filling = 1 / (np.exp(1.2 * levels) + 1)
        for later in range(6):
            for earlier in range(6):
                weight = (1 - filling) if later >= earlier else -filling
                expected = (waves * np.exp(-0.2 * (later - earlier) * levels) * weight) @ waves.T
                np.testing.assert_allclose(found[later, rows, earlier, rows], expected, atol=1e-13)


@pytest.mark.parametrize("num_components", [1, 2])
def test_density_by_the_green_function_is_a_derivative(num_components):
    """Σ_l Δτ 2 Re Tr_b (1 − G(l, l)) = ∂ log det / ∂μ_b, in each band, at any field."""
    model = two_sites(num_components)
    phi = field(model, 3)
    equal = np.einsum("lala->la", np.asarray(jitted_green(model, phi)))
    filled = 2 * 0.3 * (1 - equal.real).reshape(3, 2, 2).sum((0, 2))
    slope = derivative(model, phi, lambda m: m.chemical_potential)
    np.testing.assert_allclose(filled, slope, rtol=1e-12)
    assert np.abs(2 * 0.3 * equal.real.reshape(3, 2, 2).sum((0, 2)) - slope).max() > 0.1  # twin: G


# ------------------------------------------------------------------------------ no electrons


def test_gaussian_boson():
    model = SpinFermion((4, 6), 8, quartic=0.0)
    spectrum = BosonAction(model).mass_spectrum(1.0)
    assert abs(2 / spectrum[0, 0, 0] - 20.0) < 1e-12
    assert abs(2 / spectrum[1, 1, 0] - 1.133487351627035) < 1e-13
    assert abs(jnp.mean(2 / spectrum) - 1.0746781573662234) < 1e-13
    # The spectrum is that of the action: S_b = ½ Σ M |φ_wq|².
    phi = field(model)
    modes = jnp.abs(jnp.fft.fftn(phi, axes=(1, 2, 3))) ** 2 / spectrum.size
    np.testing.assert_allclose(value(BosonAction(model), phi), jnp.sum(spectrum[None] * modes) / 2)


def test_random_mass_modes():
    mass = 0.3 + ((37 * np.arange(16)) % 16) / 4
    levels, modes = boson_modes(SpinFermion((4, 4), 8, mass=mass.reshape(4, 4)))
    np.testing.assert_allclose(levels[:3], [1.86177843, 3.21052875, 3.37153007], atol=1e-8)
    ipr = (modes**4).sum(0)[:3]
    np.testing.assert_allclose(ipr, [0.08694271, 0.19124931, 0.16913157], atol=1e-8)
    assert abs(np.mean(1 / levels) - 0.19670234685020294) < 1e-14
    assert abs(modes.sum(0) ** 2 @ (1 / levels) / 16 - 0.5087692647275877) < 1e-13


def test_no_time_derivative_at_infinite_velocity():
    model = two_sites(2)
    still = eqx.tree_at(lambda m: m.velocity, model, jnp.asarray(jnp.inf))
    shifted = jnp.roll(field(model).at[:, 0].mul(3.0), 1, axis=1)
    orders = [shifted, shifted[:, jnp.array([0, 2, 1])]]
    np.testing.assert_allclose(*(value(BosonAction(still), x) for x in orders), rtol=1e-14)
    assert jnp.isfinite(force(DenseAction(still), shifted)).all()


# ------------------------------------------------------------------------------------ sign


SIGMA = np.array([[[0, 1], [1, 0]], [[0, -1j], [1j, 0]]])


def full_product(model, phi, coupling):
    """Return B_{L−1} ⋯ B_0 of x↑, x↓, y↑, y↓ for a batch of fields (n, N, L, ...), by `expm`."""
    size, dtau = model.num_sites, float(model.dtau)
    hop = np.asarray(model.hop(model.dtau / 2))
    zero = np.zeros((size, size))
    half = np.block([[hop[b // 2] if a == b else zero for b in range(4)] for a in range(4)])
    phi, coupling = np.asarray(phi).reshape(*phi.shape[:3], size), np.ravel(coupling)
    product = np.eye(4 * size)
    for slice_ in range(model.num_slices):
        spin = np.einsum("ncr,cst->nrst", phi[:, :, slice_], SIGMA[: phi.shape[1]])
        spin = coupling[:, None, None] * spin
        v = np.zeros((len(phi), 2, 2, size, 2, 2, size), complex)
        for r in range(size):
            v[:, 0, :, r, 1, :, r] = spin[:, r]
            v[:, 1, :, r, 0, :, r] = np.conj(np.swapaxes(spin[:, r], 1, 2))
            for band in range(2):
                for s in range(2):
                    v[:, band, s, r, band, s, r] = np.ravel(model.potential[band])[r]
        product = half @ expm(-dtau * v.reshape(len(phi), 4 * size, 4 * size)) @ half @ product
    return product


@pytest.mark.parametrize("num_components", [1, 2])
def test_no_sign_problem(num_components):
    rng = np.random.default_rng(0)
    model = SpinFermion(
        (2, 2), 8, num_components=num_components, dtau=0.3,
        coupling=jnp.asarray(1.5 * rng.normal(size=(2, 2))), potential=rng.normal(size=(2, 2, 2)),
    )  # fmt: skip
    phi = rng.normal(size=(200, *model.space.shape))
    product = full_product(model, phi, model.coupling)
    det = np.linalg.det(np.eye(16) + product)
    assert np.abs(det.imag / np.abs(det)).max() < 1e-6
    assert det.real.min() > 0
    ours = jax.jit(jax.vmap(lambda x: log_det(model, x)))(jnp.asarray(phi))
    np.testing.assert_allclose(ours, np.log(np.abs(det)), rtol=1e-9)

    # Kramers: each eigenvalue of the product comes with its conjugate.
    levels = np.linalg.eigvals(product[:20])
    for each in levels:
        distance = np.abs(np.conj(each)[:, None] - each) / np.abs(each)
        assert distance.min(1).max() < 1e-6


@pytest.mark.parametrize(("num_components", "strength", "least"), [(1, 20.0, 0.9), (2, 10.0, -0.9)])
def test_a_complex_coupling_has_a_sign_problem(num_components, strength, least):
    """Twin: with a phase on each coupling determinants turn complex (N = 1) or negative (N = 2)."""
    rng = np.random.default_rng(0)
    model = SpinFermion((2, 2), 8, num_components=num_components, dtau=0.3)
    coupling = strength * rng.normal(size=4)
    phi = rng.normal(size=(200, *model.space.shape))
    for phase, broken in ((np.ones(4), False), (np.exp(2j * np.pi * rng.random(4)), True)):
        det = np.linalg.det(np.eye(16) + full_product(model, phi, coupling * phase))
        assert ((det.real / np.abs(det)).min() < least) == broken


def test_a_global_phase_of_the_coupling_is_refused_too():
    with pytest.raises(InputError, match="sign problem"):
        SpinFermion((2, 2), 4, coupling=jnp.full((2, 2), 1j))


def test_ising_block_is_real_and_may_be_negative():
    model = one_site(1, coupling=3.0)
    phi = jax.vmap(lambda s: field(model, s, 2.0))(jnp.arange(64))
    sign, _ = jax.jit(jax.vmap(lambda x: block_log_det(model, x)))(phi)
    assert sign.dtype == jnp.float64
    assert set(np.asarray(sign)) <= {-1.0, 1.0}


# --------------------------------------------------------------------------- determinant, force


def test_clusters_of_any_length_give_one_determinant():
    model = SpinFermion((2, 2), 160, coupling=1.3, num_components=1)
    phi = field(model, 1)
    found = [float(value(DenseAction(model, k), phi)) for k in (3, 10, 16)]
    np.testing.assert_allclose(found, found[0], rtol=0, atol=1e-11)
    # Twin: 1 + the product of all slices has lost its digits.
    sign, naive = jnp.linalg.slogdet(jax.jit(block_matrix, static_argnums=2)(model, phi, 160))
    assert abs(2 * naive - jitted_log_det(model, phi)) > 1e-6


@pytest.mark.parametrize("num_components", [1, 2])
def test_dense_force_by_differences(num_components):
    model = two_sites(num_components)
    energy, x = DenseAction(model, 2), np.asarray(field(model, 2))
    gradient = np.ravel(force(energy, x))
    steps = 1e-3 * np.eye(x.size).reshape(x.size, *x.shape)
    points = np.concatenate([x + k * steps for k in (-2, -1, 1, 2)])
    far, near, plus, more = np.asarray(values(energy, points)).reshape(4, -1)
    difference = (far - 8 * near + 8 * plus - more) / 12e-3
    np.testing.assert_allclose(gradient, difference, rtol=0, atol=1e-9)


@pytest.mark.parametrize("num_components", [1, 2])
def test_force_is_finite_without_field(num_components):
    model = two_sites(num_components)
    nothing = jnp.zeros(model.space.shape)
    given = PseudofermionAction(model).given(jnp.ones((1, 4), complex))
    assert jnp.isfinite(force(given, nothing)).all()
    assert abs(force(DenseAction(model), nothing)).max() < 1e-14  # φ -> −φ
    equal = one_site(num_components)  # a = 0 at φ = 0: both bands at one potential
    assert jnp.isfinite(force(DenseAction(equal), jnp.zeros(equal.space.shape))).all()


def test_hyperbolic_functions_to_the_last_digits():
    s = jnp.array([0.0, 1e-12, 1e-4, 0.3, 0.499999, 0.5, 0.500001, 2.0, 30.0])
    wide = np.asarray(s).astype(np.longdouble)
    root = np.sqrt(wide)
    sinhc = np.where(root == 0, 1, np.sinh(root) / np.where(root == 0, 1, root))
    np.testing.assert_allclose(cosh_root(s), np.cosh(root).astype(float), rtol=4e-16)
    np.testing.assert_allclose(sinhc_root(s), sinhc.astype(float), rtol=4e-16)
    np.testing.assert_allclose(jax.vmap(jax.grad(cosh_root))(s), sinhc_root(s) / 2, rtol=1e-15)
    safe = np.where(wide == 0, 1, wide)
    slope = np.where(wide < 1e-3, 1 / 6 + wide / 60, (np.cosh(root) - sinhc) / (2 * safe))
    np.testing.assert_allclose(jax.vmap(jax.grad(sinhc_root))(s), slope.astype(float), rtol=1e-10)
    assert not jnp.isfinite(jax.grad(lambda x: jnp.cosh(jnp.sqrt(x)))(0.0))  # twin


def test_an_xy_field_on_an_axis_is_an_ising_field():
    ising, xy = two_sites(1), two_sites(2)
    x = field(ising)
    flat = jnp.concatenate([x, 0 * x])
    turned = jnp.concatenate([0.6 * x, 0.8 * x])
    expected = value(DenseAction(ising), x)
    for same in (flat, turned):
        np.testing.assert_allclose(value(DenseAction(xy), same), expected, atol=1e-12)


# ----------------------------------------------------------------------------- pseudofermions


def test_pseudofermion_energy_starts_at_the_norm_of_its_noise():
    """Φ = M†R, so S_pf = |R|², and over draws ⟨|R|²⟩ is the number of components."""
    model = two_sites(2)
    action, x = PseudofermionAction(model, 2), field(model)

    @jax.vmap
    def energy(key):
        return action.given(action.refresh(x, key=key))(x) - BosonAction(model)(x)

    found = jax.jit(energy)(jax.random.split(jax.random.key(0), 2000))
    rows = 2 * 2 * 2
    assert abs(found.mean() - rows) < 4 * np.sqrt(rows / 2000)


def test_mean_pseudofermion_force_is_the_dense_force():
    for num_components in (1, 2):
        model = two_sites(num_components)
        action, x = PseudofermionAction(model, 2), field(model, 5)
        keys = jax.random.split(jax.random.key(1), 10_000)

        @jax.vmap
        def forces_of(key, action=action, x=x):
            return jax.grad(action.given(action.refresh(x, key=key)))(x)

        forces = np.asarray(jax.jit(forces_of)(keys))
        dense = np.asarray(force(DenseAction(model), x))
        sigma = forces.std(0) / 100
        assert (np.abs(forces.mean(0) - dense) < 4.2 * sigma).all()
        # Twin: real pseudofermions, the force of one spin of two.
        half = 0.5 * (forces.mean(0) + np.asarray(force(BosonAction(model), x)))
        assert np.abs((half - dense) / sigma).max() > 8


def test_pseudofermion_force_by_differences():
    model = two_sites(2)
    action, x = PseudofermionAction(model, 2), field(model, 2)
    energy = action.given(jax.jit(lambda key: action.refresh(x, key=key))(jax.random.key(0)))
    y = np.asarray(field(model, 7))  # not where Φ was drawn
    steps = 1e-5 * np.eye(x.size).reshape(x.size, *x.shape)
    difference = (values(energy, y + steps) - values(energy, y - steps)) / 2e-5
    np.testing.assert_allclose(np.ravel(force(energy, y)), difference, rtol=1e-6, atol=1e-6)


def test_flavours_multiply_the_determinant():
    one = two_sites(2)
    two = SpinFermion(
        (2, 1), 3, num_flavours=2, dtau=0.3, velocity=1.5, quartic=0.7,
        coupling=one.coupling, mass=one.mass, potential=one.potential,
    )  # fmt: skip
    x = field(one)
    gain = value(DenseAction(one), x) - value(DenseAction(two), x)
    np.testing.assert_allclose(gain, jitted_log_det(one, x), rtol=1e-12)
    refresh = PseudofermionAction(two).refresh
    assert jax.eval_shape(lambda k: refresh(x, key=k), jax.random.key(0)).shape == (2, 4)


# ------------------------------------------------------------------------------------ disorder


def test_a_sample_does_not_depend_on_how_many_there_are():
    model, law = SpinFermion((3, 2), 4), GaussianDisorder(0.5, 2.0, potential=0.3, mass=0.1)
    few, many = (disorder_samples(law, model, n, key=jax.random.key(3)) for n in (2, 5))
    for a, b in zip(few.disorder, many.disorder, strict=True):
        np.testing.assert_array_equal(a, b[:2])
    colder = disorder_samples(law, SpinFermion((3, 2), 40), 2, key=jax.random.key(3))
    np.testing.assert_array_equal(colder.coupling, few.coupling)
    assert not np.array_equal(many.coupling[0], many.coupling[1])


def test_moments_of_the_disorder():
    law = GaussianDisorder(0.5, 2.0, potential=0.3, mass=0.1)
    many = disorder_samples(law, SpinFermion((4, 4), 2), 2000, key=jax.random.key(0))
    for leaf, mean, width in zip(many.disorder, (0.5, 0.0, 1.0), (2.0, 0.3, 0.1), strict=True):
        leaf = np.asarray(leaf).reshape(2000, -1)[:, :16].ravel()
        assert abs(leaf.mean() - mean) < 4.5 * width / np.sqrt(leaf.size)
        assert abs(leaf.std() - width) < 4.5 * width / np.sqrt(2 * leaf.size)
    np.testing.assert_array_equal(many.potential[:, 0], many.potential[:, 1])


def test_a_stack_is_its_samples():
    stack = disorder_samples(GaussianDisorder(), SpinFermion((2, 2), 5), 4, key=jax.random.key(1))
    x = field(stack)
    axes = jax.tree.map(lambda _: None, stack)
    axes = eqx.tree_at(lambda m: m.disorder, axes, (0, 0, 0), is_leaf=lambda n: n is None)
    one = eqx.filter_vmap(lambda m: DenseAction(m)(x), in_axes=(axes,))
    together = eqx.filter_jit(one)(stack)
    for s, found in enumerate(together):
        sample = stack.with_disorder(jax.tree.map(lambda a, s=s: a[s], stack.disorder))
        np.testing.assert_allclose(value(DenseAction(sample), x), found, rtol=1e-13)


# ----------------------------------------------------------------------------------- bad input


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: SpinFermion((2, 2), 4, num_components=3), "not built yet"),
        (lambda: SpinFermion((2, 2), 4, coupling=jnp.ones(3)), r"\(3,\), expected \(2, 2\)"),
        (lambda: SpinFermion((4,), 4), "expected 2 positive extents"),
        (lambda: SpinFermion((2, 2), 0), "num_slices"),
        (lambda: SpinFermion((2, 2), 4, quartic=-1.0), "quartic is -1.0, expected a number >= 0"),
        (lambda: SpinFermion((2, 2), 4, dtau=0.0), "dtau is 0.0, expected a positive number"),
        (lambda: SpinFermion((2, 2), 4, dtau=9.0), "reduce dtau"),
        (lambda: SpinFermion((2, 2), 4, quartic=0.0, mass=-0.5), "lowest eigenvalue .* is -0.5"),
        (lambda: DenseAction(SpinFermion((2, 2), 100, dtau=0.5), 50), "Write cluster="),
        (lambda: DenseAction(SpinFermion((2, 2), 4), 0), "cluster is 0"),
        (lambda: DenseAction(SpinFermion((16, 16), 200)), "rows .*GB"),
        (lambda: PseudofermionAction(SpinFermion((16, 16), 200)), "rows .*GB"),
        (lambda: GaussianDisorder(g_prime=-1.0), "g_prime"),
        (lambda: disorder_samples(GaussianDisorder(), SpinFermion((2, 2), 4), 0, key=None), "num"),
        (lambda: one_site_transfer(SpinFermion((1, 1), 3)), "even number"),
        (lambda: one_site_transfer(one_site(2), field=0.1), "num_components=1"),
    ],
)
def test_bad_input_is_named(make, words):
    with pytest.raises(InputError, match=words):
        make()
