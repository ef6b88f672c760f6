"""What the figures show is what the arrays say."""

import subprocess
import sys

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.text import Text

from pushforward import report
from pushforward.report import clouds

NAMES = [
    "samples",
    "particles",
    "mode-weights",
    "along-time",
    "log-weights",
    "ess-against-noise",
    "evaluation",
    "marginals",
]


def drawn_of_chains():
    """Draw every function for chains, ladders and lattices."""
    rng = np.random.default_rng(0)
    charges = {"β = 2": rng.integers(-3, 4, (4, 300))}
    curve, grid = {"HMC": (0.8 ** np.arange(40), 12, 4.5)}, np.linspace(0, 1, 11)
    spins = [(t, np.sign(rng.normal(size=(4, 8, 8)))) for t in (0.0, 1.0)]
    return {
        "chain_histories": report.chain_histories(charges),
        "charge_histogram": report.charge_histogram(charges, {"β = 2": np.full(7, 1 / 7)}),
        "autocorrelation_functions": report.autocorrelation_functions(curve),
        "against_exact": report.against_exact([("plaquette", 0.7, 0.01, 0.69)]),
        "swap_rates": report.swap_rates(
            {"plain": [0.1, 0.2], "flow": ([0.3, 0.4], [0.01, 0.02])},
            {"plain": [0.1, 0.2], "flow": [0.3, 0.4]},
            ["a", "b"],
        ),
        "work_histograms": report.work_histograms(
            {"flow": (rng.normal(1, 1, 500), rng.normal(1, 1, 500))}, 0.5
        ),
        "observables_along": report.observables_along(
            {"energy $e$": {"trained": (grid, -grid)}}, {"energy $e$": (grid, -grid)}
        ),
        "configurations": report.configurations({"trained": spins}),
    }


OF_CHAINS = drawn_of_chains()


def line(axis, label):
    return next(one for one in axis.get_lines() if one.get_label() == label)


@pytest.mark.parametrize("name", [*NAMES, *OF_CHAINS])
def test_every_figure_is_fit_for_a_page(figures, name):
    figure = (figures | OF_CHAINS)[name]
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    assert min(t.get_fontsize() for t in texts) >= 9
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.pushforward_title
    assert figure.pushforward_caption.endswith(".")
    assert figure.get_figwidth() * 96 <= 1000, "at its natural size on a page of 1100 px"
    assert all(
        axis.get_xlabel() or axis.get_shared_x_axes() or name == "particles" for axis in figure.axes
    )


def test_the_fixture_draws_every_function():
    drawing = {n for n in dir(report) if callable(getattr(report, n))} - {
        "LiveReport",
        "captioned",
        "format_count",
        "format_seconds",
        "format_value",
        "write_report",
    }
    assert set(OF_CHAINS) <= drawing
    # training_curves: drawn from metrics
    assert len(drawing) == len(NAMES) + len(OF_CHAINS) + 1
    assert "training_curves" in drawing


def test_no_global_state():
    program = (
        "import sys, numpy as np, matplotlib; before = matplotlib.rcParams.copy();"
        "from pushforward import report;"
        "from pushforward.report.pictures import encode;"
        "f = report.weights_histogram({'mine': np.arange(9.0)});"
        "encode(f); assert dict.__eq__(matplotlib.rcParams, before);"
        "assert 'matplotlib.pyplot' not in sys.modules; print('clean')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "clean", done.stderr


def test_the_callers_style_does_not_leak_in():
    from pushforward.report.pictures import encode

    def draw():
        return encode(report.ess_against([1, 2], {"SMC": [0.1, 0.2]}, "x"))[1]

    plain = draw()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rcParams, "font.size", 4)
        patch.setitem(rcParams, "figure.facecolor", "black")
        assert draw() == plain, "and the same figure gives the same bytes"


