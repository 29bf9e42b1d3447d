"""Records reference values of pydreamer, in the format of data_pydreamer/README.md.

It runs pydreamer's own code on the CPU, without a game, and imports nothing of this
project. Create an environment for it, and fetch the code:

    pip install torch numpy pyyaml scikit-learn
    git clone https://github.com/JonaSchulz/pydreamer

Then one command records one folder, for example

    python tests/golden/record_pydreamer.py --source pydreamer --out minatar \
        --configs minatar --seed 2

and `PYDREAMER_GOLDEN=. pytest tests/golden/test_pydreamer.py` tests the port on all
folders beside it. Modes take the place of all samples. All heads have 16 hidden units,
which pydreamer has no key for; its code has 400.
"""

import argparse
import functools
import pathlib
import sys
import types

import numpy as np
import torch
import torch.distributions as D
import yaml

LENGTH, BATCH, STEPS, UNITS = 5, 2, 3, 16
TINY = {
    "deter_dim": 20,
    "hidden_dim": 24,
    "stoch_dim": 4,
    "stoch_discrete": 6,
    "imag_horizon": 4,
    "cnn_depth": 1,
    "device": "cpu",
    "probe_model": "none",
    "map_key": None,
}


def main():
    args = parse_args()
    sys.path.insert(0, str(args.source))
    from pydreamer.models import common, decoders, dreamer, encoders
    from pydreamer.preprocessing import Preprocessor

    for module in (common, decoders, encoders, dreamer):
        shrink(module)
    replace_samples()
    conf = make_config(args)
    torch.manual_seed(args.seed)
    model = dreamer.Dreamer(types.SimpleNamespace(**conf))
    perturb(model, args)
    optimizers = model.init_optimizers(
        conf["adam_lr"], conf["adam_lr_actor"], conf["adam_lr_critic"], conf["adam_eps"]
    )
    raw = make_inputs(conf, args.seed)
    preprocess = Preprocessor(
        image_categorical=conf["image_channels"] if conf["image_categorical"] else None,
        image_key=conf["image_key"],
        action_dim=conf["action_dim"],
        clip_rewards=conf["clip_rewards"],
    )
    obs = {k: torch.tensor(v) for k, v in preprocess.apply(dict(raw)).items()}
    args.out.mkdir(parents=True, exist_ok=True)
    # Without this file the tests pass a folder over, so it goes first and comes last.
    (args.out / "expected.npz").unlink(missing_ok=True)
    save_checkpoint(model, optimizers, args.epoch, args.out / "latest.pt")
    (args.out / "config.yaml").write_text(yaml.safe_dump(conf, sort_keys=False))
    inputs = {k: v.swapaxes(0, 1) for k, v in raw.items()}
    np.savez_compressed(args.out / "inputs.npz", **inputs)
    expected = {**world_model(model, obs), **behavior(model, obs)}
    expected.update(policy(model, obs))
    trained, gradients = training(model, optimizers, obs, conf)
    expected.update(trained)
    np.savez_compressed(args.out / "gradients.npz", **to_numpy(gradients))
    after = {k: v for k, v in model.state_dict().items() if k != "probe_model.dummy"}
    np.savez_compressed(args.out / "after_3_steps.npz", **to_numpy(after))
    np.savez_compressed(args.out / "expected.npz", **to_numpy(expected))
    print(f"Recorded {len(expected)} arrays in {args.out}")


def parse_args():
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--source", type=pathlib.Path, required=True, help="the clone of pydreamer")
    add("--out", type=pathlib.Path, required=True, help="the folder to write")
    add("--configs", nargs="*", default=[], help="blocks of config/defaults.yaml")
    add("--set", nargs="*", default=[], metavar="KEY=VALUE", help="over the blocks")
    add("--noise", type=float, default=0.1, help="spread added to all initial weights")
    add("--epoch", type=int, default=1234, help="updates so far, as the file tells")
    add("--seed", type=int, default=0)
    return parser.parse_args()


def make_config(args):
    blocks = yaml.safe_load((args.source / "config/defaults.yaml").read_text())
    conf = {}
    for name in ("defaults", *args.configs):
        conf.update(blocks[name])
    horizon = min(conf["imag_horizon"], TINY["imag_horizon"])
    conf.update(TINY, imag_horizon=horizon)
    for item in args.set:
        key, _, value = item.partition("=")
        if key not in conf:
            sys.exit(f"pydreamer has no such key. Received: --set {item}")
        conf[key] = yaml.safe_load(value)
    return conf


