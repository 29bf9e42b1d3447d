"""The documentation site: it builds without a warning, and needs no network."""

import base64
import html.parser
import importlib.util
import os
import subprocess
import sys
import urllib.parse

import pytest
from ruamel.yaml import YAML

from tests import runs

pytest.importorskip("mkdocs")  # Of the extra `docs`.

DOCS = runs.ROOT / "docs"
# What loads a file as soon as a page is shown.
RESOURCES = {"img": "src", "link": "href", "script": "src", "source": "src"}


@pytest.fixture(scope="module")
def hooks():
    spec = importlib.util.spec_from_file_location("hooks", DOCS / "hooks.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    folder = tmp_path_factory.mktemp("site")
    build = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder]
    done = subprocess.run(
        build,
        cwd=runs.ROOT,
        env={**os.environ, "NO_MKDOCS_2_WARNING": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return folder


class Links(html.parser.HTMLParser):
    def __init__(self, path):
        super().__init__()
        self.links, self.resources, self.names = [], [], set()
        self.feed(path.read_text())

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        self.names |= {values[x] for x in ("id", "name") if values.get(x)}
        if tag == "a" and values.get("href"):
            self.links.append(values["href"])
        if values.get(RESOURCES.get(tag)):
            self.resources.append(values[RESOURCES[tag]])


@pytest.fixture(scope="module")
def pages(site):
    return {path: Links(path) for path in site.rglob("*.html")}


def test_the_site_has_the_written_and_the_generated_pages(site):
    names = {path.relative_to(site).as_posix() for path in site.rglob("*.html")}
    wanted = {
        "index.html",
        "configuration.html",
        "api/dreamerv2_transfer.api.html",
        "repository/results/minatar_small/index.html",
    }
    assert wanted <= names
    text = (site / "api/dreamerv2_transfer.api.html").read_text()
    assert 'id="dreamerv2_transfer.api.train"' in text
    assert "The environment cannot be used, or failed." in text


def test_a_page_loads_nothing_from_the_network(pages):
    for path, found in pages.items():
        remote = [x for x in found.resources if urllib.parse.urlsplit(x).netloc]
        assert not remote, path
        assert found.resources


def test_links_lead_to_pages_and_headings_of_the_site(site, pages):
    for path, found in pages.items():
        for link in {*found.links, *found.resources}:
            parts = urllib.parse.urlsplit(link)
            if parts.scheme or path.name == "404.html":
                continue
            target = path
            if parts.path:
                target = (path.parent / urllib.parse.unquote(parts.path)).resolve()
            assert target.is_file(), f"{path.relative_to(site)}: {link}"
            if parts.fragment and target in pages and target != path:
                assert parts.fragment in pages[target].names, f"{path}: {link}"


def test_every_page_is_in_the_navigation():
    settings = YAML(typ="rt", pure=True).load(runs.ROOT / "mkdocs.yml")

    def listed(entries):
        for entry in entries:
            values = entry.values() if isinstance(entry, dict) else [entry]
            for value in values:
                yield from [value] if isinstance(value, str) else listed(value)

    sources = [*DOCS.rglob("*.md"), *DOCS.rglob("*.ipynb")]
    names = {path.relative_to(DOCS).with_suffix(".md").as_posix() for path in sources}
    assert names <= {*listed(settings["nav"])}


def test_a_notebook_becomes_a_page_with_its_outputs(hooks):
    picture = {"image/png": base64.b64encode(b"PNG").decode()}
    cells = [
        {"cell_type": "markdown", "source": ["# Title\n", "Text."]},
        {"cell_type": "code", "source": ["%%bash\n", "ls"], "outputs": []},
        {
            "cell_type": "code",
            "source": "print(1)",
            "outputs": [
                {"output_type": "stream", "name": "stdout", "text": ["1\n"]},
                {"output_type": "stream", "name": "stderr", "text": "2\n"},
                {
                    "output_type": "display_data",
                    "data": {**picture, "text/plain": "<Figure size 640x480>"},
                },
            ],
        },
    ]
    page, pictures = hooks.notebook_page({"cells": cells}, "first")
    assert pictures == {"first/0.png": b"PNG"}
    assert page == (
        "# Title\nText.\n\n````bash\nls\n````\n\n````python\nprint(1)\n````\n\n"
        "````{.text .output}\n1\n2\n````\n\n"
        "![Output of the cell above](first/0.png)\n\n"
        '[Download this notebook](first.ipynb){ download="" }\n'
    )


def test_links_in_code_are_left_alone(hooks):
    text = "[a](x.md)\n```\n[b](y.md)\n```\n[c](z.md#d)\n"
    found = hooks._targets(text, DOCS / "page.md")
    assert [*found] == [DOCS / "x.md", DOCS / "z.md"]
