"""Panels drawn."""

import io
import pathlib

import numpy as np
import pytest
from PIL import Image

from dreamerv2_transfer.plotting import curves, plot
from dreamerv2_transfer.plotting.panels import Panel
from dreamerv2_transfer.plotting.views import Arm

LINE = np.array([0.0, 10.0]), np.array([1.0, 3.0])
HIGHER = np.array([0.0, 10.0]), np.array([2.0, 4.0])


def arm(*lines, kind="ci95"):
    band = curves.band(lines, kind) if kind else None
    return Arm([], list(lines), list(lines), band)


def panel(task="minatar_seaquest", metric="train_return", paper=None, **arms):
    return Panel(task, metric, arms or {"scratch": arm(LINE)}, paper or {})


def axes(figure):
    return [place for place in figure.axes if place.get_visible()]


def legend(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def shown(place):
    """The curves that the legend names, without the thin line below each."""
    return [line for line in place.lines if not line.get_label().startswith("_")]


def test_a_panel_says_what_it_shows():
    (place,) = axes(plot.figure([panel()], plot.Look(xlabel="updates", title="all")))
    assert place.get_title() == "Seaquest (MinAtar)"
    assert place.get_xlabel() == "updates"
    assert place.get_ylabel() == "return of training episodes"
    assert shown(place)[0].get_ydata().tolist() == [1, 3]


def test_the_band_is_drawn_around_the_mean_of_several_seeds():
    (place,) = axes(plot.figure([panel(scratch=arm(LINE, HIGHER))]))
    assert shown(place)[0].get_ydata().tolist() == [1.5, 3.5]
    heights = place.collections[0].get_paths()[0].vertices[:, 1]
    assert heights.min() == pytest.approx(1.5 - 6.3531, abs=1e-4)
    # Each seed is a thin line, and the axis fits these rather than the band.
    assert [line.get_ydata().tolist() for line in place.lines[2:]] == [[1, 3], [2, 4]]
    assert place.get_ylim() == pytest.approx((0.85, 4.15))


def test_nine_arms_have_nine_colors():
    names = ["pretrained", "pretrained_frozen_rssm", *(f"frozen_{x}" for x in "abcdef")]
    styles = plot.arm_styles(
        [panel(scratch=arm(LINE), **{n: arm(LINE) for n in names})]
    )
    assert len({color for color, _ in styles.values()}) == 9
    assert {style for _, style in styles.values()} == {"-"}


def test_one_seed_has_neither_band_nor_thin_line():
    (place,) = axes(plot.figure([panel(scratch=arm(LINE))]))
    assert not place.collections and len(place.lines) == 2


def test_where_runs_have_ended_the_line_is_thin():
    short = LINE[0][:1], LINE[1][:1]
    (place,) = axes(plot.figure([panel(scratch=arm(LINE, short))]))
    assert np.isnan(shown(place)[0].get_ydata()).tolist() == [False, True]
    assert place.lines[0].get_ydata().tolist() == [1, 3]


def test_without_a_band_each_run_is_a_line():
    figure = plot.figure([panel(scratch=arm(LINE, HIGHER, kind=None))])
    assert len(axes(figure)[0].lines) == 2
    assert legend(figure) == ["from scratch"]


def test_the_papers_curves_are_dashed_in_the_colour_of_their_arm():
    figure = plot.figure([panel(paper={"scratch": HIGHER})])
    paper, ours = shown(axes(figure)[0])
    assert (paper.get_linestyle(), ours.get_linestyle()) == ("--", "-")
    assert paper.get_color() == ours.get_color()
    assert legend(figure) == ["from scratch", "paper: from scratch"]


def test_an_arm_has_one_colour_in_all_panels_and_no_two_look_alike():
    names = [f"arm{number}" for number in range(15)]
    many = panel(**{name: arm(LINE) for name in names}, scratch=arm(LINE))
    alone = panel("minatar_asterix", arm3=arm(LINE))
    figure = plot.figure([many, alone])
    looks = {
        line.get_label(): (line.get_color(), line.get_linestyle())
        for line in shown(axes(figure)[0])
    }
    assert len(set(looks.values())) == 16
    (only,) = shown(axes(figure)[1])
    assert (only.get_color(), only.get_linestyle()) == looks["arm3"]
    assert legend(figure)[0] == "from scratch"


def test_panels_are_a_table_of_games_and_metrics():
    two = [panel("minatar_asterix", "a"), panel("minatar_seaquest", "a")]
    three = [*two, panel("minatar_seaquest", "b")]
    figure = plot.figure(three, plot.Look(cols=2))
    assert len(figure.axes) == 4 and len(axes(figure)) == 3
    grid = plot.figure(three).axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (1, 3)
    games = [panel(task, metric) for metric in "ab" for task in ("x_1", "x_2", "x_3")]
    grid = plot.figure(games).axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 3)
    figure = plot.figure([panel(metric=name) for name in "abcde"], plot.Look(cols=3))
    assert len(figure.axes) == 6 and len(axes(figure)) == 5
    figure = plot.figure([panel(f"x_{i}") for i in range(5)], plot.Look(cols=4))
    grid = figure.axes[0].get_gridspec()
    assert (grid.nrows, grid.ncols) == (2, 3)  # Not four and one.


