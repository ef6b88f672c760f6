"""What the figures show is what the arrays say."""

import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib import rcParams
from matplotlib.text import Text

from pushforward.report import plots
from pushforward.report.page import axis_names
from pushforward.report.pictures import encode

from . import conftest

FIGURES = conftest.every_figure()


def line(axis, label):
    return next(one for one in axis.get_lines() if one.get_label() == label)


def legend(axis):
    return [entry.get_text() for entry in axis.get_legend().get_texts()]


@pytest.mark.parametrize("name", FIGURES)
def test_every_figure_is_fit_for_a_page(name):
    figure = FIGURES[name]
    texts = [t for t in figure.findobj(Text) if t.get_visible() and t.get_text().strip()]
    assert min(t.get_fontsize() for t in texts) >= 9
    assert figure.get_facecolor() == (1, 1, 1, 1)
    assert figure.pushforward_title
    assert figure.pushforward_caption.endswith(".")
    assert figure.get_figwidth() * 96 <= 1000, "at its natural size on a page of 1100 px"


def test_every_verb_is_drawn():
    verbs = {n for n in dir(plots) if callable(getattr(plots, n))}
    verbs -= {"captioned", "line_styles", "on_grid", "panels"}
    assert verbs == {name.split(",")[0] for name in FIGURES}


def test_no_global_state():
    program = (
        "import sys, numpy as np, matplotlib; before = matplotlib.rcParams.copy();"
        "from pushforward.report import plots;"
        "from pushforward.report.pictures import encode;"
        "f = plots.weights({'mine': np.arange(9.0)});"
        "encode(f); assert dict.__eq__(matplotlib.rcParams, before);"
        "assert 'matplotlib.pyplot' not in sys.modules; print('clean')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.strip() == "clean", done.stderr


def test_the_callers_style_does_not_leak_in():
    def draw():
        return encode(plots.curves({"SMC": [0.1, 0.2]}))[1]

    plain = draw()
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rcParams, "font.size", 4)
        patch.setitem(rcParams, "figure.facecolor", "black")
        assert draw() == plain, "and the same figure gives the same bytes"


def test_curves_of_rows():
    rows = [{"step": i, "loss": "nan" if i == 3 else float(i), "other": i} for i in range(1, 6)]
    rows += [{"step": 6}, {"loss": 1.0}, {"step": "x", "loss": 2.0}]
    figure = plots.curves(rows)
    drawn, crosses = figure.axes[0].get_lines()
    np.testing.assert_array_equal(drawn.get_xdata(), [1, 2, 4, 5])
    np.testing.assert_array_equal(drawn.get_ydata(), [1, 2, 4, 5])
    np.testing.assert_array_equal(crosses.get_xdata(), [3])
    assert "not finite" in figure.pushforward_caption


def test_curves_of_histories():
    step = np.arange(1, 201)
    history = SimpleNamespace(
        metrics={"step": step, "loss": np.exp(-step / 40)},
        evaluations=[{"step": s, "ess": s / 400, "log_z": 0.1, "log_z_error": s} for s in (5, 9)],
    )
    labelled = {"a": history, "b": history}
    figure = plots.curves(labelled, {"loss": "loss $L$"}, exact=0.5)
    (axis,) = figure.axes
    faint, smooth = axis.get_lines()[:2]
    assert (faint.get_alpha(), smooth.get_label()) == (0.3, "a")
    assert len(faint.get_xdata()) == len(smooth.get_xdata()) == 200
    assert (axis.get_yscale(), axis.get_ylabel()) == ("log", "loss $L$")
    assert axis.get_xlabel() == "training step $i$"
    assert legend(axis) == ["a", "b", "exact"]
    assert plots.curves(history).axes[0].get_legend() is None
    ess, log_z = plots.curves(labelled, ("ess", "log_z"), exact={"log_z": 0.5}).axes
    np.testing.assert_array_equal(line(ess, "b").get_xdata(), [5, 9])
    (bars, _) = log_z.containers
    np.testing.assert_allclose(np.diff(bars[2][0].get_segments()[1][:, 1]), 18)
    assert line(log_z, "exact").get_ydata()[0] == 0.5
    assert len(ess.containers) == 0, "there is no ess_error"


