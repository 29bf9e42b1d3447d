"""The documentation names what there is."""

import importlib.util
import re

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common import config as config_lib
from tests import runs

DOCS = runs.ROOT / "docs"
README = runs.ROOT / "README.md"
PAGES = [README, *sorted(DOCS.glob("*.md"))]
FOLDERS = ("bench", "examples", "logdir_templates", "models", "results")
OTHERS = sorted(x for folder in FOLDERS for x in (runs.ROOT / folder).rglob("*.md"))
ALL = sorted({*PAGES, *runs.ROOT.glob("*.md"), *OTHERS})
FILES = r"(?:bench|docs|docker|examples|launch|tests|results|logdir_templates)/[\w./-]+"
FENCED = re.compile(r"^```.*?^```$", re.MULTILINE | re.DOTALL)
LINK = re.compile(r"\]\(([^)\s]+)\)")  # Of images too.
PARTS = "common|transfer|porting|plotting|analysis|reproduction|dqn|data"
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


def test_the_commands_page_is_that_of_the_commands(reference):
    assert (DOCS / "commands.md").read_text() == reference.commands_page(), (
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


def test_flags_in_texts_are_code_and_keep_their_backslashes(reference):
    text = r"A list is --KEY a b; `--quiet` is not. An expression: --.*\.norm layer."
    assert reference.marked(text) == (
        r"A list is `--KEY` a b; `--quiet` is not. An expression: `--.*\.norm` layer."
    )


def test_a_long_example_is_broken_before_flags(reference):
    line = "dreamerv2-transfer train --configs minatar small finetune --init runs/first"
    assert reference.continued(f"{line} --logdir logdir/agent") == (
        f"{line} \\\n    --logdir logdir/agent"
    )
    assert reference.continued("evaluate --logdir A") == "evaluate --logdir A"


def named(page):
    return str(page.relative_to(runs.ROOT))


def slugs(text: str) -> set[str]:
    """Returns what GitHub calls the headings of a page."""
    headings = re.findall(r"^#+ (.*)$", FENCED.sub("", text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", x.lower()).replace(" ", "-") for x in headings}


@pytest.mark.parametrize("page", ALL, ids=named)
def test_a_page_links_to_what_exists(page):
    for target in LINK.findall(FENCED.sub("", page.read_text())):
        if "://" in target:
            continue
        path, _, heading = target.partition("#")
        there = page.parent / path if path else page
        assert there.exists(), target
        assert not heading or heading in slugs(there.read_text()), target


@pytest.mark.parametrize("page", ALL, ids=named)
def test_lines_are_at_most_100_characters_wide(page):
    """Tables may be wider, and what has no place for a break."""
    lines = page.read_text().splitlines()
    wide = [x for x in lines if len(x) > 100 and len(x.split()) > 1]
    assert [x for x in wide if not x.startswith("|")] == []


def test_the_readme_is_short_and_has_the_two_commands_word_for_word():
    lines = README.read_text().splitlines()
    assert len(lines) <= 160
    assert "pip install . && python launch/train.py --configs minatar pretrain" in lines
    assert "pip install '.[test]' && pytest" in lines


def test_the_readme_names_the_paper_the_original_and_the_licences():
    text = README.read_text()
    for words in (
        "Adapting to the Unfamiliar",
        "https://arxiv.org/abs/2010.02193",
        "https://github.com/danijar/dreamerv2",
        "https://github.com/JonaSchulz/pydreamer",
        "MinAtar is GPL-3.0",
    ):
        assert words in text, words
    assert re.search(r"ale-py is\s+GPL-2.0", text)
    assert "GPL-3.0" in (runs.ROOT / "Dockerfile").read_text()
    assert "GPL-2.0" in (runs.ROOT / "Dockerfile").read_text()


def test_the_index_lists_every_page():
    listed = set(LINK.findall((DOCS / "README.md").read_text()))
    assert {x.name for x in DOCS.glob("*.md")} - {"README.md"} <= listed


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_scripts_that_a_page_runs_exist(page):
    for script, _ in re.findall(SCRIPT, page.read_text()):
        assert (runs.ROOT / script).exists(), script


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_files_and_modules_that_a_page_names_exist(page):
    # The original's own files stand in the first column of a table.
    text = re.sub(r"^\| `(common|dreamerv2)/.*?\|", "", page.read_text(), flags=re.M)
    for name in re.findall(rf"`({FILES})`", text):
        assert (runs.ROOT / name).exists(), name
    for name in re.findall(rf"`((?:{PARTS})/(?:\w+/)*(?:\w+\.py)?)`", text):
        assert (runs.ROOT / "dreamerv2_transfer" / name).exists(), name


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_blocks_that_a_page_names_exist(page):
    known = {*config_lib.read_mapping(runs.ROOT / "configs.yaml")}
    command = r"--configs ((?:[a-z_]+(?![\w./]) ?)+)"
    for names in re.findall(command, page.read_text()):
        assert {*names.split()} <= known, names
