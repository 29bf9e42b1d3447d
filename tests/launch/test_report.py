"""The report of runs, as a process of its own, and as a browser shows it."""

import json
import shutil
import subprocess

import numpy as np
import pytest
from PIL import Image

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.logger import video
from tests import runs

BROWSERS = "chromium", "chromium-browser", "google-chrome", "chrome"
# Writes what the browser made of the page to where `--dump-dom` shows it.
PROBE = """<script>addEventListener("load", () => {
  const pictures = [...document.images].map((x) => [x.naturalWidth, x.naturalHeight]);
  const loaded = performance.getEntriesByType("resource").map((x) => x.name);
  const wide = document.documentElement.scrollWidth > innerWidth;
  document.body.dataset.probe = JSON.stringify({pictures, loaded, wide});
})</script>"""


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of two arms, one of them with a video and an analysis."""
    folder = tmp_path_factory.mktemp("runs")
    for arm, height in (("scratch", 1), ("finetune", 3)):
        path = folder / arm
        path.mkdir()
        rows = [{"step": step, "train_return": height + step} for step in range(5)]
        (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
        blocks.load_config(["minatar", "debug", arm]).save(path / "config.yaml")
    frames = np.zeros([2, 40, 60, 3], np.uint8)
    video.save_gif(path / "videos" / "openl_image.gif", frames, fps=5)
    (path / "analysis").mkdir()
    video.save_png(path / "analysis" / "probes.png", frames[0, :30])
    figure = {"file": "probes.png", "title": "Probes", "caption": "What they show."}
    held = {"findings": ["A finding."], "figures": [figure]}
    (path / "analysis" / "analysis.json").write_text(json.dumps(held))
    out = folder / "report"
    done = runs.run("launch/report.py", "--runs", folder, "--out", out)
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"Saved {out}/index.html, ")
    return out / "index.html"


def test_the_page_has_all_parts(page):
    html = page.read_text()
    for text in ("A finding.", "What they show.", "openl_image", "area ratio", "stage"):
        assert text in html
    assert "http" not in html.replace("http-equiv", "")


def test_a_browser_shows_the_page_without_a_network(page, tmp_path):
    probed = tmp_path / "page.html"
    probed.write_text(page.read_text().replace("</body>", f"{PROBE}</body>"))
    dom = browse("--dump-dom", probed.as_uri())
    assert "What pre-training was worth" in dom
    start = dom.index("data-probe=") + len("data-probe=") + 1
    text = dom[start : dom.index(dom[start - 1], start)].replace("&quot;", '"')
    seen = json.loads(text)
    # Curves of one metric, the analysis, the video.
    (curves, *others) = seen["pictures"]
    assert curves[0] > 300 and others == [[60, 30], [60, 40]]
    assert [name for name in seen["loaded"] if not name.startswith("data:")] == []
    assert not seen["wide"]


def test_a_picture_of_the_page_is_not_blank(page, tmp_path):
    picture = tmp_path / "page.png"
    browse(f"--screenshot={picture}", page.as_uri())
    pixels = np.asarray(Image.open(picture).convert("L"))
    assert pixels.shape == (1600, 1200)
    # Most is paper; tables, curves and the black video are on it.
    assert pixels.mean() > 150 and (pixels < 80).mean() > 0.005


def browse(*args) -> str:
    """Opens a headless browser, which cannot reach any network."""
    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not browser:
        pytest.skip("There is no Chromium: apt-get install chromium.")
    flags = ["--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"]
    flags += ["--host-resolver-rules=MAP * ~NOTFOUND", "--window-size=1200,1600"]
    command = [browser, *flags, *args]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("args", "message"),
    [
        ([], "Name the runs: --runs LOGDIR [LOGDIR ...]."),
        (["--runs", "nowhere"], "Name the folder to write: --out report."),
        (["--runs", "nowhere", "--out", "x"], "There is no such run or folder."),
    ],
)
def test_a_command_that_cannot_be_run_says_why(args, message):
    done = runs.run("launch/report.py", *args)
    assert done.returncode == 2 and message in done.stderr
