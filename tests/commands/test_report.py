"""The report of runs, as a process of its own, and as a browser shows it."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.logger import video
from tests import browser as browser_lib
from tests import runs

# Code that would change the title, in a tag of its own and in a handler.
CODE = "document.title='hacked'"
HOSTILE = f"</script><script>{CODE}</script><img src=x onerror={CODE}> \"q\" 'ü' 🎮"
FOLDER = HOSTILE.replace("/", "")  # What a file system takes as a name.
# Elements that are wider than the window and in nothing that scrolls by itself.
WIDE = """[...document.querySelectorAll("body *")].filter((x) =>
  x.getBoundingClientRect().right > innerWidth + 1 && !x.closest(".scroll, nav")
).map((x) => x.outerHTML.slice(0, 200))"""
SHOWN = """[...document.querySelectorAll(".chart")].map((x) => [
  x.querySelector("img").checkVisibility(), x.querySelector(".live").checkVisibility()
])"""
DRAWN = 'document.querySelectorAll(".live .main-svg").length > 0'


def write_run(path, arm, seed, level, task="minatar_space_invaders", **changes):
    path.mkdir(parents=True)
    rows = [
        {
            "step": step,
            "train_return": level + step / 10,
            "model_error": 300 / (step + 1),
            f"model_error/{HOSTILE}": 30.0,
        }
        for step in range(40)
    ]
    (path / "metrics.jsonl").write_text("\n".join(map(json.dumps, rows)))
    config = blocks.load_config(["minatar", "debug", arm])
    config = config.update({"seed": seed, "task": task, **changes})
    config.save(path / "config.yaml")


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """The report of arms and seeds with names that would like to be code."""
    folder = tmp_path_factory.mktemp("runs")
    for seed in range(3):
        write_run(folder / f"{FOLDER}_{seed}", "scratch", seed, 1 + seed / 10)
        write_run(folder / f"finetune_{seed}", "finetune", seed, 3, discount=0.5)
    write_run(folder / "elsewhere", "finetune", 0, 3, task=HOSTILE)
    path = folder / f"{FOLDER}_0"
    (folder / f"{FOLDER}_1" / "config.yaml").unlink()
    frames = np.zeros([2, 40, 60, 3], np.uint8)
    video.save_gif(path / "videos" / "openl_image.gif", frames, fps=5)
    (path / "analysis").mkdir()
    figures = []
    for name, height in (("probes.png", 30), ("wide.png", 10)):
        video.save_png(path / "analysis" / name, frames[0, :height])
        caption = f"What they show. {HOSTILE}"
        figures.append({"file": name, "title": HOSTILE, "caption": caption})
    held = {"findings": [f"A finding. {HOSTILE}"], "figures": figures}
    (path / "analysis" / "analysis.json").write_text(json.dumps(held))
    out = folder / "report"
    done = runs.run(
        "launch/report.py", "--runs", folder, "--out", out, "--title", HOSTILE
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert done.stdout.startswith(f"Saved {out}/index.html, ")
    return out / "index.html"


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    if not browser_lib.executable():
        pytest.skip("There is no Chromium: apt-get install chromium.")
    opened = browser_lib.Browser(tmp_path_factory.mktemp("profile"))
    yield opened
    opened.close()


def errors(browser):
    """What the browser complained about, and the addresses that it asked for."""
    found = [x["params"] for x in browser.events if "params" in x]
    said = [x["entry"]["text"] for x in found if "entry" in x]
    said += [str(x["exceptionDetails"]) for x in found if "exceptionDetails" in x]
    asked = {x["request"]["url"] for x in found if "request" in x}
    return said, {x for x in asked if not x.startswith(("data:", "blob:"))}


def test_the_page_has_all_parts(page):
    html = page.read_text()
    for text in (
        "A finding.",
        "What they show.",
        "openl_image",
        "area ratio",
        "discount",
    ):
        assert text in html


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("width", [1300, 420])
def test_nothing_is_cut_off_and_no_network_is_needed(page, browser, width, dark):
    browser.open(page.as_uri(), width, dark=dark)
    browser.wait(DRAWN)
    browser.evaluate(
        "document.querySelectorAll('details').forEach((x) => x.open = true)"
    )
    assert browser.evaluate("innerWidth") == width
    assert browser.evaluate("document.documentElement.scrollWidth") == width
    assert browser.evaluate(WIDE) == []
    assert errors(browser) == ([], {page.as_uri()})
    ink, paper = browser.evaluate(
        "['color', 'backgroundColor'].map((x) => getComputedStyle(document.body)[x])"
    )
    expected = ("rgb(228, 230, 234)", "rgb(18, 21, 26)")
    assert (ink, paper) == (
        expected if dark else ("rgb(27, 33, 41)", "rgb(244, 245, 248)")
    )


def test_tables_fit_into_a_wide_window(page, browser):
    browser.open(page.as_uri(), 1300)
    wide = "[...document.querySelectorAll('#gains .scroll, #summary .scroll')]"
    assert browser.evaluate(f"{wide}.map((x) => x.scrollWidth <= x.clientWidth)") == [
        True
    ]


@pytest.mark.parametrize("guarded", [True, False])
def test_no_name_becomes_code(page, browser, tmp_path, guarded):
    text = page.read_text()
    if not guarded:  # Escaping suffices without the page's policy.
        start = text.index("<meta http-equiv")
        text = text[:start] + text[text.index(">", start) + 1 :]
    copy = tmp_path / "page.html"
    copy.write_text(text)
    browser.open(copy.as_uri())
    browser.wait(DRAWN)
    named = []
    for number in range(browser.evaluate("document.querySelectorAll('.chart').length")):
        chart = f"document.querySelectorAll('.chart')[{number}]"
        browser.evaluate(f"{chart}.scrollIntoView({{block: 'center'}})")
        browser.wait(f"{chart}.querySelector('.main-svg')")
        left, top, width, height = browser.evaluate(
            "['x', 'y', 'width', 'height']"
            f".map((x) => {chart}.getBoundingClientRect()[x])"
        )
        middle = {"x": left + width / 2, "y": top + height / 2}
        browser.call("Input.dispatchMouseEvent", type="mouseMoved", **middle)
        texts = (
            f"[...{chart}.querySelectorAll('.legendtext')].map((x) => x.textContent)"
        )
        browser.wait(f"{texts}.length")
        named += browser.evaluate(texts)
    browser.evaluate("document.querySelector('.frame').click()")
    assert browser.evaluate("document.title") == HOSTILE
    assert browser.evaluate("document.querySelector('#zoom p').textContent") == (
        f"{HOSTILE}: What they show. {HOSTILE}"
    )
    # Plotly shows the name of an arm as it is, too.
    assert any(f"{FOLDER}_1 : " in text for text in named)
    assert errors(browser) == ([], {copy.as_uri()})


def test_the_policy_stops_a_script_that_is_not_the_pages(page, browser, tmp_path):
    copy = tmp_path / "page.html"
    code = f"<script>{CODE}</script></body>"
    copy.write_text(page.read_text().replace("</body>", code))
    browser.open(copy.as_uri())
    assert browser.evaluate("document.title") == HOSTILE
    assert any("Content Security Policy" in text for text in errors(browser)[0])


def test_an_arm_can_be_hidden_in_all_curves(page, browser):
    browser.open(page.as_uri(), height=4000)
    browser.wait(DRAWN)
    chip = "document.querySelector('.chip[data-arm=\"0\"]')"
    shown = (
        "[...document.querySelectorAll('.live.js-plotly-plot')].map((x) => "
        "x.data.filter((y) => y.name === 'from scratch').map((y) => y.visible))"
    )
    assert [x for x in browser.evaluate(shown) if x] == [[True]] * 3
    browser.evaluate(f"{chip}.click()")
    assert [x for x in browser.evaluate(shown) if x] == [[False]] * 3
    assert browser.evaluate(f"{chip}.getAttribute('aria-pressed')") == "false"


def test_the_theme_can_be_changed(page, browser):
    browser.open(page.as_uri())
    paper = "getComputedStyle(document.body).backgroundColor"
    assert browser.evaluate(paper) == "rgb(244, 245, 248)"
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate(paper) == "rgb(18, 21, 26)"
    browser.evaluate("document.querySelector('#theme').click()")
    assert browser.evaluate(paper) == "rgb(244, 245, 248)"


def test_plotly_offers_no_button_that_sends_data(page, browser):
    browser.open(page.as_uri())
    browser.wait(DRAWN)
    buttons = (
        "[...document.querySelector('.modebar').querySelectorAll('[data-title]')]"
        ".map((x) => x.dataset.title)"
    )
    assert browser.evaluate(buttons) == [
        "Download plot as a PNG",
        "Zoom",
        "Pan",
        "Reset axes",
    ]


def test_print_shows_pictures_in_place_of_interactive_curves(page, browser):
    browser.open(page.as_uri(), dark=True)
    browser.wait(DRAWN)
    assert browser.evaluate(SHOWN)[0] == [False, True]
    browser.call("Emulation.setEmulatedMedia", media="print")
    assert set(map(tuple, browser.evaluate(SHOWN))) == {(True, False)}
    paper = "getComputedStyle(document.body).backgroundColor"
    assert browser.evaluate(paper) == "rgb(255, 255, 255)"
    browser.call("Emulation.setEmulatedMedia", media="")
    assert browser.print().startswith(b"%PDF")


def test_without_scripts_the_pictures_are_there(page, browser):
    browser.call("Emulation.setScriptExecutionDisabled", value=True)
    browser.open(page.as_uri())
    assert set(map(tuple, browser.evaluate(SHOWN))) == {(True, False)}
    sizes = "[...document.images].slice(0, 3).map((x) => x.naturalWidth)"
    assert browser.evaluate(sizes) == [728] * 3
    assert not browser.evaluate("document.querySelector('#theme').checkVisibility()")
    browser.call("Emulation.setScriptExecutionDisabled", value=False)


def test_a_screenshot_of_the_page_is_not_blank(page, browser):
    browser.open(page.as_uri(), 1200, 1600)
    browser.wait(DRAWN)
    pixels = np.asarray(Image.open(io.BytesIO(browser.screenshot())).convert("L"))
    assert pixels.shape == (1600, 1200)
    # Most is paper; texts, curves and tables are on it.
    assert pixels.mean() > 150 and (pixels < 80).mean() > 0.005


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
