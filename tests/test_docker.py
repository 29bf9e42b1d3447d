"""The image, the compose file and the workflow fit the checkout.

`docker/check.sh --build` does more: it carries the Dockerfile out.
"""

import fnmatch
import json
import re
import shlex
import subprocess
import sys

import pytest
from ruamel.yaml import YAML

from tests import runs

TEXT = (runs.ROOT / "Dockerfile").read_text()
LINES = re.sub(r"\\\n", " ", re.sub(r"^\s*#.*\n", "", TEXT, flags=re.MULTILINE))
PAIRS = [x.split(None, 1) for x in LINES.splitlines() if x.strip()]


def load(name):
    return YAML(typ="safe").load((runs.ROOT / name).read_text())


def values(instruction):
    return [value for name, value in PAIRS if name == instruction]


@pytest.fixture
def compose():
    return load("compose.yaml")["services"]


@pytest.fixture
def workflow():
    return load(".github/workflows/tests.yml")


def kept(name: str) -> bool:
    """Whether .dockerignore leaves a file or folder of the checkout's top level."""
    lines = (runs.ROOT / ".dockerignore").read_text().splitlines()
    result = True
    for pattern in (x for x in lines if x and not x.startswith("#")):
        if fnmatch.fnmatch(name, pattern.removeprefix("!")):
            result = pattern.startswith("!")
    return result


def test_what_the_image_copies_exists_and_is_not_ignored():
    for value in values("COPY"):
        *sources, _ = value.split()
        for source in sources:
            assert (runs.ROOT / source).exists(), source
            assert source == "." or kept(source.split("/")[0]), source


def test_the_image_holds_what_runs_and_nothing_private():
    needed = (
        "launch",
        "dreamerv2_transfer",
        "configs.yaml",
        "logdir_templates",
        "models",
        "study_arms",
        "sweep_spaces",
    )
    assert all(map(kept, (*needed, "results", "setup.cfg", "LICENSE")))
    assert not any(map(kept, (".git", ".env", "logdir", "venv", "tests", "build")))


def test_dependencies_are_installed_before_the_code_is_copied():
    order = [x for x in PAIRS if x[0] in ("COPY", "RUN")]
    installs = next(i for i, x in enumerate(order) if "[gpu${EXTRAS}]" in x[1])
    copies = next(i for i, x in enumerate(order) if x == ["COPY", ". ."])
    assert installs < copies
    assert "--no-deps" in order[copies + 1][1]


def test_containers_do_not_run_as_root():
    user = values("USER")[-1]
    assert user.isdigit() and int(user) > 0
    assert [x[0] for x in PAIRS].index("USER") > [x[0] for x in PAIRS].index("COPY")
    assert f"--owner {user} /logdir" in LINES and values("VOLUME") == ["/logdir"]


def test_the_health_check_succeeds_here(tmp_path):
    command = json.loads(values("HEALTHCHECK")[0].split("CMD", 1)[1])
    assert command[:3] == ["python", "-m", "dreamerv2_transfer.doctor"]
    command = [sys.executable, *command[1:], "--logdir", str(tmp_path)]
    done = subprocess.run(command, cwd=runs.ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_entry_point_takes_the_flags_of_training():
    python, script = json.loads(values("ENTRYPOINT")[0])
    done = runs.run(script.removeprefix(f"{values('WORKDIR')[0]}/"), "--help")
    assert python == "python" and done.returncode == 0, done.stderr


def test_compose_runs_what_there_is(compose):
    train, board = compose["train"], compose["tensorboard"]
    flags = shlex.split(re.fullmatch(r"\$\{FLAGS:-(.*)\}", train["command"])[1])
    assert flags[:3] == ["--configs", "minatar", "pretrain"]
    assert flags[flags.index("--logdir") + 1].startswith("/logdir/")
    assert train["volumes"][0].endswith(":/logdir")
    assert board["entrypoint"][:3] == ["tensorboard", "--logdir", "/logdir"]
    assert train["image"] == board["image"] == "dreamerv2-transfer"


def test_the_ports_of_the_board_are_open_to_this_host_only(compose):
    assert all(x.startswith("127.0.0.1:") for x in compose["tensorboard"]["ports"])


def test_the_workflow_tests_every_python_that_there_is_a_tensorflow_for(workflow):
    tested = workflow["jobs"]["tests"]["strategy"]["matrix"]["python"]
    assert tested == ["3.11", "3.12", "3.13"]
    major, minor = map(int, tested[-1].split("."))
    wanted = f"python_requires = >= {tested[0]}, < {major}.{minor + 1}\n"
    assert wanted in (runs.ROOT / "setup.cfg").read_text()
    assert any(values("FROM")[0].startswith(f"python:{x}-slim") for x in tested)


def test_the_workflow_does_what_ci_does(workflow):
    steps = [x for job in workflow["jobs"].values() for x in job["steps"]]
    commands = [x["run"] for x in steps if "run" in x]
    wanted = ["ruff check .", "ruff format --check .", "pytest", "python -m build"]
    assert {*wanted, "pip install '.[test]'"} <= {*commands}
    for command in commands:
        script = command.split()[0]
        assert "/" not in script or (runs.ROOT / script).exists(), script
