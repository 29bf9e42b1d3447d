"""Records reference values of the original DreamerV2, in the format of data/README.md.

It runs the original's own code on the CPU, without a game, and imports nothing of this
project. Create an environment for it, with the package as it was published:

    pip install tensorflow==2.21.0 tf_keras==2.21.0 ruamel.yaml \
        'tensorflow-probability[tf]==0.25.0'
    pip install --no-deps dreamerv2==2.2.0

Then one command records one folder, for example

    python tests/golden/record.py --out layer_norm \
        --configs crafter --obs image,velocity:9 --set '.*\\.norm=layer' --seed 7

and `DREAMERV2_GOLDEN=. pytest tests/golden` tests the port on all folders beside it.
`--like FOLDER` records a folder again, with its configuration, its inputs and its
initial variables. `--source FOLDER` takes the code from another folder, such as

    git clone https://github.com/danijar/dreamerv2 && git -C dreamerv2 checkout 07d906e

This last commit differs from 2.2.0 (apart from train.py) in one line of `agent.py`: in
the reinforce loss, 2.2.0 lets gradients flow through the actions. The line is replaced
while 2.2.0 is loaded.
"""

import argparse
import importlib.util
import json
import os
import pathlib
import pickle
import sys
import types

os.environ["TF_USE_LEGACY_KERAS"] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")

import numpy as np
import ruamel.yaml
import tensorflow as tf
from tensorflow_probability import distributions as tfd

BATCH, LENGTH, STEPS = 3, 7, 3
# Makes the agent tiny; applied after the original's blocks.
TINY = {
    "precision": 32,
    "imag_horizon": 5,
    "disag_models": 3,
    "slow_target_update": 2,
    "rssm": {"hidden": 24, "deter": 20, "stoch": 4, "discrete": 6},
    r"(encoder|decoder)\.cnn_depth": 4,
    r"(encoder|decoder)\.mlp_layers": [16, 16],
    r"(reward_head|discount_head|expl_head|actor|critic)\.layers": 2,
    r"(reward_head|discount_head|expl_head|actor|critic)\.units": 16,
}
# The reinforce loss of 2.2.0, and that of the last commit.
FLOWING = """\
      objective = policy.log_prob(seq['action'][1:-1]) * advantage
    elif self.config.actor_grad == 'both':
"""
STOPPED = """\
      action = tf.stop_gradient(seq['action'][1:-1])
      objective = policy.log_prob(action) * advantage
    elif self.config.actor_grad == 'both':
"""


