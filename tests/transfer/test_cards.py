import configparser

import pytest

from dreamerv2_transfer.transfer import cards
from tests import runs

HASH = "2d711642b726b04401627ca9fbac32f5c8530fb1903cc4db02258717921a4881"  # Of "x".
CARD = f"""---
library_name: dreamerv2_transfer
dreamerv2_transfer:
  summary: a small one
  files:
    config.yaml: {{sha256: {HASH}}}
    world_model.safetensors: {{sha256: {HASH}}}
---
# Text
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "README.md").write_text(CARD)
    for name in ("config.yaml", "world_model.safetensors"):
        (tmp_path / name).write_text("x")
    return tmp_path


def test_files_with_the_hashes_of_the_card_pass(folder):
    assert cards.checked(folder) == folder
    assert cards.read(folder).summary == "a small one"


@pytest.mark.parametrize("name", ["config.yaml", "world_model.safetensors"])
def test_a_file_that_changed_is_refused(folder, name):
    (folder / name).write_text("y")
    with pytest.raises(cards.CardError, match=rf"{name} is not the file.*fetch it"):
        cards.checked(folder)


@pytest.mark.parametrize("wrong", ["", "null", "12", "2D" + HASH[2:], "[a]", "{}"])
def test_a_card_without_a_hash_is_refused(folder, wrong):
    card = CARD.replace(f"world_model.safetensors: {{sha256: {HASH}}}", "")
    if wrong:
        card = CARD.replace(HASH, wrong)
    (folder / "README.md").write_text(card)
    with pytest.raises(cards.CardError, match="has no sha256 of"):
        cards.checked(folder)


def test_weights_that_the_card_does_not_know_are_refused(folder):
    (folder / "actor_critic.weights.h5").write_text("x")
    with pytest.raises(cards.CardError, match="no sha256 of actor_critic.weights.h5"):
        cards.checked(folder)


def test_a_card_that_cannot_be_read_is_refused(folder):
    (folder / "README.md").write_text("---\na: [\n---\n")
    with pytest.raises(cards.CardError, match="cannot be read"):
        cards.checked(folder)
    (folder / "README.md").write_bytes(b"\xff")
    with pytest.raises(cards.CardError, match="cannot be read"):
        cards.checked(folder)


@pytest.mark.parametrize(
    "text", ["# A run\n", "---\ntitle: x\n---\n", "---\n- a\n---\n"]
)
def test_another_readme_is_no_card(folder, text):
    (folder / "README.md").write_text(text)
    assert cards.read(folder) is None
    assert cards.checked(folder) == folder


def test_the_models_of_the_repository_are_what_their_cards_say():
    found = cards.published()
    assert {"minatar_small_four_games", "minatar_dqn_breakout"} <= set(found)
    for name, card in found.items():
        card.check()
        assert card.summary, name
        files = list((runs.ROOT / "models" / name).iterdir())
        assert sum(file.stat().st_size for file in files) < 10e6


def test_a_published_model_is_found_by_its_name_alone():
    name = "minatar_small_four_games"
    assert cards.find(name).folder.name == name
    assert cards.find("nowhere") is cards.find("") is None


def test_fingerprints_are_hashes_and_sizes(tmp_path):
    (tmp_path / "a").write_bytes(b"abc")
    sha256 = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    assert cards.fingerprints([tmp_path / "a"]) == {"a": {"sha256": sha256, "bytes": 3}}


def test_an_installed_package_has_every_published_model():
    parser = configparser.ConfigParser()
    parser.read(runs.ROOT / "setup.cfg")
    listed = dict(parser["options.data_files"])
    for folder in sorted((runs.ROOT / "models").glob("*/")):
        patterns = ", ".join(
            f"models/{folder.name}/*{suffix}"
            for suffix in (".md", ".yaml", ".safetensors")
        )
        assert listed[f"share/dreamerv2_transfer/models/{folder.name}"] == patterns
