"""Jump processes: rates and weights on enumerable spaces, exact on coarse grids, broken twins."""

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.linalg

from pushforward import simulate
from pushforward._errors import InputError
from pushforward._tree import scalar
from pushforward.dynamics import EventDriven, Jump, Langevin, TauLeaping, march, rate
from pushforward.dynamics.base import failure_of
from pushforward.estimators import Systematic
from pushforward.networks import DriftAndFreeEnergy, FreeEnergy, LocallyEquivariantConv, Zero
from pushforward.objectives import Continuity, ContinuityVariance
from pushforward.paths import Annealing, ParameterPath, uniform_times
from pushforward.sources import WeightedPoint
from pushforward.spaces import Spins, all_states
from pushforward.targets import (
    Energy,
    FiniteEnergy,
    Ising,
    Normal,
    Uniform,
    neighbour_sum,
)
from pushforward.targets.exact import enumerate_states

COUPLING, LOG_Z, M = 0.4407, 9.020404913671548, 0.8710872475034687  # 3 x 3, by enumeration
TIMES = uniform_times(10)


class MeanField(eqx.Module):
    """G_i = −s x_i Σ_nn x."""

    strength: jax.Array

    def __call__(self, t, x, differences):
        return -self.strength * x * neighbour_sum(x)


def cooling(energy):
    return Annealing(Uniform(energy.space), energy)


def mean_field(method=None, delta=1.0):
    path = cooling(Ising((3, 3), COUPLING))
    return Jump(path, MeanField(scalar(0.5)), delta, EventDriven() if method is None else method)


def random_net():
    """Return a small network with random numbers everywhere."""
    net = eqx.filter_jit(LocallyEquivariantConv)((3, 3), channels=2, width=6, key=jax.random.key(1))
    rng = np.random.default_rng(2)

    def fresh(leaf):
        if not eqx.is_inexact_array(leaf):
            return leaf
        return jnp.asarray(rng.normal(size=leaf.shape) / np.sqrt(max(leaf.shape[-1], 2)))

    return jax.tree.map(fresh, net)


def z_score(measured, exact):
    return (float(measured.value) - exact) / float(measured.error)


# ------------------------------------------------------------------ rates on all 512 states


@pytest.fixture(scope="module")
def everything():
    """Return U, moves, rates matrices (delta 0 and 1) and K of a random network at t = .37."""
    jump = Jump(cooling(Ising((3, 3), COUPLING, 0.2)), random_net(), 0.0)
    states = all_states(jump.space)

    @eqx.filter_jit
    def look(jump, states):
        t = jnp.asarray(0.37)
        moves = jax.vmap(lambda x: jump.moves(t, x))(states)
        return jax.vmap(jump.path.at(t))(states), moves, jax.vmap(lambda m: m.balance)(moves)

    result = {}
    for delta in (0.0, 1.0):
        here = eqx.tree_at(lambda j: j.delta, jump, scalar(delta))
        result[delta] = jax.tree.map(np.asarray, look(here, states))
    return result


def rate_matrix(entries):
    """Return the matrix with Q[x, x with site k flipped] = entries[x, k]."""
    num, sites = entries.reshape(512, -1).shape
    matrix = np.zeros((num, num))
    for k in range(sites):
        matrix[np.arange(num), np.arange(num) ^ (1 << k)] = entries.reshape(num, -1)[:, k]
    return matrix


@pytest.mark.parametrize("delta", [0.0, 1.0])
def test_feynman_kac_holds_at_every_state(everything, delta):
    """Σ_y Q(y→x) ρ(y) − ρ(x) Σ_y Q(x→y) = K(x) ρ(x); the reversed rates are Q(y→x) ρ(y)/ρ(x)."""
    energy, moves, balance = everything[delta]
    rho = np.exp(-energy) / np.exp(-energy).sum()
    q = rate_matrix(moves.out)
    assert np.abs(q.T @ rho - rho * q.sum(1) - balance * rho).max() < 1e-12 * rho.max()
    np.testing.assert_allclose(rate_matrix(moves.back) * rho[:, None], q.T * rho, atol=1e-15)
    assert np.abs(balance).max() > 0.1
    np.testing.assert_allclose(balance, everything[0.0][2], rtol=0, atol=0)
    # twin: the ratio upside down
    wrong = np.maximum(-moves.one_way, 0) * np.exp(moves.differences) - np.maximum(moves.one_way, 0)
    wrong = wrong.reshape(512, -1).sum(1)
    assert np.abs(q.T @ rho - rho * q.sum(1) - wrong * rho).max() > 1e-3 * rho.max()


