"""GPUs as the driver reports them, and why TensorFlow may see none."""

import os
from importlib import metadata

import pytest

from dreamerv2_transfer.common.distributed import gpus

GPU = "NVIDIA A100 (39000 MiB of 40960 MiB are free, driver 550.54)"
CUDA = {"is_cuda_build": True, "cuda_version": "12.5.1"}
INSTALLED = 'numpy <3, >=2.0; extra == "and-cuda"'
ABSENT = 'nvidia-no-such-cu12 <13.0, >=12.5.3.2; extra == "and-cuda"'
OTHER = 'tensorboard-no-such; extra == "other"'


def test_the_driver_is_asked_by_nvidia_smi(tmp_path, monkeypatch):
    fake = tmp_path / "nvidia-smi"
    fake.write_text("#!/bin/sh\necho 'NVIDIA A100, 39000 MiB, 40960 MiB, 550.54'\n")
    fake.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=os.pathsep)
    assert gpus.nvidia_smi() == [GPU]
    fake.write_text("#!/bin/sh\necho 'cannot talk to the driver'\nexit 9\n")
    assert gpus.nvidia_smi() == []


def test_models_are_those_of_the_driver_each_once(tmp_path):
    for number, model in enumerate(["NVIDIA H100 80GB HBM3", "A", "A"]):
        (tmp_path / str(number)).mkdir()
        told = f"Model: \t\t {model}\nIRQ:   \t\t {number}"
        (tmp_path / str(number) / "information").write_text(told)
    (tmp_path / "empty").mkdir()
    assert gpus.models(tmp_path) == ["A", "NVIDIA H100 80GB HBM3"]
    assert gpus.models(tmp_path / "none") == []


@pytest.mark.parametrize(
    ("driver", "build", "requires", "cause", "todo"),
    [
        (GPU, {"is_cuda_build": False}, [], "built without CUDA", "'.[gpu]'"),
        (GPU, CUDA, [INSTALLED, ABSENT], "missing nvidia-no-such-cu12", "'.[gpu]'"),
        (GPU, CUDA, [INSTALLED, OTHER], "are installed", "TF_CPP_MIN_LOG_LEVEL=0"),
        (
            GPU.replace("550.54", "470.57"),
            CUDA,
            [ABSENT],
            "CUDA 12.5.1 needs a driver of version 525 or later",
            "Install a driver of version 525",
        ),
        (
            GPU,
            {**CUDA, "cuda_version": "13.0"},
            [ABSENT],
            "CUDA 13.0 needs a driver of version 580 or later",
            "580",
        ),
        ("GPU without a version", CUDA, [INSTALLED], "are installed", "shows which"),
    ],
)
def test_the_cause_comes_with_what_to_do(
    monkeypatch, driver, build, requires, cause, todo
):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    found = gpus.why_unseen([driver], build, requires)
    assert cause in found[0] and todo in found[1]


@pytest.mark.parametrize(("value", "hides"), [("", True), ("-1", True), ("0", False)])
def test_gpus_may_be_hidden(monkeypatch, value, hides):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    found = gpus.why_unseen([GPU], CUDA, [INSTALLED])[0]
    assert (found == "CUDA_VISIBLE_DEVICES hides them") == hides


def test_the_wheels_of_this_tensorflow_are_those_of_one_cuda():
    """The doctor compares with what TensorFlow itself asks for."""
    lines = [x for x in metadata.requires("tensorflow") if gpus.EXTRA in x]
    assert lines and all(x.startswith("nvidia-") and "-cu12" in x for x in lines)
    assert "12" in gpus.DRIVERS
