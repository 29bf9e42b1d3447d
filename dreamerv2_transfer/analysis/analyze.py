"""Analyses what a world model has learned: its features, and its dreams.

Section 3.3 of "Adapting to the Unfamiliar" (Schulz, von Briel, Soler), made repeatable.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import math
import pathlib
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from gymnasium.vector import SyncVectorEnv
from threadpoolctl import threadpool_limits

from dreamerv2_transfer.analysis import (
    across_games,
    dreams,
    features,
    findings,
    latents,
)
from dreamerv2_transfer.analysis.album import Album, unit
from dreamerv2_transfer.analysis.frames import Frames, play
from dreamerv2_transfer.analysis.players import Player
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.progress import Progress

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import Agent, WorldModel

# Of the statistics: where other work is on the machine, threads that wait for each
# other take ten times as long.
THREADS = 1
DRAWN = 2  # Dreams that are drawn.
EVERY_GAME = ("reward", "score", "step")  # Variables that are no names of the game.
PLACES = ("logdir", "output")  # Options that say nothing about the numbers.
DIGITS = 4  # Significant ones in the JSON file.


@dataclasses.dataclass(frozen=True)
class Models:
    """What is analysed, and what it is compared with.

    Attributes:
        trained: the run's world model.
        untrained: the same with fresh weights of another seed.
        agent: the run's agent, if it has an actor; its world model is `trained`.
    """

    trained: WorldModel
    untrained: WorldModel
    agent: Agent | None = None


class Analysis:
    """Analyses games with one model and writes what it finds to a folder.

    Args:
        config: the run's configuration.
        options: `frames`, `clusters`, `permutations`, `context`, `horizon`,
            `sequences` and `seed`.
        directory: gets `analysis.json` and the pictures.
        make_env: makes the environments of a task, in this process.
        make_models: makes the models for the environments of the first task.
        make_player: chooses who plays, given environments, task and models.
    """

    def __init__(
        self,
        config,
        options,
        directory: pathlib.Path,
        make_env: Callable[[str], SyncVectorEnv],
        make_models: Callable[[SyncVectorEnv], Models],
        make_player: Callable[[SyncVectorEnv, str, Models], Player],
    ):
        self._config = config
        self._options = options
        self._directory = directory
        self._make_env = make_env
        self._make_models = make_models
        self._make_player = make_player
        self._album = Album(directory, config.video.fps)
        self._samples: dict[str, dict] = {"trained": {}, "untrained": {}}
        self._models: Models | None = None
        self._spaces: Any = None

    def run(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Analyses the games, and all of them together if there are several.

        Returns:
            What is in `analysis.json`.

        Raises:
            UserError: a game is unknown, does not suit the model, or has too few
                episodes; or a file cannot be written.
        """
        several = len(tasks) > 1
        for task in tasks:  # Before an hour has gone into the first.
            with contextlib.closing(self._make_env(task)) as env:
                self._check(env, task)
        found = {task: self._task(task, several) for task in tasks}
        told = [line for task in tasks for line in findings.of_task(task, found[task])]
        between = self._transfer() if several else None
        if between:
            told += findings.of_transfer(between)
        result = plain(
            {
                "settings": {k: v for k, v in self._options.items() if k not in PLACES},
                "tasks": found,
                "transfer": between,
                "findings": told,
                "figures": self._album.pictures,
            }
        )
        with atomic.atomic_write(self._directory / "analysis.json") as file:
            file.write(json.dumps(result, indent=1, allow_nan=False).encode())
        return result

    def _task(self, task: str, several: bool) -> dict[str, Any]:
        with contextlib.closing(self._make_env(task)) as env:
            policy, seeds, who = self._make_player(env, task, self._models)
            wanted = self._options.frames
            with Progress(wanted, 0, f"Playing {task}", "frame") as bar:
                frames = play(env, policy, wanted, seeds, bar.update)
        rng = np.random.default_rng([self._options.seed, *task.encode()])
        numbers = {
            "policy": who,
            "frames": len(frames),
            "episodes": int(frames.episode[-1]) + 1,
            "variables": len(frames.variables) - len(EVERY_GAME),
            "named": len(frames.variables) > len(EVERY_GAME),
        }
        numbers |= self._latents(frames, task, rng, several)
        return numbers | {"dreams": self._dreams(frames, task, rng)}

    def _check(self, env: SyncVectorEnv, task: str) -> None:
        """Makes the models for the first game, and sees that the others suit them."""
        spaces = env.single_observation_space, env.single_action_space
        if self._models is None:
            self._models, self._spaces = self._make_models(env), spaces
        if spaces != self._spaces:
            raise UserError(
                "Games that are analysed together must have the same observations and "
                f"actions. Received: {task}, with {spaces}; the first has "
                f"{self._spaces}"
            )

    def _latents(
        self, frames: Frames, task: str, rng: np.random.Generator, several: bool
    ) -> dict[str, Any]:
        options = self._options
        prepared = latents.prepare(frames, options.permutations, rng)

        def keep(kind: str, made: np.ndarray) -> None:
            if several and kind in self._samples:
                drawn = across_games.sample(made, frames, prepared.rows)
                self._samples[kind][task] = drawn

        def look(kind: str, make: Callable[[], np.ndarray]) -> latents.Found:
            made = make()
            keep(kind, made)
            name = f"Statistics of {task}, {kind}"
            with (
                Progress(latents.STEPS, 0, name, "step") as bar,
                threadpool_limits(THREADS),
            ):
                return latents.look(
                    made,
                    prepared,
                    options.clusters,
                    options.seed,
                    # Noise would tell nothing.
                    probing=kind != "random",
                    report=bar.update,
                )

        kinds = self._kinds(frames, task)
        # One after the other, so that one matrix of features is in memory at a time.
        found = {kind: look(kind, make) for kind, make in kinds.items()}
        return self._tell(found, prepared, task)

    def _kinds(self, frames: Frames, task: str) -> dict[str, Callable[[], np.ndarray]]:
        """How each kind of features is made."""
        models, seed = self._models, self._options.seed

        def observe(model: WorldModel, name: str) -> np.ndarray:
            with Progress(len(frames), 0, f"{name} of {task}", "frame") as bar:
                return features.posterior(model, frames, self._config, seed, bar.update)

        size = models.trained.rssm.feat_size
        return {
            "trained": lambda: observe(models.trained, "Features"),
            "untrained": lambda: observe(models.untrained, "Untrained features"),
            "random": lambda: latents.noise((len(frames), size), seed),
        }

    def _tell(self, found: dict[str, latents.Found], prepared, task: str) -> dict:
        """The numbers of all kinds of features, side by side; draws them too."""
        kinds = {kind: x.numbers for kind, x in found.items()}
        labels = found["trained"].labels[prepared.rows.test]
        sizes = np.bincount(labels, minlength=self._options.clusters) / len(labels)
        numbers = {
            "clusters": self._options.clusters,
            "cluster_sizes": sizes.tolist(),
            "events": _side_by_side(kinds, "events"),
            "probes": _side_by_side(kinds, "probes"),
        }
        if prepared.place:
            numbers |= _place(kinds, prepared.place, self._models.trained)
        self._album.latents({"task": task, **numbers}, found["trained"], prepared)
        return numbers

    def _transfer(self) -> dict[str, dict]:
        options = self._options
        rng = np.random.default_rng([options.seed, *b"transfer"])
        found = {}
        with (
            Progress(2, 0, "Probes from game to game", "model") as bar,
            threadpool_limits(THREADS),
        ):
            for kind, samples in self._samples.items():
                found[kind] = across_games.transfer(samples, options.permutations, rng)
                bar.update()
        names = [name for name in findings.SHARED if name in found["trained"]]
        if names:
            self._album.transfer(found, names)
        return found

    def _dreams(self, frames: Frames, task: str, rng: np.random.Generator) -> dict:
        options, key = self._options, dreams.image_key(self._models.trained)
        if key is None:
            return {"skipped": "the model predicts no images, so there are no dreams."}
        context, horizon = options.context, options.horizon
        pieces = dreams.sequences(
            frames.episode, context, horizon, options.sequences, rng
        )
        if pieces is None:
            return {
                "skipped": f"no episode is longer than {context} frames to dream on."
            }
        true = dreams.truth(frames, pieces, key)
        made = self._predictions(frames, pieces, key, true, task)
        shown = np.linspace(0, len(pieces) - 1, min(DRAWN, len(pieces))).astype(int)
        self._album.dreams(true[shown], made["model"][shown], pieces, task)
        self._act(frames, pieces.some(shown), key, task)
        curves = {
            name: dreams.curve(dreams.error(true, x)[:, context:], pieces.episode, rng)
            for name, x in made.items()
        }
        self._album.error(curves, len(pieces), task)
        return _compared(curves, pieces) | {
            "wanted_horizon": horizon,
            "unit": unit(task),
        }

    def _predictions(
        self, frames: Frames, pieces, key: str, true: np.ndarray, task: str
    ) -> dict[str, np.ndarray]:
        """Of both models and of the baselines, by name."""
        predict = lambda model, name: self._predict(model, frames, pieces, key, name)  # noqa: E731
        models = self._models
        return {
            "model": predict(models.trained, f"Dreams of {task}"),
            "untrained model": predict(models.untrained, f"Untrained dreams of {task}"),
            **dreams.baselines(true, pieces.context),
        }

    def _predict(self, model, frames, pieces, key: str, name: str) -> np.ndarray:
        with Progress(len(pieces), 0, name, "sequence") as bar:
            return dreams.predict(
                model,
                frames,
                pieces,
                key,
                self._config,
                self._options.seed,
                bar.update,
            )

    def _act(self, frames: Frames, pieces, key: str, task: str) -> None:
        """Draws what the actor does in dreams of its own, if there is one."""
        agent, seed = self._models.agent, self._options.seed
        if agent is not None:
            dreamed = dreams.act(agent, frames, pieces, key, self._config, seed)
            self._album.acting(dreamed, pieces.context, task)


