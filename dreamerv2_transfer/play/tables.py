"""The model that is played with, and the tables of the tabs that play with it."""

from __future__ import annotations

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.envs.minatar import MINATAR_GAMES
from dreamerv2_transfer.play.dreamer import ModelDreamer
from dreamerv2_transfer.play.game import Game
from dreamerv2_transfer.play.messages import Table
from dreamerv2_transfer.play.session import Session
from dreamerv2_transfer.trained.model import Model


class Tables:
    """Makes a table for each tab; all share the model.

    It plays a step at once, so that whatever is wrong shows before a page is open, and
    so that its graphs are made.

    Args:
        model: The model.
        task: The game at the start; empty for the first that the model learned.
        seed: The seed at the start.
        is_trusted: Whether the model's game may name a Python module to import.

    Raises:
        UserError: The game cannot be made, or the model cannot play it.
    """

    def __init__(self, model: Model, task: str = "", seed: int = 0, is_trusted=False):
        self._model = model
        self._seed = seed
        learned = model.tasks
        if not is_trusted:
            blocks.check_task([x for x in learned if x != task], model.source)
        related = (
            [f"minatar_{x}" for x in MINATAR_GAMES]
            if any(x.startswith("minatar_") for x in learned)
            else []
        )
        first = task or learned[0]
        self.games = {x: x in learned for x in (first, *learned, *related)}
        session = self.session(first, seed)
        session.step(0)
        session.close()
        self.no_agent = ModelDreamer(model, seed).no_agent

    def session(self, task: str, seed: int) -> Session:
        """Starts a dream of a game.

        Raises:
            UserError: The game cannot be made, or the model cannot play it.
        """
        game = Game(task, self._model.config, seed)
        try:
            dreamer = ModelDreamer(self._model, seed)
            dreamer.check(game)
            return Session(dreamer, game)
        except BaseException:
            game.close()
            raise

    def new(self) -> Table:
        """Returns the table of a tab that opens."""
        about = {"name": self._model.source, "no_agent": self.no_agent}
        return Table(self.session, self.games, about, self._seed)
