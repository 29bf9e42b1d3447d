"""Paths and URLs that somebody typed, or that a file names: which can be used.

A mistyped URL must not become a folder of that name on this machine.
"""

from __future__ import annotations

import errno
import os
import pathlib
import re

from dreamerv2_transfer.common.errors import UserError

PROTOCOL = r"[a-z][a-z0-9+.-]+"
URL = re.compile(rf"{PROTOCOL}://", re.IGNORECASE)
# As fsspec writes them: simplecache::s3://bucket/run, zip://a.zip::file:///tmp/b.
CHAINED = re.compile(rf"{PROTOCOL}(://.*)?::({PROTOCOL}://)", re.IGNORECASE)
# Only protocols that are in use: a folder may well be called `run:`.
ONE_SLASH = re.compile(r"(file|local|s3a?|gs|gcs|https?)(:/)(?!/)", re.IGNORECASE)
SHOWN = 80  # Characters of a path that is too long.


class PathError(UserError):
    """A path that no file can have, or a URL that is not spelled like one."""


def is_url(path: str | os.PathLike) -> bool:
    """Returns whether a path is a URL, `PROTOCOL://...`."""
    return bool(URL.match(os.fspath(path)))


def local(path: str | os.PathLike) -> pathlib.Path:
    """Returns a path of this machine, with `~` as the home folder.

    `./~a` is the folder of that name; its path is absolute, as pathlib would drop the
    dot, and expand the rest when asked again.
    """
    found = pathlib.Path(os.path.expanduser(os.fspath(path)))
    return found.absolute() if str(found).startswith("~") else found


def check(path: str | os.PathLike, name: str = "") -> None:
    """Checks that a path is one, and a URL a single one that names a folder.

    It need not exist.

    Args:
        path: A path or a URL.
        name: What asked for it, such as `--logdir`, for the error.

    Raises:
        PathError: It is empty, not UTF-8, too long, of a user that does not exist, a
            chained URL, or a URL that lacks a slash or its folder.
    """
    text = os.fspath(path)
    name = name or "The path"
    if not text:
        raise PathError(f"{name} is empty. Name a file or a folder. Received: ''")
    # Python holds bytes that are not UTF-8 as lone surrogates.
    if re.search(r"[\0\ud800-\udfff]", text):
        raise PathError(
            f"{name} has bytes that are no UTF-8 text. Rename the file or folder. "
            f"Received: {ascii(text)}"
        )
    fault = _url_fault(text) or ("" if is_url(text) else _local_fault(text))
    if fault:
        cut = f"{text[:SHOWN]}... ({len(text):,} characters)"
        raise PathError(
            f"{name} {fault} Received: {cut if len(text) > 2 * SHOWN else text}"
        )


def check_within(path: str | os.PathLike, folder: str | os.PathLike) -> None:
    """Refuses a file that a link leads to, out of the folder in which it was found.

    What a stranger's folder links to is the reader's, and must not end up in a page
    that the reader publishes.

    Args:
        path: The file; it need not exist.
        folder: The folder, which may itself be a link.

    Raises:
        PathError: The file lies elsewhere once all links are followed.
    """
    place, top = os.path.realpath(path), os.path.realpath(folder)
    if os.path.commonpath([place, top]) != top:
        raise PathError(
            f"{os.fspath(path)} is a link to a file outside of its folder, and is not "
            "read. Copy the file itself there."
        )


def _url_fault(text: str) -> str:
    """Returns what is wrong with a text that looks like a URL; '' if nothing is."""
    if chain := CHAINED.match(text):
        return (
            "is a chain of URLs. Files are copied as a whole in any case, so name only "
            f"the folder itself, as {chain[2]}..."
        )
    if single := ONE_SLASH.match(text):
        protocol = single[1].lower()
        root = "///" if protocol in ("file", "local") else "//"
        return f"lacks a slash: a URL begins with {protocol}:{root}."
    protocol, _, place = text.partition("://")
    if is_url(text) and not place.strip("/"):
        return "is a URL that names no folder."
    if protocol.lower() in ("file", "local") and place and place[0] not in "/~":
        return f"is a URL of a relative path. Name the whole path: {protocol}:///..."
    return ""


def _local_fault(text: str) -> str:
    """Returns why this machine can have no file of this name; '' if it can."""
    try:
        os.lstat(os.path.expanduser(text))
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            return "is longer than the file system allows. Name a shorter path."
    if text.startswith("~") and os.path.expanduser(text) == text:
        user = text.split("/")[0]
        return (
            f"begins with {user}, but there is no such user. Name a folder as ./{user}."
        )
    return ""
