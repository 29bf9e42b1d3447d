"""The paper's study as jobs."""

import dataclasses
import importlib
import pathlib

import pytest

from dreamerv2_transfer.commands import options as options_lib
from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import cli
from dreamerv2_transfer.reproduction import plan
from dreamerv2_transfer.reproduction.study import Study, new_games

HOME = pathlib.Path("/study")


def make_study(*blocks, seeds=1, leave_out="", beyond=False):
    config = blocks_lib.load_config(blocks)
    return Study(blocks, config, HOME, seeds, new_games(config, leave_out), beyond)


def names(*args, **kwargs) -> list[str]:
    return [job.name for job in plan.make(make_study(*args, **kwargs))]


def test_the_papers_study_at_small_scale():
    made = names("minatar", "small", seeds=2)
    assert made[:6] == [
        "dqn_seaquest",
        "dqn_asterix",
        "dqn_breakout",
        "dqn_freeway",
        "dqn_space_invaders",
        "collect",
    ]
    arms = {name.rpartition("_")[0] for name in made if name.endswith(("_0", "_1"))}
    assert arms == {
        "space_invaders/pretrain",
        "space_invaders/space_invaders_scratch",
        "space_invaders/space_invaders_finetune",
        "space_invaders/space_invaders_freeze_rssm",
        "space_invaders/seaquest_scratch",
        "space_invaders/seaquest_freeze_world_model",
    }
    assert made[-7:] == [
        "space_invaders/figure_paper",
        "space_invaders/figure_minatar_space_invaders_return",
        "space_invaders/figure_minatar_space_invaders_model_loss",
        "space_invaders/figure_minatar_seaquest_return",
        "space_invaders/figure_held_out",
        "space_invaders/analyze",
        "space_invaders/report",
    ]
    assert sum(name.endswith("/evaluate") for name in made) == 10


def test_at_paper_scale_all_learned_games_have_a_fixed_world_model():
    made = names("minatar")
    fixed = [name for name in made if name.endswith("freeze_world_model_0")]
    assert [
        name.split("/")[1].removesuffix("_freeze_world_model_0") for name in fixed
    ] == [
        "seaquest",
        "asterix",
        "breakout",
        "freeway",
    ]


def test_a_model_is_not_trained_on_the_game_that_is_left_out():
    for game in ("asterix", "space_invaders"):
        made = plan.make(make_study("minatar", "small", leave_out=game))
        (model,) = (job for job in made if job.name == f"{game}/pretrain_0")
        start = model.args.index("--tasks") + 1
        learned = model.args[start : start + 4]
        assert len({*learned, f"minatar_{game}"}) == 5


def test_arms_start_from_the_model_of_their_seed():
    study = make_study("minatar", "small", seeds=2)
    made = {job.name: job for job in plan.make(study)}
    arm = made["space_invaders/space_invaders_finetune_1"]
    assert arm.needs == ("space_invaders/pretrain_1",)
    place = arm.args[arm.args.index("--init") + 1]
    assert place == str(made[arm.needs[0]].logdir)
    scratch = made["space_invaders/space_invaders_scratch_1"]
    assert "--init" not in scratch.args and scratch.needs == ("collect",)


def test_every_game_can_be_the_new_one():
    made = names("minatar", "debug", leave_out="all")
    reports = [name for name in made if name.endswith("/report")]
    assert len(reports) == 5 and len(set(made)) == len(made)
    assert made[-1] == "figure_games"


def test_the_figure_of_all_games_has_the_runs_on_new_games_alone():
    made = plan.make(make_study("minatar", "debug", seeds=1, leave_out="all"))
    names = [pathlib.Path(name).name for name in made[-1].needs]
    games = ("asterix", "breakout", "freeway", "seaquest", "space_invaders")
    arms = ("scratch", "finetune", "freeze_rssm")
    assert sorted(names) == sorted(f"{g}_{arm}_0" for g in games for arm in arms)
    assert made[-1].script == "plot" and "--gains" in made[-1].args


def test_jobs_come_after_those_that_they_need():
    done = set()
    for job in plan.make(make_study("minatar", seeds=2, leave_out="all", beyond=True)):
        assert done.issuperset(job.needs)
        done.add(job.name)


@pytest.mark.parametrize("blocks", [("minatar", "small"), ("minatar",), ("atari",)])
def test_every_command_can_be_read(blocks):
    for job in plan.make(make_study(*blocks, beyond=True)):
        if job.script in ("train", "train_dqn", "collect"):
            given, rest = cli.split_configs(job.args)
            config = blocks_lib.load_config(given, rest)
            assert config.stage in ("dqn", "collect", "pretrain", "finetune", "scratch")
        else:
            options = options_of(job.script)
            assert options_lib.parse(options, job.args) is not None


def options_of(name: str) -> dict[str, options_lib.Option]:
    module = importlib.import_module(f"dreamerv2_transfer.commands.{name}")
    groups = module.USAGE.options.values()
    return {key: option for group in groups for key, option in group.items()}


def test_settings_reach_every_training_job_and_no_other():
    study = make_study("minatar", "debug")
    chosen = {"loss_scales.kl": "0.1", "dqn.n_step": "5"}
    made = plan.make(dataclasses.replace(study, settings=chosen))
    for job in made:
        assert ("--loss_scales.kl" in job.args) == (job.script == "train")
        assert ("--dqn.n_step" in job.args) == (job.script == "train_dqn")
    assert {"train", "train_dqn", "evaluate"} < {job.script for job in made}


def test_runs_on_a_store_are_read_and_written_there_but_pages_here():
    url, home = "s3://bucket/of_it", str(HOME)
    study = make_study("minatar", "small", leave_out="all", beyond=True)
    by_path, by_url = plan.make(study), plan.make(dataclasses.replace(study, runs=url))
    written = {"--json", "--out", "--gains"}
    stored = {"train": "--logdir", "train_dqn": "--logdir"}
    stored["collect"] = "--dataset.directory"
    for before, after in zip(by_path, by_url, strict=True):
        flag, here = "", set()
        for text in after.args:
            flag = text if text.startswith("--") else flag
            here |= {flag} if home in text else set()
        assert here <= written and bool(here) == after.here, after
        flag = stored.get(after.script)
        store = after.args[after.args.index(flag) + 1] if flag else ""
        assert (before.store, after.store) == ("", store)
        shown = [x.replace(url, home) for x in after.args]
        if after.script == "analyze":
            *shown, flag, folder = shown
            assert (flag, folder) == ("--output", f"{after.logdir}/analysis")
        assert (*shown,) == before.args
    assert {job.script for job in by_url if job.here} == {"evaluate", "plot", "report"}
