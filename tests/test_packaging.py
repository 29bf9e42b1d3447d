import ast
import json
import os
import re
import shutil
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from ruamel.yaml import YAML

CHECKOUT = Path(__file__).resolve().parents[1]
FOLDERS = (
    "docs",
    "dreamerv2_transfer",
    "examples",
    "launch",
    "logdir_templates",
    "study_arms",
    "sweep_spaces",
    "models",
)
LOAD = """
import json
from dreamerv2_transfer.common import blocks
loaded = blocks.load_config(["minatar", "small", "pretrain"])
path = str(blocks.find_configs())
print(json.dumps([blocks.__file__, path, loaded.rssm.deter, loaded.steps]))
"""
TRAIN = "train --configs dmc_proprio debug scratch --task gym_Pendulum-v1 --logdir run"
TRAIN += " --action_repeat 1 --steps 2 --prefill 60 --eval_every 0"


def run(*command, cwd):
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONPATH"}
    command = [str(part) for part in command]
    result = subprocess.run(
        command, cwd=cwd, env=environment, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    return result.stdout


@pytest.fixture(scope="module")
def distributions(tmp_path_factory):
    """The sdist of a copy of the checkout, and the wheel built from that sdist."""
    copy = tmp_path_factory.mktemp("copy")
    for name in FOLDERS:
        shutil.copytree(CHECKOUT / name, copy / name)
    for path in CHECKOUT.iterdir():
        if path.is_file():
            shutil.copy(path, copy)
    # Without isolation, the build needs no network.
    run(sys.executable, "-m", "build", "--no-isolation", copy, cwd=copy)
    return copy / "dist"


@pytest.fixture(scope="module")
def wheel(distributions):
    return next(distributions.glob("*.whl"))


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
    # With its .pth files: by one of these, setuptools provides distutils.
    borrowed = sysconfig.get_path("purelib")
    (site / "borrowed.pth").write_text(f"import site; site.addsitedir({borrowed!r})\n")
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


def test_the_console_command_of_a_wheel_explains_itself_and_trains(
    environment, tmp_path
):
    command = environment / "bin" / "dreamerv2-transfer"
    assert "usage" in run(command, "--help", cwd=tmp_path).lower()
    printed = run(command, *TRAIN.split(), cwd=tmp_path)
    assert "\n  dreamerv2-transfer evaluate --logdir run" in printed
    rows = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    assert max(json.loads(row)["step"] for row in rows) == 2
    assert (tmp_path / "run" / "world_model.weights.h5").exists()


def test_the_sdist_holds_what_a_user_runs_and_reads(distributions, tmp_path):
    archive = next(distributions.glob("*.tar.gz"))
    assert archive.name == "dreamerv2_transfer-0.2.0.tar.gz"
    shutil.unpack_archive(archive, tmp_path, filter="data")
    root = tmp_path / "dreamerv2_transfer-0.2.0"
    for name in FOLDERS:
        files = {p for p in (CHECKOUT / name).rglob("*") if p.is_file()}
        wanted = {p.relative_to(CHECKOUT) for p in files if p.suffix != ".pyc"}
        assert wanted <= {p.relative_to(root) for p in (root / name).rglob("*")}
    for name in ("CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"):
        assert (root / name).read_text() == (CHECKOUT / name).read_text()
    assert not (root / "tests").exists() and not (root / "results").exists()


def test_the_package_index_would_accept_the_distributions(distributions):
    paths = sorted(distributions.iterdir())
    assert len(paths) == 2
    run(sys.executable, "-m", "twine", "check", "--strict", *paths, cwd=distributions)


@pytest.mark.parametrize(
    ("tag", "date", "error"),
    [
        ("v0.2.0", "2030-01-31", ""),
        ("v0.2.1", "2030-01-31", "The tag is v0.2.1, the version 0.2.0.\n"),
        ("v0.2.0", "Unreleased", "CHANGELOG.md has no dated section of 0.2.0.\n"),
    ],
)
def test_a_release_checks_tag_version_and_changelog(tmp_path, tag, date, error):
    workflow = YAML(typ="safe").load(CHECKOUT / ".github/workflows/release.yml")
    steps = workflow["jobs"]["version"]["steps"]
    script = next(x["run"] for x in steps if x.get("id") == "read")
    (tmp_path / "dreamerv2_transfer").mkdir()
    source = CHECKOUT / "dreamerv2_transfer" / "__init__.py"
    shutil.copy(source, tmp_path / "dreamerv2_transfer")
    (tmp_path / "CHANGELOG.md").write_text(f"# Changelog\n\n## [0.2.0] - {date}\n")
    variables = {"GITHUB_REF_TYPE": "tag", "GITHUB_REF_NAME": tag}
    environment = {**os.environ, **variables, "GITHUB_OUTPUT": str(tmp_path / "out")}
    result = subprocess.run(
        ["bash", "-e", "-c", script],
        cwd=tmp_path,
        env=environment,
        capture_output=True,
        text=True,
    )
    assert (result.returncode, result.stdout) == (int(bool(error)), error)
    assert (tmp_path / "out").read_text() == "version=0.2.0\n"


def test_the_citation_names_the_software_and_both_papers():
    citation = YAML(typ="safe").load(CHECKOUT / "CITATION.cff")
    assert (citation["cff-version"], citation["type"]) == ("1.2.0", "software")
    papers = {
        paper["title"].split(":")[0]: [x["family-names"] for x in paper["authors"]]
        for paper in citation["references"]
    }
    assert papers == {
        "Adapting to the Unfamiliar": ["Briel", "Schulz", "Soler"],
        "Mastering Atari with Discrete World Models": [
            "Hafner",
            "Lillicrap",
            "Norouzi",
            "Ba",
        ],
    }


def test_the_wheel_holds_every_module_and_nothing_else(wheel, tmp_path):
    shutil.unpack_archive(wheel, tmp_path, "zip")
    packed = {p.relative_to(tmp_path) for p in tmp_path.rglob("*.py")}
    sources = (CHECKOUT / "dreamerv2_transfer").rglob("*.py")
    assert packed == {p.relative_to(CHECKOUT) for p in sources}
    curves = {p.name for p in tmp_path.rglob("paper_curves/*.csv")}
    assert len(curves) == 5 and "minatar_seaquest_return.csv" in curves
    for room, name in {"plotting": "LICENSE.plotly", "play": "page.js"}.items():
        page = CHECKOUT / "dreamerv2_transfer" / room / "page"
        names = {p.name for p in page.iterdir()}
        assert {p.name for p in tmp_path.rglob(f"{room}/page/*")} == names
        assert name in names
    assert (tmp_path / "dreamerv2_transfer" / "py.typed").exists()
    metadata = next(tmp_path.glob("*.dist-info/METADATA")).read_text()
    assert "\nVersion: 0.2.0\n" in metadata
    requirements = map(Requirement, re.findall(r"Requires-Dist: (.*)", metadata))
    ale = next(x for x in requirements if x.name == "ale-py")
    accepted = [v for v in ("0.10.2", "0.11.2", "0.12.0") if v in ale.specifier]
    assert accepted == ["0.11.2"]
    assert "Danijar Hafner" in next(tmp_path.rglob("LICENSE")).read_text()


POSIX = {"fcntl", "grp", "posix", "pty", "pwd", "resource", "syslog", "termios", "tty"}
POSIX_NAMES = r"os\.(fork|\w*[gs]ete?[ug]id|sched_\w+|register_at_fork|O_DIRECTORY)"
POSIX_NAMES += r"|signal\.(SIG(KILL|ALRM|HUP|USR\d|CHLD)|alarm|setitimer|pthread_\w+)"


def at_import(node):
    """What a module runs when it is imported: not the bodies of its functions."""
    yield node
    if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
        for child in ast.iter_child_nodes(node):
            yield from at_import(child)


def test_every_module_can_be_imported_on_windows():
    for path in (CHECKOUT / "dreamerv2_transfer").rglob("*.py"):
        tree = ast.parse(path.read_text())
        imports = [x for x in ast.walk(tree) if isinstance(x, ast.Import)]
        names = {alias.name.split(".")[0] for x in imports for alias in x.names}
        names |= {x.module for x in ast.walk(tree) if isinstance(x, ast.ImportFrom)}
        assert not names & POSIX, path
        used = [x for x in at_import(tree) if isinstance(x, ast.Attribute)]
        found = [x for x in map(ast.unparse, used) if re.fullmatch(POSIX_NAMES, x)]
        assert not found, path
