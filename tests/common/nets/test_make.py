"""Which class of RSSM a configuration asks for."""

import gymnasium
import pytest

from dreamerv2_transfer.common import blocks, nets

GAMES = {"size": 3, "games": ["minatar_asterix", "minatar_breakout"]}


@pytest.mark.parametrize(
    ("changes", "kind"),
    [
        ({}, nets.EnsembleRSSM),
        ({"adapter.rank": 2}, nets.AdaptedRSSM),
        ({"task_embed": GAMES}, nets.ConditionedRSSM),
    ],
)
def test_the_plain_class_is_made_unless_something_else_is_asked_for(changes, kind):
    config = blocks.load_config(["minatar", "debug", "finetune"]).update(changes)
    rssm = nets.rssm_of(config, gymnasium.spaces.Discrete(6))
    assert type(rssm) is kind
    assert rssm.task_size == (3 if kind is nets.ConditionedRSSM else 0)


def test_only_discrete_actions_can_be_mixtures():
    config = blocks.load_config(["minatar", "debug"]).update({"adapter.actions": 6})
    with pytest.raises(ValueError, match="Received: adapter.actions=6 and actions of"):
        nets.rssm_of(config, gymnasium.spaces.Box(-1, 1, (2,)))
