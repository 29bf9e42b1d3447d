"""The page in a browser: what it shows is what the model dreams."""

import asyncio
import contextlib
import json
import threading

import numpy as np
import pytest

from dreamerv2_transfer.common.logger import video
from tests import browser as browser_lib
from tests import runs

pytest.importorskip("aiohttp", reason="the extra play is not installed")
pytestmark = pytest.mark.skipif(
    browser_lib.executable() is None, reason="needs Chromium"
)

from dreamerv2_transfer.play import server as server_lib  # noqa: E402
from dreamerv2_transfer.play.tables import Tables  # noqa: E402
from dreamerv2_transfer.trained import load  # noqa: E402
from tests.trained import small  # noqa: E402

TASK, PLANES, SEED, STEPS = "minatar_freeway", 7, 3, 200
KEYS = {"ArrowUp": 2, "ArrowDown": 4, "KeyN": 0, "ArrowLeft": 1}
READY = "game && !busy && !tapped.length"
PIXELS = """(() => {
  const x = document.getElementById("%s");
  const { data } = x.getContext("2d").getImageData(0, 0, x.width, x.height);
  return [x.height, x.width, ...data];
})()"""


@contextlib.contextmanager
def serving(tables):
    """Serves a page from a thread, and yields its address."""
    with server_lib.listen() as sock:
        server = server_lib.Server(sock, tables.new)
        loop, ready = asyncio.new_event_loop(), threading.Event()

        def run():
            with contextlib.suppress(asyncio.CancelledError):
                loop.run_until_complete(task)
            loop.close()

        task = loop.create_task(server.run(ready.set))
        thread = threading.Thread(target=run)
        thread.start()
        assert ready.wait(30)
        yield server.url
        loop.call_soon_threadsafe(task.cancel)
        thread.join()


@pytest.fixture(scope="module")
def model():
    return load.load(runs.ROOT / "results" / "minatar_small_pretrain")


@pytest.fixture(scope="module")
def url(model):
    with serving(Tables(model, TASK, SEED)) as url:
        yield url


@pytest.fixture
def browser(tmp_path):
    with contextlib.closing(browser_lib.Browser(tmp_path)) as opened:
        yield opened
        assert problems(opened) == []


def problems(browser):
    """What the console of the page complained about, and requests to elsewhere."""
    found = []
    for event in browser.events:
        text = json.dumps(event["params"])
        if event["method"] in ("Runtime.exceptionThrown", "Log.entryAdded"):
            found.append(text)
        elif event["method"] == "Network.requestWillBeSent":
            address = event["params"]["request"]["url"]
            if not address.startswith(("http://127.0.0.1:", "data:", "blob:")):
                found.append(text)
    return found


def opened(browser, url, **window):
    browser.open(url, **window)
    browser.wait(READY)
    return browser


def press(browser, code):
    for kind in ("rawKeyDown", "keyUp"):
        browser.call("Input.dispatchKeyEvent", type=kind, code=code)
    browser.wait(READY)


def pixels(browser, name):
    height, width, *data = browser.evaluate(PIXELS % name)
    return np.array(data, np.uint8).reshape(height, width, 4)[..., :3]


def test_200_steps_by_the_keyboard_show_what_the_model_imagines(model, url, browser):
    opened(browser, url).evaluate("document.getElementById('context').value = 1")
    browser.evaluate("document.getElementById('speed').value = 30")
    rng, shown = np.random.default_rng(0), {}
    while len(shown) < STEPS:
        press(browser, rng.choice([*KEYS]))
        shown[browser.evaluate("step")] = pixels(browser, "dream")
    taken = browser.evaluate("course.slice(1).map((x) => x.action)")
    assert {*taken} == {*KEYS.values()} and len(taken) == max(shown)

    game = Tables(model, TASK, SEED).session(TASK, SEED)  # Its start alone.
    dream = model.imagine(game.now.dreamed.state, np.array(taken), seed=SEED)
    images = dream["image"][np.array([*shown]) - 1]
    expected = video.planes_to_rgb(np.clip(images, 0, 1), 1, PLANES)
    difference = np.abs(np.array([*shown.values()]).astype(int) - expected)
    assert difference.max() <= 1  # Of 255, as one call is rounded differently.
    seen = game.game.after(taken).obs["image"]
    np.testing.assert_array_equal(
        pixels(browser, "game"), video.planes_to_rgb(seen, 1, PLANES)
    )
    latent = pixels(browser, "latent")
    lit = (latent == (255, 214, 102)).all(-1)
    np.testing.assert_array_equal(lit, dream["latents"]["stoch"][-1] == 1)


