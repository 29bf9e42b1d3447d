"""The page about runs."""

import base64
import html.parser
import json
import os
import pathlib
import re

import numpy as np
import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import report, runs

ROOT = pathlib.Path(__file__).parents[2]
CONFIG = blocks.load_config(["minatar", "debug", "scratch"])
FINETUNE = blocks.load_config(["minatar", "debug", "finetune"])
# A single pixel, which is smaller than as WebP.
GIF = base64.b64decode("R0lGODlhAQABAAAAACwAAAAAAQABAAACAkQBADs=")
PNG = base64.b64decode(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAAAAAA6fptVAAAACklEQVR4nGNgAAAAAgABSK+kcQAAAABJRU5ErkJg"
    "gg=="
)


def make_run(folder: pathlib.Path, name="run", config=CONFIG, level=2.5, **metrics):
    """A run with two points of each curve, in a folder of its own."""
    levels = metrics or {"train_return": level}
    held = {k: (np.array([0.0, 5.0]), np.array([1.0, x])) for k, x in levels.items()}
    (folder / str(len([*folder.iterdir()]))).mkdir()
    return runs.Run(name, max(folder.iterdir()), config, held)


def analyze(run: runs.Run, findings=(), files=()) -> None:
    """Leaves what `analyze` leaves, in which each file is a picture."""
    folder = run.folder / "analysis"
    folder.mkdir()
    for file in files:
        (folder / file).write_bytes(PNG)
    figures = [{"file": f, "title": f"T {f}", "caption": "C"} for f in files]
    held = {"findings": list(findings), "figures": figures}
    (folder / "analysis.json").write_text(json.dumps(held))


def page(*found, notes=(), **options) -> str:
    return report.render(found, notes, report.Options(**options))


