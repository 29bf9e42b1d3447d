"""Which weights of a model are kept for a game of other actions or other observations.

    actions   img_in([stoch, ACTION]), OUT of the actor and of the head of masks;
              with adapter.actions ALIGN in place of ACTION, see common/nets/adapter.py
    image     encoder(FIRST, ...), decoder(..., LAST), obs_out([deter, EMBED])

What stands in capitals is learned anew, with the shape that the new game needs; the
rest is loaded. Of `image`, EMBED is learned anew if its size differs, and so is every
other array of encoder and decoder that has another shape. The names are those of
`init.adapt`.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from dreamerv2_transfer.common import envs
from dreamerv2_transfer.common.config import ConfigError, format_value
from dreamerv2_transfer.transfer import corrections, games

# The flags of `freeze` that must be off, so that new weights can learn.
LEARNS: dict[str, tuple[str, ...]] = {
    "actions": ("rssm.img_in",),
    "image": ("encoder", "decoder"),
}

BEHAVIOR = ("actor", "critic")  # Components that always learn.
# The components that dreams are made of, as `init.components` names them.
DREAMING = ("encoder", "rssm", "reward")

# Options that mean something only where a model is loaded, and their values if off.
OF_A_MODEL: dict[str, Any] = {
    "adapter.actions": 0,
    "init.adapt": ("none",),
    "init.shrink": 1.0,
    "model_opt.wd_start": 0.0,
}


def check(config) -> None:
    """Checks that what is learned anew can learn, such as a part that is not loaded.

    Args:
        config: The resolved configuration of a run that loads weights.

    Raises:
        ConfigError: It is frozen, or the whole world model is.
    """
    _check_fresh(config)
    _check_shrunk(config)
    adapter = config.adapter
    fault = _at_rest(config, "rssm")
    if (adapter.rank or adapter.actions) and fault:
        raise ConfigError(
            "What adapts the RSSM learns with the world model, which keeps its "
            f"weights. Received: adapter.rank={adapter.rank}, adapter.actions="
            f"{adapter.actions} and {fault}. Use --wm_steps 1e8 with the block "
            "freeze_world_model, or set them to 0."
        )
    # Mixtures of known actions leave `img_in` as it is.
    learns = LEARNS | ({"actions": ()} if adapter.actions else {})
    for name in config.init.adapt:
        for part in learns.get(name, ()):
            if fault := fixed_by(config, part):
                raise _never_learns(name, part, fault)


def fixed_by(config, part: str) -> str:
    """Returns the setting for which a part of the world model never learns.

    Args:
        config: The resolved configuration of a run.
        part: Its name in `freeze`; `rssm` is all of its layers.

    Returns:
        Such as `freeze.encoder=True`; '' if it learns.
    """
    if fault := _at_rest(config, part.partition(".")[0]):
        return fault
    frozen = [key for key, value in config.freeze.flat.items() if value]
    keys = [key for key in frozen if f"{key}.".startswith(f"{part}.")]
    return f"freeze.{keys[0]}=True" if keys else ""


def _at_rest(config, component: str) -> str:
    """Returns the setting for which nothing of a component learns; '' if it may."""
    if not config.wm_steps:
        return "wm_steps=0"
    rate = config.model_opt.lr_by.get(component, 1.0)
    return "" if rate else f"model_opt.lr_by.{component}=0"


def _check_fresh(config) -> None:
    """Checks that what is not loaded learns, if dreams or losses need it.

    Raises:
        ConfigError: It never would.
    """
    ends = ("discount",) * (config.pred_discount or config.pred_terminal)
    masks = (envs.MASK,) * config.get("obs.action_mask", False)
    needed = (*DREAMING, *ends, *masks)
    if config.wm_steps:
        needed += ("decoder",)
    for name in needed:
        fault = fixed_by(config, name)
        if fault and name not in config.init.components:
            article = "an" if name[0] in "aeiou" else "a"
            raise ConfigError(
                f"With {fault}, {article} {name} that is not loaded would never learn. "
                "Add it to --init.components, or let it learn (--wm_steps 1e8, "
                "--freeze.PART False). Received: init.components="
                f"{' '.join(config.init.components)}"
            )


def _check_shrunk(config) -> None:
    """Checks that loaded weights which are mixed with fresh ones can learn.

    Raises:
        ConfigError: They never would.
    """
    for name in config.init.components if config.init.shrink < 1 else ():
        if fault := name not in BEHAVIOR and fixed_by(config, name):
            raise ConfigError(
                f"init.shrink mixes the weights of {name} with fresh ones, and they "
                f"would never learn. Received: {fault} and init.shrink="
                f"{config.init.shrink:g}. Let {name} learn, or use --init.shrink 1."
            )


def _never_learns(name: str, part: str, fault: str) -> ConfigError:
    return ConfigError(
        f"init.adapt {name} leaves weights of {part} fresh, and they would never "
        f"learn. Received: {fault}. Let {part} learn, or leave {name} out of "
        "--init.adapt."
    )


def check_start(config) -> None:
    """Checks that there is a model where options are about its weights.

    Args:
        config: The resolved configuration.

    Raises:
        ConfigError: There is none.
    """
    if config.stage != "pretrain" and config.init.path:
        return
    for key, off in OF_A_MODEL.items():
        if config[key] != off:
            received, default = (format_value(x) for x in (config[key], off))
            raise ConfigError(
                f"{key} is about the weights of --init, which names none. Received: "
                f"{key}={received}. Name a model, or leave it at {default}."
            )


def rows_kept(
    components: Mapping[str, Any], arrays: Mapping[str, Any], adapt: Collection[str]
) -> dict[str, int]:
    """Returns how many leading rows of an array are loaded, if not all of it.

    Args:
        components: The parts of the agent that loads, by name.
        arrays: The arrays of the file, by their paths.
        adapt: The values of `init.adapt`.

    Returns:
        By path, the number of rows, for arrays of the file and of the agent; 0 for
        corrections of the RSSM and vectors of games that the file does not have.

    Raises:
        ConfigError: The embedding has another size, and what reads it is frozen.
    """
    rssm: Any = components.get("rssm")
    rows = dict.fromkeys((x for x in corrections.own(rssm) if x not in arrays), 0)
    rows |= dict.fromkeys(games.new_vectors(rssm, arrays) if rssm else (), 0)
    ours = {v.path: tuple(v.shape) for c in components.values() for v in c.variables}
    names = {*ours, *arrays}
    if "actions" in adapt:
        if corrections.ALIGN not in corrections.own(rssm):
            rows[corrections.IMG_IN] = rssm.stoch_size + rssm.task_size
        outputs = "actor/out/", f"{envs.MASK}/out/"
        rows |= {name: 0 for name in names if name.startswith(outputs)}
    if "image" in adapt:
        edges = _edges(components["encoder"], components["decoder"])
        for name in (x for x in names if x.startswith(("encoder/", "decoder/"))):
            differs = name not in arrays or arrays[name].shape != ours.get(name)
            if differs or name in edges:
                rows[name] = 0
        embed = "rssm/obs_out/kernel"
        if embed in arrays and arrays[embed].shape != ours[embed]:
            if not rssm.obs_out.trainable:
                part = "rssm.obs_out"
                raise _never_learns("image", part, f"freeze.{part}=True")
            rows[embed] = rssm.feat_size - rssm.stoch_size
    return rows


def describe(rows: Mapping[str, int]) -> str:
    """Returns a text such as `rssm/img_in/kernel from row 256 on`."""
    names = [
        f"{name} from row {number} on" if number else name
        for name, number in sorted(rows.items())
        if not name.startswith(corrections.PREFIX)
    ]
    # One name for a dozen arrays.
    has_corrections = any(x.startswith(corrections.PREFIX) for x in rows)
    return ", ".join(names + [f"{corrections.PREFIX}*"] * has_corrections)


def _edges(encoder: Any, decoder: Any) -> set[str]:
    """Returns the paths of the encoder's first layer and of the decoder's last."""
    layers = [*encoder.convs[:1], *encoder.denses[:1], *decoder.convs[-1:]]
    return {v.path for layer in [*layers, *decoder.outs] for v in layer.variables}
