"""What an analysis left in a run's folder."""

import base64
import io
import json
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image
from PIL.PngImagePlugin import PngInfo

from dreamerv2_transfer.plotting import analyses, runs

PUBLISHED = (
    pathlib.Path(__file__).parents[2]
    / "results/minatar_small/space_invaders/pretrain_0/analysis"
)


def picture(text: str) -> bytes:
    """A PNG that holds a text."""
    info, buffer = PngInfo(), io.BytesIO()
    info.add_text("name", text)
    Image.new("RGB", (3, 2)).save(buffer, "PNG", pnginfo=info)
    return buffer.getvalue()


def make_run(folder: pathlib.Path, files=(), **content) -> runs.Run:
    """A run with an analysis, in which each file is its own picture."""
    (folder / "analysis").mkdir()
    for file in files:
        (folder / "analysis" / file).write_bytes(picture(file))
    figures = [{"file": f, "title": f"T {f}", "caption": "C"} for f in files]
    held = {"findings": ["A finding."], "figures": figures, **content}
    (folder / "analysis" / "analysis.json").write_text(json.dumps(held))
    return runs.Run("run", folder, None, {"x": (np.zeros(1), np.zeros(1))})


def test_findings_and_figures_without_numbers_are_shown(tmp_path):
    run = make_run(tmp_path, ["probes.png"])
    (found,), notes = analyses.read(run)
    assert (found.run, found.findings, notes) == ("run", ("A finding.",), [])
    assert found.overview is None
    (part,) = found.parts
    assert (part.title, part.tables) == ("", ())
    (shown,) = part.pictures
    assert (shown.title, shown.caption) == ("T probes.png", "C")
    encoded = base64.b64encode(picture("probes.png")).decode()
    assert shown.uri == f"data:image/png;base64,{encoded}"


def test_a_run_without_an_analysis_has_none(tmp_path):
    run = runs.Run("run", tmp_path, None, {})
    assert analyses.read(run) == ([], [])


def test_the_published_analysis_has_a_part_per_game_and_one_for_all(tmp_path):
    shutil.copytree(PUBLISHED, tmp_path / "analysis")
    (found,), notes = analyses.read(runs.Run("run", tmp_path, None, {}))
    assert notes == []
    assert len(found.overview.rows) == 4 and len(found.findings) == 50
    *games, together = found.parts
    assert [part.title for part in found.parts] == [
        "Seaquest (MinAtar)",
        "Asterix (MinAtar)",
        "Breakout (MinAtar)",
        "Freeway (MinAtar)",
        "All games together",
    ]
    assert [(len(x.tables), len(x.pictures)) for x in games] == [(4, 7)] * 4
    assert games[0].pictures[0].title == "What a linear probe reads off the features"
    assert [len(x.rows) for x in games[0].tables] == [29, 9, 3, 4]
    (table,) = together.tables
    assert len(table.rows) == 11
    assert [x.title for x in together.pictures] == [
        "Probes from game to game",
        "One probe for several games",
    ]


@pytest.mark.parametrize("named", ["minatar_seaquest", "Seaquest (MinAtar)"])
def test_a_game_is_named_above_its_pictures_alone(tmp_path, named):
    shutil.copytree(PUBLISHED, tmp_path / "analysis")
    file = tmp_path / "analysis" / "analysis.json"
    file.write_text(file.read_text().replace("minatar_seaquest: ", f"{named}: "))
    (found,), _ = analyses.read(runs.Run("run", tmp_path, None, {}))
    shown = found.parts[0].pictures[0].title
    assert shown == "What a linear probe reads off the features"


def test_an_analysis_shows_no_files_but_its_own_pictures(tmp_path):
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    run = make_run(tmp_path, ["notes.txt"])
    file = run.folder / "analysis" / "analysis.json"
    held = json.loads(file.read_text())
    for name in ("../../secret.png", "../secret.png", str(secret), "gone.png"):
        held["figures"].append({"file": name, "title": "", "caption": ""})
    file.write_text(json.dumps(held))
    (found,), notes = analyses.read(run)
    assert [part.pictures for part in found.parts] == [()]
    kind, *lacking = notes
    assert kind.startswith("run has a figure that is not shown: notes.txt is not of a")
    assert lacking == [
        f"run lacks a figure of its analysis: {name}."
        for name in (
            "../../secret.png",
            "../secret.png",
            str(secret),
            "gone.png",
        )
    ]


def test_an_analysis_shows_nothing_that_links_lead_to(tmp_path):
    secret = tmp_path / "secret"
    secret.write_bytes(picture("secret"))
    folder = tmp_path / "run"
    folder.mkdir()
    run = make_run(folder, ["a.png", "b.png"])
    (folder / "analysis" / "b.png").unlink()
    (folder / "analysis" / "b.png").symlink_to(secret)
    (found,), notes = analyses.read(run)
    assert [x.title for x in found.parts[0].pictures] == ["T a.png"]
    (note,) = notes
    assert "b.png is a link to a file outside of its folder" in note
    (folder / "analysis").rename(tmp_path / "elsewhere")
    (folder / "analysis").symlink_to(tmp_path / "elsewhere")
    found, (note,) = analyses.read(run)
    assert found == [] and "analysis.json is a link to a file outside" in note


def test_a_figure_that_is_named_several_times_is_shown_once(tmp_path):
    run = make_run(tmp_path, ["a.png"] * 9)
    (found,), notes = analyses.read(run)
    assert len(found.parts[0].pictures) == 1 and notes == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "Expecting value: line 1 column 1 (char 0)"),
        ("{", "Expecting property name enclosed in double quotes: line 1 column 2"),
        ("[]", "must be object"),
        ('{"findings": 1}', "must contain ['f"),
        ('{"findings": []}', "must contain ['f"),
    ],
)
def test_a_damaged_analysis_is_named(tmp_path, text, reason):
    run = make_run(tmp_path)
    (run.folder / "analysis" / "analysis.json").write_text(text)
    found, (note,) = analyses.read(run)
    assert found == []
    start = "run has an analysis that cannot be read: analysis.json, "
    assert note.startswith(start + reason)


@pytest.mark.parametrize(
    ("tasks", "reason"),
    [
        ([], ""),
        ([1], "tasks must be object."),
        ({"a": None}, "tasks.a must be object."),
        ({"a": {}}, "tasks.a must contain"),
        ({"a": {"probes": 3, "dreams": 3}}, "tasks.a must contain"),
        (7, "tasks must be object."),
    ],
)
def test_damaged_numbers_leave_the_findings_and_are_named(tmp_path, tasks, reason):
    run = make_run(tmp_path, ["a_probes.png"], tasks=tasks)
    (found,), notes = analyses.read(run)
    assert found.findings == ("A finding.",) and found.overview is None
    assert len(found.parts[0].pictures) == 1
    known = [f"run has an analysis whose numbers cannot be read: {reason}"]
    assert [note[: len(known[0])] for note in notes] == (known if tasks else [])