class Page(html.parser.HTMLParser):
    """The parts of a page: texts outside of scripts and styles, tags and attributes."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.text, self.scripts, self._inside = [], "", [], []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag in ("script", "style"):
            self._inside.append(tag)

    def handle_endtag(self, tag):
        if tag in ("script", "style"):
            self._inside.pop()

    def handle_data(self, data):
        if self._inside == ["script"]:
            self.scripts.append(data)
        if not self._inside:
            self.text += data

    def sources(self):
        return [attrs["src"] for _, attrs in self.tags if "src" in attrs]


def test_the_page_shows_findings_figures_and_videos(tmp_path):
    run = make_run(tmp_path)
    analyze(run, ["A finding."], ["probes.png"])
    (run.folder / "videos").mkdir()
    for name in ("a.gif", "b.gif", "c.gif"):
        (run.folder / "videos" / name).write_bytes(GIF)
    html = page(run, notes=["A note."], videos=2, title="A title")
    for text in ("<title>A title</title>", "A finding.", "probes.png", "A note."):
        assert text in html
    assert html.count("data:image/gif;base64,R0lGODlh") == 2
    assert "run has more videos, which are not shown: c.gif." in html
    assert f"data:image/png;base64,{base64.b64encode(PNG).decode()}" in html


def test_the_page_holds_nothing_that_is_no_picture_of_the_run(tmp_path):
    (tmp_path / "runs").mkdir()
    secret = tmp_path / "id_rsa"
    secret.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----")
    run = make_run(tmp_path / "runs")
    videos = run.folder / "videos"
    videos.mkdir()
    (videos / "a.gif").write_bytes(GIF)
    (videos / "b.gif").symlink_to(secret)
    (videos / "c.gif").write_bytes(secret.read_bytes())
    (videos / "d.gif").symlink_to("e.gif")
    (videos / "e.gif").symlink_to("d.gif")
    (videos / "f.gif").mkdir()
    html = page(run)
    assert html.count("data:image/gif;base64,R0lGODlh") == 1
    assert base64.b64encode(secret.read_bytes()).decode()[:20] not in html
    for name in "bcdf":
        assert f"run has a video that is not shown: {name}.gif" in html.replace(
            f"{videos}/", ""
        )
    (run.folder / "videos").rename(tmp_path / "moved")
    (run.folder / "videos").symlink_to(tmp_path / "moved")
    assert "data:image/gif" not in page(run)


def test_the_summary_comes_first_with_verdict_and_main_figure(tmp_path):
    seeds = [{"seed": seed} for seed in range(2)]
    found = [make_run(tmp_path, f"s{x['seed']}", CONFIG.update(x)) for x in seeds]
    found += [
        make_run(tmp_path, f"f{x['seed']}", FINETUNE.update(x), 9.0) for x in seeds
    ]
    html = page(*found)
    summary = html[html.index('id="summary"') : html.index('id="gains"')]
    assert "On Space Invaders (MinAtar), pre-trained is better" in summary
    assert "2.86×" in summary and summary.count('class="chart"') == 1
    assert 'id="curves"' not in html  # All of them are in the summary.


def test_a_dqn_is_drawn_beside_scratch_but_not_compared(tmp_path):
    dqn = make_run(tmp_path, "d", blocks.with_stage(CONFIG, "dqn"), level=1.0)
    html = page(make_run(tmp_path), dqn)
    assert "Nothing is compared" in html and 'id="gains"' not in html
    assert "dqn of minatar_space_invaders is not compared with scratch" in html
    (plot,) = json.loads(Page(html).scripts[0])["plots"]
    assert plot["x"] == "step"


def test_further_metrics_are_among_the_curves(tmp_path):
    levels = {"train_return": 1.0, "model_error": 30.0}
    html = page(make_run(tmp_path, **levels))
    plots = re.findall(r'class="chart" data-plot="(\d)"', html)
    assert plots == ["0", "1"]
    summary, curves = html.split('id="curves"')
    assert summary.count('class="chart"') == curves.count('class="chart"') == 1
    assert "Model error (nats a step)" in curves
    data = json.loads(Page(html).scripts[0])
    assert [x["y"] for x in data["plots"]] == [
        "return of training episodes",
        "model error (nats a step)",
    ]


def test_games_that_are_compared_come_first_in_the_main_figure(tmp_path):
    other = CONFIG.update({"task": "minatar_asterix"})
    found = [make_run(tmp_path), make_run(tmp_path, "b", FINETUNE)]
    html = page(make_run(tmp_path, "c", other), *found)
    titles = re.findall("<figcaption>(.*?)</figcaption>", html)
    assert titles == ["Space Invaders (MinAtar)", "Asterix (MinAtar)"]


def test_the_main_figure_has_a_few_games(tmp_path):
    levels = {f"model_error/game{x}": 1.0 for x in range(6)}
    html = page(make_run(tmp_path, **levels), metrics=("model_error",))
    summary, curves = html.split('id="curves"')
    assert summary.count('class="chart"') == 4
    assert curves.count('class="chart"') == 2


HOSTILE = "</script><script>alert(1)</script><img src=x onerror=alert(2)> \"ä'🎮"


def test_texts_of_a_run_are_no_markup(tmp_path):
    nameless = make_run(tmp_path, HOSTILE, None)
    run = make_run(tmp_path, HOSTILE, CONFIG.update({"task": HOSTILE}))
    analyze(run, [HOSTILE])
    (run.folder / "videos").mkdir()
    (run.folder / "videos" / "<i>.gif").write_bytes(GIF)
    found = Page(page(nameless, run, notes=[HOSTILE], title=HOSTILE))
    # The data, Plotly and our own.
    assert len(found.scripts) == 3
    assert found.text.count("alert(1)") > 5 and found.text.count("ä'🎮") > 5
    data = json.loads(found.scripts[0])
    # The arm of a run without a configuration is its folder's name.
    assert any("alert(2)" in line["name"] for line in data["lines"])
    handlers = [key for _, attrs in found.tags for key in attrs if key[:2] == "on"]
    assert not handlers and "i" not in {tag for tag, attrs in found.tags if not attrs}
    assert all(uri.startswith("data:") for uri in found.sources())


def test_the_page_is_written_whole_into_a_new_folder(tmp_path):
    run = make_run(tmp_path)
    path = report.write([run], [], tmp_path / "a" / "b", report.Options())
    assert path == tmp_path / "a" / "b" / "index.html"
    assert path.read_text().endswith("</html>")
    assert [x.name for x in path.parent.iterdir()] == ["index.html"]


def test_a_name_that_is_no_utf_8_is_written_as_far_as_it_is(tmp_path):
    run = make_run(tmp_path)
    (run.folder / "videos").mkdir()
    (run.folder / "videos" / os.fsdecode(b"a\xff.gif")).write_bytes(GIF)
    path = report.write([run], [], tmp_path / "page", report.Options())
    assert "a\\udcff" in path.read_text()


@pytest.mark.parametrize("path", [*(ROOT / "results").rglob("report/index.html")])
def test_a_published_page_is_smaller_than_6_megabytes(path):
    assert path.stat().st_size < 6_000_000
