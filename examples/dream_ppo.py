"""Trains PPO of Stable-Baselines3 in the dream of a world model, and plays the game.

python examples/dream_ppo.py [--steps 100000] [--model minatar_small_without_seaquest]
    [--game minatar_breakout] [--episodes 100]

It needs `pip install stable-baselines3 tqdm`. No step of the game is played for
training but the first observations, where the dreams begin.
"""

from __future__ import annotations

import argparse
import sys

import gymnasium
import numpy as np
import tqdm

import dreamerv2_transfer as dt
from dreamerv2_transfer.common import cli, envs
from dreamerv2_transfer.common.evaluation import bootstrap

HORIZON = 50  # Steps of a dream; later ones are less and less like the game.


def make_dream(model: dt.Model, game: str) -> gymnasium.Env:
    dream = dt.DreamEnv(model, start=game, time_limit=HORIZON)
    return gymnasium.wrappers.FlattenObservation(dream)


def play(policy, game: str, episodes: int) -> list[float]:
    """Returns the returns of episodes of the game."""
    env = gymnasium.wrappers.FlattenObservation(envs.make_env(game, time_limit=2500))
    returns = []
    for episode in range(episodes):
        observation, _ = env.reset(seed=episode)
        total, done = 0.0, False
        while not done:
            action, _ = policy.predict(observation, deterministic=True)
            observation, reward, terminated, truncated, _ = env.step(int(action))
            total, done = total + float(reward), terminated or truncated
        returns.append(total)
    return returns


def show(name: str, returns: list[float]) -> None:
    low, high = bootstrap(returns)
    print(f"{name}: {np.mean(returns):.2f} ({low:.2f} to {high:.2f})", flush=True)


def main(argv: list[str]) -> int:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--steps", type=int, default=100_000)
    parser.add_argument("--model", default="minatar_small_without_seaquest")
    parser.add_argument("--game", default="minatar_breakout")
    parser.add_argument("--episodes", type=int, default=100)
    options = parser.parse_args(argv)

    from stable_baselines3 import PPO

    model = dt.load(options.model)
    dream = make_dream(model, options.game)
    policy = PPO("MlpPolicy", dream, n_steps=512, gamma=0.99, seed=0, device="cpu")
    show("before", play(policy, options.game, options.episodes))
    with tqdm.tqdm(total=options.steps, unit=" dreamed step") as progress:
        # A callback that returns False ends the training.
        policy.learn(options.steps, callback=lambda *_: progress.update() is not False)
    show("after", play(policy, options.game, options.episodes))
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