def test_the_weighted_semigroup_leaves_the_law_where_it_is(everything):
    energy, moves, balance = everything[1.0]
    rho = np.exp(-energy) / np.exp(-energy).sum()
    q = rate_matrix(moves.out)
    generator = q.T - np.diag(q.sum(1) + balance)
    assert np.abs(scipy.linalg.expm(0.3 * generator) @ rho / rho - 1).max() < 1e-10
    unweighted = q.T - np.diag(q.sum(1))
    assert np.abs(scipy.linalg.expm(0.3 * unweighted) @ rho / rho - 1).max() > 1e-2


# ------------------------------------------------------------------ the exact rates of a product

FIELD = np.array([0.3, -1.2, 2.0, 0.05, -0.7])


class ProductRates(eqx.Module):
    """G_i = −2 h_i P_i(t) x_i, P_i = 1/(1 + e^{−2t|h_i|}): transports ρ_t ∝ e^{t Σ h_i x_i}."""

    field: jax.Array

    def __call__(self, t, x, differences):
        return -2 * self.field * jax.nn.sigmoid(2 * t * jnp.abs(self.field)) * x


def in_field(strength):
    return Ising(5, 0.0, strength * jnp.asarray(FIELD))


def product(sign=1.0):
    path = ParameterPath(in_field, lambda t: t, Uniform(Spins(5)))
    return Jump(path, ProductRates(sign * jnp.asarray(FIELD)), 0.0)


def product_free_energy(t):
    return -jnp.sum(jnp.log(jnp.cosh(t * jnp.asarray(FIELD))))


def process(kernel, model):
    return eqx.tree_at(lambda k: k.rates, kernel, model.drift)


def test_production_is_constant_at_the_exact_rates():
    kernel, states = product(), all_states(Spins(5))
    objective = Continuity(eqx.Partial(process, kernel))
    variance = ContinuityVariance(eqx.Partial(process, kernel))
    model = DriftAndFreeEnergy(kernel.rates, product_free_energy)

    @eqx.filter_jit
    def look(model, t):
        rates = jax.vmap(lambda x: kernel.log_weight_rate(t, x))(states)
        points = jax.vmap(lambda x: WeightedPoint(t, x, 0.0))(states)
        key = jax.random.key(0)
        losses = jax.vmap(lambda p: objective(model, p, key=key)[0])(points)
        group = WeightedPoint(t, states, jnp.zeros(32))
        return rates, losses, variance(model, group, key=key)[0]

    for t in (0.0, 0.37, 1.0):
        rates, losses, spread = look(model, jnp.asarray(t))
        exact = np.sum(FIELD * np.tanh(t * FIELD))
        assert np.abs(rates - exact).max() < 1e-12
        assert losses.max() < 1e-20
        assert spread < 1e-20
    broken = DriftAndFreeEnergy(product(-1.0).rates, product_free_energy)
    assert look(broken, jnp.asarray(0.37))[1].min() > 1e-3


def test_exact_rates_give_constant_weights():
    samples = simulate(product(), 400, times=uniform_times(400), key=jax.random.key(0))
    assert samples.ess > 0.999
    assert abs(z_score(samples.log_z, 2.19155219774994)) < 4.5
    broken = simulate(product(-1.0), 400, times=uniform_times(400), key=jax.random.key(0))
    assert broken.ess < 0.5


# ------------------------------------------------------------------ exactness on coarse grids


@pytest.fixture(scope="module")
def coarse():
    """Return 40,000 walkers over ten intervals."""
    return simulate(mean_field(), 40_000, times=TIMES, key=jax.random.key(1))


def magnetisation(x):
    return jnp.abs(jnp.mean(x))


