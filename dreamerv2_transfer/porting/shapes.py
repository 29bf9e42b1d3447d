"""Reads an agent's sizes off the shapes of the arrays in an old checkpoint.

The arrays come in the order in which `tf.Module` lists them: by the names of attributes
and layers (`order` has the same order by name).

    agent     = step, [exploration], behavior, model
    behavior  = [updates], target critic or critic, actor, [critic], magnitude
    model     = encoder, decoder, [discount], reward, rssm
    encoder   = conv..., convnorm..., dense..., densenorm...
    decoder   = conv..., convin, convnorm..., dense..., dense_KEY..., densenorm...
    MLP       = dense..., norm..., out, [std]
    rssm      = cell, img_dist..., img_in, [norm], img_out..., [norm...], obs_dist,
                obs_out, [norm]

A layer is a pair of arrays: kernel and bias, or gamma and beta.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, NoReturn

from dreamerv2_transfer.porting.pickles import PortError

Shape = tuple[int, ...]
CONVIN = 32  # Units of `convin` per channel of `decoder.cnn_depth`.


@dataclasses.dataclass(frozen=True)
class Found:
    """An agent's sizes.

    Attributes:
        config: Values by dotted key of the configuration.
        channels: Channels of all images together; 0 without images.
        vectors: Sizes of the vector inputs, sorted by their names; only their sum if
            the decoder makes none of them.
        actions: Length of an action.
        discrete: Whether actions are one-hot.
        latent: Size of a flat sample of the latents, `rssm.stoch * rssm.discrete`
            unless `config` has `rssm.discrete`.
    """

    config: dict[str, Any]
    channels: int
    vectors: tuple[int, ...]
    actions: int
    discrete: bool
    latent: int


def find(
    shapes: Sequence[Shape],
    expl_behavior: str = "greedy",
    disag_models: int = 0,
    slow_target: bool | None = None,
    decoded: int | None = None,
) -> Found:
    """Reads the sizes off the shapes.

    Args:
        shapes: Shapes of all arrays of a checkpoint, in its order.
        expl_behavior: `greedy`, `Random`, `Plan2Explore` or `ModelLoss`.
        disag_models: Size of the ensemble of Plan2Explore.
        slow_target: Whether there is a target critic; by default as the shapes tell,
            which is possible only without exploration.
        decoded: Number of hidden layers from which the decoder makes vectors; by
            default as the shapes tell, which is possible only if these are of one size.

    Raises:
        PortError: The arrays do not belong to such an agent; names the first misfit.
    """
    reader = _Reader(shapes, decoded)
    reader.scalar("the step counter")
    if slow_target is None:
        slow_target = bool(shapes[1:]) and not shapes[1]
    config: dict[str, Any] = {"slow_target": slow_target}
    config |= reader.exploration(expl_behavior, disag_models, slow_target)
    critic, actor = reader.behavior(slow_target)
    model = reader.model(critic.inputs)
    reader.end()
    rssm = model.rssm
    config |= critic.config("critic") | actor.config("actor")
    config |= model.config | rssm.config
    latent = critic.inputs - rssm.deter
    if rssm.dist == 2 * latent:  # Mean and deviation of each variable.
        config |= {"rssm.stoch": latent, "rssm.discrete": 0}
    elif rssm.dist != latent:
        raise PortError(
            f"The arrays do not belong to an agent: its latents have {latent} values "
            f"and {rssm.dist} parameters. These numbers should be equal, or the second "
            "twice the first."
        )
    actions = rssm.inputs - latent
    return Found(config, model.channels, model.vectors, actions, not actor.std, latent)


def differences(found: Found, config) -> list[str]:
    """Lists in words where a configuration has other sizes than a checkpoint."""
    differing = [
        f"{key} is {_text(config[key])} in the configuration and {_text(value)} in "
        "the file"
        for key, value in found.config.items()
        if _text(config[key]) != _text(value)
    ]
    rssm = config.rssm
    latent = rssm.stoch * (rssm.discrete or 1)
    if "rssm.discrete" not in found.config and latent != found.latent:
        differing.append(
            f"rssm.stoch x rssm.discrete is {rssm.stoch} x {rssm.discrete} in the "
            f"configuration and {found.latent} in the file"
        )
    return differing


def _text(value: Any) -> str:
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(str, value))}]"
    return str(value)


@dataclasses.dataclass(frozen=True)
class _Mlp:
    """Sizes of an MLP; `std` tells whether it has a second output layer."""

    inputs: int
    layers: int
    units: int
    norm: bool
    outputs: int
    std: bool

    def config(self, group: str) -> dict[str, Any]:
        return {
            f"{group}.layers": self.layers,
            f"{group}.units": self.units,
            f"{group}.norm": _norm(self.norm),
        }


@dataclasses.dataclass(frozen=True)
class _Rssm:
    """Sizes of an RSSM: `inputs` of `img_in`, and outputs `dist` of `img_dist`."""

    config: dict[str, Any]
    deter: int
    inputs: int
    dist: int


@dataclasses.dataclass(frozen=True)
class _Model:
    """Sizes of a world model."""

    config: dict[str, Any]
    channels: int
    vectors: tuple[int, ...]
    rssm: _Rssm


class _Reader:
    """Takes the shapes one after the other, by the grammar at the head of this file.

    Args:
        shapes: Shapes of all arrays.
        decoded: See `find`.
    """

    def __init__(self, shapes: Sequence[Shape], decoded: int | None):
        self._shapes = [tuple(shape) for shape in shapes]
        self._decoded = decoded
        self._at = 0

    def exploration(
        self, kind: str, disag_models: int, slow_target: bool
    ) -> dict[str, Any]:
        """Returns the configuration of the networks beside actor and critic."""
        if kind == "Plan2Explore":
            networks = [self.mlp("ensemble") for _ in range(disag_models)]
            self.behavior(slow_target, actor_last=True)
            self.scalar("the magnitude of extrinsic rewards")
            self.scalar("the magnitude of intrinsic rewards")
            return networks[0].config("expl_head")
        if kind == "ModelLoss":
            self.behavior(slow_target, actor_last=True)
            return self.mlp("head of ModelLoss").config("expl_head")
        return {}

    def behavior(
        self, slow_target: bool, actor_last: bool = False
    ) -> tuple[_Mlp, _Mlp]:
        """Returns critic and actor."""
        if slow_target:
            self.scalar("the number of updates")
        critic = self.mlp("critic")
        actor = None if actor_last else self.mlp("actor")
        if slow_target:
            self.mlp("critic")
        self.scalar("the magnitude of rewards")
        return critic, actor or self.mlp("actor")

    def model(self, features: int) -> _Model:
        """Returns a world model, given the number of features that its heads take."""
        encoder, channels, width = self.encoder(features)
        decoder, vectors = self.decoder(self._decoded if width else 0)
        if width and not vectors:
            vectors = (width,)
        heads = [self.mlp("reward head")]
        if not self._is_cell():
            heads.append(self.mlp("reward head"))
        config = {**encoder, **decoder, "pred_discount": len(heads) == 2}
        config |= heads[0].config("discount_head") if len(heads) == 2 else {}
        config |= heads[-1].config("reward_head")
        return _Model(config, channels, vectors, self.rssm())

    def encoder(self, features: int) -> tuple[dict[str, Any], int, int]:
        """Returns configuration, channels of all images, and length of all vectors."""
        convs, width = self._stack(4), 0
        norms = self._norms()
        config: dict[str, Any] = {}
        if convs:
            config["encoder.cnn_depth"] = convs[0][3]
            config["encoder.cnn_kernels"] = tuple(kernel[0] for kernel in convs)
        first = self._peek(2)
        # A layer that takes the features is the decoder's.
        if first and first[0] != features:
            width = first[0]
            config["encoder.mlp_layers"] = tuple(x[1] for x in self._chain("encoder"))
            norms += self._norms()
        config["encoder.norm"] = _norm(norms)
        return config, convs[0][2] if convs else 0, width

    def decoder(self, layers: int | None) -> tuple[dict[str, Any], tuple[int, ...]]:
        """Returns configuration, and the sizes of the vectors that it makes.

        Args:
            layers: Number of hidden layers for vectors, or None if it is unknown.
        """
        config: dict[str, Any] = {}
        vectors: list[int] = []
        norms = 0
        if convs := self._stack(4, transposed=True):
            config["decoder.cnn_depth"] = self._expect(2, "decoder")[1] // CONVIN
            config["decoder.cnn_kernels"] = tuple(kernel[0] for kernel in convs)
            norms = self._norms()
        if layers != 0:
            hidden = [self._expect(2, "decoder")[1]]
            if layers is None:
                # Hidden layers are of one size then, and what is not is an output.
                widths = [kernel[1] for kernel in self._stack(2, rows=hidden[0])]
                vectors = [x for x in widths if x != hidden[0]]
                hidden += [x for x in widths if x == hidden[0]]
            else:
                hidden += [self._expect(2, "decoder")[1] for _ in range(layers - 1)]
                vectors = [kernel[1] for kernel in self._stack(2, rows=hidden[-1])]
            config["decoder.mlp_layers"] = tuple(hidden)
            norms += self._norms()
        return {**config, "decoder.norm": _norm(norms)}, tuple(vectors)

    def rssm(self) -> _Rssm:
        if not self._is_cell():
            self._fail("the cell of the rssm")
        rows, gates = self._expect(2, "cell")
        self._norms()
        layers = []
        while (pair := self._pair()) and pair[0] and pair[1]:
            layers.append(pair[0])
            self._at += 2
        norms = sum(len(kernel) == 1 for kernel in layers)
        # An ensemble of n has 2 n + 3 layers, and n + 2 norms if there are any.
        members = norms - 2 if norms else (len(layers) - 3) // 2
        if members < 1 or len(layers) != 2 * members + 3 + norms:
            self._fail("the layers of an rssm")
        deter = gates // 3
        config = {
            "rssm.ensemble": members,
            "rssm.hidden": rows - deter,
            "rssm.deter": deter,
            "rssm.norm": _norm(norms),
        }
        return _Rssm(config, deter, layers[members][0], layers[0][1])

    def mlp(self, name: str) -> _Mlp:
        kernels = self._chain(name)
        if norms := self._norms():
            kernels.append(self._expect(2, name))
        *dense, out = kernels
        if not dense:
            self._fail(f"a second layer of the {name}")
        std = self._peek(2) == out and bool(self._take(2))
        return _Mlp(dense[0][0], len(dense), dense[0][1], bool(norms), out[1], std)

    def scalar(self, name: str) -> None:
        if self._at == len(self._shapes) or self._shapes[self._at] != ():
            self._fail(f"{name} (a scalar)")
        self._at += 1

    def end(self) -> None:
        if self._at < len(self._shapes):
            self._fail("absent")

    # Layers.

    def _is_cell(self) -> bool:
        """Tells whether the RSSM's cell comes next, followed by `img_dist`.

        The cell is kernel and bias, gamma and beta of three gates together.
        """
        shapes = self._shapes[self._at : self._at + 5]
        if len(shapes) < 5 or len(shapes[0]) != 2:
            return False
        rows, gates = shapes[0]
        alike = all(shape == (gates,) for shape in shapes[1:4])
        return alike and gates % 3 == 0 and shapes[4][:1] == (rows - gates // 3,)

    def _chain(self, name: str) -> list[Shape]:
        """Takes dense layers in a chain: outputs of one are inputs of the next."""
        kernels = [self._expect(2, name)]
        while kernel := self._take(2, rows=kernels[-1][1]):
            kernels.append(kernel)
        return kernels

    def _stack(
        self, dims: int, rows: int | None = None, transposed: bool = False
    ) -> list[Shape]:
        """Takes all layers of a kind that come next."""
        kernels = []
        while kernel := self._take(dims, rows, transposed):
            kernels.append(kernel)
        return kernels

    def _norms(self) -> int:
        """Takes layer norms, and returns their number."""
        start = self._at
        while (pair := self._pair()) and len(pair[0]) == 1 and pair[0] == pair[1]:
            self._at += 2
        return (self._at - start) // 2

    def _expect(self, dims: int, name: str) -> Shape:
        """Takes a layer, and fails if none comes next."""
        kernel = self._take(dims)
        if kernel is None:
            self._fail(f"a layer of the {name}")
        return kernel

    def _take(
        self, dims: int, rows: int | None = None, transposed: bool = False
    ) -> Shape | None:
        """Takes the next layer if its kernel has `dims` dimensions and `rows` rows."""
        kernel = self._peek(dims, transposed)
        if kernel is None or rows not in (None, kernel[0]):
            return None
        self._at += 2
        return kernel

    def _peek(self, dims: int, transposed: bool = False) -> Shape | None:
        """Returns the next kernel's shape if it has `dims` dimensions and a bias."""
        pair = self._pair()
        if not pair or len(pair[0]) != dims:
            return None
        # A transposed convolution has its outputs before its inputs.
        outputs = pair[0][-2 if transposed else -1]
        return pair[0] if pair[1] == (outputs,) else None

    def _pair(self) -> list[Shape] | None:
        pair = self._shapes[self._at : self._at + 2]
        return pair if len(pair) == 2 else None

    def _fail(self, expected: str) -> NoReturn:
        is_end = self._at == len(self._shapes)
        found = "there is none" if is_end else f"has shape {self._shapes[self._at]}"
        raise PortError(
            f"The arrays do not belong to an agent: array {self._at} should be "
            f"{expected}, but {found}."
        )


def _norm(there: bool | int) -> str:
    return "layer" if there else "none"
