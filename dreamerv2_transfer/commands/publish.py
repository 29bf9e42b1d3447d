"""Writes the folder of a published model from a run.

It has the configuration, the weights as safetensors and HDF5, an animation, and a model
card in the format of Hugging Face, whose figures come from the run's own files. The
target is a folder, or hf://USER/NAME of the Hugging Face Hub.
"""

from __future__ import annotations

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.commands.options import Option, Usage, path_option
from dreamerv2_transfer.common import progress
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files import paths

OPTIONS = {
    "to": path_option("The folder to write, or hf://USER/NAME.", is_required=True),
    "name": Option("", "The model's name; by default that of the target."),
    "summary": Option("", "What it is, in a line; by default what and of which games."),
    "licence": Option("mit", "The licence, as the Hub calls it."),
    "hardware": Option("", "What it was trained on, which no file of a run says."),
    "data": Option("", "What it learned from; by default as its dataset says."),
    "hdf5": Option(True, "Write the weights as HDF5 too, beside safetensors."),
    "command": Option("", "What trained it; by default a line with config.yaml."),
}
USAGE = Usage(
    forms=("LOGDIR --to FOLDER|hf://USER/NAME [--hardware TEXT ...]",),
    examples={
        "logdir/agent --to models/breakout": "a folder that load takes",
        "logdir/agent --to hf://ada/breakout": "the same on the Hugging Face Hub",
    },
    options={"": OPTIONS},
)


def main(argv: list[str]) -> int:
    logdir, *rest = argv
    if logdir.startswith("--"):
        raise ConfigError(f"Name the run's logdir first. Received: {logdir}")
    paths.check(logdir, "LOGDIR")
    options = options_lib.parse(OPTIONS, rest)
    with progress.explained("Loading TensorFlow"):
        from dreamerv2_transfer.trained import publish

    told = publish.Told(**{k: v for k, v in dict(options).items() if k != "to"})
    place = publish.publish(logdir, options.to, told)
    print(f'Published {place}. Load it: dreamerv2_transfer.load("{place}")')
    return 0