def test_curves_of_arrays():
    x = np.array([0.1, 1, 10])
    data = {"left": {"SMC": (x, x, 0.1)}, "right": {"mine": x, "SMC": (x, x)}}
    left, right = plots.curves(data, exact={"right": (x, -x)}, xlabel="$N$", log="x").axes
    assert (left.get_xscale(), left.get_yscale(), left.get_xlabel()) == ("log", "linear", "$N$")
    assert (left.get_ylabel(), legend(left), len(left.containers)) == ("left", ["SMC"], 1)
    np.testing.assert_array_equal(line(right, "mine").get_xdata(), [1, 2, 3])
    np.testing.assert_array_equal(line(right, "exact").get_ydata(), -x)
    assert line(right, "SMC").get_color() == left.containers[0][0].get_color()
    long = np.linspace(0, 1, 100)
    (axis,) = plots.curves({"SMC": (long, long, 0.1)}).axes
    assert len(axis.collections) == 1, "many errors are a band"
    (axis,) = plots.curves({"SMC": (long, long)}, points=True).axes
    assert (line(axis, "SMC").get_linestyle(), line(axis, "SMC").get_marker()) == ("None", "o")


def test_running_mean_keeps_lines_and_smooths_noise():
    from pushforward.report.plots.lines import _running_mean

    straight = np.linspace(-3, 5, 1000)
    np.testing.assert_allclose(_running_mean(straight), straight, atol=1e-12)
    noise = np.random.RandomState(0).standard_normal(10_000)
    inner = _running_mean(noise)[200:-200]
    assert inner.std() == pytest.approx(1 / np.sqrt(201), rel=0.2)
    assert _running_mean(np.zeros(0)).size == 0


@pytest.mark.parametrize("name", ["$\\frac{", "a_b^c", "<b>", "漢字", "%d {}", "a $x$ b$"])
def test_metric_names_of_a_file_are_text(name):
    names = axis_names([name])
    figure = plots.curves([{"step": i, name: i} for i in range(3)], names)
    assert figure.axes[0].get_ylabel().replace(r"\$", "$") == name
    assert encode(figure)[0] == "svg"


@pytest.mark.parametrize("rows", [[], [{"step": 1, "loss": 1.0}], [{"step": 1, "loss": "inf"}]])
def test_short_and_broken_metrics_draw(rows):
    assert encode(plots.curves(rows))[0] == "svg"


def test_along_time():
    t = np.linspace(0, 1, 5)
    left, right = plots.along_time({"SMC": (t, 1 - t / 2, -t)}, exact=-0.5).axes
    np.testing.assert_array_equal(line(left, "SMC").get_ydata(), 1 - t / 2)
    np.testing.assert_array_equal(line(right, "SMC").get_ydata(), -t)
    dot = right.get_lines()[-1]
    assert (dot.get_xdata()[0], dot.get_ydata()[0]) == (1, -0.5)
    assert left.get_ylim() == (0, 1.05)
    assert len(plots.along_time({"SMC": (t, t)}).axes) == 1
    samples = SimpleNamespace(record={"t": t, "ess": t, "log_z": t})
    curve = plots.along_time({"SMC": samples}, exact=(t, -t)).axes[1]
    np.testing.assert_array_equal(line(curve, "exact").get_ydata(), -t)


def test_weights():
    a = np.log([1.0, 1.0, 2.0, 4.0])
    figure = plots.weights({"SMC": np.append(a, -np.inf)})
    assert legend(figure.axes[0]) == [f"SMC, ESS/n = {64 / (5 * 22):.2f}, 1 of weight 0"]
    moved = plots.weights({"SMC": SimpleNamespace(log_weight=np.append(a, -np.inf) - 800)})
    assert legend(moved.axes[0]) == legend(figure.axes[0])
    heights = [p.get_data().values for p in figure.axes[0].patches]
    assert heights[0].sum() == pytest.approx(4 / 5), "the share of the walkers that have weight"


@pytest.mark.parametrize(
    "a", [np.zeros(7), np.full(3, -np.inf), np.zeros(0), np.array([0.0, np.nan])]
)
def test_degenerate_weights_draw(a):
    assert encode(plots.weights({"SMC": a}))[0] == "svg"


def heights(axis):
    return [b.get_height() for b in axis.patches if hasattr(b, "get_height")]


def test_modes():
    p = np.array([0.5, 0.3, 0.2, 0.0])
    (axis,) = plots.modes({"geometric": p}, 0.25, count={"geometric": 100}).axes
    assert axis.get_title(loc="left") == "geometric: 3 of 4 modes, total variation 0.300"
    np.testing.assert_allclose(heights(axis), p)
    segments = next(c for c in axis.collections if hasattr(c, "get_segments")).get_segments()
    half = [(s[1, 1] - s[0, 1]) / 2 for s in segments]
    np.testing.assert_allclose(half, np.sqrt(p * (1 - p) / 100))
    plain = plots.modes({"geometric": p}, np.array([0.5, 0.3, 0.2, 0.0]))
    assert plain.axes[0].get_title(loc="left").endswith("total variation 0.000")
    assert not plain.axes[0].collections


