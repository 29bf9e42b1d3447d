"""What a run checks before it plays or trains, and how its parts are wired."""

import json
import subprocess
import sys

import gymnasium
import pytest

from dreamerv2_transfer import collect, pretrain, train
from dreamerv2_transfer.common import blocks, checkpoint, envs, machine
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.errors import CheckpointError, UserError
from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.common.logger import LoggerError
from dreamerv2_transfer.common.replay.store import DatasetError
from dreamerv2_transfer.data.collection import Recipe
from dreamerv2_transfer.transfer import weights
from tests.runs import ROOT, rows

TASK = "minatar_breakout"


def make_config(*names, **changes):
    config = blocks.load_config(["minatar", "debug", *names])
    defaults = {
        "task": TASK,
        "prefill": 40,
        "steps": 1,
        "log_every": 1,
        "eval_every": 0,
        "eval_eps": 0,
        "imag_horizon": 3,
        "dataset.batch": 2,
        "dataset.length": 6,
        "replay.minlen": 1,
    }
    return config.update({**defaults, **changes})


@pytest.mark.parametrize(
    ("names", "changes", "error", "message"),
    [
        (["scratch"], {"envs": 0}, ConfigError, "envs must be.*Received: 0"),
        (["scratch"], {"train_every": 0}, ConfigError, "train_every.*Received: 0"),
        (["scratch"], {"train_steps": 0}, ConfigError, "train_steps.*Received: 0"),
        (["scratch"], {"seed": -1}, ConfigError, "seed.*Received: -1"),
        (["scratch"], {"action_repeat": 2}, ConfigError, "action_repeat.*Received: 2"),
        (["scratch"], {"steps_per_call": 0}, ConfigError, "steps_per_call.*d: 0"),
        (["pretrain"], {"steps_per_call": 0}, ConfigError, "steps_per_call.*d: 0"),
        (["scratch"], {"dataset.batch": 0}, ConfigError, "dataset.batch.*d: 0"),
        (["pretrain"], {"dataset.batch": 0}, DatasetError, "batch=0"),
        (["pretrain"], {"task_weights": [1.0, 2.0]}, DatasetError, "=.1.0, 2.0."),
        (["pretrain"], {"dataset.holdout": 1}, DatasetError, "holdout=1"),
        (["pretrain"], {"dataset.memory": -1.0}, DatasetError, "memory=-1"),
        (["pretrain"], {"replay.minlen": 0}, DatasetError, "minlen=0"),
        (
            ["scratch"],
            {"replay.minlen": 9, "replay.maxlen": 3},
            DatasetError,
            "axlen=3",
        ),
        (
            ["scratch"],
            {"kl.separate": True, "kl.forward": True},
            ConfigError,
            "kl.separate=True and kl.forward=True exclude each other",
        ),
        (
            ["pretrain"],
            {"loss_balance": "harmony", "reward_head.dist": "normal"},
            ConfigError,
            "harmony and reward_head.dist=normal exclude each other: only a loss that",
        ),
        (["pretrain"], {"loss_scales.post_ent": -1.0}, ConfigError, "ent must be at"),
        (["scratch"], {"outputs": ["terminal"]}, LoggerError, "--outputs terminal"),
        (["finetune"], {}, ConfigError, "--init LOGDIR"),
        (["scratch"], {"init.path": "x"}, ConfigError, "takes no world model.*init x"),
        (["scratch"], {"model_opt.wd_start": 0.1}, ConfigError, "which names none"),
        (
            ["scratch"],
            {"adapter.actions": 6},
            ConfigError,
            "none. .* adapter.actions=6",
        ),
        (
            ["scratch"],
            {"init.adapt": ("actions",)},
            ConfigError,
            r"leave it at \[none\]\.$",
        ),
        (["pretrain"], {"init.shrink": 0.8}, ConfigError, r"0\.8\. .* at 1\.0\.$"),
        (["pretrain"], {"strategy": "multiworker"}, ConfigError, "TF_CONFIG=''"),
        (
            ["scratch"],
            {"multi_game": True, "dataset.batch": 3},
            DatasetError,
            "at least one sequence of a batch. Received: dataset.batch=3",
        ),
        (
            ["scratch"],
            {"multi_game": True, "task_weights": [1.0, 2.0]},
            DatasetError,
            "task_weights must be one number per task",
        ),
        (
            ["finetune"],
            {
                "multi_game": True,
                "replay.mix": 0.5,
                "init.path": "x",
                "dataset.batch": 4,
            },
            ConfigError,
            "one new game alone. Received: replay.mix=0.5 and --tasks minatar_asterix",
        ),
    ],
)
def test_the_configuration_alone_tells(names, changes, error, message):
    with pytest.raises(error, match=message):
        train.check(make_config(*names, **changes))


def test_nothing_of_it_needs_tensorflow():
    code = "import sys; from dreamerv2_transfer import train; print(*sys.modules)"
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    imported = {"dreamerv2_transfer.train", "tensorflow", "keras"}
    assert imported & {*done.stdout.split()} == {"dreamerv2_transfer.train"}


