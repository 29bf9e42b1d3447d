"""Metrics, analyses and names that a stranger wrote: a result or a named error."""

import copy
import json
import os
import pathlib
import re
import types

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from matplotlib.figure import Figure
from matplotlib.text import Text

from dreamerv2_transfer.commands import summary
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.dqn import curve
from dreamerv2_transfer.plotting import (
    analyses,
    metrics_file,
    panels,
    plot,
    report,
    runs,
    views,
)
from tests.plotting.folders import write

PUBLISHED = pathlib.Path(__file__).parents[2] / "results/minatar_small_analysis"
CONTENT = json.loads((PUBLISHED / "analysis.json").read_text())
GAME = "minatar_asterix"
# One game, without its pictures.
SMALL = {
    "findings": CONTENT["findings"][:3],
    "figures": [],
    "tasks": {GAME: CONTENT["tasks"][GAME]},
    "transfer": {
        kind: {name: found[name] for name in list(found)[:2]}
        for kind, found in CONTENT["transfer"].items()
    },
}

scalars = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)
)
anything = st.recursive(
    scalars,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(["step", "loss", "train_return"]) | st.text(max_size=5)
rows = st.dictionaries(names, anything, max_size=4)


def read(path: pathlib.Path) -> dict:
    metrics, notes = metrics_file.read(path)
    for steps, values in metrics.values():
        assert np.isfinite(steps).all() and np.isfinite(values).all()
        assert (np.diff(steps) > 0).all()
    assert all(len(note) < 2000 and note.encode() for note in notes)
    return metrics


@given(st.binary(max_size=200))
def test_any_bytes(tmp_path, content):
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(b'{"step": 1, "loss": 2}\n' + content)
    assert "loss" in read(path)
    assert list(summary.last(tmp_path))
    curve.read(tmp_path, "loss")


@given(st.lists(rows | anything, max_size=6))
def test_any_rows(tmp_path, found):
    path = tmp_path / "metrics.jsonl"
    path.write_text("\n".join(map(json.dumps, found)))
    read(path)
    list(summary.last(tmp_path))
    curve.read(tmp_path, "loss")


HOSTILE = [
    *(r"$\frac$", "$x^$", "$$", r"\$", "_hidden", "", " ", "\n", "{}", "%s", "<b>"),
    *("日本", "\N{GRINNING FACE}", "\x00\x07\x1b[31m", "x" * 5000, "../..", "-"),
]


CONFIG = blocks.load_config(["minatar", "debug", "scratch"])


def named(names, metric=HOSTILE[0], values=(1.0, 2.0)) -> list[runs.Run]:
    """Runs whose arms and metric have names, and a few games that have."""
    held = {metric: (np.arange(len(values)), np.array(values, float))}
    nowhere = pathlib.Path("nowhere")
    return [
        runs.Run(name, nowhere, config, held)
        for name in names
        for config in (None, *([CONFIG.update(task=name)] if name in names[:3] else []))
    ]


def page(found: list[runs.Run], title: str = "") -> str:
    return report.render(found, [title], report.Options(title, dpi=20))


def figure(found: list[runs.Run], metric: str, **look) -> Figure:
    made, _ = panels.make(found, panels.Selection((metric,)), views.View())
    return plot.figure(made, plot.Look(size=(2, 2), **look))


def test_all_names_are_drawn_literally(tmp_path):
    title = HOSTILE[0]
    drawn = figure(named(HOSTILE), title, title=title, xlabel="$_$", ylabel=r"$\a$")
    plot.save(drawn, tmp_path / "figure.png", 20)
    texts = {text.get_text() for text in drawn.findobj(Text)}
    assert {title, "$x^$", "$_$", r"$\a$", "<b>"} <= texts
    assert not any(text.get_parse_math() for text in drawn.findobj(Text))
    written = page(named(HOSTILE), title)
    assert written.count(title) > 5 and written.encode()


@pytest.mark.parametrize("name", ["_hidden", "x" * 5000])
def test_the_name_of_a_lone_run_is_drawn(tmp_path, name):
    drawn = figure(named([name])[:1], HOSTILE[0])
    plot.save(drawn, tmp_path / "figure.svg", 20)
    (legend,) = drawn.legends
    (text,) = legend.get_texts()
    assert text.get_text().strip()[:7] == name[:7] and len(text.get_text()) < 130


@pytest.mark.parametrize("name", HOSTILE[:5])
def test_the_curve_of_a_player_may_have_any_title(tmp_path, name):
    write(tmp_path)
    curve.draw(tmp_path, name)
    assert (tmp_path / "curve.png").stat().st_size > 1000


@pytest.mark.parametrize(
    "values",
    [
        *((1e99, -1e99), (5e-324, -5e-324), (0.0, -0.0), (1.0,), (1, 10**99)),
        (0.1, 1e-300, 1e99),
    ],
)
def test_any_finite_numbers_are_drawn(values):
    assert "<html" in page(named(["run"], "model_loss", values)[1:])


def test_names_of_folders_that_are_not_utf8_can_be_printed(tmp_path):
    folder = write(tmp_path / "run")
    folder.rename(tmp_path / "a\udcff")
    loaded, _ = runs.find([tmp_path])
    assert loaded[0].name.endswith(r"a\udcff") and loaded[0].name.encode()


# Analyses.


def places(value, path=()):
    """Yields the paths of all values within a value."""
    yield path
    inner = value.items() if isinstance(value, dict) else ()
    inner = enumerate(value) if isinstance(value, list) else inner
    for key, part in inner:
        yield from places(part, (*path, key))


PLACES = list(places(SMALL))


@given(st.sampled_from(PLACES), anything | st.just(10**400) | st.just("x" * 9999))
@settings(max_examples=60)
def test_an_analysis_in_which_a_value_is_another(tmp_path, path, value):
    (tmp_path / "analysis").mkdir(exist_ok=True)
    content = copy.deepcopy(SMALL)
    inner = content
    for key in path[:-1]:
        inner = inner[key]
    if path:
        inner[path[-1]] = value
    else:
        content = value
    (tmp_path / "analysis" / "analysis.json").write_text(json.dumps(content))
    run = types.SimpleNamespace(name="run", folder=tmp_path)
    _, notes = analyses.read(run)
    assert all(note.startswith("run has an analysis") for note in notes)
    assert all(len(note) < 600 for note in notes)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"findings": 1, "figures": []}', "findings must be array"),
        ('{"findings": [1], "figures": []}', r"findings\[0\] must be string"),
        ('{"findings": [], "figures": [{}]}', r"figures\[0\] must contain"),
        ('{"findings": []}', "must contain .*'figures'"),
        ("[" * 100_000, "nests too deep"),
        (r'{"findings": ["\ud800"], "figures": []}', "surrogates"),
    ],
)
def test_what_is_wrong_with_an_analysis_is_named(tmp_path, text, reason):
    (tmp_path / "analysis").mkdir()
    (tmp_path / "analysis" / "analysis.json").write_text(text)
    run = types.SimpleNamespace(name="run", folder=tmp_path)
    assert analyses.read(run)[0] == []
    assert re.search(f"analysis.json, .*{reason}", analyses.read(run)[1][0])


def test_a_pipe_in_place_of_metrics_is_named(tmp_path):
    os.mkfifo(tmp_path / "metrics.jsonl")
    with pytest.raises(UserError, match="it is a pipe, not a file"):
        runs.load(tmp_path)
