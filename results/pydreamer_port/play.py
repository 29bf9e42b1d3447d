"""Plays episodes with pydreamer's own code: SOURCE CHECKPOINT CONFIG EPISODES OUT.

CONFIG is the folder of an MLflow run's parameters, or a YAML file of one configuration.
"""

import ast
import contextlib
import json
import pathlib
import sys
import types

import gymnasium  # noqa: F401  # Registers MinAtar.
import numpy as np
import torch
import yaml

UNSET = {"map_key": None, "map_categorical": True, "map_channels": 0}
UNSET |= {"probe_model": "none", "device": "cpu", "aux_critic": False}


def read(path: pathlib.Path) -> types.SimpleNamespace:
    if not path.is_dir():
        return types.SimpleNamespace(**UNSET | yaml.safe_load(path.read_text()))
    values = {file.name: file.read_text() for file in path.iterdir()}
    for name, text in values.items():
        with contextlib.suppress(ValueError, SyntaxError):
            values[name] = ast.literal_eval(text)
    return types.SimpleNamespace(**UNSET | values)


source, checkpoint, config, episodes, out = sys.argv[1:]
sys.path.insert(0, source)
import generator  # noqa: E402
from pydreamer import envs, tools  # noqa: E402

conf = read(pathlib.Path(config))
torch.manual_seed(0)
np.random.seed(0)
env = envs.create_env(conf.env_id, False, conf.env_time_limit, 1, 0)
policy = generator.create_policy("network", env, conf)
print("Updates:", tools.load_checkpoint(policy.model, checkpoint, map_location="cpu"))
returns, lengths = [], []
for _ in range(int(episodes)):
    obs, done = env.reset(), False
    while not done:
        action, _ = policy(obs)
        obs, _, done, info = env.step(action)
    returns.append(float(info["episode"]["reward"].sum()))
    lengths.append(len(info["episode"]["reward"]) - 1)
print("Return:", np.mean(returns), "length:", np.mean(lengths))
pathlib.Path(out).write_text(json.dumps({"returns": returns, "lengths": lengths}))
