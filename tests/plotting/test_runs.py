import json

import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.plotting import runs

ROWS = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0, "train_return": 3}]
OLD = "task: atari_pong\nseed: 0\naction_repeat: 4\nnum_envs: 1\n"


def write(folder, rows=ROWS, end="\n", **settings):
    """A run of ours, if there are settings, else one without a configuration."""
    folder.mkdir(parents=True, exist_ok=True)
    text = "\n".join(map(json.dumps, rows)) + end
    (folder / "metrics.jsonl").write_text(text)
    if settings:
        names = ["minatar", "debug", settings.pop("stage")]
        blocks = settings.pop("blocks", [])
        config = blocks_lib.load_config([*names, *blocks]).update(settings)
        config.save(folder / "config.yaml")
    return folder


def values(run, name):
    steps, held = runs.series(run, name)
    return steps.tolist(), held.tolist()


def test_a_run_has_its_metrics_by_name(tmp_path):
    run = runs.load(write(tmp_path / "a", stage="scratch"))
    assert values(run, "loss") == ([1, 2], [2, 1])
    assert values(run, "train_return") == ([2], [3])
    assert (run.name, run.folder, run.notes) == ("a", tmp_path / "a", ())
    assert "step" not in run.metrics


def test_a_last_line_that_is_cut_off_is_noted_and_survived(tmp_path):
    run = runs.load(write(tmp_path / "a", stage="scratch", end='\n{"step": 3, "lo'))
    assert values(run, "loss") == ([1, 2], [2, 1])
    assert run.notes == ("a: the last line is cut off and was left out.",)


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[1]", b'{"loss": 1}', b'{"step": true, "loss": 1}', b"[" * 10**5],
)
def test_damaged_lines_are_counted(tmp_path, line):
    folder = write(tmp_path / "a", stage="scratch")
    whole = (folder / "metrics.jsonl").read_bytes()
    (folder / "metrics.jsonl").write_bytes(line + b"\n\n" + whole)
    run = runs.load(folder)
    assert values(run, "loss") == ([1, 2], [2, 1])
    assert run.notes == ("a: 1 damaged lines were left out, the first is 1.",)


def test_values_that_are_no_finite_numbers_are_left_out_and_named(tmp_path):
    rows = [{"step": 1, "loss": None, "kl": 1}, {"step": 2, "loss": float("nan")}]
    rows += [{"step": 3, "loss": 5, "text": "x", "huge": 10**400}]
    run = runs.load(write(tmp_path / "a", rows, stage="scratch"))
    assert values(run, "loss") == ([3], [5])
    assert set(run.metrics) == {"loss", "kl"}
    assert "loss 2, text 1, huge 1" in run.notes[0]


def test_of_a_step_that_was_logged_again_the_last_counts(tmp_path):
    rows = [{"step": 1, "loss": 1}, {"step": 3, "loss": 2}, {"step": 2, "loss": 3}]
    rows += [{"step": 3, "loss": 4}]
    run = runs.load(write(tmp_path / "a", rows, stage="scratch"))
    assert values(run, "loss") == ([1, 2, 3], [1, 3, 4])


def test_runs_are_found_below_a_folder_once(tmp_path):
    write(tmp_path / "x" / "a", stage="scratch")
    write(tmp_path / "x" / "b" / "c", stage="scratch")
    write(tmp_path / "x" / "a" / "train_episodes" / "not_a_run")
    found, skipped = runs.find([tmp_path / "x", tmp_path / "x" / "a"])
    assert sorted(run.name for run in found) == ["a", "x/b/c"]
    assert skipped == []


def test_a_file_of_metrics_is_a_run_with_its_configuration_beside_it(tmp_path):
    write(tmp_path, stage="scratch", seed=4)
    (tmp_path / "metrics.jsonl").rename(tmp_path / "arm.jsonl")
    (tmp_path / "config.yaml").rename(tmp_path / "arm.yaml")
    (run,), _ = runs.find([tmp_path / "arm.jsonl"])
    assert (run.name, runs.arm(run), runs.seed(run)) == ("arm", "scratch", "4")


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
    with pytest.raises(runs.RunError, match="no such run.*Received: .*missing"):
        runs.find([tmp_path / "missing"])


