"""Logs the metrics of a run to Weights & Biases or MLflow.

Both are optional: `pip install '.[wandb]'`, `pip install '.[mlflow]'`. Their own
environment variables say where they write: `WANDB_PROJECT`, `WANDB_MODE`,
`MLFLOW_TRACKING_URI`, `MLFLOW_EXPERIMENT_NAME` and so on. The names are those of
`metrics.jsonl`.
"""

from __future__ import annotations

import atexit
import importlib
import importlib.util
import io
import os
import pathlib
import tempfile
import time
import uuid
from collections.abc import Callable, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import PIL.Image

from dreamerv2_transfer.common import config as config_lib
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.errors import UserError, describe
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.common.logger import video

Summary = tuple[int, str, np.ndarray]  # Step, name, value; see `logger`.

PROJECT = "dreamerv2_transfer"
MLFLOW_BATCH = 1000  # Metrics a request, the limit of its servers.
MLFLOW_TEXT = 250  # Characters of a parameter, which all its servers accept.
MLFLOW_PARAMS = 100  # Parameters a request, the limit of its servers.
FPS = 20  # Frames a second of a video, as in TensorBoard.


class TrackerError(UserError):
    """A tracker that is not installed or does not accept the run."""


def check(names: Sequence[str]) -> None:
    """Checks that the packages of the trackers among the outputs are installed.

    Raises:
        TrackerError: A package is missing; the message says how to install it.
    """
    for name in OUTPUTS:
        if name in names and importlib.util.find_spec(name) is None:
            raise TrackerError(_install(name))


class WandbOutput:
    """Logs scalars, images and videos as a run of Weights & Biases.

    A resumed run continues the same one, whose id is in LOGDIR/wandb_run_id.txt.
    Weights & Biases accepts each step once: the steps that a resumed run repeats after
    its last checkpoint stay as they were first logged.

    Args:
        logdir: The run's folder; its name is the run's name.
    """

    def __init__(self, logdir: str | os.PathLike):
        self._wandb = _import("wandb")
        logdir = paths.local(logdir).resolve()
        identity = _remembered(logdir / "wandb_run_id.txt", lambda: uuid.uuid4().hex)
        try:
            self._run = self._wandb.init(
                project=os.environ.get("WANDB_PROJECT", PROJECT),
                name=logdir.name,
                id=identity,
                resume="allow",
                dir=str(logdir),
                config=_settings(logdir),
            )
        except Exception as error:  # Its errors have no common base class.
            raise TrackerError(
                f"Weights & Biases did not accept the run: {describe(error)} Log in "
                "with `wandb login`, or set WANDB_MODE=offline and `wandb sync` later."
            ) from error

    def __call__(self, summaries: list[Summary]) -> None:
        """Logs the summaries at the latest of their steps."""
        step = max(step for step, _, _ in summaries)
        self._run.log({name: self._value(value) for _, name, value in summaries}, step)

    def _value(self, value: np.ndarray) -> Any:
        if value.ndim == 0:
            return float(value)
        ending, encoded = _encode(value)
        file = io.BytesIO(encoded)
        if value.ndim == 4:
            return self._wandb.Video(file, format=ending)
        return self._wandb.Image(PIL.Image.open(file))


class MLflowOutput:
    """Logs scalars as metrics, and images and videos as files, of an MLflow run.

    A resumed run continues the same one, whose id is in LOGDIR/mlflow_run_id.txt.
    MLflow keeps every value: the steps that a resumed run repeats after its last
    checkpoint are there twice. The run is finished when the process ends.

    Args:
        logdir: The run's folder; its name is the run's name.
    """

    def __init__(self, logdir: str | os.PathLike):
        mlflow = _import("mlflow")
        logdir = paths.local(logdir).resolve()
        self._metric = mlflow.entities.Metric
        try:
            self._client = mlflow.MlflowClient()
            self._run = _remembered(
                logdir / "mlflow_run_id.txt", lambda: self._create(mlflow, logdir)
            )
            self._client.update_run(self._run, status="RUNNING")
        except mlflow.exceptions.MlflowException as error:
            raise TrackerError(
                f"MLflow did not accept the run: {describe(error)} Check "
                f"MLFLOW_TRACKING_URI, which is {mlflow.get_tracking_uri()}. To start "
                f"a new run there, delete {logdir / 'mlflow_run_id.txt'}."
            ) from error
        self._failure = mlflow.exceptions.MlflowException
        atexit.register(self.close)

    def __call__(self, summaries: list[Summary]) -> None:
        """Logs each summary at its step; images and videos as NAME/STEP.png or .gif.

        If the server does not answer, this prints the error and the run continues:
        `metrics.jsonl` has the metrics.
        """
        now = int(1000 * time.time())
        metrics = [
            self._metric(name, float(value), now, step)
            for step, name, value in summaries
            if value.ndim == 0
        ]
        try:
            for start in range(0, len(metrics), MLFLOW_BATCH):
                batch = metrics[start : start + MLFLOW_BATCH]
                self._client.log_batch(self._run, metrics=batch)
            for step, name, value in summaries:
                if value.ndim == 0:
                    continue
                ending, encoded = _encode(value)
                with tempfile.TemporaryDirectory() as folder:
                    path = pathlib.Path(folder, f"{step}.{ending}")
                    path.write_bytes(encoded)
                    self._client.log_artifact(self._run, str(path), name)
        except self._failure as error:
            progress.write(f"MLflow did not accept all metrics: {describe(error)}")

    def close(self) -> None:
        """Marks the run as finished."""
        try:
            self._client.set_terminated(self._run)
        except self._failure as error:
            progress.write(f"MLflow did not finish the run: {describe(error)}")

    def _create(self, mlflow: ModuleType, logdir: pathlib.Path) -> str:
        """Creates a run, with the configuration as its parameters."""
        name = os.environ.get("MLFLOW_EXPERIMENT_NAME", PROJECT)
        found = self._client.get_experiment_by_name(name)
        experiment = (
            found.experiment_id if found else self._client.create_experiment(name)
        )
        run = self._client.create_run(experiment, run_name=logdir.name).info.run_id
        params = [
            mlflow.entities.Param(key, str(value)[:MLFLOW_TEXT])
            for key, value in _settings(logdir).items()
        ]
        for start in range(0, len(params), MLFLOW_PARAMS):
            batch = params[start : start + MLFLOW_PARAMS]
            self._client.log_batch(run, params=batch)
        return run


OUTPUTS = {"wandb": WandbOutput, "mlflow": MLflowOutput}


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise TrackerError(_install(name)) from error


def _install(name: str) -> str:
    return (
        f"Received: outputs with {name}, which is not installed. Install it with "
        f"pip install '.[{name}]', or leave it out of --outputs."
    )


def _remembered(path: pathlib.Path, make: Callable[[], str]) -> str:
    """Returns the text in a file; if it is missing, that of `make`, which is saved."""
    if path.exists():
        return path.read_text().strip()
    made = make()
    atomic.write_text(path, made)
    return made


def _settings(logdir: pathlib.Path) -> dict[str, Any]:
    """Returns the run's configuration by dotted key; empty if none was saved."""
    path = logdir / "config.yaml"
    return config_lib.Config.load(path).flat if path.exists() else {}


def _encode(value: np.ndarray) -> tuple[str, bytes]:
    """Encodes an image as PNG, or a video as GIF."""
    if value.ndim == 4:
        return "gif", video.encode_gif(value, FPS)
    return "png", video.encode_png(value.reshape(*value.shape[:2], -1))