def shrink(module):
    """Gives each network that has an argument `hidden_dim` fewer units."""
    for name in (
        *("MLP", "DenseEncoder", "CatImageDecoder", "DenseBernoulliDecoder"),
        *("DenseNormalDecoder", "DenseCategoricalSupportDecoder", "ActorCritic"),
    ):
        network = getattr(module, name, None)
        if network and not hasattr(network, "shrunk"):
            network.__init__ = with_units(network.__init__)
            network.shrunk = True


def with_units(init):
    @functools.wraps(init)
    def call(self, *args, **kwargs):
        given = dict(
            zip(init.__code__.co_varnames[1 : len(args) + 1], args, strict=True)
        )
        init(self, **{**given, **kwargs, "hidden_dim": UNITS})

    return call


def replace_samples():
    """Puts modes in place of samples, with the gradients of samples."""

    def one_hot(self, shape=()):
        index = self.probs.argmax(-1)
        return torch.nn.functional.one_hot(index, self.probs.shape[-1]).float()

    def straight_through(self, shape=()):
        return one_hot(self) + (self.probs - self.probs.detach())

    D.OneHotCategorical.sample = one_hot
    D.OneHotCategoricalStraightThrough.rsample = straight_through
    D.Normal.sample = lambda self, shape=(): self.loc.detach()
    D.Normal.rsample = lambda self, shape=(): self.loc


def perturb(model, args):
    """Adds noise to the initial values, because zero biases would hide faults."""
    generator = torch.Generator().manual_seed(args.seed)
    with torch.no_grad():
        for name, value in model.named_parameters():
            if not name.endswith("_support"):
                value += args.noise * torch.randn(value.shape, generator=generator)