def main():
    args = parse_args()
    original = load_original(args.source)
    replace_samples(original.common)
    tf.keras.utils.set_random_seed(args.seed)  # Of the initial weights.
    inputs = read(args.like / "inputs.npz") if args.like else make_inputs(args)
    config = make_config(original, args)
    agent = make_agent(original, config, inputs, is_discrete(args))
    data = {k: tf.constant(v) for k, v in inputs.items()}
    create_variables(agent, data)
    if args.like:
        assign(agent, load_arrays(args.like / "variables.pkl"))
    else:
        assign(agent, perturb(agent, args))
    args.out.mkdir(parents=True, exist_ok=True)
    # Without this file the tests pass a folder over, so it goes first and comes last.
    (args.out / "expected.npz").unlink(missing_ok=True)
    write_variables(agent, args.out)
    np.savez_compressed(args.out / "inputs.npz", **inputs)
    (args.out / "config.json").write_text(json.dumps(dict(config)))
    expected = {**world_model(agent, data), **behavior(agent, data)}
    expected.update(exploration(agent, data))
    for mode in ("eval", "explore"):
        if mode == "eval" or config.expl_behavior != "greedy":
            expected.update(policy(agent, data, mode))
    expected.update(training(agent, data))
    after = {f"{i:03}": v.numpy() for i, v in enumerate(agent.variables)}
    np.savez_compressed(args.out / "variables_after_3_steps.npz", **after)
    np.savez_compressed(args.out / "unfinished.npz", **to_numpy(expected))
    os.replace(args.out / "unfinished.npz", args.out / "expected.npz")
    print(f"Recorded {len(expected)} arrays and {len(after)} variables in {args.out}")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    path = pathlib.Path
    add("--source", type=path, help="folder with agent.py; default: what pip installed")
    add("--out", type=path, required=True, help="the folder to write")
    add("--like", type=path, help="record this folder anew; the rest below is ignored")
    add("--configs", nargs="*", default=[], help="blocks of the original, as `atari`")
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="over the blocks")
    add("--obs", default="image", help="keys: `image`, `image:3` (channels), `arm:14`")
    add("--size", type=int, default=64, help="pixels a side of an image")
    add("--actions", default="discrete:6", help="`discrete:N` or `continuous:N`")
    add("--step", type=int, default=0, help="environment steps so far, for schedules")
    add("--noise", type=float, default=0.1, help="spread added to all initial weights")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def load_original(source):
    """Imports the original's modules under today's TensorFlow."""
    if source is None:
        package = importlib.util.find_spec("dreamerv2")
        if package is None:
            sys.exit("The original is not installed. Name its folder with --source.")
        source = package.submodule_search_locations[0]
    source = pathlib.Path(source)
    if not (source / "agent.py").exists():
        sys.exit(f"There is no agent.py in the original's folder. Received: {source}")
    np.bool = np.bool_
    prec = "tensorflow.keras.mixed_precision"
    sys.modules[f"{prec}.experimental"] = tf.keras.mixed_precision
    tf.keras.mixed_precision.experimental = tf.keras.mixed_precision
    # Keras 2.11 renamed the optimizers whose interface the original uses.
    for name in ("Adam", "Nadam", "Adamax", "SGD"):
        setattr(tf.optimizers, name, getattr(tf.keras.optimizers.legacy, name))
    # Imported by the games, which nothing here plays.
    for name in ("gym", "cloudpickle"):
        sys.modules[name] = types.ModuleType(name)
    common = load_module("common", source / "common" / "__init__.py")
    # `agent` and `expl` import each other; neither uses the other while it loads.
    sys.modules["expl"] = types.ModuleType("expl")
    agent = load_module("agent", source / "agent.py", stop_action_gradient)
    agent.expl = load_module("expl", source / "expl.py", take_act_space)
    blocks = ruamel.yaml.YAML(typ="safe").load(source / "configs.yaml")
    return types.SimpleNamespace(common=common, agent=agent, blocks=blocks)


def load_module(name, path, change=lambda code, path: code):
    spec = importlib.util.spec_from_file_location(name, path)
    module = sys.modules[name] = importlib.util.module_from_spec(spec)
    code = change(path.read_text(), path)
    exec(compile(code, path, "exec"), module.__dict__)
    return module


def stop_action_gradient(code, path):
    """Applies the one fix between 2.2.0 and the last commit, if it is missing."""
    if code.count(STOPPED) == 1:
        return code
    if code.count(FLOWING) != 1:
        sys.exit(
            f"The reinforce loss in {path} is neither that of dreamerv2 2.2.0 nor that "
            "of the last commit, so the fix between the two cannot be put in. "
            "Name another folder with --source."
        )
    return code.replace(FLOWING, STOPPED)


def take_act_space(code, path):
    """Repairs the constructor of Random, which reads what it is about to set."""
    return code.replace("self.act_space = self.act_space", "self.act_space = act_space")


def replace_samples(common):
    """Replaces samples by modes with their gradients, and draws the first member."""
    uniform = tf.random.uniform

    def first_member(shape, minval=0, maxval=None, dtype=tf.float32, **kwargs):
        if dtype == tf.int32:
            return tf.zeros(shape, dtype)
        return uniform(shape, minval, maxval, dtype, **kwargs)

    def straight_through(self, *args, **kwargs):
        probs = self.probs_parameter()
        return self.mode() + probs - tf.stop_gradient(probs)

    common.OneHotDist.sample = straight_through
    common.TruncNormalDist.sample = lambda self, *args, **kwargs: self.mode()
    tfd.MultivariateNormalDiag.sample = lambda self, *args, **kwargs: self.mean()
    tfd.Independent.sample = lambda self, *args, **kwargs: self.distribution.sample()
    tf.random.uniform = first_member


def is_discrete(args):
    if args.like:
        return "actor_logits" in read(args.like / "expected.npz")
    return args.actions.startswith("discrete")