def test_training_curves():
    rows = [{"step": i, "loss": "nan" if i == 3 else float(i), "other": i} for i in range(1, 6)]
    rows += [{"step": 6}, {"loss": 1.0}, {"step": "x", "loss": 2.0}, {"step": 7, "loss_ema": 5.0}]
    figure = report.training_curves(rows, ("loss",))
    (axis,) = figure.axes
    faint, smooth = axis.get_lines()[:2]
    np.testing.assert_array_equal(faint.get_xdata(), [1, 2, 4, 5])
    np.testing.assert_array_equal(smooth.get_ydata(), [1, 2, 4, 5])
    np.testing.assert_array_equal(line(axis, "EMA").get_ydata(), [5])
    crosses = [one for one in axis.get_lines() if one.get_marker() == "x"]
    assert [list(one.get_xdata()) for one in crosses] == [[3]]
    assert "not finite" in figure.pushforward_caption


def test_running_mean_keeps_lines_and_smooths_noise():
    from pushforward.report.figures import _running_mean

    straight = np.linspace(-3, 5, 1000)
    np.testing.assert_allclose(_running_mean(straight), straight, atol=1e-12)
    noise = np.random.RandomState(0).standard_normal(10_000)
    inner = _running_mean(noise)[200:-200]
    assert inner.std() == pytest.approx(1 / np.sqrt(201), rel=0.2)
    assert _running_mean(np.zeros(0)).size == 0


@pytest.mark.parametrize("name", ["$\\frac{", "a_b^c", "<b>", "漢字", "%d {}"])
def test_metric_names_are_text(name):
    from pushforward.report.pictures import encode

    figure = report.training_curves([{"step": i, name: i} for i in range(3)], (name,))
    assert figure.axes[0].get_ylabel() == name
    assert encode(figure)[0] == "svg"


@pytest.mark.parametrize("rows", [[], [{"step": 1, "loss": 1.0}], [{"step": 1, "loss": "inf"}]])
def test_short_and_broken_metrics_draw(rows):
    from pushforward.report.pictures import encode

    assert encode(report.training_curves(rows))[0] == "svg"


def test_along_time():
    t = np.linspace(0, 1, 5)
    figure = report.along_time({"SMC": (t, 1 - t / 2, -t)}, exact=-0.5)
    left, right = figure.axes
    np.testing.assert_array_equal(line(left, "SMC").get_ydata(), 1 - t / 2)
    np.testing.assert_array_equal(line(right, "SMC").get_ydata(), -t)
    dot = line(right, "exact at $t=1$")
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (1, -0.5)
    assert len(report.along_time({"SMC": (t, t)}).axes) == 1
    curve = report.along_time({"SMC": (t, t)}, {"SMC": (t, t, t)}, exact=(t, -t)).axes[1]
    np.testing.assert_array_equal(line(curve, "exact").get_ydata(), -t)


def test_weights_histogram():
    a = np.log([1.0, 1.0, 2.0, 4.0])
    figure = report.weights_histogram({"SMC": np.append(a, -np.inf)})
    (entry,) = figure.axes[0].get_legend().get_texts()
    assert entry.get_text() == f"SMC, ESS/n = {64 / (5 * 22):.2f}, 1 of weight 0"
    moved = report.weights_histogram({"SMC": np.append(a, -np.inf) - 800})
    assert moved.axes[0].get_legend().get_texts()[0].get_text() == entry.get_text()
    heights = [p.get_data().values for p in figure.axes[0].patches]
    assert heights[0].sum() == pytest.approx(4 / 5), "the share of the walkers that have weight"


@pytest.mark.parametrize(
    "a", [np.zeros(7), np.full(3, -np.inf), np.zeros(0), np.array([0.0, np.nan])]
)
def test_degenerate_weights_draw(a):
    from pushforward.report.pictures import encode

    assert encode(report.weights_histogram({"SMC": a}))[0] == "svg"


def test_mode_histogram():
    p = np.array([0.5, 0.3, 0.2, 0.0])
    figure = report.mode_histogram({"geometric": p}, 0.25, count={"geometric": 100})
    (axis,) = figure.axes
    assert axis.get_title(loc="left") == "geometric: 3 of 4 modes, total variation 0.300"
    bars = [b for b in axis.patches if hasattr(b, "get_height")]
    np.testing.assert_allclose([b.get_height() for b in bars], p)
    segments = next(c for c in axis.collections if hasattr(c, "get_segments")).get_segments()
    half = [(s[1, 1] - s[0, 1]) / 2 for s in segments]
    np.testing.assert_allclose(half, np.sqrt(p * (1 - p) / 100))
    plain = report.mode_histogram({"geometric": p}, np.array([0.5, 0.3, 0.2, 0.0]))
    assert plain.axes[0].get_title(loc="left").endswith("total variation 0.000")
    assert not plain.axes[0].collections