def test_several_processes_collect_no_dataset(monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:2"]}}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({**workers, "task": {"type": "worker", "index": 0}})
    )
    config = make_config("pretrain", strategy="multiworker")
    with pytest.raises(ConfigError, match="Received: dataset.directory=''"):
        train.check(config)
    train.check(config.update({"dataset.directory": "anywhere"}))


def test_outputs_of_the_caller_need_no_file():
    config = make_config("scratch", outputs=["terminal"])
    train.check(config, outputs=[])


def online(config, logdir, **options):
    """Runs as launch/train.py does."""
    logdir.mkdir(exist_ok=True)
    return train.run(config, remote.Folder(logdir))


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A run from scratch, whose world model others start from."""
    logdir = tmp_path_factory.mktemp("model")
    config = make_config("scratch")
    config.save(logdir / "config.yaml")
    assert online(config, logdir)
    return logdir


def copied(model, folder, **changes):
    """Weights with a changed configuration beside them."""
    folder.mkdir()
    for name in (weights.WORLD_MODEL, weights.ACTOR_CRITIC):
        (folder / name).write_bytes((model / name).read_bytes())
    make_config("scratch", **changes).save(folder / "config.yaml")
    return str(folder)


def refused(config, logdir, error, message):
    """A run is refused, before a step is played or a network trained."""
    with pytest.raises(error, match=message):
        online(config, logdir)
    left = [path.name for path in logdir.iterdir()]
    assert left == [] or left == ["packed"]


def test_networks_that_cannot_be_built_are_refused_before_play(tmp_path):
    config = make_config("scratch", grad_heads=["decoder", "rewrd"])
    refused(config, tmp_path, ConfigError, "rewrd")
    config = make_config("scratch", expl_behavior="Plan2explore")
    refused(config, tmp_path, ConfigError, "expl_behavior.*Received: Plan2explore")


def test_networks_of_a_pretraining_are_built_before_it_collects(tmp_path):
    config = make_config("pretrain", grad_heads=["decoder", "rewrd"])
    refused(config, tmp_path, ConfigError, "rewrd")


def test_a_decoder_for_another_likelihood_is_refused_before_play(model, tmp_path):
    init = copied(model, tmp_path / "init", **{"decoder.cnn_dist": "auto"})
    config = make_config("finetune", **{"init.path": init})
    logdir = tmp_path / "run"
    refused(config, logdir, ConfigError, "cnn_dist=binary. Received: mse")
    assert online(config.update({"init.components": ["rssm", "encoder"]}), logdir)


def test_weights_that_do_not_fit_are_refused_before_play(model, tmp_path):
    config = make_config("finetune", **{"init.path": str(model), "rssm.deter": 12})
    error = checkpoint.CheckpointError
    refused(config, tmp_path, error, "does not fit")
    config = make_config("finetune", **{"init.path": str(tmp_path / "none")})
    refused(config, tmp_path, error, "no weights to start from")


def test_a_ported_agent_that_does_not_fit_is_refused_before_play(model, tmp_path):
    ported = tmp_path / weights.PORTED
    ported.write_bytes((model / weights.WORLD_MODEL).read_bytes())
    with pytest.raises(checkpoint.CheckpointError, match="The actor in .*ported"):
        online(make_config("scratch"), tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == [ported.name]


def test_an_evaluation_dataset_is_read_before_play(tmp_path):
    config = make_config("scratch", eval_dataset=str(tmp_path / "none"))
    refused(config, tmp_path / "run", UserError, "none")
    collect.collect(tmp_path / "data", {TASK: Recipe(seed=3)}, steps=60)
    other = {"eval_dataset": str(tmp_path / "data"), "task": "minatar_asterix"}
    refused(make_config("scratch", **other), tmp_path / "run", DatasetError, "asterix")


def test_missing_weights_are_refused_before_tensorflow_is_imported(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(machine, "setup", None)  # The first that needs it.
    config = make_config("finetune", **{"init.path": str(tmp_path / "none")})
    refused(config, tmp_path / "run", CheckpointError, "no weights to start from")


def test_weights_are_read_once_and_not_by_a_run_that_resumes(
    model, tmp_path, capsys, monkeypatch
):
    loads, load = [], weights.load_weights
    monkeypatch.setattr(
        weights, "load_weights", lambda *args: loads.append(args) or load(*args)
    )
    init = copied(model, tmp_path / "init")
    config = make_config("finetune", **{"init.path": init})
    assert online(config, tmp_path / "run")
    assert len(loads) == 1 and "Loaded encoder, rssm" in capsys.readouterr().out
    for path in (tmp_path / "init").iterdir():
        path.unlink()
    assert online(config.update(steps=2), tmp_path / "run")
    assert len(loads) == 1 and "resumed from step 1" in capsys.readouterr().out
    assert rows(tmp_path / "run")[-1]["step"] == 2


def test_a_resumed_pretraining_collects_nothing(tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(pretrain, "SHORT_HOURS", 0)  # Of short runs nothing is told.
    config = make_config("pretrain", tasks=[TASK], **{"collect.steps": 60})
    assert online(config, tmp_path)
    printed = capsys.readouterr().out
    assert "for 1 updates on this CPU" in printed
    episodes = sorted((tmp_path / "dataset").rglob("*.npz"))
    assert online(config.update(steps=2), tmp_path)
    assert "resumed from step 1" in capsys.readouterr().out
    assert sorted((tmp_path / "dataset").rglob("*.npz")) == episodes


def test_the_logger_counts_by_its_own_step(tmp_path):
    found = []
    log = train.make_logger(make_config("scratch"), tmp_path, [found.append])
    log.step.increment(3)
    log.scalar("loss", 1.0)
    log.write()
    assert [(step, name) for step, name, _ in found[0]] == [(3, "loss")]


def test_only_the_chief_logs(tmp_path, monkeypatch):
    workers = {"cluster": {"worker": ["a:1", "b:2"]}}
    monkeypatch.setenv(
        "TF_CONFIG", json.dumps({**workers, "task": {"type": "worker", "index": 1}})
    )
    config = make_config("scratch", strategy="multiworker")
    log = train.make_logger(config, tmp_path)
    log.scalar("loss", 1.0)
    log.write()
    assert [*tmp_path.iterdir()] == []


def test_environments_are_created_as_the_configuration_says(tmp_path, monkeypatch):
    made = []

    def make_vector_env(task, number, **options):
        made.append((task, number, options["sticky"]))
        raise envs.EnvError("enough")

    monkeypatch.setattr(envs.suites, "make_vector_env", make_vector_env)
    with pytest.raises(envs.EnvError, match="enough"):
        online(make_config("scratch", minatar_sticky=0.3), tmp_path)
    assert made == [(TASK, 1, 0.3)]


def test_spaces_other_than_the_weights_are_named(model, tmp_path):
    config = make_config("finetune", **{"init.path": str(model)})
    env = envs.make_vector_env(TASK, 1)
    spaces = envs.obs_space(env), {"action": gymnasium.spaces.Discrete(4)}
    # A file that is no checkpoint does not make it a run that resumes.
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "notes.index").touch()
    with pytest.raises(checkpoint.CheckpointError, match="another number of actions"):
        train.prepare(config, tmp_path, *spaces)


def test_a_slash_in_a_games_name_makes_no_folder(tmp_path, monkeypatch):
    places = []

    def prefill(place, task, **options):
        return places.append(place) or True

    monkeypatch.setattr("dreamerv2_transfer.collect.prefill", prefill)
    games = ("minatar_breakout", "gym_MinAtar/Freeway-v1")
    config = blocks.load_config(["minatar", "debug", "scratch"], ["--tasks", *games])
    train._filled_replay(config, tmp_path, dict.fromkeys(games), {}, None)
    folders = [place.relative_to(tmp_path / "train_episodes") for place in places]
    assert [*map(str, folders)] == ["minatar_breakout", "gym_MinAtar@Freeway-v1"]


def test_one_agent_for_several_games_resumes_exactly(tmp_path):
    games = ("minatar_breakout", "minatar_freeway")
    changes = {"tasks": games, "multi_game": True, "time_limit": 4, "train_every": 8}
    changes |= {"dataset.batch": 3, "task_weights": [1.0, 2.0], "checkpoint_every": 1}
    changes |= {"task_embed": {"size": 3, "games": games}, "eval_every": 3}
    config = make_config("scratch", task=games[0], **changes, eval_eps=1, jit=False)
    for name, steps in (("a", 3), ("b", 2), ("b", 3)):
        folder = remote.Folder(tmp_path / name)
        settings = config.update(steps=steps)
        train.check(settings)
        assert train.run(settings, folder)
    logged = rows(tmp_path / "a")
    assert logged[-1] == rows(tmp_path / "b")[-1]
    for file in ("world_model.weights.h5", "actor_critic.weights.h5"):
        one, other = (weights.read_weights(tmp_path / x / file) for x in "ab")
        assert {k: v.tobytes() for k, v in one.items()} == {
            k: v.tobytes() for k, v in other.items()
        }
    names = {name for row in logged for name in row}
    for game in games:
        assert {f"eval_return_mean/{game}", f"train_return/{game}"} <= names
        assert [*(tmp_path / "a" / "train_episodes" / game).glob("*.npz")]
        video = f"train_openl_image_{game}.gif"
        assert (tmp_path / "a" / "videos" / video).exists() == (
            config.video.context < 6
        )
    assert "eval_return_mean" not in names and "train_return" not in names
    vectors = weights.read_weights(tmp_path / "a" / "world_model.weights.h5")
    assert {f"rssm/task_embed/{x}" for x in games} <= {*vectors}
