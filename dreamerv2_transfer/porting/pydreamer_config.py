"""The configurations of pydreamer, read from YAML or an MLflow run, in our keys.

Sources: github.com/jurgisp/pydreamer, commit 8a4ea85, and the fork of the paper's
authors, JonaSchulz/pydreamer, 1a1e984; `config/defaults.yaml` in both.
"""

from __future__ import annotations

import ast
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.config import Config, ConfigError, read_mapping
from dreamerv2_transfer.common.files import documents, paths
from dreamerv2_transfer.plotting.mlflow_run import TEXT_BYTES, task_of
from dreamerv2_transfer.porting.pickles import PortError

Conf = dict[str, Any]
# Keys that mean the same, by their names there; and their defaults, which a file that
# names no value has.
SAME = {
    "env_action_repeat": ("action_repeat", 1),
    "env_time_limit": ("time_limit", 0),
    "generator_prefill_steps": ("prefill", 50_000),
    "batch_length": ("dataset.length", 48),
    "batch_size": ("dataset.batch", 32),
    "gamma": ("discount", 0.995),
    "lambda_gae": ("discount_lambda", 0.95),
    "entropy": ("actor_ent", 0.003),
    "imag_horizon": ("imag_horizon", 15),
    "target_interval": ("slow_target_update", 100),
    "actor_grad": ("actor_grad", "reinforce"),
    "kl_weight": ("loss_scales.kl", 1.0),
    "image_weight": ("loss_scales.image", 1.0),
    "vecobs_weight": ("loss_scales.vecobs", 1.0),
    "reward_weight": ("loss_scales.reward", 1.0),
    "terminal_weight": ("loss_scales.terminal", 1.0),
    "kl_balance": ("kl.balance", 0.8),
    "deter_dim": ("rssm.deter", 2048),
    "stoch_dim": ("rssm.stoch", 32),
    "stoch_discrete": ("rssm.discrete", 32),
    "hidden_dim": ("rssm.hidden", 1000),
    "gru_layers": ("rssm.gru_layers", 1),
    "gru_type": ("rssm.cell", "gru"),
    "reward_input": ("encoder.reward_planes", False),
    "cnn_depth": ("encoder.cnn_depth", 48),
    "reward_decoder_layers": ("reward_head.layers", 4),
    "terminal_decoder_layers": ("discount_head.layers", 4),
    "image_decoder_min_prob": ("decoder.cnn_unimix", 0.0),
}
DEFAULTS: Conf = {
    **{key: default for key, (_, default) in SAME.items()},
    "model": "dreamer",
    "env_id": None,
    "image_key": "image",
    "image_size": 64,
    "image_channels": 3,
    "image_categorical": False,
    "action_dim": 0,
    "clip_rewards": None,
    "iwae_samples": 1,
    "adam_lr": 3e-4,
    "adam_lr_actor": 1e-4,
    "adam_lr_critic": 1e-4,
    "adam_eps": 1e-5,
    "grad_clip": 200,
    "grad_clip_ac": 200,
    "layer_norm": True,
    "vecobs_size": 0,
    "image_encoder": "cnn",
    "image_encoder_layers": 0,
    "image_decoder": "cnn",
    "image_decoder_layers": 0,
    "reward_decoder_categorical": None,
    "actor_dist": "onehot",
    "aux_critic": False,
    "probe_gradients": False,
    "multi_env_encoder": None,
    "limit_step_ratio": 0,
    "freeze_rssm": False,
    "env_no_terminal": False,
    "keep_state": True,
}
# Keys of its scripts that change nothing about an agent: where and how it collects,
# stores, logs and evaluates, and its probes, which are left out.
SCRIPTS = """
    allow_mid_reset amp atari_net_dir aux_critic_weight buffer_size
    buffer_size_offline data_workers device dqn_dir enable_profiler env_id_eval
    eval_batch_size eval_batches eval_interval eval_samples eval_save_size gamma_aux
    generator_prefill_policy generator_workers generator_workers_eval
    generator_workers_train goals_size lambda_gae_aux log_interval logbatch_interval
    map_categorical map_channels map_decoder map_hidden_dim map_hidden_layers
    map_key map_size mlflow_run_id model_checkpoint n_env_steps n_steps n_steps_wm
    offline_data_dir offline_eval_dir offline_prefill_dir offline_test_dir
    policy_main probe_model reset_interval save_interval target_interval_aux
    test_batch_size test_batches test_save_size verbose
"""
# Values without a counterpart that change how training goes on, and how it does here.
DIFFERENT = {
    ("env_no_terminal", True): "here the end of a game counts as one",
    ("keep_state", False): "here a sequence starts from the state before it",
    ("probe_gradients", True): "here no probe trains the world model",
}
UNITS, EMBED = 400, 256  # Of hidden layers, and of embedded vectors or dense images.
# Where the first layer of a network is.
HEADS = {
    "reward_head": "wm.decoder.reward.model.model.0",
    "discount_head": "wm.decoder.terminal.model.model.0",
    "actor": "ac.actor.model.0",
    "critic": "ac.critic.model.0",
}
DECAY = 0.01  # PyTorch's default of AdamW, which is times the learning rate.
DISTS = {
    "onehot": ("onehot", 0.1),
    "tanh_normal": ("squashed_normal", 0.1),
    "normal_tanh": ("normal_tanh", 0.01),
}
# Kernels and strides of the encoder, and of the decoder.
CNNS = {
    "cnn": ([4, 4, 4, 4], [5, 5, 6, 6], 2),
    "cnn_minatar": ([3, 3, 3, 3], [2, 3, 4, 4], 1),
}
NEVER = "$^"


