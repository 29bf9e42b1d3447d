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
sorted by name, and within a layer the arrays in the order of their creation.
"""

from __future__ import annotations

from collections.abc import Iterable

HEADS = ("decoder", "discount", "reward")
IN_A_LAYER = ("kernel", "bias", "gamma", "beta")


def order(config, names: Iterable[str]) -> list[str]:
    """Returns our names of an agent's arrays in the order of the original's checkpoint.

    Args:
        config: The agent's configuration.
        names: Names of all its variables: paths such as `rssm/img_in/kernel`, whose
            first part is the component, and of other state, such as `tfstep`. Names
            that the original has no place for are omitted.
    """
    behavior = _behavior(config.slow_target)
    expl_behavior = _behavior(config.slow_target, "expl_", actor_last=True)
    exploration: list[str] = []
    if config.expl_behavior == "Plan2Explore":
        ensemble = [f"disag{i}" for i in range(config.disag_models)]
        exploration = [*ensemble, *expl_behavior, "expl_extr_mag", "expl_intr_mag"]
    elif config.expl_behavior == "ModelLoss":
        exploration = [*expl_behavior, "expl_head"]
    components: dict[str, list[str]] = {}
    for name in names:
        components.setdefault(name.split("/")[0], []).append(name)

    def in_component(name: str) -> tuple[list[str], int]:
        *layer, array = name.split("/")
        return layer, IN_A_LAYER.index(array) if array in IN_A_LAYER else 0

    return [
        name
        for part in ("tfstep", *exploration, *behavior, "encoder", *HEADS, "rssm")
        for name in sorted(components.get(part, []), key=in_component)
    ]


def _behavior(
    slow_target: bool, prefix: str = "", actor_last: bool = False
) -> list[str]:
    """Returns the components of an actor-critic."""
    first = ["target_updates", "target_critic"] if slow_target else ["critic"]
    critic = ["critic"] if slow_target else []
    middle = [] if actor_last else ["actor"]
    last = ["actor"] if actor_last else []
    return [f"{prefix}{x}" for x in (*first, *middle, *critic, "reward_mag", *last)]
