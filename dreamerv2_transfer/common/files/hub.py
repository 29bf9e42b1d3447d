"""Model folders on the Hugging Face Hub: `hf://USER/NAME`, or `...@REVISION`.

A revision is a commit, a tag or a branch; a commit pins what is loaded for good. Files
lie in the Hub's own cache, one folder for each commit.
"""

from __future__ import annotations

import contextlib
import os
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

from dreamerv2_transfer.common.errors import UserError, describe

PREFIX = "hf://"
# Variables of the library, which itself reads them once, at its import.
ENDPOINT, CACHE = "HF_ENDPOINT", "HF_HUB_CACHE"
NAME = re.compile(
    r"hf://(?P<repo>[\w.-]+/[\w.-]+?)(?:@(?P<revision>[\w./-]+))?/?", re.ASCII
)


class HubError(UserError):
    """A model on the Hub that does not exist or cannot be reached."""


def is_hub(path: str | os.PathLike) -> bool:
    """Returns whether a path names a folder on the Hub."""
    return os.fspath(path).startswith(PREFIX)


def split(url: str | os.PathLike) -> tuple[str, str | None]:
    """Returns the repository `USER/NAME` of a URL, and its revision if it has one.

    Raises:
        HubError: It is spelled otherwise.
    """
    found = NAME.fullmatch(os.fspath(url))
    if not found:
        raise HubError(
            "A model on the Hub is named hf://USER/NAME or hf://USER/NAME@REVISION. "
            f"Received: {os.fspath(url)}"
        )
    return found["repo"], found["revision"]


def fetched(url: str | os.PathLike, patterns: Sequence[str]) -> pathlib.Path:
    """Returns the local folder of a model; fetches what is not there yet.

    Args:
        url: `hf://USER/NAME[@REVISION]`.
        patterns: Names of the files that are needed, such as `*.safetensors`.

    Returns:
        The folder, whose name is that of the commit.

    Raises:
        HubError: The package is missing, or the model does not exist or cannot be
            reached.
    """
    repo, revision = split(url)
    library = _library()
    with _explained(url):
        folder = library.snapshot_download(
            repo,
            revision=revision,
            allow_patterns=list(patterns),
            endpoint=os.environ.get(ENDPOINT),
            cache_dir=os.environ.get(CACHE),
        )
    return pathlib.Path(folder)


def upload(folder: pathlib.Path, url: str | os.PathLike) -> str:
    """Uploads a folder as one commit; makes the repository if there is none.

    Returns:
        The URL with the commit's revision.

    Raises:
        HubError: It cannot be uploaded, for example for want of a login.
    """
    repo, revision = split(url)
    api = _library().HfApi(endpoint=os.environ.get(ENDPOINT))
    with _explained(url):
        api.create_repo(repo, exist_ok=True)
        commit = api.upload_folder(
            repo_id=repo,
            folder_path=folder,
            revision=revision,
            commit_message=f"Publish {repo.split('/')[1]}",
        )
    return f"{PREFIX}{repo}@{commit.oid}"


def _library() -> Any:
    try:
        import huggingface_hub
    except ImportError as error:
        raise HubError(
            "Models on the Hub need the package huggingface_hub: "
            "pip install 'dreamerv2_transfer[hub]'."
        ) from error
    return huggingface_hub


@contextlib.contextmanager
def _explained(url: str | os.PathLike) -> Iterator[None]:
    from huggingface_hub.utils import disable_progress_bars, enable_progress_bars

    disable_progress_bars()
    try:
        yield
    except Exception as error:  # The library raises its own, httpx's and the system's.
        raise HubError(
            f"{os.fspath(url)} cannot be reached: {describe(error):.300}. Check its "
            "name, the revision and your connection; for a private one or to publish, "
            "log in by: hf auth login."
        ) from error
    finally:
        enable_progress_bars()
