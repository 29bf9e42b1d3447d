"""Runs on disk."""

import pytest

from dreamerv2_transfer.plotting import runs
from tests import names
from tests.plotting.folders import values, write


def test_a_run_has_its_metrics_by_name(tmp_path):
    run = runs.load(write(tmp_path / "a", stage="scratch"))
    assert values(run.metrics["loss"]) == ([1, 2], [2, 1])
    assert values(run.metrics["train_return"]) == ([2], [3])
    assert (run.name, run.folder, run.notes) == ("a", tmp_path / "a", ())
    assert "step" not in run.metrics


def test_a_last_line_that_is_cut_off_is_noted_and_survived(tmp_path):
    run = runs.load(write(tmp_path / "a", stage="scratch", end='\n{"step": 3, "lo'))
    assert values(run.metrics["loss"]) == ([1, 2], [2, 1])
    assert run.notes == ("a: the last line is cut off and was left out.",)


def test_runs_are_found_below_a_folder_once(tmp_path):
    write(tmp_path / "x" / "a", stage="scratch")
    write(tmp_path / "x" / "b" / "c", stage="scratch")
    write(tmp_path / "x" / "a" / "train_episodes" / "not_a_run")
    found, skipped = runs.find([tmp_path / "x", tmp_path / "x" / "a"])
    assert sorted(run.name for run in found) == ["a", "x/b/c"]
    assert skipped == []


@pytest.mark.parametrize("name", names.ODD)
def test_any_name_of_a_folder_works(tmp_path, name):
    write(tmp_path / name / "a", stage="scratch")
    write(tmp_path / name / name, stage="scratch")
    found, skipped = runs.find([tmp_path / name, tmp_path / name / "a"])
    assert {run.name for run in found} == {"a", f"{name}/{name}"}
    assert [run.config.stage for run in found] == ["scratch"] * 2
    assert skipped == []


def test_a_file_of_metrics_is_a_run_with_its_configuration_beside_it(tmp_path):
    write(tmp_path, stage="scratch", seed=4)
    (tmp_path / "metrics.jsonl").rename(tmp_path / "arm.jsonl")
    (tmp_path / "config.yaml").rename(tmp_path / "arm.yaml")
    (run,), _ = runs.find([tmp_path / "arm.jsonl"])
    assert (run.name, run.config.seed, run.notes) == ("arm", 4, ())


def test_a_run_without_metrics_is_named_and_skipped(tmp_path):
    good = write(tmp_path / "good", stage="scratch")
    empty = write(tmp_path / "empty", [], stage="scratch")
    none = write(tmp_path / "none", stage="scratch")
    (none / "metrics.jsonl").unlink()
    (tmp_path / "other").mkdir()
    found, skipped = runs.find([good, empty, none, tmp_path / "other"])
    assert [run.name for run in found] == ["good"]
    assert len(skipped) == 3
    assert all(name in " ".join(skipped) for name in ("empty", "none", "other"))


def test_no_run_at_all_is_an_error(tmp_path):
    empty = write(tmp_path / "empty", [])
    with pytest.raises(runs.RunError, match="empty has no metrics"):
        runs.find([empty])
    (tmp_path / "begun").mkdir()
    (tmp_path / "begun" / "config.yaml").touch()
    with pytest.raises(runs.RunError, match=r"Left out: begun has no metrics.jsonl\.$"):
        runs.find([tmp_path / "begun"])
    with pytest.raises(runs.RunError, match="no such run.*Received: .*missing"):
        runs.find([tmp_path / "missing"])


def test_a_damaged_configuration_is_noted(tmp_path):
    (write(tmp_path / "a") / "config.yaml").write_text("rssm: [")
    run = runs.load(tmp_path / "a")
    assert run.config is None and "cannot be read" in run.notes[0]


def test_a_missing_metric_is_reported_with_a_similar_one(tmp_path):
    run = runs.load(write(tmp_path / "a"))
    assert run.series("train_retrun") is None
    assert (
        run.lacking("train_retrun") == "a has no 'train_retrun'; it has train_return."
    )


def test_a_metric_is_found_by_the_originals_name_and_by_ours(tmp_path):
    rows = [{"step": 4, "eval_return": -21.0}]
    run = runs.load(write(tmp_path / "a", rows))
    assert values(run.series("eval_return_mean")) == ([4], [-21])
    assert values(run.series("eval_return")) == ([4], [-21])


def test_folders_of_task_method_and_seed_are_a_layout_where_asked(tmp_path):
    write(tmp_path / "atari_pong" / "mine" / "7")
    write(tmp_path / "loose")
    (run, loose), _ = runs.find([], [tmp_path])
    assert run.layout == ("atari_pong", "mine", "7") and loose.layout is None
    (run, _), _ = runs.find([tmp_path])
    assert run.layout is None
    (run, _), _ = runs.find([tmp_path], [tmp_path])
    assert run.layout == ("atari_pong", "mine", "7")


@pytest.mark.parametrize("file", ["metrics.jsonl", "config.yaml"])
def test_what_a_link_leads_to_is_not_read(tmp_path, file):
    outside = write(tmp_path / "outside", stage="scratch")
    run = write(tmp_path / "run", stage="scratch")
    (run / file).unlink()
    (run / file).symlink_to(outside / file)
    if file == "metrics.jsonl":
        with pytest.raises(runs.RunError, match="metrics.jsonl is a link to a file"):
            runs.load(run)
        return
    found = runs.load(run)
    assert found.config is None
    assert f"{run / file} is a link to a file outside of its folder" in found.notes[0]


def test_links_to_runs_and_within_runs_are_followed(tmp_path):
    run = write(tmp_path / "run", stage="scratch")
    (run / "metrics.jsonl").rename(run / "all.jsonl")
    (run / "metrics.jsonl").symlink_to("all.jsonl")
    (tmp_path / "latest").symlink_to(run)
    assert runs.load(tmp_path / "latest").series("loss") is not None
    (tmp_path / "arm.jsonl").symlink_to(run / "all.jsonl")
    assert runs.load(tmp_path / "arm.jsonl").series("loss") is not None
