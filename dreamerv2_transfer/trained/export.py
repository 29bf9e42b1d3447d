"""Exports a trained model as a TensorFlow SavedModel, which runs without this package.

saved_model.pb, variables/   the steps of `steps` as signatures, and their weights
signatures.json              names, shapes and types of all inputs and outputs
config.yaml                  the configuration of the run
README.md                    the signatures as a table, and how to call them
"""

from __future__ import annotations

import json
import os
import pathlib
from typing import Any

import tensorflow as tf

import dreamerv2_transfer
from dreamerv2_transfer.common.checkpoint import first_line, literal
from dreamerv2_transfer.common.errors import ModelError
from dreamerv2_transfer.common.files import atomic, paths
from dreamerv2_transfer.common.ops import fuse
from dreamerv2_transfer.trained.graphs import precision
from dreamerv2_transfer.trained.load import load
from dreamerv2_transfer.trained.model import Model
from dreamerv2_transfer.trained.steps import Step, Steps
from dreamerv2_transfer.transfer import cards, sources, spaces, weights

FORMAT = 1
SIGNATURES = "signatures.json"
README = """# {title}

The steps of a DreamerV2 model as a TensorFlow SavedModel, exported from `{source}` by
dreamerv2_transfer {version}. TensorFlow alone runs it:

```python
import tensorflow as tf

steps = tf.saved_model.load(".").signatures
state = steps["initial_state"](batch=tf.constant(1))
```

{agent}
The dimension B is the batch. All noise comes from `seed`: the same inputs have the same
outputs.

| signature | inputs | outputs |
|---|---|---|
{rows}

{texts}

`signatures.json` has the same for programs, with the games, the spaces and the sha256
of the weights that were exported.
"""


def export(source: str | os.PathLike, to: str | os.PathLike) -> Model:
    """Exports the steps of a model.

    Args:
        source: What `load` takes.
        to: The folder to write, which must not exist or be empty.

    Returns:
        The model.

    Raises:
        UserError: The model cannot be loaded or is a DQN, or the folder is not empty
            or cannot be written.
    """
    paths.check(to, "--to")
    out = paths.local(to)
    if out.is_file() or out.is_dir() and any(out.iterdir()):
        raise ModelError(f"{out} is not empty. Name a new folder by --to.")
    model = load(source)
    if not isinstance(model, Model):
        raise ModelError(
            f"{source} is a DQN, which does not dream. export takes a world model, "
            "with or without an agent."
        )
    if model.network.rssm.task_size:
        raise ModelError(
            f"{source} has a vector of each game (task_embed), which exported steps "
            "cannot be told yet. Use it by load, or export a model without task_embed."
        )
    with atomic.new_folder(out) as folder:
        write(model, folder, _hashes(source, model))
    return model


def write(model: Model, folder: pathlib.Path, files: dict[str, Any]) -> None:
    """Writes a SavedModel of a model into a folder.

    Args:
        model: The model.
        folder: The folder.
        files: The files that the model was loaded from, with their `sha256`.

    Raises:
        OSError: A file cannot be written.
    """
    steps = Steps(model)
    graphs = {name: _graph(step) for name, step in steps.all().items()}
    module = tf.Module()
    variables = [v for graph in graphs.values() for v in graph.graph.variables]
    module.weights = list({id(v): v for v in variables}.values())
    try:
        with literal(folder) as place:
            tf.saved_model.save(module, str(place), graphs)
    except tf.errors.OpError as error:
        raise OSError(first_line(error)) from error
    model.config.save(folder / "config.yaml")
    seen = dict(model.observation_space)
    told = {
        "format": FORMAT,
        "source": os.fspath(model.source),
        "files": files,
        "dreamerv2_transfer": dreamerv2_transfer.__version__,
        "tensorflow": tf.__version__,
        "tasks": list(model.tasks),
        "has_agent": model.has_agent,
        "spaces": json.loads(spaces.describe(seen, model.action_space)),
        "observations": steps.arguments,
        "signatures": {
            name: {
                "text": step.text,
                "inputs": _described(step.inputs),
                "outputs": _described(graphs[name].structured_outputs),
            }
            for name, step in steps.all().items()
        },
    }
    atomic.write_text(folder / SIGNATURES, json.dumps(told, indent=2) + "\n")
    atomic.write_text(folder / "README.md", _readme(told))


def _graph(step: Step) -> tf.types.experimental.ConcreteFunction:
    """Traces a step with TensorFlow's own operations, which any runtime has."""

    def function(**inputs: tf.Tensor) -> dict[str, tf.Tensor]:
        return {k: tf.identity(v, k) for k, v in step.function(inputs).items()}

    with precision(), fuse.unfused():
        graph = tf.function(function, autograph=False)
        return graph.get_concrete_function(**step.inputs)


def _hashes(source: str | os.PathLike, model: Model) -> dict[str, dict[str, Any]]:
    file = sources.find_weights(source)
    files = [file, file.parent / "config.yaml"]
    behavior = sources.in_folder(file.parent, weights.ACTOR_CRITIC)
    if model.has_agent and behavior:
        files.append(behavior)
    return cards.fingerprints(files)


def _described(tensors: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {
        name: {"shape": x.shape.as_list(), "dtype": x.dtype.name}
        for name, x in sorted(tensors.items())
    }


def _readme(told: dict[str, Any]) -> str:
    acts = "It acts, observes and dreams."
    alone = "It observes and dreams; the source has no agent, so that nothing acts."
    rows, texts = [], []
    for name, found in told["signatures"].items():
        sides = (_listed(found[side]) for side in ("inputs", "outputs"))
        rows.append(f"| `{name}` | {' | '.join(sides)} |")
        texts.append(f"- `{name}`: {found['text']}")
    return README.format(
        title=f"A world model of {', '.join(told['tasks'])}",
        source=told["source"],
        version=told["dreamerv2_transfer"],
        agent=acts if told["has_agent"] else alone,
        rows="\n".join(rows),
        texts="\n".join(texts),
    )


def _listed(tensors: dict[str, dict[str, Any]]) -> str:
    return ", ".join(
        f"`{name}` {x['dtype']} ({', '.join(str(n or 'B') for n in x['shape'])})"
        for name, x in tensors.items()
    )
