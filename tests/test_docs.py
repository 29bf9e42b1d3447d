"""The documentation names what there is."""

import importlib.util
import re

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from tests import runs

DOCS = runs.ROOT / "docs"
PAGES = [runs.ROOT / "README.md", *sorted(DOCS.glob("*.md"))]
FILES = r"(?:bench|docs|docker|examples|launch|tests|results|logdir_templates)/[\w./-]+"
SCRIPT = r"python ((?:bench|docs|examples|launch)/\w+\.py)([^\n`]*)"


@pytest.fixture(scope="module")
def reference():
    spec = importlib.util.spec_from_file_location("reference", DOCS / "reference.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_configuration_page_is_that_of_configs_yaml(reference):
    made = reference.reference((runs.ROOT / "configs.yaml").read_text())
    assert (DOCS / "configuration.md").read_text() == made, (
        "Run: python docs/reference.py"
    )


def test_every_key_has_a_row(reference):
    page = (DOCS / "configuration.md").read_text()
    keys = re.findall(r"^\| `([\w.]+)` \|", page, re.MULTILINE)
    assert keys == [*blocks.load_config([]).flat]


def test_a_row_has_default_comment_and_blocks(reference):
    text = (
        "defaults:\n\n  # Sizes. Ours.\n  deter: 3  # units\n"
        "  opt: {lr: 2e-4, eps: 1}\n"
        "minatar:\n  # All.\n  .*lr: 0.5\n  deter: 3\n"
    )
    page = reference.reference(text)
    assert "## Sizes\n\nOurs.\n" in page
    assert "| `deter` | `3` | units | minatar: `3` |" in page
    assert "| `opt.lr` | `0.0002` |  | minatar: `0.5` |" in page
    assert "| `opt.eps` | `1` |  |  |" in page


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_a_page_links_to_what_exists(page):
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text()):
        if "://" not in target:
            assert (page.parent / target).exists(), target


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_scripts_that_a_page_runs_exist(page):
    for script, _ in re.findall(SCRIPT, page.read_text()):
        assert (runs.ROOT / script).exists(), script


@pytest.mark.parametrize("page", sorted(DOCS.glob("*.md")), ids=lambda page: page.name)
def test_the_files_and_modules_that_a_page_names_exist(page):
    text = page.read_text()
    for name in re.findall(rf"`({FILES})`", text):
        assert (runs.ROOT / name).exists(), name
    for name in re.findall(r"`((?:common|transfer|analysis|dqn|data)/\w+\.py)`", text):
        assert (runs.ROOT / "dreamerv2_transfer" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_that_a_page_names_exist(page):
    known = {*config_lib.YAML(typ="safe").load(runs.ROOT / "configs.yaml")}
    command = r"--configs ((?:[a-z_]+(?![\w./]) ?)+)"
    for names in re.findall(command, page.read_text()):
        assert {*names.split()} <= known, names
