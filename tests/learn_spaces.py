"""Agents learn each kind of action in an environment of Gymnasium; takes minutes.

pytest tests/learn_spaces.py
"""

import re

import pytest

from tests import runs


@pytest.mark.parametrize(
    ("kind", "updates", "least"),
    [
        ("discrete", 300, 7),
        ("multi_discrete", 300, 7),
        ("multi_binary", 300, 7),
        ("tuple", 300, 6),
        ("box", 600, 6.5),
        ("dict", 300, 5.5),
        ("masked", 300, 7),
    ],
)
def test_each_kind_of_action_is_learned(tmp_path, kind, updates, least):
    options = ["--kind", kind, "--steps", updates, "--logdir", tmp_path]
    output, _ = runs.start("examples/spaces.py", *options).communicate()
    said = re.search(rf"{kind}: return (\S+), random play (\S+),", output)
    assert said, output
    learned, random = map(float, said.groups())
    assert learned >= least > 1.5 * random
