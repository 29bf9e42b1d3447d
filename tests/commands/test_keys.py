import pytest

from dreamerv2_transfer.commands import keys
from tests import runs

TEXT = """
defaults:  # every key

  # Sizes. Ours.
  deter: 3  # units
  model_opt: {lr: 2e-4, eps: 1}  # of the optimizer
  actor_opt: {lr: 1e-4, eps: 1}  # see model_opt; ours
  strategy: none

  # Heads.
  units: [1, 2]

small:  # for two cores
  .*lr: 0.5
  deter: 3
"""


@pytest.fixture(scope="module")
def found():
    return keys.read(TEXT)


@pytest.fixture(scope="module")
def real():
    return keys.read((runs.ROOT / "configs.yaml").read_text())


def test_a_key_has_its_comment_section_and_values(found):
    assert found.keys["deter"] == keys.Key(
        "deter", 3, "units", "Sizes. Ours.", {"small": 3}
    )
    assert found.keys["units"].section == "Heads."
    assert found.keys["units"].default == (1, 2)
    assert found.keys["model_opt.lr"].others == {"small": 0.5}


def test_a_reference_stands_for_what_is_said_there(found):
    assert found.keys["actor_opt.eps"].text == "of the optimizer; ours"


def test_a_key_without_a_comment_lists_its_choices(found):
    assert found.keys["strategy"].text == "one of none, mirrored, multiworker"


def test_blocks_have_their_comments(found):
    assert found.blocks == {"defaults": "every key", "small": "for two cores"}


def test_every_key_and_block_of_ours_is_described(real):
    assert [name for name, text in real.blocks.items() if not text] == []
    assert [key.name for key in real.keys.values() if not key.text] == []
    assert real.keys["model_opt.lr"].text == "learning rate"
    assert real.keys["expl_opt.lr"].text == "learning rate"


@pytest.mark.parametrize(
    ("value", "flag"),
    [
        (1e-4, "0.0001"),
        (1e8, "1e8"),
        (1e-5, "1e-5"),
        (True, "True"),
        (("a", "b"), "a,b"),
    ],
)
def test_a_value_is_written_as_a_flag_takes_it(value, flag):
    assert keys.as_flag(value) == flag
