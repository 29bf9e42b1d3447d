import pathlib

import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.reproduction.stages import Stage, select

STAGES = [
    Stage(name, "train", (), (), pathlib.Path("/x"), 1, "update")
    for name in ("dqn_asterix", "collect", "asterix/pretrain_0")
]


def test_only_finds_stages_by_expressions():
    found = [s.name for s in select(STAGES, ["^dqn", "pretrain"])]
    assert found == ["dqn_asterix", "asterix/pretrain_0"]


@pytest.mark.parametrize("pattern", ["nothing", "("])
def test_an_expression_that_finds_nothing_is_named(pattern):
    with pytest.raises(ConfigError, match="--only"):
        select(STAGES, [pattern])