def _parameters(folder: pathlib.Path) -> dict[str, str]:
    """Returns the parameters of an MLflow run, a file each.

    Raises:
        ConfigError: One cannot be read, or is a link to somewhere else.
    """
    found = {}
    for file in filter(pathlib.Path.is_file, folder.iterdir()):
        try:
            paths.check_within(file, folder)
            found[file.name] = documents.read(file, TEXT_BYTES).decode()
        except (OSError, ValueError, paths.PathError) as error:
            raise ConfigError(f"{file} cannot be read: {error}.") from error
    return found


def read(path: pathlib.Path, blocks: Sequence[str] = ()) -> Conf:
    """Reads a configuration.

    Args:
        path: A YAML file of one configuration, or of blocks as `config/defaults.yaml`
            is; or the folder of an MLflow run, or its `params`.
        blocks: The blocks that are merged over `defaults`.

    Raises:
        ConfigError: The file cannot be read.
        PortError: It holds blocks, but not these, or none is named.
    """
    if path.is_dir():
        folder = path / "params" if (path / "params").is_dir() else path
        return {**DEFAULTS, **{k: _value(x) for k, x in _parameters(folder).items()}}
    given = _numbers(read_mapping(path))
    if isinstance(given.get("defaults"), Mapping):
        known = ", ".join(name for name in given if name != "defaults")
        if not blocks or (unknown := [x for x in blocks if x not in given]):
            received = f" Received: {unknown[0]}" if blocks else ""
            raise PortError(
                f"{path} holds blocks. Name those that the agent was trained with by "
                f"--configs, of {known}.{received}"
            )
        merged: Conf = {}
        for name in ("defaults", *blocks):
            merged |= given[name] or {}
        given = merged
    elif blocks:
        raise PortError(
            f"--configs is for files of blocks, but {path} is one configuration. Omit "
            f"it. Received: --configs {' '.join(blocks)}"
        )
    return {**DEFAULTS, **given}


def _numbers(given: Any) -> Any:
    """Returns a mapping with numbers such as 100_000, which are texts in YAML 1.2."""
    if isinstance(given, Mapping):
        return {key: _numbers(value) for key, value in given.items()}
    return _value(given) if isinstance(given, str) else given


def _value(text: str) -> Any:
    """Returns what Python's `str` made a text of, as MLflow keeps parameters."""
    try:
        return ast.literal_eval(text.strip())
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text.strip()


