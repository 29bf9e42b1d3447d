"""The report's template, with its style and its scripts."""

import base64
import hashlib
import re

import jinja2
import pytest

from dreamerv2_transfer.plotting import template

EMPTY = {
    "title": "<A title>",
    "facts": [],
    "verdict": {"sentence": "A verdict.", "metric": "loss", "cards": []},
    "notes": ["A note."],
    "runs": {"headings": ["run"], "rows": [], "title": "", "note": "", "texts": 1},
    "metric_label": str,
    "data": {"text": "</script>"},
    "behind": False,
}
EMPTY |= dict.fromkeys(("lines", "agreement", "main", "videos", "analyses"), ())
EMPTY |= dict.fromkeys(("gains", "claims", "differences", "curves"), ())


def scripts(page):
    """The page's data, Plotly, and the page's own script."""
    return re.findall("<script[^>]*>(.*?)</script>", page, re.DOTALL)


def test_only_the_scripts_of_the_page_may_run():
    page = template.render("report.html", **EMPTY)
    policy = re.search('Content-Security-Policy" content="(.*?)"', page)[1]
    hashes = [
        base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
        for script in scripts(page)[1:]
    ]
    assert len(hashes) == 2
    assert policy.replace("&#39;", "'") == (
        f"default-src 'none'; script-src 'sha256-{hashes[0]}' 'sha256-{hashes[1]}'; "
        "style-src 'unsafe-inline'; img-src data: blob:; base-uri 'none'; "
        "form-action 'none'"
    )


def test_texts_are_escaped_and_sections_without_content_are_left_out():
    page = template.render("report.html", **EMPTY)
    assert page.startswith("<!doctype html>")
    assert "<title>&lt;A title&gt;</title>" in page
    assert scripts(page)[0] == r'{"text": "\u003c/script\u003e"}'
    sections = re.findall('<section id="(.*?)">', page)
    assert sections == ["summary", "runs", "notes"]


def test_a_value_that_is_forgotten_is_an_error():
    with pytest.raises(jinja2.UndefinedError, match="'title' is undefined"):
        template.render(
            "report.html", **{k: v for k, v in EMPTY.items() if k != "title"}
        )


def test_plotly_comes_with_its_license_and_without_its_server():
    plotly, own = scripts(template.render("report.html", **EMPTY))[1:]
    assert plotly.startswith("/*\nMIT License\n\nCopyright (c) 2016-2024 Plotly")
    assert "plotly.js (basic - minified) v4.1.1" in plotly
    assert 'plotlyServerURL: ""' in own and "sendChartToCloud" not in own


def test_names_break_and_intervals_do_not():
    assert template.breakable("a/b_c.d <b>") == ("a/<wbr>b_<wbr>c.<wbr>d &lt;b&gt;")
    space = "\N{NO-BREAK SPACE}"
    assert template.breakable("1.5 (-1 to -0.5)") == f"1.5 (-1{space}to{space}-0.5)"


def test_only_the_first_letter_becomes_a_capital():
    assert template.initial("model KL") == "Model KL" and template.initial("") == ""
