"""The tutorials run, at a size of seconds, and are saved with what they show."""

import json
import pathlib

import nbclient
import nbformat
import pytest

from dreamerv2_transfer.common.config import Config
from tests import runs

FOLDER = runs.ROOT / "docs" / "tutorials"
TUTORIALS = sorted(FOLDER.glob("*.ipynb"))


def code_cells(notebook):
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def pictures(notebook):
    outputs = [x for cell in code_cells(notebook) for x in cell.outputs]
    return [x for x in outputs if "image/png" in x.get("data", {})]


def execute(name, logdir, monkeypatch):
    monkeypatch.setenv("DREAMERV2_TUTORIAL", "debug")
    monkeypatch.setenv("LOGDIR", str(logdir))
    monkeypatch.setenv("PYTHONPATH", str(runs.ROOT))
    notebook = nbformat.read(FOLDER / name, 4)
    nbclient.NotebookClient(
        notebook,
        timeout=300,
        kernel_name="python3",
        resources={"metadata": {"path": str(FOLDER)}},
    ).execute()
    return notebook


def test_the_first_tutorial_pretrains_and_fine_tunes(tmp_path, monkeypatch):
    notebook = execute("pretrain.ipynb", tmp_path, monkeypatch)
    assert len(pictures(notebook)) == 2
    config = Config.load(tmp_path / "finetuned" / "config.yaml")
    assert config.init.path == str(tmp_path / "model")
    for name in ("model", "finetuned", "scratch"):
        assert runs.rows(tmp_path / name)[-1]["step"] == 2


def test_the_second_tutorial_trains_on_its_own_game(tmp_path, monkeypatch):
    notebook = execute("environment.ipynb", tmp_path, monkeypatch)
    assert len(pictures(notebook)) == 3
    assert max(row["step"] for row in runs.rows(tmp_path)) == 2
    # An episode of the game, in which one can earn at most 1 per step.
    (returns,) = runs.series(tmp_path, "eval_return_mean")
    assert 0 <= returns <= 30


@pytest.mark.parametrize("path", TUTORIALS, ids=lambda path: path.stem)
def test_a_tutorial_is_saved_as_it_ran(path):
    notebook = nbformat.read(path, 4)
    nbformat.validate(notebook)
    cells = code_cells(notebook)
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    kinds = {output.output_type for cell in cells for output in cell.outputs}
    assert "error" not in kinds
    assert len(pictures(notebook)) >= 2
    assert path.stat().st_size < 300_000
    text = json.dumps(notebook)
    assert str(pathlib.Path.home()) not in text and "/tmp/" not in text
