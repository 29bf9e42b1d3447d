"""Reads an agent of pydreamer from its files, without its code and without PyTorch.

Its checkpoint is `latest.pt`, which MLflow keeps in `artifacts/checkpoints` of a run,
beside the run's `params`. It holds the updates so far (`epoch`), the weights by name
(`model_state_dict`), and the state of each optimizer.
"""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from gymnasium import spaces

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import flags
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.files import paths, torch_file
from dreamerv2_transfer.plotting import mlflow_run
from dreamerv2_transfer.porting import observations, pydreamer_config
from dreamerv2_transfer.porting.pickles import PortError

CHECKPOINT = "latest.pt"
SUFFIXES = (".pt", ".pth")
# Where a run has its checkpoint.
PLACES = (
    CHECKPOINT,
    f"checkpoints/{CHECKPOINT}",
    f"artifacts/checkpoints/{CHECKPOINT}",
)
CONFIGS = ("config.yaml", "params")
# Parts that no agent of ours has.
LEFT_OUT = {
    "probe_model.": "the probe heads",
    "wm.ac_aux.": "the auxiliary critic, without which training goes on differently",
}
EMPTY = "probe_model.dummy"  # What an agent without probe heads has in their place.


@dataclasses.dataclass(frozen=True)
class Pydreamer:
    """An agent of pydreamer.

    Attributes:
        path: Its checkpoint.
        arrays: Its weights by their names, without parts that are left out.
        epoch: Updates so far.
        steps: Steps that it played so far; 0 if its run does not tell.
        optimizers: The state of its optimizers.
        conf: Its configuration, in its own keys.
        config: The same in ours.
        notes: What the user should know, in sentences.
    """

    path: pathlib.Path
    arrays: dict[str, np.ndarray]
    epoch: int
    optimizers: list[Mapping[str, Any]]
    conf: dict[str, Any]
    config: Config
    notes: tuple[str, ...]
    steps: int = 0
    episodes: pathlib.Path | None = None

    @property
    def obs(self) -> dict[str, tuple[int, ...]]:
        """The shape of each observation."""
        return pydreamer_config.observations(self.conf)

    @property
    def continuous(self) -> bool:
        return self.conf["actor_dist"] != "onehot"

    @property
    def spaces(self) -> tuple[dict[str, spaces.Space], dict[str, spaces.Space]]:
        """The spaces of observations and actions, as `agent.Agent` takes them."""
        made = observations.make_spaces(
            self.obs, self.conf["action_dim"], not self.continuous
        )
        if self.conf["image_categorical"] and "image" in self.obs:
            made[0]["image"] = spaces.Box(0, 1, self.obs["image"], bool)
        return made

    def summary(self) -> str:
        """Describes the agent in words."""
        sizes = (f"{k} ({'x'.join(map(str, shape))})" for k, shape in self.obs.items())
        kind = "continuous" if self.continuous else "discrete"
        seen = ", ".join(sizes)
        played = f" and {self.steps} steps" if self.steps else ""
        return (
            f"an agent of {self.epoch} updates{played} that observes {seen} and has "
            f"{self.conf['action_dim']} {kind} actions"
        )


def is_checkpoint(path: str | pathlib.Path) -> bool:
    """Tells whether a path names an agent of pydreamer."""
    file = paths.local(path)
    if file.is_dir():
        return any((file / place).is_file() for place in PLACES)
    return file.suffix in SUFFIXES


def read(
    path: str | pathlib.Path,
    config: str | pathlib.Path = "",
    blocks: Sequence[str] = (),
    argv: Sequence[str] = (),
    trust: bool = False,
) -> Pydreamer:
    """Reads an agent of pydreamer.

    Args:
        path: Its checkpoint, or the folder of its MLflow run.
        config: Its configuration, see `pydreamer_config.read`; by default the file
            beside the checkpoint, or the run's parameters.
        blocks: Names of blocks in that file.
        argv: Flags for keys of our configuration, which override it.
        trust: Whether the configuration may name a task that imports a module.

    Raises:
        ConfigError: The configuration cannot be read, or names such a task.
        TorchFileError: The checkpoint cannot be read.
        PortError: It has values that are not finite, or the agent has something that
            ours cannot have.
    """
    file = find_checkpoint(path)
    own = paths.local(config) if config else _find_config(file)
    conf = pydreamer_config.read(own, blocks)
    content = torch_file.read(file)
    arrays = _weights(file, content)
    settings = pydreamer_config.convert(conf, arrays)
    reader = flags.Flags(settings)
    settings = reader.parse(argv)
    if not (trust or "task" in reader.given):
        blocks_lib.check_task((settings.task, *settings.tasks), own)
    kept = {k: v for k, v in arrays.items() if not k.startswith(tuple(LEFT_OUT))}
    number = sum(f"optimizer_{i}_state_dict" in content for i in range(8))
    optimizers = [content[f"optimizer_{i}_state_dict"] for i in range(number)]
    epoch = int(content.get("epoch", 0))
    runs = [x for x in file.parents[:3] if (x / "metrics").is_dir()]
    return Pydreamer(
        file,
        kept,
        epoch,
        optimizers,
        conf,
        settings,
        tuple(_notes(arrays, conf)),
        mlflow_run.steps(runs[0]) if runs else 0,
    )


def find_checkpoint(path: str | pathlib.Path) -> pathlib.Path:
    """Returns the checkpoint that a path names, or that its run has.

    Raises:
        PortError: There is none.
    """
    file = paths.local(path)
    found = [file / place for place in PLACES] if file.is_dir() else [file]
    for place in found:
        if place.is_file():
            return place
    raise PortError(
        f"{path} has no {CHECKPOINT}. Name the checkpoint, or the folder of its run."
    )


def _find_config(file: pathlib.Path) -> pathlib.Path:
    """Returns the configuration of a checkpoint: a file beside it or the run's."""
    for folder in (file.parent, *file.parents[1:3]):
        for name in (f"{file.stem}.yaml", *CONFIGS):
            place = folder / name
            if place.is_dir() if name == "params" else place.is_file():
                return place
    raise PortError(
        f"There is no configuration beside {file}. Name it by --config: the YAML that "
        "the agent was trained with, pydreamer's config/defaults.yaml (and its blocks "
        "by --configs), or the params folder of the MLflow run."
    )


def _weights(file: pathlib.Path, content: Any) -> dict[str, np.ndarray]:
    """Returns the weights in a checkpoint, which are checked to be finite."""
    state = content.get("model_state_dict") if isinstance(content, Mapping) else None
    if not isinstance(state, Mapping) or not all(
        isinstance(x, np.ndarray) for x in state.values()
    ):
        raise PortError(
            f"{file} is no checkpoint of pydreamer: it has no model_state_dict."
        )
    for name, array in state.items():
        if not np.isfinite(array).all():
            raise PortError(
                f"{file} is damaged, or its training diverged: {name} has values that "
                "are not finite. Use an earlier copy of it."
            )
    return {str(name): array for name, array in state.items()}


def _notes(arrays: Mapping[str, np.ndarray], conf: dict[str, Any]) -> list[str]:
    notes = []
    for prefix, what in LEFT_OUT.items():
        names = [x for x in arrays if x.startswith(prefix) and x != EMPTY]
        if names:
            notes.append(f"Left out: {what} ({len(names)} arrays of {prefix}*).")
    notes += pydreamer_config.notes(conf)
    if conf["env_id"] is None:
        notes.append(
            "The configuration does not name the game. To play it, name it by --task."
        )
    return notes
