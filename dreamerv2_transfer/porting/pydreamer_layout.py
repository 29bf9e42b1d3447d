"""Which array of pydreamer's state dict is which of our variables.

The same numbers in another order: PyTorch's layers hold transposed kernels, images have
their channels first, features are the recurrent state and then the latents (ours are
the reverse), and a layer on joined inputs is split by input. As nothing else happens to
an array, the moments of Adam go the same way.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

Arrays = list[np.ndarray]


@dataclasses.dataclass(frozen=True)
class Rule:
    """Some arrays of pydreamer and the variables of ours that hold the same numbers.

    Attributes:
        theirs: Names in the state dict.
        ours: Paths of variables.
        to_ours: Converts their arrays.
        to_theirs: Converts ours.
    """

    theirs: tuple[str, ...]
    ours: tuple[str, ...]
    to_ours: Callable[[Arrays], Arrays]
    to_theirs: Callable[[Arrays], Arrays]


def rules(config, obs: Mapping[str, tuple], continuous: bool) -> list[Rule]:
    """Returns the rules of an agent, in the order of pydreamer's parameters.

    Args:
        config: The agent's configuration, in our keys.
        obs: The shapes of `image` and `vecobs`, as far as it observes them.
        continuous: Whether its actions are.
    """
    return [
        *_encoder(config, obs),
        *_decoder(config, obs),
        *_heads(config, obs),
        *_rssm(config, obs),
        *behavior_rules(config, continuous),
    ]


def behavior_rules(config, continuous: bool) -> list[Rule]:
    features = _features(config)
    networks = [
        _mlp("ac.actor.model", "actor", config.actor, features, split=continuous)
    ]
    for theirs, ours in (("critic", "critic"), ("critic_target", "target_critic")):
        networks.append(_mlp(f"ac.{theirs}.model", ours, config.critic, features))
    return [rule for network in networks for rule in network]


def _encoder(config, obs: Mapping[str, tuple]) -> Iterator[Rule]:
    options, place = config.encoder, "wm.encoder.encoder_image.model"
    if "image" in obs and options.cnn == "dense":
        shape = (*obs["image"][:2], obs["image"][2] + 2 * options.reward_planes)
        rows = _channels_last(shape)
        for i in range(len(options.cnn_layers)):
            # A flattening comes first; each layer but the last has a norm.
            last = i == len(options.cnn_layers) - 1
            index = 1 + 3 * i
            yield from _linear(f"{place}.{index}", f"encoder/image{i}", rows)
            if options.cnn_norm == "layer" and not last:
                yield _norm(f"{place}.{index + 1}", f"encoder/convnorm{i}")
            rows = None
    elif "image" in obs:
        for i in range(len(options.cnn_kernels)):
            yield from _conv(f"{place}.{2 * i}", f"encoder/conv{i}")
    if "vecobs" in obs:
        place, norm = "wm.encoder.encoder_vecobs.model", options.norm
        yield from _stack(place, "encoder/dense", len(options.mlp_layers), norm)
        yield from _linear(f"{place}.{3 * len(options.mlp_layers)}", "encoder/mlp_out")


def _decoder(config, obs: Mapping[str, tuple]) -> Iterator[Rule]:
    options, place = config.decoder, "wm.decoder.image.model"
    rows = _features(config)
    if "image" in obs and options.cnn == "dense":
        number, norm = len(options.cnn_layers), options.cnn_norm
        norms = "decoder/convnorm"
        yield from _stack(place, "decoder/image", number, norm, rows, norms)
        columns = _channels_last(obs["image"])
        rows = rows if number == 0 else None
        last = f"{place}.{3 * number}"
        yield from _linear(last, "decoder/image_out", rows, columns)
    elif "image" in obs:
        yield from _linear(f"{place}.0", "decoder/convin", rows)
        for i in range(len(options.cnn_kernels)):
            yield from _conv(f"{place}.{2 + 2 * i}", f"decoder/conv{i}")


def _heads(config, obs: Mapping[str, tuple]) -> Iterator[Rule]:
    rows, place = _features(config), "wm.decoder.{}.model.model"
    if config.reward_head.dist == "support":
        support = np.asarray(config.reward_head.support, np.float32)
        yield Rule(
            ("wm.decoder.reward._support",), (), lambda _: [], lambda _: [support]
        )
    heads = {"reward": config.reward_head, "terminal": config.discount_head}
    for name, options in heads.items():
        yield from _mlp(place.format(name), name, options, rows)
    if "vecobs" in obs:
        number, norm = len(config.decoder.mlp_layers), config.decoder.norm
        theirs = place.format("vecobs")
        yield from _stack(theirs, "decoder/dense", number, norm, rows)
        yield from _linear(f"{theirs}.{3 * number}", "decoder/dense_vecobs/out")


def _rssm(config, obs: Mapping[str, tuple]) -> Iterator[Rule]:
    place, norm = "wm.core.cell", config.rssm.norm
    latents = config.rssm.stoch * (int(config.rssm.discrete) or 1)
    yield _joined(f"{place}.z_mlp", f"{place}.a_mlp", "rssm/img_in", latents)
    if norm == "layer":
        yield _norm(f"{place}.in_norm", "rssm/img_in_norm")
    yield from _cells(config)
    yield from _linear(f"{place}.prior_mlp_h", "rssm/img_out_0")
    if norm == "layer":
        yield _norm(f"{place}.prior_norm", "rssm/img_out_norm_0")
    yield from _linear(f"{place}.prior_mlp", "rssm/img_dist_0")
    rows = _embedding(config, obs)
    names = f"{place}.post_mlp_h", f"{place}.post_mlp_e"
    yield _joined(*names, "rssm/obs_out", config.rssm.deter, rows)
    if norm == "layer":
        yield _norm(f"{place}.post_norm", "rssm/obs_out_norm")
    yield from _linear(f"{place}.post_mlp", "rssm/obs_dist")


def _cells(config) -> Iterator[Rule]:
    number = config.rssm.gru_layers
    size = config.rssm.deter // number
    for i in range(number):
        theirs = f"wm.core.cell.gru.layers.{i}"
        ours = f"rssm/cell/cell{i}" if number > 1 else "rssm/cell"
        if config.rssm.cell == "gru":
            for kind, name in (("weight", "kernel"), ("bias", "bias")):
                turn = _turned if kind == "weight" else _same
                for side, layer in (("ih", "input"), ("hh", "recurrent")):
                    path = f"{ours}/{layer}/{name}"
                    yield Rule((f"{theirs}.{kind}_{side}",), (path,), turn, turn)
        elif config.rssm.cell == "gru_layernorm":
            for side, layer in (("ih", "input"), ("hh", "recurrent")):
                name, path = f"{theirs}.weight_{side}.weight", f"{ours}/{layer}/kernel"
                yield Rule((name,), (path,), _turned, _turned)
            for gate, name in enumerate(("reset", "update", "newval")):
                yield _norm(f"{theirs}.ln_{name}", f"{ours}/norm{gate}")
        else:
            yield from _late_reset(theirs, ours, size)


def _late_reset(theirs: str, ours: str, size: int) -> Iterator[Rule]:
    """Returns the rules of `gru_layernorm_dv2`, whose gates have another order."""
    # Theirs are reset, update, candidate; ours reset, candidate, update. Exchanging the
    # last two is its own inverse.
    gates = np.arange(3 * size).reshape(3, size)[[0, 2, 1]].ravel()

    def to_theirs(arrays: Arrays) -> Arrays:
        kernel = arrays[0][:, gates]
        return [kernel[:-size].T, kernel[-size:].T]

    yield Rule(
        (f"{theirs}.weight_ih.weight", f"{theirs}.weight_hh.weight"),
        (f"{ours}/layer/kernel",),
        lambda arrays: [np.concatenate([x.T for x in arrays])[:, gates]],
        to_theirs,
    )

    def exchange(arrays: Arrays) -> Arrays:
        return [x[gates] for x in arrays]

    yield Rule(
        (f"{theirs}.lnorm.weight", f"{theirs}.lnorm.bias"),
        (f"{ours}/norm/gamma", f"{ours}/norm/beta"),
        exchange,
        exchange,
    )


def _mlp(
    theirs: str, ours: str, options, rows: np.ndarray, split: bool = False
) -> Iterator[Rule]:
    """Returns the rules of a head.

    Args:
        theirs: Its place in the state dict.
        ours: The name of our component.
        options: Its section of the configuration.
        rows: The order of features.
        split: Whether the output holds means and deviations, for which we have a layer
            each.
    """
    yield from _stack(theirs, f"{ours}/dense", options.layers, options.norm, rows)
    last = f"{theirs}.{3 * options.layers}"
    rows = rows if options.layers == 0 else None
    if not split:
        yield from _linear(last, f"{ours}/out/out", rows)
        return
    order = slice(None) if rows is None else rows
    back = slice(None) if rows is None else np.argsort(rows)
    yield Rule(
        (f"{last}.weight", f"{last}.bias"),
        tuple(
            f"{ours}/out/{x}/{y}" for y in ("kernel", "bias") for x in ("out", "std")
        ),
        lambda arrays: [
            *np.split(arrays[0].T[order], 2, 1),
            *np.split(arrays[1], 2),
        ],
        lambda arrays: [
            np.concatenate(arrays[:2], 1)[back].T,
            np.concatenate(arrays[2:]),
        ],
    )


def _stack(
    theirs: str,
    ours: str,
    number: int,
    norm: str,
    rows: np.ndarray | None = None,
    norms: str = "",
) -> Iterator[Rule]:
    """Returns the rules of dense layers, each followed by a norm and an activation.

    Args:
        theirs: Their place in the state dict.
        ours: The path of our layers, without their numbers.
        number: How many there are.
        norm: `none` or `layer`.
        rows: The order of the first one's inputs.
        norms: The path of our norms; by default that which belongs to `ours`.
    """
    component = ours.split("/")[0]
    own = "densenorm" if component in ("encoder", "decoder") else "norm"
    norms = norms or f"{component}/{own}"
    for i in range(number):
        yield from _linear(f"{theirs}.{3 * i}", f"{ours}{i}", rows)
        if norm == "layer":
            yield _norm(f"{theirs}.{3 * i + 1}", f"{norms}{i}")
        rows = None


def _linear(
    theirs: str,
    ours: str,
    rows: np.ndarray | None = None,
    columns: np.ndarray | None = None,
) -> Iterator[Rule]:
    """Returns the rules of a dense layer.

    Args:
        theirs: Its place in the state dict.
        ours: Its path.
        rows: The place in theirs of each of our inputs; by default the same.
        columns: The same of outputs.
    """

    def order(x: np.ndarray, axis: int, places, back: bool = False) -> np.ndarray:
        if places is None:
            return x
        return np.take(x, np.argsort(places) if back else places, axis)

    yield Rule(
        (f"{theirs}.weight",),
        (f"{ours}/kernel",),
        lambda arrays: [order(order(arrays[0].T, 0, rows), 1, columns)],
        lambda arrays: [order(order(arrays[0], 0, rows, True), 1, columns, True).T],
    )
    yield Rule(
        (f"{theirs}.bias",),
        (f"{ours}/bias",),
        lambda arrays: [order(arrays[0], 0, columns)],
        lambda arrays: [order(arrays[0], 0, columns, True)],
    )


def _joined(
    first: str, second: str, ours: str, size: int, rows: np.ndarray | None = None
) -> Rule:
    """Returns the rule of a dense layer on joined inputs, which they split by input.

    Args:
        first: The place of the layer with a bias.
        second: The place of the one without.
        ours: Our path.
        size: Number of the first one's inputs.
        rows: The order of the second one's inputs.
    """

    def to_ours(arrays: Arrays) -> Arrays:
        weight, bias, other = arrays
        return [np.concatenate([weight.T, _take(other.T, rows)]), bias]

    def to_theirs(arrays: Arrays) -> Arrays:
        kernel, bias = arrays
        back = None if rows is None else np.argsort(rows)
        return [kernel[:size].T, bias, _take(kernel[size:], back).T]

    theirs = (f"{first}.weight", f"{first}.bias", f"{second}.weight")
    return Rule(theirs, (f"{ours}/kernel", f"{ours}/bias"), to_ours, to_theirs)


def _norm(theirs: str, ours: str) -> Rule:
    names = (f"{theirs}.weight", f"{theirs}.bias")
    return Rule(names, (f"{ours}/gamma", f"{ours}/beta"), _same, _same)


def _conv(theirs: str, ours: str) -> Iterator[Rule]:
    """Returns the rules of a convolution, or of a transposed one."""
    yield Rule(
        (f"{theirs}.weight",),
        (f"{ours}/kernel",),
        lambda arrays: [arrays[0].transpose(2, 3, 1, 0)],
        lambda arrays: [arrays[0].transpose(3, 2, 0, 1)],
    )
    yield Rule((f"{theirs}.bias",), (f"{ours}/bias",), _same, _same)


def _same(arrays: Arrays) -> Arrays:
    return arrays


def _turned(arrays: Arrays) -> Arrays:
    return [x.T for x in arrays]


def _take(x: np.ndarray, rows: np.ndarray | None) -> np.ndarray:
    return x if rows is None else x[rows]


def _features(config) -> np.ndarray:
    """Returns the place in their features of each of ours."""
    rssm = config.rssm
    latents = rssm.stoch * (int(rssm.discrete) or 1)
    places = np.arange(rssm.deter + latents)
    return np.concatenate([places[rssm.deter :], places[: rssm.deter]])


def _embedding(config, obs: Mapping[str, tuple]) -> np.ndarray | None:
    """Returns the place in their embedding of each number of ours."""
    options = config.encoder
    if "image" not in obs or options.cnn == "dense":
        return None
    shape: Sequence[int] = obs["image"]
    depth = options.cnn_depth
    for kernel, stride in zip(options.cnn_kernels, options.cnn_strides, strict=True):
        height, width = ((x - kernel) // stride + 1 for x in shape[:2])
        shape, depth = (height, width, depth), 2 * depth
    rest = options.mlp_out if "vecobs" in obs else 0
    image = _channels_last(shape)
    return np.concatenate([image, len(image) + np.arange(rest)])


def _channels_last(shape: Sequence[int]) -> np.ndarray:
    """Returns the place of each number of a flat image whose channels came first."""
    height, width, channels = shape
    places = np.arange(math.prod(shape)).reshape(channels, height, width)
    return places.transpose(1, 2, 0).ravel()