def test_integers():
    charges = np.array([[-1.0, 0.1, 1.0], [0.9, 0.0, 0.0]])
    law = {"HMC": [0.25, 0.5, 0.25]}
    (axis,) = plots.integers({"HMC": charges}, law).axes
    np.testing.assert_allclose(heights(axis), [1 / 6, 3 / 6, 2 / 6])
    assert legend(axis) == ["HMC, ⟨Q²⟩ = 0.5"]
    marks = axis.collections[0].get_segments()
    assert [m[0, 1] for m in marks] == law["HMC"]
    assert [m.mean(0)[0] for m in marks] == pytest.approx([-1, 0, 1])
    weights = np.log([1.0, 3.0])
    left, right = plots.integers({"β = 1": {"a": ([0, 1], weights)}, "β = 2": {"a": [2]}}).axes
    np.testing.assert_allclose(heights(left), [0.25, 0.75])
    assert right.get_title(loc="left") == "β = 2"


def test_bars():
    data = {"plain": [0.1, 0.2], "flow": ([0.3, 0.4], [0.01, 0.02])}
    exact = {"plain": [0.1, 0.3], "flow": [0.3, 0.4]}
    (axis,) = plots.bars(data, ["a", "b"], exact=exact, exact_label="predicted", log=True).axes
    np.testing.assert_allclose(heights(axis), [0.1, 0.2, 0.3, 0.4])
    assert [t.get_text() for t in axis.get_xticklabels()] == ["a", "b"]
    assert set(legend(axis)) == {"plain", "flow", "predicted"}
    assert axis.get_yscale() == "log"


def test_histogram():
    x = np.linspace(0, 1, 11)
    draws = np.random.RandomState(0).uniform(size=500)
    figure = plots.histogram({"a": {"exact": (x, x), "SMC": draws}, "b": {"SMC": draws}})
    assert [axis.get_xlabel() for axis in figure.axes] == ["a", "b"]
    edges = [p.get_data().edges for p in figure.axes[0].patches]
    assert edges[0][[0, -1]].tolist() == [0, 1], "draws are shown on the range of the lines"
    works = plots.histogram({"a": {"f": draws}, "b": {"f": draws + 2}}, exact=1.0, xlabel="work")
    assert [axis.get_title(loc="left") for axis in works.axes] == ["a", "b"]
    ranges = [axis.patches[0].get_data().edges[[0, -1]] for axis in works.axes]
    np.testing.assert_array_equal(*ranges, "one range for all")
    (axis,) = plots.histogram({"a": draws}, log=True, xlabel="error").axes
    values, edges, _ = axis.patches[0].get_data()
    assert values.sum() == 500
    np.testing.assert_allclose(edges[1:] / edges[:-1], edges[1] / edges[0])


def test_scatter():
    x = np.array([[0.0, 1.0], [2.0, -1.0]])
    grid = np.full((20, 30), -np.inf)
    grid[10, 15] = 3.0
    clouds = {"a": x, "b": x, "c": x, "d": x}
    figure = plots.scatter(clouds, limits=(-3, 3, -2, 2), density=grid)
    assert len(figure.axes) == 4
    axis = figure.axes[0]
    assert (axis.get_xlim(), axis.get_ylim()) == ((-3, 3), (-2, 2))
    cloud = next(c for c in axis.collections if len(c.get_offsets()) == 2)
    np.testing.assert_array_equal(cloud.get_offsets(), x)
    weighted = SimpleNamespace(x=x, log_weight=np.array([0.0, -np.inf]))
    (axis,) = plots.scatter({"a": weighted}, limits=0.5).axes
    assert axis.get_xlim() == (-0.5, 0.5)
    np.testing.assert_array_equal(axis.collections[0].get_offsets(), x[[0, 0]])


def test_densities_are_functions_of_one_point():
    grid = plots.on_grid(lambda x: x[0] + 10 * x[1], (0, 2, -1, 1), size=3)
    np.testing.assert_allclose(grid, [[-10, -9, -8], [0, 1, 2], [10, 11, 12]])