def test_ten_intervals_are_exact(coarse):
    assert abs(z_score(coarse.log_z, LOG_Z)) < 4.5
    assert abs(z_score(coarse.mean(magnetisation), M)) < 4.5
    assert 0.4 < coarse.ess < 0.55
    # every prefix is a sampler at coupling tβ
    for n in (3, 7):
        t, ess = float(TIMES[n]), coarse.record["ess"][n]
        error = np.sqrt((1 / ess - 1) / 40_000)
        exact = enumerate_states(Ising((3, 3), t * COUPLING)).log_z - (1 - t) * 9 * np.log(2)
        assert abs(coarse.record["log_z"][n] - exact) < 4.5 * error


def test_twin_continuous_time_is_biased_and_does_not_show_it():
    leaps = mean_field(TauLeaping())
    samples = simulate(leaps, 10_000, times=TIMES, key=jax.random.key(1))
    assert z_score(samples.log_z, LOG_Z) < -15
    assert -0.5 < samples.log_z.value - LOG_Z < -0.2
    assert samples.ess > 0.35


def test_down_the_grid_the_reversed_chain_runs():
    """From exact draws at t = 1 back to the base: E e^A = Z_0/Z_1."""
    law = enumerate_states(Ising((3, 3), COUPLING))
    pick = np.random.default_rng(0).choice(512, 10_000, p=law.probability)
    start, down = all_states(Spins((3, 3)))[pick], TIMES[::-1]
    samples = simulate(mean_field().reversed(), start, times=down, key=jax.random.key(2))
    assert abs(z_score(samples.log_z, -LOG_Z)) < 4.5
    assert samples.ess > 0.2
    # twin: the exact draws are wrong, all up
    ordered = simulate(
        mean_field().reversed(), jnp.ones_like(start), times=down, key=jax.random.key(2)
    )
    assert abs(z_score(ordered.log_z, -LOG_Z)) > 10


@pytest.mark.slow
def test_resampled_populations_keep_log_z():
    samples = simulate(
        mean_field(), 8_000, times=TIMES, resample=Systematic(0.8), populations=8,
        key=jax.random.key(3),
    )  # fmt: skip
    assert samples.record["resampled"].sum() > 0
    assert abs(z_score(samples.log_z, LOG_Z)) < 4.5


@pytest.mark.slow
def test_an_asymmetric_target_with_random_rates():
    energy = Ising((3, 3), 0.3, 0.2)
    jump = Jump(cooling(energy), jax.tree.map(_halved, random_net()), 0.5)
    samples = simulate(jump, 20_000, times=uniform_times(7), key=jax.random.key(4))
    law = enumerate_states(energy)
    assert abs(z_score(samples.log_z, law.log_z)) < 4.5
    mean = samples.mean(lambda x: jnp.mean(x))
    assert abs(z_score(mean, float(law.mean(lambda x: jnp.mean(x))))) < 4.5
    assert samples.info["jumps"] > 0


def _halved(leaf):
    return 0.6 * leaf if eqx.is_inexact_array(leaf) else leaf


# ------------------------------------------------------------------ the same in 25 lines of NumPy


def gillespie(x, times, strength, delta, draws):
    """Return x and A after EventDriven in plain NumPy: energies frozen, weights of every stay."""

    def energy(x, t):
        bonds = np.sum(x * (np.roll(x, 1, 0) + np.roll(x, 1, 1)))
        return (1 - t) * 9 * np.log(2) - t * COUPLING * bonds

    weight, count = 0.0, 0
    for i, (t, t_next) in enumerate(zip(times[:-1], times[1:], strict=True)):
        s, left, k = 0.5 * (t + t_next), t_next - t, 0
        weight += energy(x, t) - energy(x, s)
        while True:
            near = sum(np.roll(x, w, a) for w in (1, -1) for a in (0, 1))
            g = -strength * x * near
            change = 2 * s * COUPLING * x * near
            stay = np.sum(np.maximum(-g, 0) * np.exp(-change) - np.maximum(g, 0))
            rates = (np.maximum(g, 0) + delta / (1 + np.exp(change))).ravel()
            exponential, uniform = draws(i, k, count)
            k, count = k + 1, count + 1
            wait = exponential / rates.sum()
            weight -= min(wait, left) * stay
            if wait >= left:
                break
            left -= wait
            site = np.argmax(np.cumsum(rates) >= (1 - uniform) * rates.sum())
            x = x.copy()
            x.flat[site] *= -1
        weight += energy(x, s) - energy(x, t_next)
    return x, weight


