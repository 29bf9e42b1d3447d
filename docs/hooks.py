"""Completes the documentation site with what stands outside of docs/*.md.

MkDocs calls `on_files` and `on_page_markdown` (see mkdocs.yml). GitHub shows the same
pages without them: there a link leads to the file itself. In the site

- a notebook becomes a page, with its saved outputs,
- a module of the package that a page links to becomes the page of its docstrings,
- any other file of the repository that a page links to is taken over as it is, text as
  a page, and so are the files that such a page links to.
"""

from __future__ import annotations

import base64
import json
import os
import pathlib
import posixpath
import re
from collections.abc import Iterator
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = pathlib.Path(__file__).resolve().parents[1]
DOCS = ROOT / "docs"
PACKAGE = ROOT / "dreamerv2_transfer"
# What a terminal reads as colours; Jupyter makes commands print them.
COLORS = re.compile(r"\x1b\[[0-9;]*m")
# Lexers of Pygments for the files that are shown as text.
LANGUAGES = {
    "": "text",
    ".cff": "yaml",
    ".cfg": "ini",
    ".json": "json",
    ".py": "python",
    ".sh": "bash",
    ".toml": "toml",
    ".txt": "text",
    ".yaml": "yaml",
    ".yml": "yaml",
}
# A fenced block, which is left alone, or the target of a link or of an image.
LINK = re.compile(
    r"^(?P<fence>`{3,}|~{3,}).*?^(?P=fence)[ \t]*$"
    r"|(?P<start>\]\(|\b(?:src|href)=\")(?P<target>[^)\s\"#]+)",
    re.MULTILINE | re.DOTALL,
)

# The repository's files that are in the site: where each of them is there.
_places: dict[pathlib.Path, str] = {}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Adds pages of notebooks, and the files outside of docs/ that pages link to."""
    _places.clear()
    _places.update({DOCS / file.src_uri: file.src_uri for file in files})
    texts = {
        DOCS / file.src_uri: file.content_string for file in files.documentation_pages()
    }
    for path in [path for path in _places if path.suffix == ".ipynb"]:
        texts[path] = _add_notebook(path, files, config)
    while texts:
        origin, text = texts.popitem()
        for path in _targets(text, origin):
            if path.is_file() and path not in _places:
                file = _file(path, config)
                files.append(file)
                _places[path] = file.src_uri
                if path.suffix == ".md":
                    texts[path] = file.content_string
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    """Turns links to files of the repository into links to their places in the site."""
    origins = {uri: path for path, uri in _places.items()}
    origin = origins[page.file.src_uri]
    folder = posixpath.dirname(page.file.src_uri)

    def changed(match: re.Match[str]) -> str:
        place = (
            _places.get(_resolve(match["target"], origin)) if match["start"] else None
        )
        if place is None:
            return match[0]
        return match["start"] + posixpath.relpath(place, folder or ".")

    return LINK.sub(changed, markdown)


def notebook_page(notebook: dict[str, Any], name: str) -> tuple[str, dict[str, bytes]]:
    """Converts a notebook to Markdown.

    Args:
        notebook: The parsed `.ipynb` file.
        name: Its file name without the suffix. Pictures go into a folder of that name.

    Returns:
        The page, and the pictures by path relative to the page.
    """
    parts, pictures = [], {}
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] == "markdown":
            parts.append(source)
            continue
        language = "python"
        if source.startswith("%%bash"):
            language, source = "bash", source.removeprefix("%%bash").lstrip("\n")
        parts.append(f"````{language}\n{source}\n````")
        printed = ""  # Standard output and error, as they came.
        for output in [*cell.get("outputs", []), {}]:
            if "text" in output:
                printed += "".join(output["text"])
                continue
            if printed:
                parts.append(_text_block(printed))
                printed = ""
            data = output.get("data", {})
            if "image/png" in data:
                path = f"{name}/{len(pictures)}.png"
                pictures[path] = base64.b64decode("".join(data["image/png"]))
                parts.append(f"![Output of the cell above]({path})")
            elif data:
                parts.append(_text_block("".join(data["text/plain"])))
    download = f'[Download this notebook]({name}.ipynb){{ download="" }}'
    return "\n\n".join([*parts, download]) + "\n", pictures


def _text_block(text: str) -> str:
    text = COLORS.sub("", text)
    return f"````{{.text .output}}\n{text.rstrip()}\n````"


def _add_notebook(path: pathlib.Path, files: Files, config: MkDocsConfig) -> str:
    """Adds the page of a notebook and its pictures; returns the page."""
    text, pictures = notebook_page(json.loads(path.read_text("utf-8")), path.stem)
    folder = posixpath.dirname(path.relative_to(DOCS).as_posix())
    uri = f"{folder}/{path.stem}.md"
    files.append(File.generated(config, uri, content=text))
    for name, content in pictures.items():
        files.append(File.generated(config, f"{folder}/{name}", content=content))
    _places[path] = uri
    return text


def _file(path: pathlib.Path, config: MkDocsConfig) -> File:
    """The place of one of the repository's files in the site."""
    name = path.relative_to(ROOT).as_posix()
    if path.suffix == ".py" and path.is_relative_to(PACKAGE):
        module = name.removesuffix(".py").removesuffix("/__init__").replace("/", ".")
        text = f"# `{module}`\n\n::: {module}\n"
        return File.generated(config, f"api/{module}.md", content=text)
    if path.suffix in LANGUAGES:
        fence = f'`````{{.{LANGUAGES[path.suffix]} title="{name}"}}'
        text = f"# {name}\n\n{fence}\n{path.read_text('utf-8')}\n`````\n"
        return File.generated(config, f"repository/{name}.md", content=text)
    return File.generated(config, f"repository/{name}", abs_src_path=str(path))


def _targets(text: str, origin: pathlib.Path) -> Iterator[pathlib.Path]:
    """The files of the repository that a page links to."""
    for match in LINK.finditer(text):
        if match["start"] and "://" not in match["target"]:
            path = _resolve(match["target"], origin)
            if path.is_relative_to(ROOT):
                yield path


def _resolve(target: str, origin: pathlib.Path) -> pathlib.Path:
    """The file that a link leads to; of a folder its README, as GitHub shows it."""
    path = pathlib.Path(os.path.normpath(origin.parent / target))
    return path / "README.md" if path.is_dir() else path
