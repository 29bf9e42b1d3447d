"""The jobs of a study whose arms a file describes."""

import pathlib

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.reproduction import plan
from dreamerv2_transfer.reproduction.study import Arm, Study, games_named

BLOCKS = ("minatar", "debug")
CONFIG = blocks_lib.load_config(BLOCKS)
HOME = pathlib.Path("/study")
SCRATCH = Arm("scratch", "scratch", (), {}, "new", (0,))
TUNED = Arm("later", "finetune", ("freeze_rssm",), {"wm_steps": "9.0"}, "new", (0, 1))


def make_study(*made, new=("asterix",)):
    named = games_named(CONFIG, new)
    return Study(
        BLOCKS, CONFIG, HOME, 1, named, settings={"precision": "32"}, arms=made
    )


def jobs_of(*made, new=("asterix",)):
    return {job.name: job for job in plan.make(make_study(*made, new=new))}


def value(job, flag):
    return job.args[job.args.index(flag) + 1]


def test_an_arm_has_stage_presets_settings_and_the_model_of_its_seed():
    made = jobs_of(SCRATCH, TUNED)
    job = made["asterix/on_new/minatar_asterix/later/1"]
    start = job.args.index("debug")
    assert job.args[start : start + 3] == ("debug", "finetune", "freeze_rssm")
    assert value(job, "--wm_steps") == "9.0" and value(job, "--precision") == "32"
    assert value(job, "--init") == "/study/asterix/pretrain_1"
    assert job.needs == ("asterix/pretrain_1",)
    scratch = made["asterix/on_new/minatar_asterix/scratch/0"]
    assert "--wm_steps" not in scratch.args and scratch.needs == ("collect",)
    model = made["asterix/pretrain_0"]
    assert value(model, "--precision") == "32" and "--wm_steps" not in model.args


def test_models_of_other_lengths_are_pretrained_once_each():
    others = [Arm(x, "finetune", (), {}, "new", (0,), 6) for x in ("a", "b")]
    made = jobs_of(TUNED, *others)
    models = [name for name in made if "/pretrain" in name]
    assert models == [f"asterix/pretrain_{x}" for x in ("0", "1", "6_0")]
    assert value(made["asterix/pretrain_6_0"], "--steps") == "6"


def test_learned_games_have_folders_of_their_own():
    fixed = Arm("fixed", "finetune", ("freeze_world_model",), {}, "learned", (0,))
    made = jobs_of(SCRATCH, fixed)
    runs = [name for name in made if name.endswith("fixed/0")]
    assert len(runs) == 4
    assert "asterix/on_learned/minatar_seaquest/fixed/0" in runs
    figure = made["asterix/figure_return"]
    start = figure.args.index("--indir")
    folders = figure.args[start : start + 3]
    assert folders == ("--indir", "/study/asterix/on_learned", "/study/asterix/on_new")
    assert "--runs" not in figure.args


def test_the_report_has_the_runs_and_the_model_that_is_analysed():
    made = jobs_of(SCRATCH, TUNED)
    assert value(made["asterix/analyze"], "--logdir") == "/study/asterix/pretrain_0"
    assert made["asterix/report"].args[:5] == (
        *("--indir", "/study/asterix/on_new", "--runs", "/study/asterix/pretrain_0"),
        "--out",
    )
    assert "--runs" not in jobs_of(SCRATCH)["asterix/report"].args


def test_each_game_in_turn_is_new_and_one_figure_has_all():
    made = jobs_of(SCRATCH, TUNED, new="all")
    reports = [name for name in made if name.endswith("/report")]
    assert len(reports) == 5
    together = made["figure_games"]
    assert len(together.needs) == 5 * 3 and "--runs" not in together.args
    for new in CONFIG.reproduce.games:
        (model,) = (x for x in made if x == f"{new.partition('_')[2]}/pretrain_0")
        start = made[model].args.index("--tasks") + 1
        assert {*made[model].args[start : start + 4]} == {*CONFIG.reproduce.games} - {
            new
        }


def test_jobs_come_after_those_that_they_need():
    done = set()
    for job in jobs_of(SCRATCH, TUNED, new="all").values():
        assert done.issuperset(job.needs)
        done.add(job.name)


def test_arms_from_scratch_alone_need_no_model():
    made = jobs_of(SCRATCH)
    assert not [name for name in made if "pretrain" in name or "analyze" in name]
    drawn = made["asterix/figure_return"].args
    assert drawn[:2] == ("--indir", "/study/asterix/on_new")
