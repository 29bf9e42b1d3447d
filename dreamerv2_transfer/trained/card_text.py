"""The text of a model's card, in the format of Hugging Face."""

from __future__ import annotations

import dataclasses
import io
import re
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from dreamerv2_transfer.common.config import Config
from dreamerv2_transfer.common.envs import suites
from dreamerv2_transfer.common.files import documents
from dreamerv2_transfer.transfer.cards import LIBRARY

WIDTH = 100  # Characters of a line.


@dataclasses.dataclass(frozen=True)
class About:
    """What a card tells.

    Attributes:
        name: The model's name.
        source: The URL that `load` takes; '' for a folder.
        told: What whoever publishes it says, see `publish.Told`.
        config: The configuration of the run.
        kind: `world model`, `agent` or `DQN`.
        games: The games.
        steps: The updates of the run, or the steps that a DQN played; 0 if unknown.
        version: The version of this package that trained it.
        published_by: The version that wrote the card.
        data: What it learned from.
        results: See `publish.results`.
        files: `sha256` and `bytes` of each file by name.
    """

    name: str
    source: str
    told: Any
    config: Config
    kind: str
    games: Sequence[str]
    steps: int
    version: str
    published_by: str
    data: str
    results: Sequence[Mapping[str, Any]]
    files: Mapping[str, Mapping[str, Any]]

    @property
    def summary(self) -> str:
        unit = "steps" if self.kind == "DQN" else "updates"
        trained = f", {self.steps:,} {unit}" if self.steps else ""
        return self.told.summary or f"{self.kind} of {', '.join(self.games)}{trained}"

    @property
    def command(self) -> str:
        words = "train-dqn" if self.kind == "DQN" else "train"
        given = f"--configs config.yaml --logdir logdir/{self.name}"
        return self.told.command or f"dreamerv2-transfer {words} {given}"


def write(about: About) -> str:
    """Returns the card: metadata in YAML, then text."""
    out = io.StringIO()
    documents.safe_yaml().dump(metadata(about), out)
    return f"---\n{out.getvalue()}---\n\n{text(about)}"


def metadata(about: About) -> dict[str, Any]:
    """Returns what stands above the text, our own part as `dreamerv2_transfer`."""
    field = "reinforcement-learning"
    listed = [
        {
            "task": {"type": field, "name": field},
            "dataset": {"type": entry["game"], "name": entry["game"]},
            "metrics": [_metric(entry)],
        }
        for entry in about.results
    ]
    index = [{"name": about.name, "results": listed}] if listed else []
    return {
        "license": about.told.licence,
        "library_name": LIBRARY,
        "pipeline_tag": field,
        "tags": [field, "world-model", "dreamerv2", *about.games],
        **({"model-index": index} if index else {}),
        LIBRARY: {
            "summary": about.summary,
            "kind": about.kind,
            "games": list(about.games),
            "stage": about.config.stage,
            "steps": about.steps,
            "data": about.data,
            "command": about.command,
            "hardware": about.told.hardware or "not recorded",
            "version": about.version,
            "published_by": about.published_by,
            "results": [dict(entry) for entry in about.results],
            "files": {name: dict(entry) for name, entry in about.files.items()},
        },
    }


def _metric(entry: Mapping[str, Any]) -> dict[str, Any]:
    kind = "mean_reward" if entry["metric"] == "return" else "model_error"
    found = {"type": kind, "name": entry["metric"], "value": entry["value"]}
    if "interval" in entry:
        found["args"] = {"ci95": list(entry["interval"])}
    return found


def text(about: About) -> str:
    """Returns the text below the metadata."""
    shown = "\n![preview](preview.gif)\n" if "preview.gif" in about.files else ""
    rows = [
        "| game | metric | value | 95% interval | from |",
        "|---|---|---|---|---|",
        *(
            f"| {x['game']} | {x['metric']} | {x['value']:g} | {_interval(x)} "
            f"| {_from(x)} |"
            for x in about.results
        ),
    ]
    results = "\n".join(rows) if about.results else "The run has no evaluation."
    return f"""\
# {about.name}

{_wrapped(f"{about.summary[0].upper()}{about.summary[1:]}.")}
{shown}
## Use

```python
{_usage(about)}```

## Results

{results}

## Training

{_wrapped(f"- Data: {about.data}.")}
- Command, with the `config.yaml` beside this card:

  ```bash
{_continued(about.command)}
  ```

{_wrapped(f"- Hardware: {about.told.hardware or 'not recorded'}.")}
- Version: {about.version}; published by {about.published_by}.
- Licence: {about.told.licence}.

The metadata above has the sha256 of each file; loading checks them.
"""


def _wrapped(line: str) -> str:
    """Breaks a line of Markdown; those of an item of a list are indented."""
    indent = "  " if line.startswith("- ") else ""
    return textwrap.fill(line, WIDTH, subsequent_indent=indent, break_long_words=False)


def _continued(command: str) -> str:
    """Breaks a command of an item before its flags, as a shell reads it."""
    lines = ["  "]
    for part in re.split(r" (?=--)", command):
        if len(lines[-1]) + len(part) > WIDTH - 3 and lines[-1].strip():
            lines[-1] += "\\"
            lines.append("      ")
        lines[-1] += f"{part} "
    return "\n".join(line.rstrip() for line in lines)


def _usage(about: About) -> str:
    place = f'"{about.source}")' if about.source else f'"{about.name}")  # or its path'
    lines = ["import dreamerv2_transfer as dt", "", f"model = dt.load({place}"]
    if about.kind != "DQN":
        lines += [
            "env = dt.DreamEnv(model)",
            "env.reset(seed=0)",
            "dream = model.imagine(env.state, [0] * 50, seed=0)",
            'dt.save_gif("dream.gif", dream["image"])',
        ]
    if about.kind != "world model":
        game = about.games[0]
        made = f'games.make_game("{game}", model.config)'
        if game.partition("_")[0] not in suites.SUITES:
            made = "YOUR_ENVIRONMENT"  # `api.train` takes any, and cannot say which.
        lines += [
            "",
            "from dreamerv2_transfer.trained import games",
            "",
            f"observation, _ = {made}.reset(seed=0)",
            "action, state = model.agent.act(observation)",
        ]
    return "\n".join([*lines, ""])


def _interval(entry: Mapping[str, Any]) -> str:
    if "interval" not in entry:
        return "none: a single run"
    low, high = entry["interval"]
    return f"{low:g} to {high:g}, {entry.get('episodes', '?')} episodes"


def _from(entry: Mapping[str, Any]) -> str:
    return f"`{entry['file']}`" if "file" in entry else f"step {entry['step']:,}"
