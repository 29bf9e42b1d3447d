"""Writes the folder of a published model from a run.

All figures of its card come from the run's own files: `metrics.jsonl`, and
`evaluation.json` where there is one.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import tempfile
from collections.abc import Sequence
from typing import Any

import dreamerv2_transfer
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.files import atomic, documents, hdf5, hub, paths, tensors
from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.common.replay.store import folder_name
from dreamerv2_transfer.plotting import metrics_file
from dreamerv2_transfer.trained import card_text, preview
from dreamerv2_transfer.trained.load import load
from dreamerv2_transfer.trained.model import Model
from dreamerv2_transfer.trained.player import Player
from dreamerv2_transfer.transfer import cards, sources, spaces, weights

FPS = 10
DIGITS = 5  # Significant digits of a figure.
KEPT = ("summary", "hardware", "data", "command")  # Of `Told`, those of a card.


@dataclasses.dataclass(frozen=True)
class Told:
    """What no file of a run says, and whoever publishes it does.

    Attributes:
        name: The model's name; by default that of the folder.
        summary: What it is, in a line; by default the stage and the games.
        licence: The SPDX name of its licence.
        hardware: What it was trained on.
        data: What it was trained on, where the run's folder does not say it.
        command: The command that trained it; by default one with its configuration.
        hdf5: Whether to write the weights as HDF5 too, beside safetensors.
    """

    name: str = ""
    summary: str = ""
    licence: str = "mit"
    hardware: str = ""
    data: str = ""
    command: str = ""
    hdf5: bool = True


def publish(logdir: str | os.PathLike, to: str, told: Told) -> str:
    """Publishes the model of a run.

    Args:
        logdir: The run's logdir, or what else `load` takes.
        to: The folder to write, which must not exist or be a published model's; or
            `hf://USER/NAME`.
        told: See `Told`.

    Returns:
        The folder, or the URL with its revision.

    Raises:
        UserError: The run has no model, the folder is another one, or it cannot be
            written or uploaded.
    """
    is_hub = hub.is_hub(to)
    if is_hub:
        out = pathlib.Path(hub.split(to)[0])
    else:
        paths.check(to, "--to")
        out = paths.local(to)
        _check_free(out)
    with tempfile.TemporaryDirectory() as folder:
        new = pathlib.Path(folder)
        told = dataclasses.replace(told, name=told.name or out.name)
        write(logdir, new, told, source=to if is_hub else "")
        if is_hub:
            return hub.upload(new, to)
        _replace(out, new)
    return str(out)


def _check_free(out: pathlib.Path) -> None:
    if out.is_file() or out.is_dir() and any(out.iterdir()) and not cards.read(out):
        raise ModelError(
            f"{out} holds something else than a published model. Name a new folder "
            "by --to."
        )


def _replace(out: pathlib.Path, new: pathlib.Path) -> None:
    """Gives a folder new files; the card, which says what they are, comes last."""
    with atomic.writing(out):
        out.mkdir(parents=True, exist_ok=True)
        for old in (*out.glob("*.h5"), *out.glob("*.safetensors")):
            if not (new / old.name).exists():
                old.unlink()
    for file in sorted(new.iterdir(), key=lambda file: file.name == cards.CARD):
        with atomic.atomic_write(out / file.name) as copy:
            copy.write(file.read_bytes())


def write(
    logdir: str | os.PathLike, out: pathlib.Path, told: Told, source: str = ""
) -> None:
    """Writes the files of a published model into a new folder.

    What `told` leaves open is that of the model's own card, if it is published. Its
    text tells to load `source`, if that is given.

    Raises:
        UserError: The run has no model, or a file cannot be written.
    """
    model = load(logdir)
    files = _weights(model, logdir)
    run = files[0].parent
    card = cards.read(run)
    earlier = card.own if card else {}
    given = {key: getattr(told, key) or earlier.get(key, "") for key in KEPT}
    told = dataclasses.replace(told, name=told.name or out.name, **given)
    model.config.update(logdir=f"logdir/{told.name}").save(out / "config.yaml")
    attributes = _write_weights(model, files, out, told.hdf5)
    frames = preview.draw(model)
    if frames is not None:
        video.save_gif(out / "preview.gif", frames, FPS)
    about = card_text.About(
        name=told.name,
        source=source,
        told=told,
        config=model.config,
        kind=_kind(model),
        games=model.tasks,
        steps=_steps(run, model, attributes),
        version=str(attributes.get("version", "")) or "not recorded",
        published_by=dreamerv2_transfer.__version__,
        data=told.data or _data(run, model.config),
        results=results(run, model.tasks) or earlier.get("results", []),
        files=cards.fingerprints(sorted(out.iterdir())),
    )
    atomic.write_text(out / cards.CARD, card_text.write(about))


def _steps(run: pathlib.Path, model: Model | Player, told: dict[str, Any]) -> int:
    """Returns the updates of a run, or the steps that a DQN played."""
    if isinstance(model, Player):
        return int(told.get("steps", 0))
    logged = [steps[-1] for steps, _ in _metrics(run).values()]
    return int(told.get("step", max(logged, default=0)))


def _metrics(run: pathlib.Path) -> dict[str, Any]:
    file = run / "metrics.jsonl"
    return metrics_file.read(file)[0] if file.is_file() else {}


def _kind(model: Model | Player) -> str:
    if isinstance(model, Player):
        return "DQN"
    return "agent" if model.has_agent else "world model"


def _weights(model: Model | Player, logdir: str | os.PathLike) -> list[pathlib.Path]:
    """Returns the files of weights that a model was loaded from."""
    if isinstance(model, Player):
        return [model.file]
    file = sources.find_weights(logdir)
    behavior = sources.in_folder(file.parent, weights.ACTOR_CRITIC)
    return [file, behavior] if behavior else [file]


def _write_weights(
    model: Model | Player,
    files: Sequence[pathlib.Path],
    out: pathlib.Path,
    with_hdf5: bool,
) -> dict[str, Any]:
    """Writes all weights; returns what the files say about them."""
    more = {}
    if not isinstance(model, Player):
        seen = model.network.obs_space
        more = {"spaces": spaces.describe(seen, model.action_space)}
    told: dict[str, Any] = {}
    for file in files:
        known = {**weights.read_attributes(file), **more}
        arrays = weights.read_weights(file)
        base = out / re.sub("|".join(map(re.escape, sources.SUFFIXES)), "", file.name)
        if with_hdf5:
            hdf5.save(f"{base}.weights.h5", arrays, known)
        texts = {key: str(value) for key, value in known.items()}
        tensors.save(f"{base}.safetensors", arrays, texts)
        told = {**known, **told}
    return told


def results(run: pathlib.Path, games: tuple[str, ...]) -> list[dict[str, Any]]:
    """Returns the figures of a run.

    Returns:
        For each game the `metric`, its `value` and, of returns, the `interval`: 95%,
        of the mean over `episodes`. With the `step` of the evaluation, or `file` if it
        is from `evaluation.json`.
    """
    found = _evaluated(run / "evaluation.json")
    metrics = _metrics(run)
    if not found:
        keys = {"": games[0], **{f"/{game}": game for game in games}}
        found = [_logged(metrics, game, key) for key, game in keys.items()]
        found = list(filter(None, found))
    for game in games:
        for key in (f"eval_model_error/{game}", "eval_model_error"):
            if key in metrics:
                step = int(metrics[key][0][-1])
                entry = {"game": game, "metric": "held-out model error (nats)"}
                found.append({**entry, "value": _last(metrics, key), "step": step})
                break
    return found


def _logged(metrics: dict[str, Any], game: str, key: str) -> dict[str, Any]:
    """Returns the last evaluation that a run logged; {} if it logged none."""
    mean, low, high, episodes = (
        _last(metrics, f"eval_{name}{key}")
        for name in ("return_mean", "return_ci95_low", "return_ci95_high", "episodes")
    )
    if mean is None:
        return {}
    entry = {"game": game, "metric": "return", "value": mean}
    if low is not None and high is not None:
        entry["interval"] = [low, high]
    if episodes:
        entry["episodes"] = int(episodes)
    return {**entry, "step": int(metrics[f"eval_return_mean{key}"][0][-1])}


def _last(metrics: dict[str, Any], key: str) -> float | None:
    return _rounded(metrics[key][1][-1]) if key in metrics else None


def _evaluated(file: pathlib.Path) -> list[dict[str, Any]]:
    """Reads what `evaluate --json` wrote; [] if it is not there or is another file."""
    try:
        told = documents.parse_json(documents.read(file, documents.JSON_BYTES))
        return [
            {
                "game": str(figures["task"]),
                "metric": "return",
                "value": _rounded(figures["return_mean"]),
                "interval": [_rounded(x) for x in figures["return_ci95"]],
                "episodes": int(figures["episodes"]),
                "file": file.name,
            }
            for figures in told.get("games", {"": told}).values()
        ]
    except (OSError, ValueError, LookupError, TypeError, AttributeError):
        return []


def _rounded(value: float) -> float:
    return float(f"{float(value):.{DIGITS}g}")


def _data(run: pathlib.Path, config: Config) -> str:
    """Says what a run learned from, by its dataset's manifests or its configuration."""
    if config.stage not in blocks.MIXING:
        return f"what it played itself in {', '.join(blocks.learned_games(config))}"
    given = config.dataset.directory
    parts = []
    for task in blocks.learned_games(config):
        # An own dataset has the steps that it collects; of another one, its manifest
        # alone knows.
        number, told = "recorded" if given else f"{config.collect.steps:,}", ""
        try:
            file = pathlib.Path(
                given or run / "dataset", folder_name(task), "manifest.json"
            )
            manifest = json.loads(documents.read(file, documents.JSON_BYTES))
            number = f"{int(manifest['steps']):,}"
            shares = manifest["policies"]
            told = " by " + ", ".join(f"{x['name']} ({x['share']:g})" for x in shares)
        except (OSError, ValueError, LookupError, TypeError):
            pass
        parts.append(f"{number} steps of {task}{told}")
    return ", ".join(parts)
