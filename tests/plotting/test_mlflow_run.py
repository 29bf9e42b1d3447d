"""Runs of pydreamer."""

import pytest

from dreamerv2_transfer.plotting import arms, mlflow_run, runs
from tests.plotting.folders import values, write


def leave(folder, **metrics):
    """Writes the folder of an MLflow run."""
    files = {"params/env_id": "MinAtar/SpaceInvaders-v0", "meta.yaml": "name: a"}
    files["tags/mlflow.runName"] = "sly-fox-7"
    files |= {f"metrics/{name.replace('__', '/')}": v for name, v in metrics.items()}
    for name, text in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


def test_metrics_have_our_names_and_the_updates_as_steps(tmp_path):
    text = "170 0.5 0\n171 0.25 0\n172 2.0 50\n"
    run = runs.load(leave(tmp_path / "a", agent__return=text, train__fps="1 3 9\n"))
    assert values(run.metrics["train_return"]) == ([0, 50], [0.25, 2])
    assert values(run.metrics["train_fps"]) == ([9], [3])
    assert (run.name, run.config, run.notes) == ("sly-fox-7", None, ())
    assert arms.task_of(run) == "minatar_space_invaders"
    assert (arms.arm_of(run), arms.seed_of(run)) == ("pydreamer", "sly-fox-7")


def test_damaged_lines_and_odd_numbers_are_left_out(tmp_path):
    text = "1 nan 0\n2 1.5 1\n3 1e999 2\nwhat\n4 7"
    run = runs.load(leave(tmp_path / "a", train__loss_model=text), "b")
    assert values(run.metrics["model_error"]) == ([1], [1.5])
    assert run.notes == ("b: 2 damaged lines of train/loss_model were left out.",)
    with pytest.raises(runs.RunError, match="sly-fox-7 has no metrics"):
        runs.load(leave(tmp_path / "c", _loss=""))


@pytest.mark.parametrize(
    "name", ["tags/mlflow.runName", "params/env_id", "metrics/agent/return"]
)
def test_a_link_out_of_the_folder_is_not_read(tmp_path, name):
    secret = tmp_path / "secret"
    secret.write_text("1 2 3\n")
    folder = leave(tmp_path / "a", _loss="1 2 3\n")
    (folder / name).unlink(missing_ok=True)
    (folder / name).parent.mkdir(exist_ok=True, parents=True)
    (folder / name).symlink_to(secret)
    with pytest.raises(runs.RunError, match="link to a file outside of its folder"):
        runs.load(folder)


def test_a_name_as_large_as_a_book_is_refused(tmp_path):
    folder = leave(tmp_path / "a", _loss="1 2 3\n")
    (folder / "tags/mlflow.runName").write_text("x" * 2**17)
    with pytest.raises(runs.RunError, match="has more than 65,536 bytes|more than"):
        runs.load(folder)


def test_they_are_found_among_ours(tmp_path):
    write(tmp_path / "ours", stage="scratch")
    leave(tmp_path / "mlruns" / "0" / "5e1f", _loss="1 2 3\n")
    (tmp_path / "mlruns" / "0" / "meta.yaml").write_text("name: Default")
    found, skipped = runs.find([tmp_path])
    assert {run.folder.name for run in found} == {"ours", "5e1f"} and not skipped


@pytest.mark.parametrize(
    ("env_id", "task"),
    [
        ("MinAtar/SpaceInvaders-v0", "minatar_space_invaders"),
        ("Atari-Beam_Rider", "atari_beam_rider"),
        ("DMC-quadruped_run", "dmc_quadruped_run"),
        ("CartPole-v0", "gym_CartPole-v0"),
    ],
)
def test_games_have_our_names(env_id, task):
    assert mlflow_run.task_of(env_id) == task
