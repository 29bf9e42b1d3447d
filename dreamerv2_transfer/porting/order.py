"""The order of the arrays in a checkpoint of the original DreamerV2.

`tf.Module` lists a module's own variables first and then its submodules', both sorted
by attribute name. Each variable and submodule comes once, and all attributes of a
module are met before what lies within them:

    tfstep
    _expl_behavior   Plan2Explore: _networks, ac, actor, extr_rewnorm.mag,
                     intr_rewnorm.mag; ModelLoss: ac, actor, head; Random: nothing
    _task_behavior   _updates (with a slow target), _target_critic, actor, critic,
                     rewnorm.mag; `ac` the same without its actor
    wm               encoder, heads (decoder, discount, reward), rssm

Without a slow target, `_target_critic` is the critic itself and so comes first. With
`greedy`, `_expl_behavior` is the `_task_behavior`. Within a component, layers come
sorted by name, and in a layer the arrays as they were made.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

HEADS = ("decoder", "discount", "reward")
IN_A_LAYER = ("kernel", "bias", "gamma", "beta")


def order(config, names: Iterable[str]) -> list[str]:
    """Our names of an agent's arrays, in the order of the original's checkpoint.

    Args:
        config: The agent's configuration.
        names: Of all its variables: paths such as `rssm/img_in/kernel`, whose first
            part is the component, and what else it keeps, such as `tfstep`. What the
            original has no place for is left out.
    """
    components: dict[str, list[str]] = {}
    for name in names:
        components.setdefault(name.split("/")[0], []).append(name)
    parts = [
        "tfstep",
        *_exploration(config, components),
        *_behavior(config.slow_target),
        *("encoder", *HEADS, "rssm"),
    ]
    return [name for part in parts for name in _sorted(components.get(part, []))]


def _exploration(config, components: Mapping[str, list[str]]) -> Iterator[str]:
    ac = _behavior(config.slow_target, "expl_", actor_last=True)
    if config.expl_behavior == "Plan2Explore":
        yield from (f"disag{i}" for i in range(config.disag_models))
        yield from (*ac, "expl_extr_mag", "expl_intr_mag")
    if config.expl_behavior == "ModelLoss":
        yield from (*ac, "expl_head")


def _behavior(
    slow_target: bool, prefix: str = "", actor_last: bool = False
) -> list[str]:
    first = ["target_updates", "target_critic"] if slow_target else ["critic"]
    critic = ["critic"] if slow_target else []
    middle = [] if actor_last else ["actor"]
    last = ["actor"] if actor_last else []
    return [f"{prefix}{x}" for x in (*first, *middle, *critic, "reward_mag", *last)]


def _sorted(names: list[str]) -> list[str]:
    """The arrays of a component: by layer, then as they were made."""

    def key(name: str):
        *layer, array = name.split("/")
        return layer, IN_A_LAYER.index(array) if array in IN_A_LAYER else 0

    return sorted(names, key=key)
