"""What a page and a session tell each other, as values for JSON."""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from dreamerv2_transfer.common.logger import video
from dreamerv2_transfer.play.session import Branch, PlayError, Session, Step
from dreamerv2_transfer.plotting.labels import task_label

Message = dict[str, Any]
MOST_SEED = 2**32 - 1


class Table:
    """What one tab plays at: it starts sessions and passes on what the player asks.

    Args:
        make: Makes a session, given a game and a seed.
        games: The games that can be chosen, the default first; True for those that the
            model learned.
        about: What the page says about the model: `name`, and `no_agent`, why it has no
            agent.
        seed: The first seed.
    """

    def __init__(
        self,
        make: Callable[[str, int], Session],
        games: Mapping[str, bool],
        about: Message,
        seed: int = 0,
    ):
        self._make = make
        self._games = games
        self._about = about
        self._seed = seed
        self._session: Session | None = None

    def greet(self) -> Message:
        """Returns what a page that opens has to know."""
        return {
            "type": "hello",
            "games": [
                {"task": task, "label": task_label(task), "is_known": is_known}
                for task, is_known in self._games.items()
            ],
            "seed": self._seed,
            **self._about,
        }

    def answer(self, text: str | bytes) -> Message:
        """Does what a page asks for.

        Raises:
            UserError: It cannot be done, or it makes no sense.
        """
        message = _read(text)
        kind = message.get("type")
        if kind == "start":
            return self._start(message)
        if self._session is None:
            raise PlayError("There is no game yet. Start one.")
        branch = self._session.branch
        if kind == "step":
            action = None if message.get("agent") else _number(message, "action")
            self._session.step(action, message.get("look") is True)
            return self._shown(whole=self._session.branch != branch)
        if kind == "rewind":
            to = _number(message, "step"), _number(message, "branch", branch)
            self._session.rewind(*to)
            return self._shown(whole=self._session.branch != branch)
        if kind == "record":
            fps = min(max(_number(message, "fps", 8), 1), 50)
            data = base64.b64encode(self._session.record(fps)).decode()
            return {"type": "recorded", "data": data}
        raise PlayError(f"There is no message of this type. Received: {text!r:.80}")

    def close(self) -> None:
        """Ends the session."""
        if self._session is not None:
            self._session.close()
            self._session = None

    def _start(self, message: Message) -> Message:
        task = message.get("task", next(iter(self._games)))
        if task not in [*self._games]:  # It may be of any type.
            known = ", ".join(self._games)
            raise PlayError(f"This model can play {known}. Received: {task!r:.80}")
        seed = _number(message, "seed", self._seed)
        if not 0 <= seed <= MOST_SEED:
            raise PlayError(f"A seed is 0 to {MOST_SEED}. Received: {seed}")
        made = self._make(task, seed)  # The game before stays, if this one fails.
        self.close()
        self._session = made
        return {
            **self._shown(whole=True),
            "type": "started",
            "task": task,
            "seed": seed,
            "actions": made.game.action_names,
            "used": made.game.used_actions,
            "objects": _legend(made.game.objects),
            "unit": made.unit,
        }

    def _shown(self, whole: bool = False) -> Message:
        """Returns the current step; `whole` adds the course of the branch."""
        session = self._session
        assert session is not None
        shown: Message = {
            "type": "shown",
            "branch": session.branch,
            "branches": [_branch(x) for x in session.branches],
            "step": session.cursor,
            "row": _row(session.now),
            "pictures": _pictures(session.now),
        }
        return shown | ({"course": [*map(_row, session.steps)]} if whole else {})


def failed(reason: str) -> Message:
    """Returns what a page shows as an error."""
    return {"type": "failed", "reason": reason}


def _read(text: str | bytes) -> Message:
    try:
        message = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise PlayError(f"A message must be JSON. Received: {text!r:.80}") from error
    if not isinstance(message, dict):
        raise PlayError(f"A message must be a JSON object. Received: {text!r:.80}")
    return message


def _number(message: Message, name: str, default: int | None = None) -> int:
    value = message.get(name, default)
    if not isinstance(value, int) or isinstance(value, bool):
        raise PlayError(f"{name} must be a whole number. Received: {value!r:.80}")
    return value


def _branch(branch: Branch) -> Message:
    return {"parent": branch.parent, "fork": branch.fork, "last": len(branch.steps) - 1}


def _row(step: Step) -> Message:
    """Returns the numbers of a step."""
    return {
        "action": step.action,
        "looked": step.looked,
        "dreamed": _finite(step.dreamed.reward),
        "discount": _finite(step.dreamed.discount),
        "reward": _finite(step.reward),
        "raw": _finite(step.seen.reward if step.seen else None),
        "error": _finite(step.error),
        "over": step.is_over,
    }


def _pictures(step: Step) -> Message:
    return {
        "dream": _picture(step.dream),
        "game": _picture(step.game),
        "difference": _picture(step.difference),
        "latent": _picture(step.dreamed.latent),
    }


def _picture(array: np.ndarray | None) -> Message | None:
    if array is None:
        return None
    height, width = array.shape[:2]
    data = base64.b64encode(array.tobytes()).decode()
    return {"height": height, "width": width, "data": data}


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else round(value, 5)


def _legend(objects: Sequence[str]) -> list[Message]:
    """Returns the names of MinAtar's planes with their colours."""
    number = len(objects)
    cells = np.eye(number)[:, None, None] if number else np.zeros((0, 1, 1, 1))
    colors = video.planes_to_rgb(cells, 1, max(number, 1))[:, 0, 0]
    pairs = zip(objects, colors.tolist(), strict=True)
    return [{"name": name.replace("_", " "), "color": color} for name, color in pairs]
