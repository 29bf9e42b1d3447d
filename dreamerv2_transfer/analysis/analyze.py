"""Analyses what a world model has learned: its features, and its dreams.

Section 3.3 of "Adapting to the Unfamiliar" (Schulz, von Briel, Soler), made repeatable.
"""

from __future__ import annotations

import contextlib
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
    across_games_pictures,
    dream_errors,
    dream_pictures,
    dreams,
    feature_pictures,
    findings,
    kinds,
    latents,
    sequences,
)
from dreamerv2_transfer.analysis.album import Album
from dreamerv2_transfer.analysis.frames import Frames, play
from dreamerv2_transfer.analysis.models import Models
from dreamerv2_transfer.analysis.players import Player
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic
from dreamerv2_transfer.common.progress import Progress, explained

if TYPE_CHECKING:
    from dreamerv2_transfer.agent import WorldModel

# Of the statistics: on a busy machine, threads that wait for each other take ten times
# as long.
THREADS = 1
DRAWN = 2  # Dreams that are drawn.
EVERY_GAME = ("reward", "score", "step")  # Variables that are not read from the game.
PLACES = ("logdir", "output")  # Options that do not affect the numbers.
DIGITS = 4  # Significant digits in the JSON file.


class Analysis:
    """Analyses games with one model and writes its findings to a folder.

    Args:
        config: The run's configuration.
        options: `frames`, `clusters`, `permutations`, `context`, `horizon`,
            `sequences` and `seed`.
        directory: Gets `analysis.json` and the pictures.
        make_env: Makes the environments of a task, in this process.
        make_models: Makes the models for the environments of the first task.
        make_player: Chooses who plays, given environments, task and models.
    """

    def __init__(
        self,
        config: Config,
        options: Config,
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

    def run(self, tasks: Sequence[str]) -> dict[str, Any]:
        """Analyses the games, and all of them together if there are several.

        Returns:
            The content of `analysis.json`.

        Raises:
            UserError: A game is unknown, does not suit the model, or has too few
                episodes; or a file cannot be written.
        """
        several, first = len(tasks) > 1, None
        blocks.game_indices(self._config, tasks)
        for task in tasks:  # Before an hour goes into the first.
            with contextlib.closing(self._make_env(task)) as env:
                spaces = env.single_observation_space, env.single_action_space
                if first is None:
                    with explained("Loading the model"):
                        self._models, first = self._make_models(env), spaces
            if spaces != first:
                raise UserError(
                    "Games that are analysed together must have the same observations "
                    f"and actions. Received: {task}, with {spaces}; the first has "
                    f"{first}"
                )
        games = {task: self.analyze_game(task, several) for task in tasks}
        told = [line for task in tasks for line in findings.of_game(task, games[task])]
        across = self.compare_games() if several else None
        if across:
            told += findings.of_games(across)
        result = plain(
            {
                "settings": {k: v for k, v in self._options.items() if k not in PLACES},
                "tasks": games,
                "transfer": across,  # The key is that of published results.
                "findings": told,
                "figures": self._album.pictures,
            }
        )
        text = json.dumps(result, indent=1, allow_nan=False)
        atomic.write_text(self._directory / "analysis.json", text)
        return result

    def analyze_game(self, task: str, keep: bool) -> dict[str, Any]:
        """Plays a game and analyses its features and dreams.

        Args:
            task: The game.
            keep: Whether to keep samples of its features for `compare_games`.

        Returns:
            The game's part of `analysis.json`.
        """
        options, fewest = self._options, self._options.frames
        for model in (self._models.trained, self._models.untrained):
            model.assume(task)
        with contextlib.closing(self._make_env(task)) as env:
            player = self._make_player(env, task, self._models)
            with Progress(fewest, 0, f"Playing {task}", "frame") as bar:
                frames = play(env, player.policy, fewest, player.seeds, bar.update)
        rng = np.random.default_rng([options.seed, *task.encode()])
        with explained(f"Shuffling the episodes of {task}"):
            targets = latents.prepare(frames, options.permutations, rng)
        return {
            "policy": player.name,
            "frames": len(frames),
            "episodes": int(frames.episode[-1]) + 1,
            "variables": len(frames.variables) - len(EVERY_GAME),
            "named": len(frames.variables) > len(EVERY_GAME),
            **self.analyze_features(task, targets, keep),
            "dreams": self.analyze_dreams(task, frames, rng),
        }

    def analyze_features(
        self, task: str, targets: latents.Targets, keep: bool
    ) -> dict[str, Any]:
        """Analyses each kind of features of a game, and draws what was found.

        Returns:
            See `kinds.side_by_side`.
        """
        options, frames, found = self._options, targets.frames, {}
        for kind in kinds.KINDS:
            made = kinds.make(
                kind, self._models, frames, self._config, options.seed, task
            )
            if keep and kind in self._samples:
                drawn = across_games.sample(made, frames, targets.rows)
                self._samples[kind][task] = drawn
            name = f"Statistics of {task}, {kind}"
            with (
                Progress(latents.STEPS, 0, name, "step") as bar,
                threadpool_limits(THREADS),
            ):
                found[kind] = latents.analyze(
                    made,
                    targets,
                    options.clusters,
                    options.seed,
                    probing=kind != "random",  # Probes of noise would tell nothing.
                    report=bar.update,
                )
            del made  # Only one matrix of features is in memory at a time.
        size = self._models.trained.rssm.feat_size
        numbers = kinds.side_by_side(found, targets, options.clusters, size)
        with explained(f"Drawing the features of {task}"):
            feature_pictures.draw(self._album, task, numbers, found["trained"], targets)
        return numbers

    def analyze_dreams(
        self, task: str, frames: Frames, rng: np.random.Generator
    ) -> dict[str, Any]:
        """Compares dreams of a game with the truth and with baselines; draws them.

        Returns:
            See `dream_errors.compare`; or `skipped`, which says why there are none.
        """
        options, models, config = self._options, self._models, self._config
        key = dreams.image_key(models.trained)
        if key is None:
            return {"skipped": "the model predicts no images, so there are no dreams."}
        context, seed = options.context, options.seed
        pieces = sequences.draw(
            frames.episode, context, options.horizon, options.sequences, rng
        )
        if pieces is None:
            skipped = f"no episode is longer than the context of {context} frames."
            return {"skipped": skipped}

        def predict(model: WorldModel, name: str) -> np.ndarray:
            with Progress(len(pieces), 0, f"{name} of {task}", "sequence") as bar:
                return dreams.predict(
                    model, frames, pieces, key, config, seed, bar.update
                )

        true = dreams.truth(frames, pieces, key)
        predicted = {
            "model": predict(models.trained, "Dreams"),
            "untrained model": predict(models.untrained, "Untrained dreams"),
            **dream_errors.baselines(true, context),
        }
        shown = np.linspace(0, len(pieces) - 1, min(DRAWN, len(pieces))).astype(int)
        seen = true[shown], predicted["model"][shown]
        with explained(f"Drawing the dreams of {task}"):
            dream_pictures.draw(self._album, task, *seen, context)
        if models.agent:
            some = pieces.some(shown)
            with explained(f"Dreaming with the actor of {task}"):
                dreamed = dreams.act(models.agent, frames, some, key, config, seed)
                dream_pictures.draw_acting(self._album, task, dreamed, context)
        with explained(f"Measuring the dreams of {task}"):
            numbers = dream_errors.compare(true, predicted, pieces, rng)
        dream_pictures.draw_errors(self._album, task, numbers["error"], len(pieces))
        more = {"wanted_horizon": options.horizon, "unit": dream_errors.unit(task)}
        return numbers | more

    def compare_games(self) -> dict[str, dict]:
        """Uses the probes of each game in the others, and draws how they do.

        Returns:
            By kind of model, see `across_games.compare`.
        """
        options = self._options
        # The word is part of the seed: with another one, p values would change.
        rng = np.random.default_rng([options.seed, *b"transfer"])
        found = {}
        with (
            Progress(2, 0, "Probes from game to game", "model") as bar,
            threadpool_limits(THREADS),
        ):
            for kind, samples in self._samples.items():
                found[kind] = across_games.compare(samples, options.permutations, rng)
                bar.update()
        trained, untrained = found["trained"], found["untrained"]
        names = [name for name in findings.SHARED if name in trained]
        if names:
            across_games_pictures.draw_matrices(self._album, trained, untrained, names)
            across_games_pictures.draw_together(self._album, trained, names)
        return found


def plain(value: Any) -> Any:
    """Returns a value as JSON can hold it: no NumPy, no NaN, few digits."""
    if isinstance(value, dict):
        return {str(k): plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple | np.ndarray):
        return [plain(x) for x in value]
    if isinstance(value, float | np.floating):
        return float(f"{value:.{DIGITS}g}") if math.isfinite(value) else None
    return int(value) if isinstance(value, np.integer) else value
