"""Reads the weights of a PyTorch checkpoint, without running code from it."""

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

MAX_BYTES = (
    2**30
)  # More than any agent has: guards against a file of a few KB of zeros.
STATE = "estimator_state"  # Where the public Atari agents keep the network's weights.
_GZIP, _ZIP = b"\x1f\x8b", b"PK\x03\x04"  # What such files start with.


class TorchFileError(UserError):
    """A PyTorch checkpoint that cannot be read, or that PyTorch is missing for."""


def read(path: str | os.PathLike) -> dict[str, np.ndarray]:
    """Reads a state dict, or the one under `estimator_state` of a larger checkpoint.

    The file may be gzipped, and of PyTorch's zip format or of the older one.

    Returns:
        The arrays by name.

    Raises:
        TorchFileError: names the file and what is wrong with it: missing, damaged,
            more than 1 GiB, no state dict, or code, which is not run; or PyTorch is
            not installed.
    """
    path = pathlib.Path(path)
    try:
        return _arrays(_load(_content(path)))
    except TorchFileError as error:
        raise TorchFileError(f"{path} cannot be used: {error}") from error
    except Exception as error:  # Damaged bytes raise nearly anything.
        raise TorchFileError(
            f"{path} cannot be read as a PyTorch checkpoint: {describe(error)}"
        ) from error


def _content(path: pathlib.Path) -> bytes:
    with path.open("rb") as file:
        packed = file.read(2) == _GZIP
    with gzip.open(path) if packed else path.open("rb") as file:
        content = file.read(MAX_BYTES + 1)
    _check_size(len(content))
    if content.startswith(_ZIP):  # Its entries may be compressed once more.
        entries = zipfile.ZipFile(io.BytesIO(content)).infolist()
        _check_size(sum(entry.file_size for entry in entries))
    return content


def _load(content: bytes) -> Any:
    torch = _torch()
    try:
        with warnings.catch_warnings(action="ignore"):  # Of the pickle's protocol.
            return torch.load(
                io.BytesIO(content), map_location="cpu", weights_only=True
            )
    except pickle.UnpicklingError as error:
        # Not in PyTorch's own words, which tell how to run the code.
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


def _arrays(checkpoint: Any) -> dict[str, np.ndarray]:
    state = _state_dict(checkpoint)
    # A tensor can say that it is larger than the bytes that it was made of.
    _check_size(
        sum(tensor.numel() * tensor.element_size() for tensor in state.values())
    )
    return {name: tensor.detach().numpy() for name, tensor in state.items()}


def _state_dict(checkpoint: Any) -> Mapping[str, Any]:
    state = checkpoint
    if isinstance(checkpoint, Mapping) and STATE in checkpoint:
        state = checkpoint[STATE]
    if not isinstance(state, Mapping) or not all(map(_is_tensor, state.values())):
        raise TorchFileError(f"it holds no state dict, itself or under {STATE}.")
    return {str(name): tensor for name, tensor in state.items()}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, _torch().Tensor)


def _check_size(size: int) -> None:
    if size > MAX_BYTES:
        raise TorchFileError(
            f"it unpacks to more than {MAX_BYTES:,} bytes, as no agent does."
        )
