"""The templates of pages, with their style and their scripts."""

from __future__ import annotations

import base64
import hashlib
import importlib.resources
import re
from typing import Any

import jinja2
import markupsafe

FOLDER = "page"  # Of the files below.
STYLES = ("palette.css", "report.css")
# Plotly's license has to accompany its code.
SCRIPTS = (("LICENSE.plotly", "plotly-basic-4.1.1.min.js"), ("report.js",))


def render(name: str, **values: Any) -> str:
    """Returns a page, with texts escaped and with a policy against other scripts.

    Args:
        name: The template.
        values: What the template names, other than style, scripts and policy.
    """
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("dreamerv2_transfer.plotting", FOLDER),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {"breakable": breakable, "initial": initial}
    scripts = []
    for *comments, code in SCRIPTS:
        parts = [f"/*\n{_read(comment)}*/\n" for comment in comments]
        scripts.append("".join([*parts, _read(code)]))
    hashes = [hashlib.sha256(script.encode()).digest() for script in scripts]
    known = " ".join(f"'sha256-{base64.b64encode(x).decode()}'" for x in hashes)
    policy = (
        f"default-src 'none'; script-src {known}; style-src 'unsafe-inline'; "
        "img-src data: blob:; base-uri 'none'; form-action 'none'"
    )
    return environment.get_template(name).render(
        style=markupsafe.Markup("".join(map(_read, STYLES))),
        scripts=[markupsafe.Markup(script) for script in scripts],
        policy=policy,
        **values,
    )


def breakable(text: str) -> markupsafe.Markup:
    """Escapes a text and lets lines break within names, but not within intervals."""
    space = "\N{NO-BREAK SPACE}"
    kept = re.sub(r"(?<=\d) (to|of) (?=-?\d)", rf"{space}\1{space}", text)
    return markupsafe.Markup("<wbr>").join(re.split(r"(?<=[/_.])(?=[^\W\d_])", kept))


def initial(text: str) -> str:
    """Returns a text that begins with a capital letter."""
    return text[:1].upper() + text[1:]


def _read(name: str) -> str:
    file = importlib.resources.files(__package__).joinpath(FOLDER, name)
    return file.read_text("utf-8")