def make_config(original, args):
    if args.like:
        return original.common.Config.load(args.like / "config.json")
    config = original.common.Config(original.blocks["defaults"])
    for name in args.configs:
        config = config.update(original.blocks[name])
    config = config.update(TINY)
    for item in args.set:
        key, _, value = item.partition("=")
        value = ruamel.yaml.YAML(typ="safe").load(value)
        config = override(config, key, value)
    return config


def override(config, key, value):
    """Sets a key, also to a schedule, which the original's type check refuses."""
    try:
        return config.update({key: value})
    except TypeError:
        if key not in config.flat:
            raise
        return type(config)({**config.flat, key: value})


def make_inputs(args):
    rng = np.random.default_rng(args.seed)
    inputs = {}
    for item in args.obs.split(","):
        key, _, size = item.partition(":")
        image = args.size if key.startswith("image") else 0
        inputs[key] = make_observation(rng, image, int(size or 1))
    kind, _, size = args.actions.partition(":")
    inputs["action"] = make_action(rng, kind, int(size))
    inputs["reward"] = rng.normal(0, 2, (BATCH, LENGTH)).astype(np.float32)
    flags = np.zeros((3, BATCH, LENGTH), bool)
    # One row starts an episode, one ends in a terminal state and starts the next, one
    # ends at a time limit.
    flags[0, 0, 0] = flags[0, 1, 4] = flags[0, 2, 6] = True
    flags[1, 1, 3] = flags[1, 2, 5] = flags[1, 0, 6] = True
    flags[2, 1, 3] = flags[2, 0, 6] = True
    return {
        **inputs,
        **dict(zip(("is_first", "is_last", "is_terminal"), flags, strict=True)),
    }


def make_observation(rng, image, size):
    if image:
        return rng.integers(0, 256, (BATCH, LENGTH, image, image, size), np.uint8)
    return rng.normal(size=(BATCH, LENGTH, size)).astype(np.float32)


def make_action(rng, kind, size):
    if kind == "discrete":
        return np.eye(size, dtype=np.float32)[rng.integers(0, size, (BATCH, LENGTH))]
    return rng.uniform(-1, 1, (BATCH, LENGTH, size)).astype(np.float32)


def make_agent(original, config, inputs, discrete):
    spaces = {
        k: types.SimpleNamespace(shape=v.shape[2:])
        for k, v in inputs.items()
        if k != "action"
    }
    size = inputs["action"].shape[-1]
    action = types.SimpleNamespace(shape=(size,), **({"n": size} if discrete else {}))
    step = original.common.Counter(0)
    return original.agent.Agent(config, spaces, {"action": action}, step)


def create_variables(agent, data):
    """Makes a pass without an update: the original creates layers at first use."""
    world_model(agent, data)
    behavior(agent, data)
    exploration(agent, data)


def perturb(agent, args):
    """Adds noise to the initial values, because zero biases would hide faults."""
    rng = np.random.default_rng(args.seed)
    first, *rest = (v.numpy() for v in agent.variables)

    def perturbed(x):
        noise = rng.normal(0, args.noise, x.shape)
        return x + noise.astype(x.dtype) if x.dtype == np.float32 else x

    rest = [perturbed(x) for x in rest]
    return [np.int32(args.step) if first.shape == () else first, *rest]


def assign(agent, values):
    """Fills the agent's variables; the first one counts environment steps."""
    for variable, value in zip(agent.variables, values, strict=True):
        variable.assign(value)
    agent.step.value = int(agent.tfstep.numpy())


class ArrayUnpickler(pickle.Unpickler):
    """Reads arrays and nothing else, because a pickle can hold code."""

    names = ("_reconstruct", "scalar", "_frombuffer", "ndarray", "dtype")

    def find_class(self, module, name):
        if module.split(".")[0] != "numpy" or name not in self.names:
            raise pickle.UnpicklingError(f"{module}.{name} is no numpy array")
        return super().find_class(module, name)


def load_arrays(path):
    with path.open("rb") as f:
        return ArrayUnpickler(f).load()


def read(path):
    with np.load(path, allow_pickle=False) as data:
        return {k: data[k] for k in data.files}


