"""Reads the weights of a PyTorch checkpoint, without running code from it."""

from __future__ import annotations

import gzip
import io
import os
import pathlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np

from dreamerv2_transfer.common.errors import UserError, describe

# More than any player has; guards against files of a few KB that unpack to gigabytes.
MAX_BYTES = 2**30
STATE = "estimator_state"  # Where the public Atari agents keep the network's weights.
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"  # First bytes of such files.


class TorchFileError(UserError):
    """A PyTorch checkpoint cannot be read, or PyTorch is missing."""


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict, or the one under `estimator_state` of a larger checkpoint.

    The file may be gzipped, and in PyTorch's zip format or the older one.

    Returns:
        The arrays by name.

    Raises:
        TorchFileError: Names the file and what is wrong with it: missing, damaged,
            larger than 1 GiB, no state dict, or code, which is not run. Or PyTorch is
            not installed.
    """
    path = pathlib.Path(path)
    try:
        state = _load(_content(path))
        if isinstance(state, Mapping) and STATE in state:
            state = state[STATE]
        tensor = _torch().Tensor
        if not isinstance(state, Mapping) or not all(
            isinstance(x, tensor) for x in state.values()
        ):
            raise TorchFileError(f"it holds no state dict, itself or under {STATE}.")
        # A tensor can claim to be larger than the bytes that it is made of.
        _check_size(sum(x.numel() * x.element_size() for x in state.values()))
        return {str(name): x.detach().numpy() for name, x in state.items()}
    except TorchFileError as error:
        raise TorchFileError(f"{path} cannot be used: {error}") from error
    except Exception as error:  # Damaged bytes can raise almost anything.
        raise TorchFileError(
            f"{path} cannot be read as a PyTorch checkpoint: {describe(error)}"
        ) from error


def _content(path: pathlib.Path) -> bytes:
    """Reads and unpacks a file, up to the largest size that is allowed."""
    with path.open("rb") as file:
        is_packed = file.read(2) == _GZIP
    with gzip.open(path) if is_packed else path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    _check_size(len(content))
    if content.startswith(_ZIP):  # Its entries may be compressed again.
        entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
        _check_size(sum(entry.file_size for entry in entries))
    return content


def _load(content: bytes) -> Any:
    """Unpickles a checkpoint of tensors and plain values."""
    torch = _torch()
    try:
        with warnings.catch_warnings(action="ignore"):  # About the pickle's protocol.
            return torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
    except pickle.UnpicklingError as error:
        # Not in PyTorch's own words, which explain how to run the code.
        found = re.search(r"GLOBAL (\S+)", str(error))
        fault = (
            f"it refers to {found[1]}, which is more than tensors and plain values"
            if found
            else "it is no checkpoint of PyTorch, or a damaged one"
        )
        raise TorchFileError(f"{fault}. None of it was run.") from error


def _torch():
    try:
        import torch
    except ImportError as error:
        raise TorchFileError(
            "it needs PyTorch, which is not installed: pip install '.[torch]'"
        ) from error
    return torch


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise TorchFileError(
            f"it unpacks to more than {MAX_BYTES:,} bytes, as no player does."
        )
