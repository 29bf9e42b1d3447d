"""Writes docs/configuration.md from configs.yaml. `python docs/reference.py`"""

from __future__ import annotations

import pathlib
import re
import sys
from collections.abc import Iterator, Sequence
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.comments import CommentedMap

from dreamerv2_transfer.common import cli
from dreamerv2_transfer.common.blocks import STAGE_KEYS
from dreamerv2_transfer.common.choices import CHOICES, SCHEDULED, SCHEDULES
from dreamerv2_transfer.common.config import ALIASES, Config
from dreamerv2_transfer.common.files import atomic

ROOT = pathlib.Path(__file__).resolve().parents[1]
SOURCE = ROOT / "configs.yaml"
TARGET = ROOT / "docs" / "configuration.md"
HEADER = "| key | default | what it is | in other blocks |\n|---|---|---|---|"
BLOCKS = {
    "defaults": "everything, as the original; the tables below",
    "atari": "Atari's games, 64x64 grey, and the sizes of the original's block",
    "minatar": "MinAtar's games, and the sizes of the paper's authors",
    "small": "after `minatar` or `atari`: sizes for two CPU cores",
    "crafter": "Crafter",
    "dmc_vision": "the DeepMind Control suite from pixels",
    "dmc_proprio": "the DeepMind Control suite from numbers",
    "debug": "after any other: eager, tiny, over in seconds",
    "pretrain": "stage: episodes of several games to a world model",
    "collect": "stage: games to episodes",
    "dqn": "stage: a game to DQN agents that collect",
    "finetune": "stage: a world model and a game to an agent",
    "scratch": "stage: a game to an agent",
    "freeze_rssm": "beside `finetune`: the RSSM stays as it was loaded",
    "freeze_world_model": "beside `finetune`: the whole world model does",
}
INTRODUCTION = """# Configuration

Made by `python docs/reference.py` from `configs.yaml`; change that.

`--configs minatar small pretrain` merges named blocks, in this order, over `defaults`;
a file such as a run's `config.yaml` is a block too. `--key.sub value` overrides a key,
and a key may be a regular expression: `--.*\\.norm layer`. Lists are `--key a b` or
`--key a,b`. The block of a stage then takes {stage_keys}
from `stages.STAGE`, except those that a flag names. {aliases}
{scheduled} take a number or a schedule of the updates:
{schedules}.

Where a comment names a source: *original* is danijar/dreamerv2, *paper* "Adapting to
the Unfamiliar", *authors* the code of the paper's authors, *ours* this project. A step
is one action of the agent, an update one gradient step of the world model. The last
column holds the blocks that set the key too.
"""


def reference(text: str) -> str:
    """The page.

    Args:
        text: of configs.yaml.
    """
    blocks = YAML(typ="rt", pure=True).load(text)
    lines = text.splitlines()
    defaults = Config(plain(blocks["defaults"]))
    others = other_values(defaults, blocks)
    named = [f"- `{name}`: {BLOCKS[name]}" for name in blocks]
    page = [introduction(), "## Blocks\n", *named]
    section = None
    for key, line in places(blocks["defaults"]):
        heading = section_of(lines, line)
        if heading != section:
            title, _, rest = heading.partition(". ")
            page += [f"\n## {title}\n", *([rest, ""] if rest else []), HEADER]
            section = heading
        cells = key, defaults.flat[key], comment(lines[line], key), others.get(key, "")
        page.append(row(*cells))
    return "\n".join(page) + "\n"


def introduction() -> str:
    """What holds for all keys."""
    short = (f"`--{name}` is short for `--{key}`" for name, key in ALIASES.items())
    of = {name: ", ".join("abc"[:count]) for name, count in SCHEDULES.items()}
    schedules = ", ".join(f"`{name}({values})`" for name, values in of.items())
    return INTRODUCTION.format(
        stage_keys=", ".join(f"`{x}`" for x in STAGE_KEYS),
        aliases=f"{'; '.join(short)}.",
        scheduled=" and ".join(f"`{x}`" for x in SCHEDULED),
        schedules=schedules,
    )


def places(block: CommentedMap, prefix: str = "") -> Iterator[tuple[str, int]]:
    """Each dotted key of a block, and the number of the line that it stands in."""
    for name, value in block.items():
        if isinstance(value, CommentedMap):
            yield from places(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", block.lc.key(name)[0]


def section_of(lines: Sequence[str], line: int) -> str:
    """The comment at the head of the paragraph that a line belongs to."""
    starts = [i for i in range(line) if re.match(r"  # ", lines[i])]
    heads = [i for i in starts if not lines[i - 1].strip()]
    return lines[heads[-1]].strip(" #")


def comment(line: str, key: str) -> str:
    """What a line says about its key, or else which values the key may have."""
    _, mark, text = line.partition(" # ")
    if not mark and key in CHOICES:
        return f"one of {', '.join(CHOICES[key])}"
    return text.strip()


def other_values(defaults: Config, blocks: CommentedMap) -> dict[str, str]:
    """By key: the blocks other than `defaults` that set it, and to what."""
    found: dict[str, list[str]] = {}
    for name in [x for x in blocks if x != "defaults"]:
        values = defaults.update(plain(blocks[name])).flat
        patterns = [pattern for pattern, _ in places(blocks[name])]
        for key in sorted({key for x in patterns for key in defaults.match(x)}):
            found.setdefault(key, []).append(f"{name}: {code(values[key])}")
    return {key: "; ".join(texts) for key, texts in found.items()}


def plain(value: Any) -> Any:
    """The values without what ruamel.yaml keeps about their places."""
    if isinstance(value, dict):
        return {str(key): plain(x) for key, x in value.items()}
    if isinstance(value, list):
        return [plain(x) for x in value]
    kind = next(x for x in (bool, int, float, str) if isinstance(value, x))
    return kind(value)


def row(key: str, default: Any, text: str, others: str) -> str:
    """A row of a table."""
    cells = f"`{key}`", code(default), text.replace("|", "\\|"), others
    return f"| {' | '.join(cells)} |"


def code(value: Any) -> str:
    """A value as a flag takes it."""
    values = value if isinstance(value, tuple) else (value,)
    text = ",".join(f"{x:g}" if isinstance(x, float) else str(x) for x in values)
    text = re.sub(r"e\+0?", "e", text)
    return f"`{text}`".replace("|", "\\|") if text else "`''`"


def main(argv: list[str]) -> int:
    with atomic.atomic_write(TARGET) as file:
        file.write(reference(SOURCE.read_text(encoding="utf-8")).encode())
    print(f"Wrote {TARGET}.")
    return 0


if __name__ == "__main__":
    sys.exit(cli.run(main))