def two_draws(key):
    wait, move = jax.random.fold_in(key, 0), jax.random.fold_in(key, 1)
    return float(jax.random.exponential(wait, ())), float(jax.random.uniform(move, ()))


@pytest.mark.parametrize(("strength", "delta"), [(0.0, 3.0), (0.5, 2.0)])
def test_it_is_the_plain_algorithm(strength, delta):
    rates = Zero() if strength == 0 else MeanField(scalar(strength))
    jump = Jump(cooling(Ising((3, 3), COUPLING)), rates, delta)
    times = uniform_times(4)

    @eqx.filter_jit
    def ours(jump, x, key):
        state = jump.init(x, times[0], key=key)
        stepped, _ = march(jump, state, times, key=key)
        whole, info = jump.advance(state, times, 200, key=key)
        part, _ = jump.advance(state, times, 7, key=key)
        rest, _ = jump.advance(part, times, 193, key=key)
        return stepped, whole, rest, info

    for seed in range(3):
        key = jax.random.key(seed)
        x = np.random.default_rng(seed).choice([-1.0, 1.0], (3, 3))
        stepped, whole, rest, info = ours(jump, jnp.asarray(x), key)

        def in_steps(i, k, count, key=key):
            return two_draws(jax.random.fold_in(jax.random.fold_in(key, i), k))

        def in_one_go(i, k, count, key=key):
            return two_draws(jax.random.fold_in(key, count))

        for state, draws in ((stepped, in_steps), (whole, in_one_go)):
            y, weight = gillespie(x, np.asarray(times), strength, delta, draws)
            np.testing.assert_array_equal(state.x, y)
            assert abs(state.log_weight.value - weight) < 1e-12
        assert info.arrived
        assert not info.failed
        assert eqx.tree_equal(whole, rest)


def test_lanes_of_advance_are_exact_and_wait_for_no_interval():
    jump = mean_field(delta=4.0)

    @eqx.filter_jit
    def run(jump, keys):
        def lane(key):
            x = jump.path.base.sample(key=jax.random.fold_in(key, 0))
            state = jump.init(x, TIMES[0], key=key)
            return jump.advance(state, TIMES, 110, key=jax.random.fold_in(key, 1))

        return jax.vmap(lane)(keys)

    state, info = run(jump, jax.random.split(jax.random.key(5), 4000))
    assert info.arrived.all()
    weights = np.exp(np.asarray(state.log_weight.value) - LOG_Z)
    assert abs(weights.mean() - 1) < 4.5 * weights.std() / np.sqrt(4000)
    assert state.memory.events.max() - state.memory.events.min() > 15


# ------------------------------------------------------------------ training


def test_gradient_of_the_loss_is_the_derivative():
    """Away from G = 0, where the positive part has a kink."""
    kernel = Jump(cooling(Ising((3, 3), COUPLING)))
    free = eqx.filter_jit(FreeEnergy)(8, 1, 2, key=jax.random.key(3))
    params, static = eqx.partition(DriftAndFreeEnergy(random_net(), free), eqx.is_inexact_array)
    objective = Continuity(eqx.Partial(process, kernel), clip=1e9)
    x = jnp.asarray(np.random.default_rng(1).choice([-1.0, 1.0], (3, 3)))
    point = WeightedPoint(jnp.asarray(0.6), x, jnp.asarray(0.0))

    @jax.jit
    def loss(params):
        return objective(eqx.combine(params, static), point, key=jax.random.key(0))[0]

    gradient, rng = jax.jit(jax.grad(loss))(params), np.random.default_rng(4)
    for _ in range(3):
        way = jax.tree.map(lambda a: jnp.asarray(rng.normal(size=a.shape)), params)
        steps = [jax.tree.map(lambda a, b, s=s: a + s * 1e-6 * b, params, way) for s in (1, -1)]
        difference = float(loss(steps[0]) - loss(steps[1])) / 2e-6
        pairs = zip(jax.tree.leaves(gradient), jax.tree.leaves(way), strict=True)
        slope = sum(float(jnp.vdot(a, b)) for a, b in pairs)
        assert abs(slope - difference) < 1e-6 * (1 + abs(slope))


