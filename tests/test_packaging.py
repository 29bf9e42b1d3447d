import json
import os
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).resolve().parents[1]
SOURCES = ("configs.yaml", "setup.cfg", "pyproject.toml", "LICENSE", "README.md")
LOAD = """
import json
from dreamerv2_transfer.common import config
loaded = config.load_config(["minatar", "small", "pretrain"])
path = str(config.find_configs())
print(json.dumps([config.__file__, path, loaded.rssm.deter, loaded.steps]))
"""


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(part) for part in command]
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """A wheel of the checkout, built from a copy and without a network."""
    copy = tmp_path_factory.mktemp("copy")
    shutil.copytree(CHECKOUT / "dreamerv2_transfer", copy / "dreamerv2_transfer")
    for name in SOURCES:
        if (CHECKOUT / name).exists():
            shutil.copy(CHECKOUT / name, copy)
    offline = ["--no-deps", "--no-build-isolation", "--no-index", "--quiet"]
    pip = [sys.executable, "-m", "pip", "wheel", *offline, "-w", copy / "out", copy]
    run(*pip, cwd=copy)
    return next((copy / "out").glob("*.whl"))


def install(wheel, *arguments, cwd):
    offline = ["--no-deps", "--no-index", "--quiet"]
    run(sys.executable, "-m", "pip", *arguments, *offline, wheel, cwd=cwd)


@pytest.fixture
def environment(wheel, tmp_path):
    """A virtual environment with the wheel, and dependencies borrowed from here."""
    folder = tmp_path / "venv"
    run(sys.executable, "-m", "venv", "--without-pip", folder, cwd=tmp_path)
    install(wheel, "--python", folder / "bin" / "python", "install", cwd=tmp_path)
    variables = {"base": str(folder), "platbase": str(folder)}
    site = Path(sysconfig.get_path("purelib", "venv", variables))
    (site / "borrowed.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
    return folder


def test_an_installed_wheel_finds_its_configs(environment, tmp_path):
    python = environment / "bin" / "python"
    module, path, deter, steps = json.loads(run(python, "-I", "-c", LOAD, cwd=tmp_path))
    assert Path(module).is_relative_to(environment)
    assert path == str(environment / "share" / "dreamerv2_transfer" / "configs.yaml")
    assert (deter, steps) == (128, 30000)


def test_a_wheel_in_a_target_folder_finds_its_configs(wheel, tmp_path):
    target = tmp_path / "target"
    install(wheel, "install", "--target", target, cwd=tmp_path)
    code = f"import sys; sys.path.insert(0, {str(target)!r}){LOAD}"
    module, path, *_ = json.loads(run(sys.executable, "-I", "-c", code, cwd=tmp_path))
    assert Path(module).is_relative_to(target)
    assert path == str(target / "share" / "dreamerv2_transfer" / "configs.yaml")


def test_the_wheel_holds_every_module_and_nothing_else(wheel, tmp_path):
    shutil.unpack_archive(wheel, tmp_path, "zip")
    packed = {p.relative_to(tmp_path) for p in tmp_path.rglob("*.py")}
    sources = (CHECKOUT / "dreamerv2_transfer").rglob("*.py")
    assert packed == {p.relative_to(CHECKOUT) for p in sources}
    curves = {p.name for p in tmp_path.rglob("paper_curves/*.csv")}
    assert len(curves) == 5 and "minatar_seaquest_return.csv" in curves
    metadata = next(tmp_path.glob("*.dist-info/METADATA")).read_text()
    assert "\nVersion: 0.1.0\n" in metadata
    assert "Danijar Hafner" in next(tmp_path.rglob("LICENSE")).read_text()