def test_a_loss_that_falls_far_has_a_logarithmic_axis():
    far = np.array([0.0, 1.0]), np.array([700.0, 20.0])
    near = panel("minatar_asterix", "model_error")
    fallen = panel("minatar_seaquest", "model_error", scratch=arm(far))
    scales = [place.get_yscale() for place in axes(plot.figure([near, fallen]))]
    assert scales == ["log", "log"]
    look = plot.Look(yscale="linear", ylim=(0, 5), xlim=(1, 2))
    place, _ = axes(plot.figure([near, fallen], look))
    assert place.get_yscale() == "linear"
    assert (place.get_ylim(), place.get_xlim()) == ((0, 5), (1, 2))
    (place,) = axes(plot.figure([panel(scratch=arm(far))]))
    assert place.get_yscale() == "linear"


def test_the_height_is_that_of_what_is_shown():
    rising = np.array([0.0, 5.0, 10.0]), np.array([0.0, 1.0, 100.0])
    figure = plot.figure([panel(scratch=arm(rising))], plot.Look(xlim=(0, 5)))
    (place,) = axes(figure)
    low, high = place.get_ylim()
    assert -0.2 < low <= 0 and 1 <= high < 1.2
    figure = plot.figure([panel(scratch=arm(rising))], plot.Look(xlim=(20, 30)))
    assert len(axes(figure)) == 1  # Nothing to see, but no error.


def test_labels_replace_the_names_of_arms():
    figure = plot.figure([panel()], plot.Look(labels={"scratch": "baseline"}))
    assert legend(figure) == ["baseline"]


@pytest.mark.parametrize(
    ("ending", "start"), [("png", b"\x89PNG"), ("pdf", b"%PDF"), ("svg", b"<?xml")]
)
def test_the_name_says_the_format(tmp_path, ending, start):
    path = tmp_path / "new" / f"figure.{ending}"
    plot.save(plot.figure([panel()]), path, dpi=50)
    assert path.read_bytes().startswith(start)
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_the_size_is_in_inches_and_pixels_an_inch(tmp_path):
    plot.save(plot.figure([panel()], plot.Look(size=(4, 3))), tmp_path / "a.png", 50)
    image = Image.open(io.BytesIO((tmp_path / "a.png").read_bytes()))
    # A quarter of an inch is for the legend.
    assert image.size == (200, 162)


def test_the_legend_fits_into_a_narrow_figure():
    names = {name: arm(LINE) for name in ("scratch", "pretrained_fixed_world_model")}
    figure = plot.figure([panel(**names, paper={"scratch": LINE})])
    figure.draw_without_rendering()
    box = figure.legends[0].get_window_extent()
    assert box.x0 >= 0 and box.x1 <= figure.bbox.x1
    (place,) = axes(figure)
    assert box.y1 <= place.get_tightbbox().y0
    assert place.get_window_extent().height > 0.7 * 3.1 * figure.dpi


def test_steps_are_written_short():
    ticks = [plot.short_step(value) for value in (0, 0.5, 250, 5000, 2e7)]
    assert ticks == ["0", "0.5", "250", "5k", "20M"]


def test_another_ending_is_an_error():
    with pytest.raises(plot.FigureError, match=r"\.png, \.pdf, \.svg\. Received: a.x"):
        plot.check_format("a.x")


def test_the_files_are_those_of_either_option():
    assert plot.outputs("a.pdf", "b") == [
        pathlib.Path("a.pdf"),
        pathlib.Path("b/curves.png"),
        pathlib.Path("b/curves.pdf"),
    ]
    assert plot.outputs("a.svg", "") == [pathlib.Path("a.svg")]
    with pytest.raises(plot.FigureError, match="--out figure.png"):
        plot.outputs("", "")


def test_names_of_arms_come_in_pairs():
    assert plot.named(["a", "one", "b", "two"]) == {"a": "one", "b": "two"}
    assert plot.named([]) == {}
    with pytest.raises(plot.FigureError, match="Received: a one b"):
        plot.named(["a", "one", "b"])


@pytest.mark.parametrize(
    ("look", "message"),
    [
        ({"yscale": "sqrt"}, "auto, linear, log. Received: sqrt"),
        ({"ylim": (1.0,)}, r"--ylim takes two numbers. Received: \(1.0,\)"),
    ],
)
def test_a_look_that_cannot_be_drawn_is_an_error(look, message):
    with pytest.raises(plot.FigureError, match=message):
        plot.Look(**look)
