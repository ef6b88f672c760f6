"""Groups: one normalisation, exponentials against SciPy, Haar moments with a twin that fails.

Fields carry sites of two different extents, so that a scrambled reshape shows.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.linalg import expm

from pushforward._errors import InputError
from pushforward.spaces import SU2, SUN, U1, gell_mann, wrap

MATRICES = {"SU2": SU2(), "SUN 2": SUN(2), "SUN 3": SUN(3), "SUN 4": SUN(4)}
SITES = (5, 3)
matrices = pytest.mark.parametrize("name", MATRICES)
closed_and_generic = pytest.mark.parametrize("name", ["SU2", "SUN 3"])


def last(a):
    """Return matrices with their axes last, as NumPy has them."""
    return np.moveaxis(np.asarray(a), (0, 1), (-2, -1))


def first(a):
    return jnp.asarray(np.moveaxis(a, (-2, -1), (0, 1)))


@functools.cache
def elements(name, seed=0):
    """Haar elements and unit noise."""
    group = MATRICES[name]
    u = jax.jit(lambda k: group.haar(SITES, key=k))(jax.random.key(seed))
    return u, jax.jit(lambda k: group.algebra_noise(u, key=k))(jax.random.key(seed + 1))


@pytest.mark.parametrize("n", [2, 3, 4])
def test_basis(n):
    basis = 0.5j * gell_mann(n)
    assert basis.shape == (n * n - 1, n, n)
    np.testing.assert_allclose(basis, -basis.conj().swapaxes(1, 2))
    products = np.einsum("aij,bji->ab", basis, basis)
    np.testing.assert_allclose(products, -0.5 * np.eye(n * n - 1), atol=1e-15)
    pauli = [[[0, 1], [1, 0]], [[0, -1j], [1j, 0]], [[1, 0], [0, -1]]]
    if n == 2:
        np.testing.assert_array_equal(gell_mann(2), pauli)
    # The last one is √(2/(N(N−1))) diag(1, .., 1, 1−N); the first pair is (0, 1).
    np.testing.assert_allclose(
        np.diag(basis[-1]), 0.5j * np.sqrt(2 / (n * (n - 1))) * np.r_[np.ones(n - 1), 1 - n]
    )
    assert basis[0, 0, 1] == 0.5j
    assert basis[1, 0, 1] == 0.5


def _operations(group, u, v, x):
    return {
        "mul": group.mul(u, v),
        "adjoint": group.adjoint(u),
        "one": group.identity(SITES),
        "overlap": group.overlap(u, v),
        "trace": group.re_trace(u),
        "coordinates": group.coordinates(x),
        "round trip": group.algebra(group.coordinates(x)),
        "inner": group.inner(x, x),
    }


@matrices
def test_elements_are_special_unitary_and_the_operations_are_those_of_matrices(name):
    group, (u, x) = MATRICES[name], elements(name)
    v = elements(name, 7)[0]
    eye = np.eye(group.n)
    done = jax.jit(_operations)(group, u, v, x)
    np.testing.assert_allclose(last(u) @ last(u).conj().swapaxes(-1, -2) - eye, 0, atol=1e-14)
    np.testing.assert_allclose(np.linalg.det(last(u)), 1, atol=1e-14)
    np.testing.assert_allclose(last(done["mul"]), last(u) @ last(v), atol=1e-14)
    np.testing.assert_array_equal(last(done["adjoint"]), last(u).conj().swapaxes(-1, -2))
    np.testing.assert_array_equal(last(done["one"]), np.broadcast_to(eye, last(u).shape))
    product = last(u) @ last(v).conj().swapaxes(-1, -2)
    np.testing.assert_allclose(done["overlap"], np.trace(product, 0, -2, -1).real, atol=1e-13)
    np.testing.assert_allclose(done["trace"], np.trace(last(u), 0, -2, -1).real, atol=1e-14)
    np.testing.assert_allclose(done["round trip"], x, atol=1e-14)
    inner = -2 * np.trace(last(x) @ last(x), 0, -2, -1).real.sum()
    np.testing.assert_allclose(done["inner"], inner, rtol=1e-13)
    np.testing.assert_allclose(done["inner"], np.sum(done["coordinates"] ** 2), rtol=1e-13)


@closed_and_generic
def test_projection_to_the_algebra(name):
    """P_TA(M) = −2 Σ_a T_a Re tr(T_a M), for any complex M."""
    group = MATRICES[name]
    rng = np.random.default_rng(0)
    real, imaginary = rng.normal(size=(2, *SITES, group.n, group.n))
    m = real + 1j * imaginary
    basis = group.basis
    weights = np.einsum("aij,xyji->xya", basis, m).real
    expected = -2 * np.einsum("xya,aij->xyij", weights, basis)
    np.testing.assert_allclose(last(group.pta(first(m))), expected, atol=1e-14)


@matrices
def test_exp(name):
    """Against SciPy: small and large elements, zero, degenerate spectra, both signs of det."""
    group, (_, x) = MATRICES[name], elements(name)
    exp = jax.jit(group.exp)
    for scale in (1e-3, 0.3, 1.0, -1.0, 3.0):
        expected = [[expm(a) for a in row] for row in last(scale * x)]
        np.testing.assert_allclose(last(exp(scale * x)), expected, rtol=0, atol=1e-13)
    np.testing.assert_array_equal(exp(0 * x), group.identity(SITES))
    diagonal = 1j * np.r_[np.ones(group.n - 1), 1 - group.n]
    for tilt in (0, 1e-9, 1e-5, 1e-2):
        near = first(np.broadcast_to(np.diag(diagonal), (*SITES, group.n, group.n)) + 0j)
        near = near + tilt * x
        expected = [[expm(a) for a in row] for row in last(near)]
        np.testing.assert_allclose(last(exp(near)), expected, rtol=0, atol=1e-13)


@closed_and_generic
def test_derivatives_of_exp_are_finite_at_zero(name):
    """d/dc_a tr(A e^{c·T}) at c = 0 is tr(A T_a), and the second one tr A {T_a, T_b}/2."""
    group = MATRICES[name]
    a = elements(name)[0][:, :, 0, 0]

    def f(c):
        return group.overlap(group.exp(group.algebra(c[:, None])), a[..., None])[0]

    zero = jnp.zeros(group.dim)
    adjoint, basis = np.asarray(a).conj().T, group.basis
    first_order, second_order = jax.jit(lambda c: (jax.grad(f)(c), jax.hessian(f)(c)))(zero)
    np.testing.assert_allclose(first_order, np.einsum("ij,aji->a", adjoint, basis).real, atol=1e-14)
    product = np.einsum("aij,bjk->abik", basis, basis)
    second = np.einsum("ij,abji->ab", adjoint, 0.5 * (product + product.swapaxes(0, 1))).real
    np.testing.assert_allclose(second_order, second, atol=1e-13)


def test_log_of_su2():
    group, (u, x) = SU2(), elements("SU2")
    log, exp = jax.jit(group.log), jax.jit(group.exp)
    np.testing.assert_allclose(exp(log(u)), u, rtol=0, atol=1e-14)
    small = 0.3 * x
    np.testing.assert_allclose(log(exp(small)), small, rtol=0, atol=1e-13)
    np.testing.assert_allclose(log(exp(1e-9 * x)), 1e-9 * x, rtol=1e-12, atol=0)
    cut = log(-group.identity(SITES))
    np.testing.assert_allclose(
        last(cut), np.broadcast_to(1j * np.pi * np.diag([1, -1]), last(x).shape)
    )


@closed_and_generic
def test_project_repairs_rounding(name):
    group, (u, x) = MATRICES[name], elements(name)
    project = jax.jit(group.project)
    np.testing.assert_allclose(project(u), u, rtol=0, atol=1e-14)
    repaired = last(project(u + 1e-3 * jnp.conj(x) * u))
    off = repaired @ repaired.conj().swapaxes(-1, -2) - np.eye(group.n)
    np.testing.assert_allclose(off, 0, atol=1e-13)
    np.testing.assert_allclose(np.linalg.det(repaired), 1, atol=1e-13)


@closed_and_generic
def test_left_gradient(name):
    """Σ_a T_a ∂_a f by the definition d/ds f(e^{s T_a} U), for a real function of all entries."""
    group, (u, _) = MATRICES[name], elements(name)
    rng = np.random.default_rng(1)
    weight = jnp.asarray(rng.normal(size=u.shape))

    def f(u):
        return jnp.sum(weight * u.real * jnp.roll(u.imag, 1, 2) + jnp.sin(u.imag))

    @jax.jit
    def both(u, c):
        gradient = group.coordinates(group.left_gradient(u, jax.grad(f)(u)))
        return gradient, jax.grad(lambda c: f(group.mul(group.exp(group.algebra(c)), u)))(c)

    gradient, expected = both(u, jnp.zeros((group.dim, *SITES)))
    np.testing.assert_allclose(gradient, expected, rtol=0, atol=1e-12)


def moments(u):
    """Return means and errors of tr U, |tr U|², |tr U|⁴, (tr U)³ and their exact values."""
    trace = np.trace(last(u), 0, -2, -1)
    n = u.shape[0]
    values = {
        "tr": (trace, 0),
        "|tr|²": (np.abs(trace) ** 2, 1),
        "|tr|⁴": (np.abs(trace) ** 4, 2),
        "tr²": (trace**2, 1.0 if n == 2 else 0.0),
        "tr³": (trace**3, 1.0 if n == 3 else 0.0),
    }
    return {
        k: abs(v.mean() - exact) / (v.std() / np.sqrt(v.size)) for k, (v, exact) in values.items()
    }


@closed_and_generic
def test_haar_moments(name):
    group = MATRICES[name]
    u = jax.jit(lambda k: group.haar((100_000,), key=k))(jax.random.key(3))
    assert max(moments(u).values()) < 5
    # Left multiplication changes nothing.
    rotated = last(elements(name)[0])[0, 0] @ last(u)
    assert max(moments(first(rotated)).values()) < 5


def test_haar_twin_without_the_phases_of_r():
    """QR alone is not Haar: ⟨|tr U|²⟩ = 1.617 and ⟨(tr U)³⟩ = 2.11 for SU(3)."""
    rng = np.random.default_rng(4)
    g = rng.normal(size=(20_000, 3, 3)) + 1j * rng.normal(size=(20_000, 3, 3))
    q = np.linalg.qr(g)[0]
    q = q / (np.linalg.det(q) ** (1 / 3))[:, None, None]
    scores = moments(first(q))
    assert min(scores["tr"], scores["|tr|²"], scores["tr³"]) > 20


@closed_and_generic
def test_noise_has_unit_variance_in_every_coordinate(name):
    group = MATRICES[name]
    like = jnp.zeros((group.n, group.n, 20_000), complex)
    noise = jax.jit(lambda k: group.coordinates(group.algebra_noise(like, key=k)))
    c = np.asarray(noise(jax.random.key(5)))
    covariance = c @ c.T / 20_000
    assert np.abs(covariance - np.eye(group.dim)).max() < 5 * np.sqrt(2 / 20_000)


def test_u1():
    group, angle = U1(), jnp.array([3.0, -3.5, np.pi, -np.pi, 0.1, 20.0])
    wrapped = np.asarray(wrap(angle))
    np.testing.assert_allclose(np.exp(1j * wrapped), np.exp(1j * np.asarray(angle)), atol=1e-14)
    assert np.all((wrapped >= -np.pi) & (wrapped < np.pi))
    np.testing.assert_array_equal(wrap(wrapped), wrapped)
    assert wrapped[2] == -np.pi
    draws = group.haar((100_000,), key=jax.random.key(0))
    assert abs(np.mean(np.exp(1j * np.asarray(draws)))) < 5 / np.sqrt(100_000)
    np.testing.assert_allclose(group.re_trace(angle), np.cos(angle))
    np.testing.assert_allclose(
        group.overlap(angle, 2 * angle), group.re_trace(group.mul(angle, group.adjoint(2 * angle)))
    )


def test_single_precision():
    with jax.enable_x64(False):
        for group in (SU2(), SUN(3)):
            u = jax.eval_shape(lambda k, g=group: g.haar((4,), key=k), jax.random.key(0))
            x = jax.eval_shape(
                lambda u, k, g=group: g.algebra_noise(u, key=k), u, jax.random.key(1)
            )
            of = [group.exp, group.project, lambda x, g=group: g.algebra(g.coordinates(x))]
            for a in (u, x, *(jax.eval_shape(f, x) for f in of)):
                assert a.dtype == jnp.complex64
            assert jax.eval_shape(group.re_trace, u).dtype == jnp.float32


def test_bad_n():
    with pytest.raises(InputError, match="U1"):
        SUN(1)