def make_inputs(conf, seed):
    """Makes a time-major batch, as pydreamer's files and games have it."""
    rng = np.random.default_rng(seed)
    lead, size = (LENGTH, BATCH), conf["image_size"]
    raw = {}
    if conf["image_key"] and conf["image_categorical"]:
        raw["image"] = rng.integers(0, conf["image_channels"], (*lead, size, size))
    elif conf["image_key"]:
        # Blocks of few colors, which compress well.
        shape = (*lead, size // 8, size // 8, conf["image_channels"])
        colors = rng.integers(0, 4, shape) * 85
        raw["image"] = colors.repeat(8, 2).repeat(8, 3).astype(np.uint8)
    if conf["vecobs_size"]:
        raw["vecobs"] = rng.normal(size=(*lead, conf["vecobs_size"]))
    actions = conf["action_dim"]
    if conf["actor_dist"] == "onehot":
        raw["action"] = np.eye(actions)[rng.integers(0, actions, lead)]
    else:
        raw["action"] = rng.uniform(-1, 1, (*lead, actions))
    raw["reward"] = rng.normal(size=lead)
    if conf["clip_rewards"] == "log1p" or conf["reward_decoder_categorical"]:
        raw["reward"] = np.abs(raw["reward"])
    # An episode starts in the middle, after a terminal state; one ends at last.
    raw["reset"], raw["terminal"] = np.zeros((2, *lead), bool)
    raw["reset"][0, 0] = raw["reset"][3, 1] = True
    raw["terminal"][2, 1] = raw["terminal"][4, 0] = True
    return {
        k: v.astype(np.float32) if v.dtype == np.float64 else v for k, v in raw.items()
    }


def save_checkpoint(model, optimizers, steps, path):
    """As `tools.mlflow_save_checkpoint`, without MLflow."""
    checkpoint = {"epoch": steps, "model_state_dict": model.state_dict()}
    for i, optimizer in enumerate(optimizers):
        checkpoint[f"optimizer_{i}_state_dict"] = optimizer.state_dict()
    torch.save(checkpoint, path)


def batch_major(x):
    return x.detach().transpose(0, 1)


def last_channels(x):
    return x.movedim(-3, -1)


def stats(core, prefix, x):
    if core.cell.stoch_discrete:
        shape = (*x.shape[:-1], core.cell.stoch_dim, core.cell.stoch_discrete)
        return {f"{prefix}_logit": x.reshape(shape)}
    normal = core.zdistr(x).base_dist
    return {f"{prefix}_mean": normal.loc, f"{prefix}_std": normal.scale}


def world_model(model, obs):
    wm = model.wm
    state = wm.init_state(BATCH)
    prior, post, sample, _, (deter, _), _ = wm.core.forward(
        wm.encoder(obs), obs["action"], obs["reset"], state
    )
    loss, features, _, _, metrics, _ = wm.training_step(obs, state)
    out = {**stats(wm.core, "post", post), **stats(wm.core, "prior", prior)}
    out |= {"post_deter": deter, "feat": torch.cat([sample, deter], -1)}
    heads = {"reward": wm.decoder.reward, "terminal": wm.decoder.terminal}
    if wm.decoder.vecobs:
        heads["vecobs"] = wm.decoder.vecobs
    out |= {f"{k}_mean": head.forward(features).mean for k, head in heads.items()}
    # Without the dimension of samples.
    out = {k: batch_major(v[:, :, 0]) for k, v in out.items()}
    if wm.decoder.image:
        image = wm.decoder.image.forward(features)[0, :1, 0]
        if hasattr(wm.decoder.image, "min_prob"):
            image = image.softmax(-3)
        out["first_image_mean"] = last_channels(image)
    return {**out, "loss_model": loss, **{f"metric_{k}": v for k, v in metrics.items()}}


def behavior(model, obs):
    wm, ac = model.wm, model.ac
    _, features, states, _, _, _ = wm.training_step(obs, wm.init_state(BATCH))
    start = [x.detach().reshape(-1, x.shape[-1]) for x in states]
    feat, action, reward, terminal = model.dream(start, model.imag_horizon)
    (loss_actor, loss_critic), metrics, tensors = ac.training_step(
        feat.detach(),
        action.detach(),
        reward.mean.detach(),
        terminal.mean.detach(),
        log_only=True,
    )
    actor = ac.forward_actor(features[:, :, 0])
    out = {"critic_mean": batch_major(ac.critic(features[:, :, 0]))}
    if ac.actor_dist == "onehot":
        out["actor_logits"] = batch_major(actor.logits)
    else:
        out["actor_mode"] = batch_major(actor.sample())
        out["actor_entropy"] = batch_major(actor.entropy())
    deter, stoch = feat.split([wm.deter_dim, feat.shape[-1] - wm.deter_dim], -1)
    dream = {"feat": torch.cat([stoch, deter], -1), "action": action}
    dream |= {"reward": reward.mean, "terminal": terminal.mean}
    dream |= {"value": ac.critic_target(feat), "target": tensors["value_target"]}
    dream["weight"] = tensors["value_weight"]
    out |= {f"imag_{k}": dreams_of_rows(v) for k, v in dream.items()}
    out |= {"loss_actor": loss_actor, "loss_critic": loss_critic}
    return {**out, **{f"imag_metric_{k}": v for k, v in metrics.items()}}


def dreams_of_rows(x):
    """Reorders dreams `(H, T * B, ...)` to `(H, B * T, ...)`."""
    split = x.detach().reshape(x.shape[0], LENGTH, BATCH, *x.shape[2:])
    return split.transpose(1, 2).flatten(1, 2)


def policy(model, obs):
    state, actions = model.init_state(BATCH), []
    for t in range(LENGTH):
        now = {k: v[t : t + 1] for k, v in obs.items()}
        with torch.no_grad():
            action, state, _ = model.inference(now, state)
        actions.append(action.sample()[0])
    return {"policy_action": torch.stack(actions, 1)}


def training(model, optimizers, obs, conf):
    """Makes updates as `train.py` does."""
    out, gradients, state = {}, {}, model.init_state(BATCH)
    for i in range(STEPS):
        losses, state, metrics, _, _ = model.training_step(obs, state)
        for optimizer in optimizers:
            optimizer.zero_grad()
        for loss in losses:
            loss.backward()
        if i == 0:
            gradients = {
                k: v.grad.clone()
                for k, v in model.named_parameters()
                if v.grad is not None and not k.startswith("probe_model")
            }
        norms = model.grad_clip(conf["grad_clip"], conf["grad_clip_ac"])
        for optimizer in optimizers:
            optimizer.step()
        for name, value in {**metrics, **norms}.items():
            out[f"train{i}_{name}"] = value
    return out, gradients


def to_numpy(arrays):
    return {k: np.asarray(v.detach(), np.float32) for k, v in arrays.items()}


if __name__ == "__main__":
    main()
