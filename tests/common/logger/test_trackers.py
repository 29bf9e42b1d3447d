import importlib.machinery
import sys
import types

import numpy as np
import pytest
from PIL import Image

from dreamerv2_transfer.common import blocks, counter, logger
from dreamerv2_transfer.common.logger import trackers


def fake_module(name, **members):
    module = types.ModuleType(name)
    module.__spec__ = importlib.machinery.ModuleSpec(name, None)
    module.__dict__.update(members)
    return module


class Wandb:
    """Notes what is asked of Weights & Biases."""

    def __init__(self):
        self.runs, self.logged, self.fails = [], [], False

    def init(self, **options):
        if self.fails:
            raise RuntimeError("no API key")
        self.runs.append(options)
        return self

    def log(self, values, step):
        self.logged.append((step, values))

    @staticmethod
    def Video(file, format):
        return "video", format, file.read()[:4]

    @staticmethod
    def Image(image):
        assert isinstance(image, Image.Image)
        return "image", image.size


class MlflowError(Exception):
    pass


class Mlflow:
    """Keeps what is asked of MLflow, by run."""

    def __init__(self):
        self.experiments, self.runs, self.fails = {}, {}, False

    def get_experiment_by_name(self, name):
        known = name in self.experiments
        return types.SimpleNamespace(experiment_id=name) if known else None

    def create_experiment(self, name):
        self.experiments[name] = True
        return name

    def create_run(self, experiment, run_name):
        run = f"run{len(self.runs)}"
        self.runs[run] = {"name": run_name, "metrics": [], "params": {}, "files": {}}
        return types.SimpleNamespace(info=types.SimpleNamespace(run_id=run))

    def update_run(self, run, status):
        if run not in self.runs:
            raise MlflowError(f"Run '{run}' not found")
        self.runs[run]["status"] = status

    def set_terminated(self, run):
        self.runs[run]["status"] = "FINISHED"

    def log_batch(self, run, metrics=(), params=()):
        if self.fails:
            raise MlflowError("no connection")
        assert len(metrics) <= 1000 and len(params) <= 100
        self.runs[run]["metrics"] += metrics
        self.runs[run]["params"] |= dict(params)

    def log_artifact(self, run, path, folder):
        with open(path, "rb") as file:
            name = f"{folder}/{path.split('/')[-1]}"
            self.runs[run]["files"][name] = file.read()[:4]


@pytest.fixture
def wandb(monkeypatch):
    server = Wandb()
    members = {"init": server.init, "Video": server.Video, "Image": server.Image}
    monkeypatch.setitem(sys.modules, "wandb", fake_module("wandb", **members))
    monkeypatch.delenv("WANDB_PROJECT", raising=False)
    return server


@pytest.fixture
def mlflow(monkeypatch):
    server = Mlflow()
    module = fake_module(
        "mlflow",
        MlflowClient=lambda: server,
        get_tracking_uri=lambda: "sqlite:///here",
        exceptions=types.SimpleNamespace(MlflowException=MlflowError),
        entities=types.SimpleNamespace(
            Metric=lambda key, value, time, step: (key, value, step),
            Param=lambda key, value: (key, value),
        ),
    )
    monkeypatch.setitem(sys.modules, "mlflow", module)
    monkeypatch.setattr(trackers.atexit, "register", lambda close: None)
    monkeypatch.delenv("MLFLOW_EXPERIMENT_NAME", raising=False)
    return server


def write(logdir, *names, step=7):
    """Logs a scalar, an image and a video, as a run does."""
    step = counter.Counter(step)
    log = logger.make_logger(logdir, step, names=["jsonl", *names])
    log.add({"loss": 1.5, "loss/minatar_asterix": 2}, prefix="eval")
    log.image("picture", np.zeros((4, 6)))
    log.video("dream/minatar_asterix", np.zeros((2, 4, 6, 3), np.uint8))
    log.write()
    return log


def save_config(logdir):
    logdir.mkdir(exist_ok=True)
    blocks.load_config(["minatar", "debug", "pretrain"]).save(logdir / "config.yaml")


