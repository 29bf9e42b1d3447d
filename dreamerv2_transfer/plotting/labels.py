"""The names that figures and tables show for arms, metrics, games and steps."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from matplotlib.figure import Figure
from matplotlib.text import Text

from dreamerv2_transfer.plotting.arms import STEPS, UPDATES
from dreamerv2_transfer.plotting.views import View

SCRATCH = "scratch"
PRETRAINED = "pretrained"
# The paper's arms, in the order of a legend.
PAPER_ARMS = (
    SCRATCH,
    PRETRAINED,
    "pretrained_frozen_rssm",
    "pretrained_fixed_world_model",
)
ARMS = {
    SCRATCH: "from scratch",
    PRETRAINED: "pre-trained",
    "pretrained_frozen_rssm": "pre-trained, RSSM frozen",
    "pretrained_fixed_world_model": "pre-trained, world model fixed",
    "pretrain": "pre-training",
    "dqn": "DQN",
    "offline": "offline, in dreams alone",
}
# And the names of components, see `arms.arm_of`; the second in the folders of a study.
FROZEN = re.compile(
    r"(?:pretrained_)?frozen((?:_(?:rssm|cell|(?:img|obs)_(?:in|out|dist)|"
    r"encoder|decoder|reward|discount))+)"
)
LENGTH = re.compile(r"pretrained_(\d+)")  # And the updates of pre-training.
METRICS = {
    "train_return": "return of training episodes",
    "eval_return": "return of evaluation episodes",
    "eval_return_mean": "return of evaluation episodes",
    "model_error": "model error (nats a step)",
    "eval_model_error": "held-out model error (nats a step)",
    "eval_known_model_error": "held-out model error on known games (nats a step)",
    "eval_forgetting": "forgetting: growth of that error (nats a step)",
    "model_loss": "model loss (nats a step)",
    "eval_model_loss": "held-out model loss (nats a step)",
    "eval_reward_auc": "AUC of held-out rewards",
    "eval_reward_auc_dreamed": "AUC of held-out rewards, dreamed",
    "eval_discount_auc": "AUC of held-out ends of episodes",
    "eval_discount_auc_dreamed": "AUC of held-out ends of episodes, dreamed",
    "reward_dreamed": "dreamed reward a step",
    "reward_played": "reward a step of training episodes",
    "reward_replayed": "reward a step of the replay",
}
UNITS = {UPDATES: "training step (update)", STEPS: "environment step"}
MOST = 120  # Characters of a name.
SUITES = {"minatar": "MinAtar", "atari": "Atari", "dmc": "DMC", "gym": "Gymnasium"}


def arm_label(arm: str, labels: Mapping[str, str] | None = None) -> str:
    """Returns what a legend calls an arm; `labels` takes precedence."""
    known = {**ARMS, **(labels or {})}
    base, comma, options = arm.partition(", ")
    if arm not in known and comma:
        return _shown(f"{arm_label(base, labels)}, {options}")
    if arm not in known and (length := LENGTH.fullmatch(arm)):
        return f"pre-trained for {int(length[1]):,} updates"
    if arm in known or not (layers := FROZEN.fullmatch(arm)):
        return _shown(known.get(arm, arm))
    frozen = re.findall(r"(?:img|obs)_[a-z]+|[a-z]+", layers[1])
    shown = " and ".join(frozen).replace("rssm", "RSSM")
    return _shown(f"pre-trained, {shown} frozen")


def metric_label(metric: str) -> str:
    """Returns what an axis calls a metric."""
    return METRICS.get(metric, _shown(metric))


def task_label(task: str) -> str:
    """Turns `minatar_space_invaders` into `Space Invaders (MinAtar)`."""
    suite, _, _ = task.partition("_")
    suffix = f" ({SUITES[suite]})" if suite in SUITES else ""
    return f"{game_label(task)}{suffix}"


def game_label(task: str) -> str:
    """Turns `minatar_space_invaders` into `Space Invaders`, for where room is short."""
    suite, _, game = task.partition("_")
    if suite not in SUITES:
        return _shown(task)
    # The capitals of an id such as CartPole-v1 stay.
    words = _shown(game).replace("_", " ").split(" ")
    return " ".join(word[:1].upper() + word[1:] for word in words)


def literal(drawn: Figure) -> Figure:
    """Returns a figure whose texts are shown as they are.

    matplotlib reads what is between dollars as mathematics, and fails on a name such as
    `$\\frac$`.
    """
    for text in drawn.findobj(Text):
        text.set_parse_math(False)
    return drawn


def across(view: View, units: Collection[str]) -> str:
    """Returns the label of the horizontal axis.

    Args:
        view: How the curves were made.
        units: What places on it count, see `panels.Panel.units`.
    """
    if view.xaxis != "step":
        return view.xaxis
    (unit,) = units if len(units) == 1 and view.is_as_logged else ("",)
    return UNITS.get(unit, "step")


def _shown(name: str) -> str:
    """Returns a name as a figure can show it.

    None has room for a very long one, and matplotlib leaves a name that begins with `_`
    out of a legend.
    """
    shown = f" {name}" if name.startswith("_") else name
    cut = f"{shown[: MOST - 1]}\N{HORIZONTAL ELLIPSIS}"
    return shown if len(shown) <= MOST else cut
