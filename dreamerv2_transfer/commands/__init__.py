"""The commands: `dreamerv2-transfer train`, `collect` and so on."""

from dreamerv2_transfer.commands.console import main

__all__ = ["main"]