def test_wandb_takes_the_names_and_steps_of_the_metrics(tmp_path, wandb):
    write(tmp_path, "wandb")
    assert wandb.logged == [
        (
            7,
            {
                "eval_loss": 1.5,
                "eval_loss/minatar_asterix": 2.0,
                "picture": ("image", (6, 4)),
                "dream/minatar_asterix": ("video", "gif", b"GIF8"),
            },
        )
    ]
    assert type(wandb.logged[0][1]["eval_loss"]) is float


def test_a_resumed_run_goes_on_in_the_same_wandb_run(tmp_path, wandb):
    save_config(tmp_path / "mine")
    write(tmp_path / "mine", "wandb")
    write(tmp_path / "mine", "wandb", step=8)
    write(tmp_path / "other", "wandb")
    first, again, other = wandb.runs
    assert first == again and first["resume"] == "allow"
    assert first["id"] != other["id"]
    assert (first["name"], first["project"]) == ("mine", "dreamerv2_transfer")
    assert first["config"]["rssm.deter"] == 16 and other["config"] == {}


def test_wandb_has_a_project_of_ones_own(tmp_path, wandb, monkeypatch):
    monkeypatch.setenv("WANDB_PROJECT", "mine")
    write(tmp_path, "wandb")
    assert wandb.runs[0]["project"] == "mine"


def test_a_wandb_run_that_cannot_begin_is_an_error_for_a_person(tmp_path, wandb):
    wandb.fails = True
    with pytest.raises(trackers.TrackerError, match="no API key.*WANDB_MODE=offline"):
        write(tmp_path, "wandb")


def test_mlflow_takes_the_names_and_steps_of_the_metrics(tmp_path, mlflow):
    save_config(tmp_path / "mine")
    write(tmp_path / "mine", "mlflow").write()
    (run,) = mlflow.runs.values()
    assert run["metrics"] == [
        ("eval_loss", 1.5, 7),
        ("eval_loss/minatar_asterix", 2.0, 7),
    ]
    assert run["files"] == {
        "picture/7.png": b"\x89PNG",
        "dream/minatar_asterix/7.gif": b"GIF8",
    }
    assert run["params"]["rssm.deter"] == "16"
    assert (run["name"], run["status"]) == ("mine", "RUNNING")
    assert list(mlflow.experiments) == ["dreamerv2_transfer"]


def test_a_resumed_run_goes_on_in_the_same_mlflow_run(tmp_path, mlflow):
    trackers.MLflowOutput(tmp_path / "mine").close()
    assert mlflow.runs["run0"]["status"] == "FINISHED"
    write(tmp_path / "mine", "mlflow")
    write(tmp_path / "other", "mlflow")
    assert list(mlflow.runs) == ["run0", "run1"]
    assert mlflow.runs["run0"]["status"] == "RUNNING"
    assert len(mlflow.runs["run0"]["metrics"]) == 2


def test_an_mlflow_run_that_is_gone_is_an_error_for_a_person(tmp_path, mlflow):
    write(tmp_path, "mlflow")
    mlflow.runs.clear()
    with pytest.raises(trackers.TrackerError, match="not found.*sqlite:///here"):
        write(tmp_path, "mlflow")


def test_an_mlflow_server_that_fails_later_stops_nothing(tmp_path, mlflow, capsys):
    log = write(tmp_path, "mlflow")
    mlflow.fails = True
    log.scalar("loss", 3)
    log.write()
    assert "MLflow did not accept all metrics: MlflowError: no connection" in (
        capsys.readouterr().out
    )
    assert '"loss": 3.0' in (tmp_path / "metrics.jsonl").read_text()


@pytest.mark.parametrize("name", ["wandb", "mlflow"])
def test_a_tracker_that_is_not_installed_is_named(tmp_path, monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    message = rf"pip install '\.\[{name}\]'"
    with pytest.raises(trackers.TrackerError, match=message):
        logger.check(["jsonl", name])
    with pytest.raises(trackers.TrackerError, match=message):
        write(tmp_path, name)


def test_installed_trackers_pass_the_check(wandb, mlflow):
    logger.check(["terminal", "jsonl", "wandb", "mlflow"])