def test_rewinding_branching_looking_and_a_new_game(url, browser):
    opened(browser, url)
    for code in ("ArrowUp", "KeyN", "ArrowUp"):
        press(browser, code)
    assert browser.evaluate("course.length") == 4
    before = pixels(browser, "dream")
    press(browser, "Comma")
    assert browser.evaluate("[step, course.length, branches.length]") == [2, 4, 1]
    press(browser, "ArrowUp")  # The same action again: the same dream.
    assert browser.evaluate("[step, branch, branches.length]") == [3, 1, 2]
    np.testing.assert_array_equal(pixels(browser, "dream"), before)
    browser.evaluate("document.querySelector('#branches button').click()")
    browser.wait(f"{READY} && branch === 0")
    press(browser, "KeyL")
    press(browser, "KeyN")
    assert browser.evaluate("course.map((x) => x.looked)") == [True] * 5
    assert browser.evaluate("document.getElementById('mode').textContent") == "sees"
    browser.evaluate("document.getElementById('record').click()")
    browser.wait("document.getElementById('saved').textContent.startsWith('Saved')")
    press(browser, "KeyR")
    browser.wait(f"{READY} && step === 0 && course.length === 1")


@pytest.mark.parametrize("dark", [False, True])
def test_a_narrow_page_is_played_by_touch(url, browser, dark):
    opened(browser, url, width=420, dark=dark)
    browser.call("Emulation.setTouchEmulationEnabled", enabled=True)
    assert browser.evaluate("document.documentElement.scrollWidth") == 420
    outside = """[...document.querySelectorAll("body *")].filter((x) =>
        x.getBoundingClientRect().right > innerWidth + 1).length"""
    assert browser.evaluate(outside) == 0
    place = """(() => {
      const x = document.querySelector("[data-name=UP]");
      x.scrollIntoView();
      const box = x.getBoundingClientRect();
      return [box.x + box.width / 2, box.y + box.height / 2];
    })()"""
    x, y = browser.evaluate(place)
    touch = {"type": "touchStart", "touchPoints": [{"x": x, "y": y}]}
    browser.call("Input.dispatchTouchEvent", **touch)
    browser.wait("step >= 3")  # It is held.
    browser.call("Input.dispatchTouchEvent", type="touchEnd", touchPoints=[])
    browser.wait(READY)
    assert browser.evaluate("course.slice(1).every((x) => x.action === 2)")
    assert browser.evaluate("held.length") == 0


def test_time_runs_by_itself_at_the_speed_that_is_asked_for(url, browser):
    opened(browser, url).evaluate("document.getElementById('speed').value = 30")
    press_run = "document.getElementById('run').click()"
    browser.evaluate(press_run)
    browser.wait("step > 20")
    browser.evaluate(press_run)
    browser.wait(READY)
    assert browser.evaluate("course.slice(1).every((x) => x.action === 0)")


def test_the_agent_plays_until_the_game_ends(browser):
    tables = Tables(small.make_model(time_limit=6), TASK, SEED)
    with serving(tables) as url:
        opened(browser, url).evaluate("document.getElementById('context').value = 1")
        press(browser, "KeyG")
        browser.wait("!on.run && step === 6 && course[6].over")
        taken = browser.evaluate("course.slice(1).map((x) => x.action)")
    session = tables.session(TASK, SEED)
    assert taken == [session.step(None).action for _ in range(6)]


def test_a_server_that_ends_is_told(model, browser):
    with serving(Tables(model, TASK, SEED)) as url:
        opened(browser, url)
        press(browser, "ArrowUp")
    told = "document.getElementById('failed').textContent"
    browser.wait(f"{told}.includes('Start play again')")
    assert browser.evaluate("document.getElementById('run').disabled")
