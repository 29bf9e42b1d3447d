"""Which game, arm and seed a run belongs to."""

import pytest

from dreamerv2_transfer.plotting import arms, runs
from tests.plotting.folders import values, write

OLD = "task: atari_pong\nseed: 0\naction_repeat: 4\nnum_envs: 1\n"


@pytest.mark.parametrize(
    ("settings", "arm"),
    [
        ({"stage": "scratch"}, "scratch"),
        ({"stage": "pretrain"}, "pretrain"),
        ({"stage": "offline"}, "offline"),
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
        (
            {"stage": "scratch", "multi_game": True, "tasks": ["x", "y"]},
            "scratch, 2 games",
        ),
        ({"stage": "offline", "tasks": ["x", "y", "z"]}, "offline, 3 games"),
        (
            {"stage": "finetune", "blocks": ["freeze_rssm"], "adapter.rank": 8},
            "pretrained_frozen_rssm, adapter.rank=8",
        ),
        ({"stage": "finetune", "wm_steps": 5000}, "pretrained, wm_steps=5000"),
        (
            {
                "stage": "finetune",
                "init.components": ["encoder", "rssm"],
                "model_opt.lr_by.rssm": 0.1,
                "known.evaluate": True,  # It measures and changes nothing.
            },
            "pretrained, init.components=[encoder, rssm], model_opt.lr_by.rssm=0.1",
        ),
    ],
)
def test_the_arm_is_read_off_the_configuration(tmp_path, settings, arm):
    run = runs.load(write(tmp_path / "a", seed=3, **settings))
    assert (arms.arm_of(run), arms.seed_of(run)) == (arm, "3")


def test_the_task_is_the_game_or_how_many_are_mixed(tmp_path):
    online = runs.load(write(tmp_path / "a", stage="scratch"))
    mixed = runs.load(write(tmp_path / "b", stage="pretrain"))
    alone = runs.load(
        write(tmp_path / "c", stage="pretrain", tasks=["minatar_asterix"])
    )
    assert arms.task_of(online) == "minatar_space_invaders"
    assert arms.task_of(mixed) == "4 games mixed"
    assert arms.task_of(alone) == "minatar_asterix"
    offline = runs.load(write(tmp_path / "d", stage="offline", tasks=["a", "b"]))
    assert arms.task_of(offline) == "2 games mixed"


def test_a_run_of_the_original_is_called_by_its_folder(tmp_path):
    rows = [{"step": 4, "eval_return": -21.0}]
    for name in ("dreamerv2/0", "dreamerv2/1"):
        (write(tmp_path / name, rows) / "config.yaml").write_text(OLD)
    found, _ = runs.find([tmp_path])
    assert [arms.task_of(run) for run in found] == ["atari_pong", "atari_pong"]
    assert [arms.arm_of(run) for run in found] == ["dreamerv2", "dreamerv2"]
    assert [arms.seed_of(run) for run in found] == ["0", "1"]
    assert values(found[0].series("eval_return_mean")) == ([4], [-21])
    assert arms.doubts(found) == []


def test_folders_of_task_method_and_seed_count_where_asked(tmp_path):
    write(tmp_path / "atari_pong" / "mine" / "7", stage="scratch", seed=1)
    write(tmp_path / "loose", stage="scratch", seed=1)
    (run, loose), _ = runs.find([], [tmp_path])
    assert (arms.task_of(run), arms.arm_of(run), arms.seed_of(run)) == (
        "atari_pong",
        "mine",
        "7",
    )
    assert arms.arm_of(loose) == "scratch"
    (run, _), _ = runs.find([tmp_path])
    assert (arms.arm_of(run), arms.seed_of(run)) == ("scratch", "1")


def test_a_name_may_hold_the_seed(tmp_path):
    run = runs.load(write(tmp_path / "asterix_seed2"))
    assert (arms.task_of(run), arms.arm_of(run), arms.seed_of(run)) == (
        "",
        "asterix",
        "2",
    )
    assert "no config.yaml" in run.notes[0]


def test_runs_that_differ_in_more_than_the_seed_are_named(tmp_path):
    first = runs.load(write(tmp_path / "a", stage="scratch"))
    other = runs.load(write(tmp_path / "b", stage="scratch", discount=0.9, seed=1))
    again = runs.load(write(tmp_path / "c", stage="scratch", steps=7, tasks=["x"]))
    assert arms.doubts([first, again]) == [
        "a and c have the same seed, 0, and count as two."
    ]
    (note,) = arms.doubts([first, other])
    assert note == "a and b count as seeds of one arm, but differ in discount."


def test_each_seed_may_start_from_its_own_model(tmp_path):
    def tuned(name, seed, path):
        start = {"init.path": f"/runs/{path}", "seed": seed, "stage": "finetune"}
        return runs.load(write(tmp_path / name, **start))

    first, second = tuned("a", 0, "pretrain_0"), tuned("b", 1, "pretrain_1")
    assert arms.doubts([first, second]) == []
    numbered = [tuned(f"n{i}", i, f"study_1/v0.2/pretrain_{i}") for i in range(3)]
    assert arms.doubts(numbered) == []
    files = [tuned(f"f{i}", i, f"model_{i}/w.weights.h5") for i in (5, 6)]
    assert arms.doubts(files) == []
    shared = [tuned(f"s{i}", i, "model_2") for i in range(3)]
    assert arms.doubts(shared) == []
    (note,) = arms.doubts([first, tuned("c", 1, "pretrain_2500_1")])
    assert note == "a and c count as seeds of one arm, but differ in init.path."


@pytest.mark.parametrize(
    ("stage", "unit"),
    [
        ("dqn", "environment steps"),
        ("scratch", "updates"),
        ("finetune", "updates"),
        ("offline", "updates"),
    ],
)
def test_the_steps_of_a_dqn_are_the_environments_and_those_of_others_updates(
    tmp_path, stage, unit
):
    assert arms.unit_of(runs.load(write(tmp_path, stage=stage))) == unit


def test_the_steps_of_the_originals_runs_are_frames(tmp_path):
    run = runs.load(write(tmp_path / "mine"))
    assert arms.unit_of(run) == ""
    (tmp_path / "mine" / "config.yaml").write_text(OLD)
    assert arms.unit_of(runs.load(tmp_path / "mine")) == "frames"
