"""Reports what this machine can run.

Each line is a finding, followed by what to do about it. The exit status is 1 if
training cannot run, else 0; a GPU is not required.
"""

from __future__ import annotations

from dreamerv2_transfer import doctor
from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage

OPTIONS = {
    "logdir": Option(
        doctor.OPTIONS["logdir"], "The folder of future runs.", is_path=True
    ),
    "quick": Option(
        doctor.OPTIONS["quick"],
        "Leave out TensorFlow and the suites that are extras, so that a check beside a "
        "run takes no memory of its GPU.",
    ),
}
USAGE = Usage(
    forms=("[--logdir LOGDIR] [--quick]",),
    examples={"": "everything", "--quick": "a second, without TensorFlow"},
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    options = options_lib.parse(OPTIONS, argv)
    written = [word for k, v in options.items() for word in (f"--{k}", str(v))]
    return doctor.main(written)
