"""Builds the Dockerfile without a container engine, in a folder made by debootstrap.

`python docker/build.py [FOLDER] [ARG=VALUE ...]` as root. Debian's own Python, of the
same Debian release and minor version, replaces the base image. The files that
.dockerignore keeps are copied, and each RUN runs in a chroot. Then the health check and
a small training run as the image's user. GPUs, volumes and the base image itself are
not tested.
"""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence

from docker.utils import exclude_paths
from dockerfile_parse import DockerfileParser

CONTEXT = pathlib.Path(__file__).resolve().parents[1]
BASE = "python3,python3-venv,ca-certificates"  # Debian packages of the base image.
# Settings for a proxy or a mirror that pip uses on this machine.
HOST_FILES = ("/etc/resolv.conf", "/etc/ssl/certs/ca-certificates.crt", "/etc/pip.conf")
HOST_VARIABLES = r"(?i)(https?|no)_proxy|PIP_(CERT|INDEX_URL|DEFAULT_TIMEOUT)"
# The mounts end with the namespace, even after an error.
MOUNT = 'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && exec "$@"'
JOB = (
    "--configs minatar debug pretrain --steps 4 --collect.steps 100 "
    "--logdir /logdir/check"
)


@dataclasses.dataclass
class Image:
    """The image after the instructions so far.

    Attributes:
        root: The folder of the file system.
        env: Variables of all commands.
        args: Variables of RUN and of substitutions only.
        workdir: Folder of commands, as a path within the file system.
        user: The user that runs commands.
        commands: HEALTHCHECK and ENTRYPOINT, as lists of words.
    """

    root: pathlib.Path
    env: dict[str, str]
    args: dict[str, str]
    workdir: str = "/"
    user: str = "root"
    commands: dict[str, list[str]] = dataclasses.field(default_factory=dict)

    def run(self, command: Sequence[str]) -> None:
        """Runs a command in the file system; raises an exception if it fails."""
        print(f"$ {shlex.join(command)}", flush=True)
        inside = 'cd "$0" && exec "$@"'
        chroot = ["chroot", f"--userspec={self.user}", str(self.root)]
        chroot += ["/bin/sh", "-c", inside, self.workdir, *command]
        outside = ["unshare", "--mount", "/bin/sh", "-c", MOUNT, str(self.root)]
        passed = {
            k: v for k, v in os.environ.items() if re.fullmatch(HOST_VARIABLES, k)
        }
        env = {**passed, **self.args, **self.env}
        subprocess.run([*outside, *chroot], env=env, check=True)

    def expand(self, text: str) -> str:
        """Replaces the variables in a text by their values."""
        known = {**self.args, **self.env}
        return re.sub(r"\$\{?(\w+)\}?", lambda match: known.get(match[1], ""), text)


def do_from(image: Image, value: str) -> None:
    suite = value.split(":")[1].split("-")[-1]
    command = ["debootstrap", "--variant=minbase", f"--include={BASE}", suite]
    subprocess.run([*command, str(image.root)], check=True, stdout=subprocess.DEVNULL)
    for name in filter(os.path.exists, HOST_FILES):
        shutil.copy(name, image.root / name[1:])
    image.run(["python3", "-m", "venv", "/usr/local"])
    image.run(["python", "--version"])


def do_arg(image: Image, value: str) -> None:
    name, _, default = shlex.split(value)[0].partition("=")
    image.args.setdefault(name, default)


def do_env(image: Image, value: str) -> None:
    image.env |= dict(x.split("=", 1) for x in shlex.split(image.expand(value)))


def do_workdir(image: Image, value: str) -> None:
    image.workdir = value
    (image.root / value[1:]).mkdir(parents=True, exist_ok=True)


def do_user(image: Image, value: str) -> None:
    image.user = value


def do_copy(image: Image, value: str) -> None:
    *sources, target = value.split()
    folder = image.root / image.workdir[1:] / target
    for name in kept():
        for source in map(pathlib.PurePosixPath, sources):
            if not pathlib.PurePosixPath(name).is_relative_to(source):
                continue
            inside = pathlib.PurePosixPath(name).relative_to(source)
            path = folder / (inside if inside.name else source.name)
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(CONTEXT / name, path)


def kept() -> list[str]:
    """Returns the files that .dockerignore does not exclude."""
    lines = (CONTEXT / ".dockerignore").read_text().splitlines()
    patterns = [x for x in lines if x and not x.startswith("#")]
    paths = sorted(exclude_paths(str(CONTEXT), patterns))
    return [x for x in paths if (CONTEXT / x).is_file()]


def do_run(image: Image, value: str) -> None:
    image.run(["/bin/sh", "-ec", value])


def do_healthcheck(image: Image, value: str) -> None:
    image.commands["HEALTHCHECK"] = json.loads(value.split("CMD", 1)[1])


def do_entrypoint(image: Image, value: str) -> None:
    image.commands["ENTRYPOINT"] = json.loads(value)


def do_nothing(image: Image, value: str) -> None:
    """Skips VOLUME and CMD, which do not change the file system."""


INSTRUCTIONS = {
    "FROM": do_from,
    "ARG": do_arg,
    "ENV": do_env,
    "WORKDIR": do_workdir,
    "USER": do_user,
    "COPY": do_copy,
    "RUN": do_run,
    "HEALTHCHECK": do_healthcheck,
    "ENTRYPOINT": do_entrypoint,
    "VOLUME": do_nothing,
    "CMD": do_nothing,
}


def build(root: pathlib.Path, args: dict[str, str]) -> Image:
    """Carries out the instructions in order."""
    path = "/usr/local/bin:/usr/local/sbin:/usr/bin:/usr/sbin:/bin:/sbin"
    image = Image(root, {"PATH": path}, args)
    file = DockerfileParser(str(CONTEXT / "Dockerfile"), cache_content=True)
    for line in file.structure:
        if line["instruction"] != "COMMENT":
            print(f"{line['instruction']} {line['value']}", flush=True)
            INSTRUCTIONS[line["instruction"]](image, line["value"])
    return image


def check(image: Image) -> None:
    """Runs what a container would run, and not as root."""
    if image.user == "root":
        raise SystemExit("The image's user is root.")
    image.args = {}
    image.run(image.commands["HEALTHCHECK"])
    image.run(["python", "-m", "dreamerv2_transfer.doctor"])
    image.run([*image.commands["ENTRYPOINT"], *JOB.split()])
    image.run(["python", "launch/dataset.py", "info", "/logdir/check/dataset"])
    image.run(["tensorboard", "--version"])


def main(argv: list[str]) -> int:
    args = dict(x.split("=", 1) for x in argv if "=" in x)
    named = [pathlib.Path(x) for x in argv if "=" not in x]
    with tempfile.TemporaryDirectory(prefix="image_") as temporary:
        root = named[0].absolute() if named else pathlib.Path(temporary, "root")
        root.mkdir(parents=True, exist_ok=True)
        check(build(root, args))
        used = subprocess.run(["du", "-sh", str(root)], capture_output=True, text=True)
        print(f"The image builds and runs; its size is {used.stdout.split()[0]}.")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
