"""Validates a run's models during training: held-out losses, dreams, rewards."""

from dreamerv2_transfer.validation.dreams import Dreams
from dreamerv2_transfer.validation.episodes import Episodes
from dreamerv2_transfer.validation.forgetting import Forgetting
from dreamerv2_transfer.validation.held_out import HeldOut, by_game
from dreamerv2_transfer.validation.phantom import Phantom
from dreamerv2_transfer.validation.recorded import Recorded

__all__ = [
    "Dreams",
    "Episodes",
    "Forgetting",
    "HeldOut",
    "Phantom",
    "Recorded",
    "by_game",
]
