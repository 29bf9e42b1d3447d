"""The page about runs."""

import json
import pathlib

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import report, runs

CONFIG = blocks.load_config(["minatar", "debug", "scratch"])
GIF = b"GIF89a"


def make_run(folder: pathlib.Path, name="run", config=CONFIG) -> runs.Run:
    """A run with two points of a curve, in a folder of its own."""
    held = {"train_return": (np.array([0.0, 5.0]), np.array([1.0, 2.5]))}
    (folder / name).mkdir()
    return runs.Run(name, folder / name, config, held)


def analyze(run: runs.Run, findings=(), files=()) -> None:
    """Leaves what `analyze` leaves, in which each file is its own picture."""
    folder = run.folder / "analysis"
    folder.mkdir()
    for file in files:
        (folder / file).write_bytes(file.encode())
    figures = [{"file": f, "title": f"T {f}", "caption": "C"} for f in files]
    held = {"findings": list(findings), "figures": figures}
    (folder / "analysis.json").write_text(json.dumps(held))


def page(*found, notes=(), **options) -> str:
    return report.render(found, notes, report.Options(**options))


def test_a_run_is_summed_up_by_what_it_logged_last(tmp_path):
    row = report.summary(make_run(tmp_path))
    assert row["name"] == "run" and row["step"] == 5
    assert row["task"] == "minatar_space_invaders" and row["arm"] == "from scratch"
    assert row["levels"] == [2.5, None, None, None]


def test_runs_that_differ_in_their_seed_are_of_one_kind(tmp_path):
    other = CONFIG.update({"seed": 1, "logdir": "/else"})
    found = [
        make_run(tmp_path, "a"),
        make_run(tmp_path, "b", other),
        make_run(tmp_path, "c", None),
        make_run(tmp_path, "d", CONFIG.update({"discount": 0.5})),
    ]
    kinds = report.kinds(found)
    assert kinds.names == [["a", "b"], ["d"]]
    assert kinds.differences == [("discount", ["0.99", "0.5"])]


def test_the_page_shows_findings_figures_and_videos(tmp_path):
    run = make_run(tmp_path)
    analyze(run, ["A finding."], ["probes.png"])
    (run.folder / "videos").mkdir()
    for name in ("a.gif", "b.gif", "c.gif"):
        (run.folder / "videos" / name).write_bytes(GIF)
    html = page(run, notes=["A note."], videos=2, title="A title")
    for text in ("<title>A title</title>", "A finding.", "T probes.png", "A note."):
        assert text in html
    assert html.count("data:image/gif;base64,R0lGODlh") == 2
    assert "run has more videos, which are not shown: c.gif." in html
    assert "data:image/png;base64,cHJvYmVzLnBuZw==" in html


def test_texts_of_a_run_are_no_markup(tmp_path):
    run = make_run(tmp_path, "<script>alert(1)")
    analyze(run, ["<img src=x onerror=alert(1)>"])
    html = page(run)
    assert "<script" not in html and "<img src=x" not in html
    assert "&lt;script&gt;alert(1)" in html


def test_an_analysis_shows_no_files_but_its_own_pictures(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    run = make_run(tmp_path)
    analyze(run, files=["notes.txt"])
    file = run.folder / "analysis" / "analysis.json"
    held = json.loads(file.read_text())
    for name in ("../../secret.png", str(secret), "gone.png"):
        held["figures"].append({"file": name, "title": "", "caption": ""})
    file.write_text(json.dumps(held))
    (found,), notes = report.analysis(run)
    assert found.pictures == ()
    assert notes == [
        f"run lacks a figure of its analysis: {name}."
        for name in ("notes.txt", "../../secret.png", str(secret), "gone.png")
    ]


@pytest.mark.parametrize("text", ["", "{", "[]", '{"findings": 1}', '{"findings": []}'])
def test_a_damaged_analysis_is_named(tmp_path, text):
    run = make_run(tmp_path)
    analyze(run)
    (run.folder / "analysis" / "analysis.json").write_text(text)
    assert report.analysis(run) == (
        [],
        ["run has an analysis that cannot be read: analysis.json."],
    )


def test_the_page_is_written_whole_into_a_new_folder(tmp_path):
    path = report.write(
        [make_run(tmp_path)], [], tmp_path / "a" / "b", report.Options()
    )
    assert path == tmp_path / "a" / "b" / "index.html"
    assert path.read_text().endswith("</html>")
    assert [x.name for x in path.parent.iterdir()] == ["index.html"]