def test_particles():
    x = np.ones((4, 2)) * np.array([[1], [-1], [1], [-1]])
    rows = {"geometric": [(0.0, x), (0.5, x), (1.0, x)], "SMC": [(0.0, x), (1.0, x)]}
    figure = plots.particles(rows, limits=[1.0, None, 3.0])
    assert len(figure.axes) == 5
    assert [axis.get_title() for axis in figure.axes] == [f"$t = {t}$" for t in (0, 0.5, 1, 0, 1)]
    assert [axis.get_xlim()[1] for axis in figure.axes] == [1.0, 2.6, 3.0, 1.0, 2.6]
    samples = SimpleNamespace(
        record={"t": np.linspace(0, 1, 9)}, draws={"x": np.arange(5.0)[:, None, None] * x}
    )
    seen = []
    figure = plots.particles({"SMC": samples}, density=lambda *a: seen.append(a[:2]) or a[2][0])
    assert seen == [("SMC", t) for t in (0.0, 0.25, 0.5, 0.75, 1.0)]
    np.testing.assert_array_equal(figure.axes[3].collections[-1].get_offsets(), 3 * x)


def test_trajectories():
    path = np.arange(12.0).reshape(3, 2, 2)
    (axis,) = plots.trajectories({"ODE": path}, limits=12).axes
    first, _, start, end = axis.get_lines()
    np.testing.assert_array_equal(first.get_xydata(), path[:, 0])
    np.testing.assert_array_equal(start.get_xydata(), path[0])
    np.testing.assert_array_equal(end.get_xydata(), path[-1])


def test_images():
    maps = {"a": np.eye(3), "b": 2 * np.eye(3)}
    figure = plots.images(maps, bar="defect", extent=(0, 1, 0, 1))
    assert [axis.images[0].get_clim() for axis in figure.axes[:2]] == [(0, 2), (0, 2)]
    assert figure.axes[2].get_ylabel() == "defect"
    (axis,) = plots.images({"a": np.ones((2, 3, 4, 5))}, xticks=["0", "½", "1"]).axes
    assert axis.images[0].get_array().shape == (2 * 5 - 1, 3 * 6 - 1)
    assert axis.get_xticks().tolist() == [2.5, 8.5, 14.5]


def test_configurations():
    spins = np.ones((3, 2, 4, 4)) * np.array([1, -1])[:, None, None]
    log_weight = np.array([[0, -np.inf]] * 3)
    samples = SimpleNamespace(
        record={"t": [0.0, 0.5, 1.0]}, draws={"x": spins, "log_weight": log_weight}
    )
    figure = plots.configurations({"trained": samples}, num=8)
    assert [axis.get_title(loc="left") for axis in figure.axes] == [
        "$t = 0$",
        "$t = 0.5$",
        "$t = 1$",
    ]
    shown = figure.axes[0].images[0].get_array()
    assert shown.shape == (4, 8 * 5 - 1)
    assert np.nanmin(shown.filled(np.nan)) == 1, "the walker without weight is not shown"


def test_chains():
    charges = np.arange(12.0).reshape(6, 2)
    (axis,) = plots.chains({"β = 2": charges}, num=2).axes
    np.testing.assert_array_equal(axis.get_lines()[1].get_ydata(), charges[:, 1])
    assert axis.get_ylabel() == "$Q$"


def test_autocorrelation():
    noise = np.random.RandomState(0).standard_normal((5000, 2))
    slow = noise + np.roll(noise, 1, axis=0)
    figure = plots.autocorrelation({"P": slow, "Q": np.ones((100, 2))})
    drawn = figure.axes[0].get_lines()[0]
    assert drawn.get_ydata()[:2] == pytest.approx([1, 0.5], abs=0.03)
    assert float(drawn.get_label().removeprefix("P, τ = ")) == pytest.approx(1, abs=0.1)
    assert figure.pushforward_caption.endswith("without a τ: Q.")


def test_against_exact():
    rows = {"plaquette": (0.7, 0.01, 0.69), "no error": (1.0, None, 1.0), "far": (2.0, 0.1, 1.0)}
    (axis,) = plots.against_exact(rows).axes
    assert [t.get_text() for t in axis.get_yticklabels()] == ["plaquette", "far"]
    dots = [c[0].get_xydata()[0] for c in axis.containers]
    np.testing.assert_allclose(dots, [(1, 0), (10, -1)])


def test_panels():
    with plots.panels(2, 1, title="Works", caption="Work of a swap.", sharex=True) as (
        figure,
        axes,
    ):
        axes[1, 0].plot([1, 2])
    assert axes.shape == (2, 1)
    assert (figure.pushforward_title, figure.pushforward_caption) == ("Works", "Work of a swap.")