def test_a_network_that_starts_at_zero_learns(monkeypatch):
    """max(G, 0) has slope ½ at 0; with relu, whose slope is 0, the gradient vanishes: the twin."""
    kernel = Jump(cooling(Ising((3, 3), COUPLING)))
    net = eqx.filter_jit(LocallyEquivariantConv)((3, 3), channels=2, width=6, key=jax.random.key(1))
    objective = Continuity(eqx.Partial(process, kernel))
    x = jnp.asarray(np.random.default_rng(1).choice([-1.0, 1.0], (3, 3)))
    point = WeightedPoint(jnp.asarray(0.6), x, jnp.asarray(0.0))

    def slope():
        @eqx.filter_jit
        @eqx.filter_grad
        def gradient(net):
            model = DriftAndFreeEnergy(net, lambda t: 0.0 * t)
            return objective(model, point, key=jax.random.key(0))[0]

        return np.abs(gradient(net).readout.layers[-1].weight).max()

    assert slope() > 1e-3

    def relu(a, b):
        return jnp.where(a > b, a, b)

    monkeypatch.setattr(rate.jnp, "maximum", relu)
    assert slope() == 0


def test_one_trace_for_all_numbers():
    traces = []

    class Counting(eqx.Module):
        strength: jax.Array

        def __call__(self, t, x, differences):
            traces.append(1)
            return -self.strength * x * neighbour_sum(x)

    @eqx.filter_jit
    def moved(jump, x, t, key):
        state = jump.init(x, t, key=key)
        return jump.step(state, t, t + 0.1, key=key), jump.log_weight_rate(t, x)

    def jump(strength, beta, delta):
        return Jump(cooling(Ising((3, 3), beta)), Counting(scalar(strength)), delta)

    x, key = jnp.ones((3, 3)), jax.random.key(0)
    moved(jump(0.5, 0.4, 1.0), x, jnp.asarray(0.1), key)
    first = len(traces)
    moved(jump(0.2, 0.3, 7.0), -x, jnp.asarray(0.4), key)
    assert len(traces) == first


# ------------------------------------------------------------------ what is refused


@pytest.mark.parametrize(
    ("make", "match"),
    [
        (lambda: mean_field(delta=-1.0), "delta"),
        (lambda: Jump(Annealing(Normal(2), Normal(2, 1.0))), "Langevin"),
        (lambda: EventDriven(max_events=0), "max_events"),
        (lambda: mean_field(TauLeaping()).reversed(), "no exact reversal"),
        (lambda: _advanced(mean_field(TauLeaping())), "no events"),
        (lambda: _moved(Jump(cooling(Energy(jnp.sum, Spins((3, 3)))))), "FiniteEnergy"),
        (lambda: _moved(Langevin(cooling(Ising((3, 3), 0.1)))), "no gradients"),
    ],
)
def test_bad_input(make, match):
    with pytest.raises(InputError, match=match):
        make()


def _advanced(jump):
    jump.advance(None, TIMES, 3, key=jax.random.key(0))


def _moved(kernel):
    x, key = jnp.ones((3, 3)), jax.random.key(0)
    state = kernel.init(x, scalar(0.1), key=key)
    if isinstance(kernel, Jump):
        kernel.moves(scalar(0.1), x)
    kernel.step(state, scalar(0.1), scalar(0.2), key=key)


def failed_step(jump):
    """Return the info of a step that failed and its sentence."""

    @eqx.filter_jit
    def step(jump, x, key):
        start = jump.init(x, scalar(0.0), key=key)
        return jump.step(start, scalar(0.0), scalar(1.0), key=key)[1]

    info = step(jump, jnp.ones(jump.space.shape), jax.random.key(0))
    assert info.failed
    return info, failure_of(jump, info)


def test_too_many_events_fail_with_a_sentence():
    info, sentence = failed_step(mean_field(EventDriven(max_events=3), delta=200.0))
    assert info.passes == 3
    assert not info.overflow
    assert "did not reach its end" in sentence


def test_a_ratio_that_overflows_fails_with_a_sentence():
    steep = FiniteEnergy(lambda x: 90.0 * jnp.sum(x), Spins(3))
    info, sentence = failed_step(Jump(cooling(steep), lambda t, x, differences: -x, 0.0))
    assert info.overflow
    assert "1e30" in sentence