def convert(conf: Conf, arrays: Mapping[str, np.ndarray]) -> Config:
    """Returns our configuration of an agent.

    Args:
        conf: Its configuration.
        arrays: Its state dict, which tells the units of the heads.

    Raises:
        ConfigError: A value is of the wrong type or out of its range.
        PortError: The agent has something that ours cannot have.
    """
    _check(conf)
    layer = "layer" if conf["layer_norm"] else "none"
    values = {ours: _or_zero(conf[theirs]) for theirs, (ours, _) in SAME.items()}
    dist, min_std = DISTS[conf["actor_dist"]]
    values |= {
        **_task(conf),
        **_pace(conf),
        "render_size": [conf["image_size"]] * 2,
        "replay.minlen": 1,
        "replay.maxlen": conf["batch_length"],
        "clip_rewards": conf["clip_rewards"] or "identity",
        "behavior": "pydreamer",
        "pred_discount": False,
        "pred_terminal": True,
        "grad_heads": ["decoder", "reward", "terminal"],
        "rssm.norm": layer,
        "rssm.mask_action": False,
        "rssm.std_act": "double_sigmoid",
        "kl.free": 0.0,
        "actor.dist": dist,
        "actor.min_std": min_std,
        **_frozen(conf),
        **_observations(conf, layer, arrays),
    }
    values |= _optimizers(conf) | _networks(conf, layer, arrays)
    defaults = blocks_lib.load_config([])
    kinds = {k: v for k, v in values.items() if v is not None}
    return blocks_lib.with_stage(defaults.update(kinds), "scratch")


def _units(arrays: Mapping[str, np.ndarray], place: str, default: int) -> int:
    """Returns the outputs of a layer, by default what pydreamer's code has."""
    weight = arrays.get(f"{place}.weight")
    return default if weight is None or not weight.ndim else len(weight)


def _optimizers(conf: Conf) -> dict[str, Any]:
    """Returns the keys of the three AdamWs."""
    values: dict[str, Any] = {}
    for name in ("model", "actor", "critic"):
        own = name != "model"
        lr = (own and conf[f"adam_lr_{name}"]) or conf["adam_lr"]
        clip = (own and conf["grad_clip_ac"]) or conf["grad_clip"]
        settings = {"opt": "adamw", "lr": lr, "eps": conf["adam_eps"], "clip": clip}
        values |= {f"{name}_opt.{key}": value for key, value in settings.items()}
        values[f"{name}_opt.wd"] = DECAY * lr
    return values


