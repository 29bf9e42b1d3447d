"""Metrics and videos of a run: on the terminal, in files, and at trackers."""

from __future__ import annotations

from dreamerv2_transfer.common.logger.logger import (
    JSONLOutput,
    Logger,
    LoggerError,
    Summary,
    TensorBoardOutput,
    TerminalOutput,
    check,
    format_number,
    make_logger,
)

__all__ = [
    "JSONLOutput",
    "Logger",
    "LoggerError",
    "Summary",
    "TensorBoardOutput",
    "TerminalOutput",
    "check",
    "format_number",
    "make_logger",
]