def _compared(curves: dict[str, dict], pieces: dreams.Sequences) -> dict[str, Any]:
    """The errors of dreams, and where the model is better than the others."""
    model = curves["model"]
    return {
        "context": pieces.context,
        "horizon": pieces.horizon,
        "sequences": len(pieces),
        "episodes": len(np.unique(pieces.episode)),
        "error": curves,
        "better": {
            name: dreams.better(model, curve)
            for name, curve in curves.items()
            if curve is not model
        },
    }


def _side_by_side(kinds: dict[str, dict], key: str) -> dict[str, dict]:
    """From kind, then name, to name, then kind."""
    names = kinds["trained"][key]
    return {n: {k: x[key][n] for k, x in kinds.items() if n in x[key]} for n in names}


def _place(kinds: dict[str, dict], place: tuple[str, ...], model) -> dict[str, Any]:
    """Canonical correlations and the best single feature of each kind."""
    best = {kind: dict(x["best_feature"]) for kind, x in kinds.items()}
    shuffles = len(best["trained"]["null"])
    for numbers in best.values():
        null = np.array(numbers.pop("null"))
        numbers["null_median"], numbers["null_max"] = np.median(null), null.max()
    largest = {kind: abs(x["train_r"]) for kind, x in best.items()}
    ratio = lambda kind: largest["trained"] / max(largest[kind], 1e-9)  # noqa: E731
    return {
        "canonical": {
            "variables": list(place),
            **{kind: x["canonical"] for kind, x in kinds.items()},
        },
        "best_feature": {
            "variable": place[0],
            "features": model.rssm.feat_size,
            "shuffles": shuffles,
            **best,
            "ratio_to_random": ratio("random"),
            "ratio_to_untrained": ratio("untrained"),
        },
    }


def plain(value: Any) -> Any:
    """As JSON can hold it: no numpy, no NaN, few digits."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(x) for x in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