def test_ess_against():
    figure = report.ess_against([0.1, 1, 10], {"SMC": ([0.1, 0.2, 0.3], [0.01] * 3)}, "$N$")
    assert figure.axes[0].get_xscale() == "log"
    assert figure.axes[0].get_xlabel() == "$N$"
    assert figure.axes[0].get_ylim()[0] == 0
    assert report.ess_against([1, 2], {"a": [0, 1]}, "x").axes[0].get_xscale() == "linear"


def test_evaluation_curves():
    figure = report.evaluation_curves(
        np.arange(3), {"a": {"ess": [0, 1, 2], "log_z": [1, 2, 3], "steps": [5, 6, 7]}}, exact=0.5
    )
    np.testing.assert_array_equal(line(figure.axes[0], "a").get_xdata(), [5, 6, 7])
    assert line(figure.axes[1], "exact").get_ydata()[0] == 0.5


def test_marginals():
    x = np.linspace(0, 1, 11)
    draws = np.random.RandomState(0).uniform(size=500)
    figure = report.marginals({"a": {"exact": (x, x), "SMC": draws}, "b": {"SMC": draws}})
    assert [axis.get_xlabel() for axis in figure.axes] == ["a", "b"]
    edges = [p.get_data().edges for p in figure.axes[0].patches]
    assert edges[0][[0, -1]].tolist() == [0, 1], "draws are shown on the range of the lines"


def test_density_with_samples():
    x = np.array([[0.0, 1.0], [2.0, -1.0]])
    grid = np.full((20, 30), -np.inf)
    grid[10, 15] = 3.0
    figure = report.density_with_samples(grid, (-3, 3, -2, 2), {"a": x, "b": x, "c": x, "d": x})
    assert len(figure.axes) == 4
    axis = figure.axes[0]
    assert axis.get_xlim() == (-3, 3)
    assert axis.get_ylim() == (-2, 2)
    cloud = next(c for c in axis.collections if len(c.get_offsets()) == 2)
    np.testing.assert_array_equal(cloud.get_offsets(), x)
    near = report.density_with_samples(grid, (-3, 3, -2, 2), {"a": x}, 0.5)
    assert near.axes[0].get_xlim() == (-0.5, 0.5)


@pytest.mark.parametrize(
    ("limits", "expected"),
    [
        (2.0, (-2, 2)),
        ((-1, 3), (-1, 3)),
        ((-1, 3, -5, 5), (-1, 3)),
        (((-1, 3), (-5, 5)), (-1, 3)),
        ({"a": (-1, 3)}, (-1, 3)),
        ([(-9, 9), (-1, 3), (-5, 5)], (-1, 3)),
        ({"a": [(-9, 9, 0, 1), (-1, 3, 0, 1), (-5, 5, 0, 1)]}, (-1, 3)),
    ],
)
def test_limits(limits, expected):
    box = clouds._box(clouds._chosen(limits, "a", 1, 3))
    assert box[:2] == expected


def test_particles_at_times():
    x = np.zeros((4, 2))
    grid = np.zeros((5, 5))
    rows = {"geometric": [(0.0, x), (0.5, x), (1.0, x)], "SMC": [(0.0, x), (1.0, x)]}
    figure = report.particles_at_times(rows, 2.0, {"SMC": [None, grid]})
    assert len(figure.axes) == 5
    titles = [axis.get_title() for axis in figure.axes]
    assert titles == ["$t = 0$", "$t = 0.5$", "$t = 1$", "$t = 0$", "$t = 1$"]
    assert [len(axis.collections) for axis in figure.axes][:4] == [1, 1, 1, 1]
    assert len(figure.axes[4].collections) == 3