def write_variables(agent, folder):
    agent.save(folder / "variables.pkl")
    order = [(v.name, list(v.shape), v.dtype.name) for v in agent.variables]
    (folder / "variable_order.json").write_text(json.dumps(order))


def to_numpy(arrays):
    return {k: np.asarray(v, np.float32) for k, v in arrays.items()}


def world_model(agent, data):
    wm = agent.wm
    inputs = wm.preprocess(data)
    embed = wm.encoder(inputs)
    post, prior = wm.rssm.observe(embed, inputs["action"], inputs["is_first"])
    feat = wm.rssm.get_feat(post)
    kl_loss, kl_value = wm.rssm.kl_loss(post, prior, **agent.config.kl)
    out = dict(embed=embed, feat=feat, kl_loss=kl_loss, kl_value=kl_value)
    out.update({f"post_{k}": v for k, v in post.items()})
    out.update({f"prior_{k}": v for k, v in prior.items()})
    decoded = wm.heads["decoder"](feat)
    out.update({f"decoder_{k}": dist.mean() for k, dist in decoded.items()})
    for name in sorted(set(wm.heads) - {"decoder"}):
        out[f"{name}_mean"] = wm.heads[name](feat).mean()
    out["model_loss"], _, _, metrics = wm.loss(data)
    out.update({f"wm_metric_{k}": v for k, v in metrics.items()})
    return out


def behavior(agent, data):
    wm, task = agent.wm, agent._task_behavior
    _, _, outputs, _ = wm.loss(data)
    actor = task.actor(outputs["feat"])
    out = {"critic_mean": task.critic(outputs["feat"]).mean()}
    if hasattr(agent.act_space, "n"):
        out["actor_logits"] = actor.logits
    else:
        normal = actor.distribution
        out["actor_mode"], out["actor_entropy"] = actor.mode(), actor.entropy()
        out["actor_loc"], out["actor_scale"] = normal.loc, normal.scale
    horizon = agent.config.imag_horizon
    seq = wm.imagine(task.actor, outputs["post"], data["is_terminal"], horizon)
    seq["reward"] = wm.heads["reward"](seq["feat"]).mode()
    target, _ = task.target(seq)
    names = ("feat", "action", "discount", "weight", "deter", "stoch", "reward")
    out.update({f"imag_{k}": seq[k] for k in names})
    out["imag_target"] = target
    out["actor_loss"], _ = task.actor_loss(seq, target)
    out["critic_loss"], _ = task.critic_loss(seq, target)
    return out


def exploration(agent, data):
    """Returns the dreams of an exploration that learns, and their rewards."""
    wm, explorer = agent.wm, agent._expl_behavior
    if not hasattr(explorer, "ac"):
        return {}
    _, _, outputs, _ = wm.loss(data)
    horizon = agent.config.imag_horizon
    seq = wm.imagine(explorer.actor, outputs["post"], data["is_terminal"], horizon)
    # The reward moves the magnitudes of its norms.
    mags = [norm.mag for norm in vars(explorer).values() if hasattr(norm, "mag")]
    before = [mag.numpy() for mag in mags]
    seq["reward"] = explorer._intr_reward(seq)
    for mag, value in zip(mags, before, strict=True):
        mag.assign(value)
    target, _ = explorer.ac.target(seq)
    out = {f"expl_imag_{k}": seq[k] for k in ("feat", "action", "weight", "reward")}
    out["expl_imag_target"] = target
    out["expl_critic_mean"] = explorer.ac.critic(outputs["feat"]).mean()
    return out


def policy(agent, data, mode):
    state, actions = None, []
    for t in range(data["reward"].shape[1]):
        obs = {k: v[:, t] for k, v in data.items() if k != "action"}
        output, state = agent.policy(obs, state, mode=mode)
        actions.append(output["action"])
    return {f"policy_{mode}_action": tf.stack(actions, 1)}


def training(agent, data):
    out, state = {}, agent.wm.rssm.initial(data["reward"].shape[0])
    for i in range(STEPS):
        state, metrics = agent.train(data, state)
        out.update({f"train{i}_{k}": v for k, v in metrics.items()})
    return out


if __name__ == "__main__":
    main()