def _networks(
    conf: Conf, norm: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns the keys of heads, actor and critic."""
    values: dict[str, Any] = {"actor.layers": 4, "critic.layers": 4}
    for name, place in HEADS.items():
        values[f"{name}.units"] = _units(arrays, place, UNITS)
        values[f"{name}.norm"] = norm
    if support := conf["reward_decoder_categorical"]:
        transforms = {"tanh": np.tanh, "log1p": np.log1p}
        if transform := transforms.get(conf["clip_rewards"]):
            support = transform(np.asarray(support, np.float32)).tolist()
        values["reward_head.dist"] = "support"
        values["reward_head.support"] = [float(x) for x in support]
    return values


def _or_zero(value: Any) -> Any:
    return 0 if value is None else value


def _pace(conf: Conf) -> dict[str, int]:
    """Returns the steps from one update to the next, if a ratio limits them."""
    ratio = conf["limit_step_ratio"] or 0
    if not isinstance(ratio, int | float):
        raise PortError(f"limit_step_ratio must be a number. Received: {ratio!r}")
    return {"train_every": max(1, round(ratio))} if ratio else {}


def _frozen(conf: Conf) -> dict[str, bool]:
    """Returns the keys of the RSSM's parts if it keeps its weights."""
    parts = blocks_lib.load_config([]).freeze.rssm
    return {f"freeze.rssm.{part}": True for part in parts if conf["freeze_rssm"]}


def notes(conf: Conf) -> list[str]:
    """Returns what has no counterpart here, in sentences."""
    found = [
        f"{key}={value} has no counterpart: {instead}."
        for (key, value), instead in DIFFERENT.items()
        if conf[key] == value
    ]
    if unknown := sorted({*conf} - {*DEFAULTS, *SCRIPTS.split()}):
        keys = ", ".join(unknown)
        found.append(f"Ignored keys that pydreamer does not have: {keys}.")
    return found


def _check(conf: Conf) -> None:
    """Refuses what our networks and losses cannot express."""
    for key, allowed in {
        "model": ("dreamer",),
        "image_key": ("image", None, ""),
        "iwae_samples": (1,),
        "image_encoder": ("cnn", "cnn_minatar", "dense", None, ""),
        "image_decoder": ("cnn", "cnn_minatar", "dense", None, ""),
        "actor_dist": tuple(DISTS),
        "gru_type": ("gru", "gru_layernorm", "gru_layernorm_dv2"),
        "actor_grad": ("reinforce", "dynamics"),
        "multi_env_encoder": (None, False, ""),
        "clip_rewards": (None, "", "tanh", "log1p"),
    }.items():
        if conf[key] not in allowed:
            listed = ", ".join(dict.fromkeys(str(x or "unset") for x in allowed))
            raise PortError(
                f"An agent of pydreamer can be ported if its {key} is one of {listed}. "
                f"Received: {key}={conf[key]}"
            )
    for key in ("image_size", "image_channels", "action_dim", "vecobs_size"):
        if not isinstance(conf[key], int | None):
            raise PortError(f"{key} must be a whole number. Received: {conf[key]!r}")
    if not conf["action_dim"]:
        raise PortError(
            "action_dim must be the number of actions, but it is 0: the configuration "
            "is that of `defaults` alone. Name the one that the agent was trained with."
        )
    if conf["image_decoder"] == "dense" and not conf["image_decoder_layers"]:
        raise PortError(
            "A dense image_decoder needs a hidden layer here. Received: "
            "image_decoder_layers=0"
        )
    if bool(conf["image_encoder"]) != bool(conf["image_decoder"]):
        raise PortError(
            "image_encoder and image_decoder must be both set or both empty. Received: "
            f"{conf['image_encoder']} and {conf['image_decoder']}"
        )


def observations(conf: Conf) -> dict[str, tuple[int, ...]]:
    """Returns the shapes of `image` and `vecobs`, as far as an agent observes them."""
    obs: dict[str, tuple[int, ...]] = {}
    if conf["image_encoder"]:
        size = conf["image_size"]
        obs["image"] = (size, size, conf["image_channels"])
    if conf["vecobs_size"]:
        obs["vecobs"] = (conf["vecobs_size"],)
    return obs


def _observations(
    conf: Conf, norm: str, arrays: Mapping[str, np.ndarray]
) -> dict[str, Any]:
    """Returns the keys of encoder and decoder."""
    obs = observations(conf)
    place = "wm.encoder.encoder_vecobs.model"
    out = _units(arrays, f"{place}.6", EMBED)
    values: dict[str, Any] = {
        "encoder.mlp_layers": [_units(arrays, f"{place}.0", UNITS)] * 2,
        "encoder.mlp_out": out if "vecobs" in obs else 0,
        "decoder.mlp_layers": [_units(arrays, "wm.decoder.vecobs.model.model.0", UNITS)]
        * 4,
        "decoder.cnn_depth": conf["cnn_depth"],
        "decoder.cnn_dist": "mse",
    }
    for part in ("encoder", "decoder"):
        values |= {
            f"{part}.cnn_keys": "image" if "image" in obs else NEVER,
            f"{part}.mlp_keys": "vecobs" if "vecobs" in obs else NEVER,
            f"{part}.norm": norm,
            f"{part}.cnn_norm": "none",
        }
        if conf[f"image_{part}"] == "dense":
            values |= {f"{part}.cnn": "dense", f"{part}.cnn_norm": norm}
            values[f"{part}.cnn_layers"] = _dense(conf, part, arrays)
        elif conf[f"image_{part}"]:
            *kernels, stride = CNNS[conf[f"image_{part}"]]
            values[f"{part}.cnn_kernels"] = kernels[part == "decoder"]
            values[f"{part}.cnn_strides"] = [stride] * 4
    if conf["image_decoder"] == "dense":
        values["decoder.cnn_dist"] = "categorical"
    return values


def _dense(conf: Conf, part: str, arrays: Mapping[str, np.ndarray]) -> list[int]:
    """Returns the units of the dense layers for images."""
    number = conf[f"image_{part}_layers"] or 0
    if part == "decoder":
        return [_units(arrays, "wm.decoder.image.model.0", UNITS)] * number
    # The encoder has one hidden layer at least, and ends in one without norm.
    place, number = "wm.encoder.encoder_image.model", max(1, number)
    hidden = _units(arrays, f"{place}.1", UNITS)
    return [hidden] * number + [_units(arrays, f"{place}.{1 + 3 * number}", EMBED)]


def _task(conf: Conf) -> dict[str, Any]:
    """Returns the game, and what an agent sees of it."""
    ids = conf["env_id"]
    names = [task_of(str(x)) for x in (ids if isinstance(ids, list) else [ids]) if x]
    if not names:
        return {}
    values: dict[str, Any] = {"task": names[0], "tasks": names}
    if names[0].startswith("minatar_"):
        collapsed = bool(conf["image_categorical"])
        values["minatar_view"] = "collapsed" if collapsed else "planes"
        values["train_every"] = 16
    if names[0].startswith("atari_"):
        values["atari_all_actions"] = conf["action_dim"] == 18
        values["atari_grayscale"] = conf["image_channels"] == 1
        values["train_every"] = 16
    return values


def revert(config: Config, obs: Mapping[str, Any], actions: int) -> Conf:
    """Returns pydreamer's configuration of an agent of ours.

    Args:
        config: Our configuration.
        obs: Shapes of its observations.
        actions: Length of an action.

    Raises:
        PortError: pydreamer has no such agent; names the first key.
    """
    cnns = {tuple(kernels): name for name, (kernels, _, _) in CNNS.items()}
    dists = {ours: theirs for theirs, (ours, _) in DISTS.items()}
    kernels = tuple(config.encoder.cnn_kernels)
    kinds: dict[str, str | None] = {}
    for part in ("encoder", "decoder"):
        dense = config[f"{part}.cnn"] == "dense"
        kind = "dense" if dense else cnns.get(kernels, "cnn")
        kinds[f"image_{part}"] = kind if "image" in obs else None
    image = obs.get("image", (64, 64, 3))
    collapsed = config.minatar_view == "collapsed"
    support = config.reward_head.dist == "support"
    conf = {
        **DEFAULTS,
        **{theirs: config[ours] for theirs, (ours, _) in SAME.items()},
        **kinds,
        "env_id": _env_id(config.task),
        "image_size": image[0],
        "image_channels": image[2],
        "image_categorical": collapsed or config.decoder.cnn_dist == "categorical",
        "action_dim": actions,
        "clip_rewards": None
        if config.clip_rewards == "identity"
        else config.clip_rewards,
        "adam_eps": config.model_opt.eps,
        "grad_clip": config.model_opt.clip,
        "grad_clip_ac": config.actor_opt.clip,
        "layer_norm": config.rssm.norm == "layer",
        "vecobs_size": obs["vecobs"][0] if "vecobs" in obs else 0,
        "image_encoder_layers": len(config.encoder.cnn_layers) - 1,
        "image_decoder_layers": len(config.decoder.cnn_layers),
        "reward_decoder_categorical": list(config.reward_head.support)
        if support
        else None,
        "actor_dist": dists.get(config.actor.dist, config.actor.dist),
    }
    for name in ("model", "actor", "critic"):
        key = "adam_lr" if name == "model" else f"adam_lr_{name}"
        conf[key] = config[f"{name}_opt.lr"]
    return conf


def _env_id(task: str) -> str:
    suite, _, name = task.partition("_")
    title = "".join(word.title() for word in name.split("_"))
    starts = {"minatar": f"MinAtar/{title}-v0", "dmc": f"DMC-{name}"}
    if suite == "atari":
        return f"Atari-{'_'.join(word.title() for word in name.split('_'))}"
    return starts.get(suite, name)