@pytest.mark.parametrize(
    ("settings", "arm"),
    [
        ({"stage": "scratch"}, "scratch"),
        ({"stage": "pretrain"}, "pretrain"),
        ({"stage": "finetune"}, "pretrained"),
        ({"stage": "finetune", "blocks": ["freeze_rssm"]}, "pretrained_frozen_rssm"),
        (
            {"stage": "finetune", "blocks": ["freeze_world_model"]},
            "pretrained_fixed_world_model",
        ),
        (
            {"stage": "finetune", "freeze.encoder": True, "freeze.rssm.cell": True},
            "pretrained_frozen_encoder_cell",
        ),
    ],
)
def test_the_arm_is_read_off_the_configuration(tmp_path, settings, arm):
    run = runs.load(write(tmp_path / "a", seed=3, **settings))
    assert (runs.arm(run), runs.seed(run)) == (arm, "3")


def test_the_task_is_the_game_or_how_many_are_mixed(tmp_path):
    online = runs.load(write(tmp_path / "a", stage="scratch"))
    mixed = runs.load(write(tmp_path / "b", stage="pretrain"))
    alone = runs.load(
        write(tmp_path / "c", stage="pretrain", tasks=["minatar_asterix"])
    )
    assert runs.task(online) == "minatar_space_invaders"
    assert runs.task(mixed) == "4 games mixed"
    assert runs.task(alone) == "minatar_asterix"


def test_a_run_of_the_original_is_called_by_its_folder(tmp_path):
    rows = [{"step": 4, "eval_return": -21.0}]
    for name in ("dreamerv2/0", "dreamerv2/1"):
        (write(tmp_path / name, rows) / "config.yaml").write_text(OLD)
    found, _ = runs.find([tmp_path])
    assert [runs.task(run) for run in found] == ["atari_pong", "atari_pong"]
    assert [runs.arm(run) for run in found] == ["dreamerv2", "dreamerv2"]
    assert [runs.seed(run) for run in found] == ["0", "1"]
    assert values(found[0], "eval_return_mean") == ([4], [-21])
    assert runs.doubts(found) == []


def test_folders_of_task_method_and_seed_count_where_asked(tmp_path):
    write(tmp_path / "atari_pong" / "mine" / "7", stage="scratch", seed=1)
    write(tmp_path / "loose", stage="scratch", seed=1)
    (run, loose), _ = runs.find([tmp_path], by_folder=True)
    assert (runs.task(run), runs.arm(run), runs.seed(run)) == (
        "atari_pong",
        "mine",
        "7",
    )
    assert runs.arm(loose) == "scratch"
    (run, _), _ = runs.find([tmp_path])
    assert (runs.arm(run), runs.seed(run)) == ("scratch", "1")


def test_a_name_may_hold_the_seed(tmp_path):
    run = runs.load(write(tmp_path / "asterix_seed2"))
    assert (runs.task(run), runs.arm(run), runs.seed(run)) == ("", "asterix", "2")
    assert "no config.yaml" in run.notes[0]


def test_a_damaged_configuration_is_noted(tmp_path):
    (write(tmp_path / "a") / "config.yaml").write_text("rssm: [")
    run = runs.load(tmp_path / "a")
    assert run.config is None and "cannot be read" in run.notes[0]


def test_a_missing_metric_is_said_with_what_is_near(tmp_path):
    run = runs.load(write(tmp_path / "a"))
    assert runs.series(run, "train_retrun") is None
    note = runs.lacking(run, "train_retrun")
    assert note == "a has no 'train_retrun'; it has train_return."


def test_runs_that_are_hardly_seeds_of_one_arm_are_named(tmp_path):
    first = runs.load(write(tmp_path / "a", stage="scratch"))
    other = runs.load(write(tmp_path / "b", stage="scratch", discount=0.9, seed=1))
    again = runs.load(write(tmp_path / "c", stage="scratch", steps=7, tasks=["x"]))
    assert runs.doubts([first, again]) == [
        "a and c have the same seed, 0, and count as two."
    ]
    (note,) = runs.doubts([first, other])
    assert note == "a and b count as seeds of one arm, but differ in discount."


def test_each_seed_may_start_from_its_own_model(tmp_path):
    def tuned(name, seed, path):
        start = {"init.path": f"/runs/{path}", "seed": seed, "stage": "finetune"}
        return runs.load(write(tmp_path / name, **start))

    first, second = tuned("a", 0, "pretrain_0"), tuned("b", 1, "pretrain_1")
    assert runs.doubts([first, second]) == []
    (note,) = runs.doubts([first, tuned("c", 1, "pretrain_2500_1")])
    assert note == "a and c count as seeds of one arm, but differ in init.path."
