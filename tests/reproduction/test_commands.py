"""The commands of jobs."""

import dataclasses
import pathlib

import pytest

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.reproduction import commands
from dreamerv2_transfer.reproduction.study import Study

HOME = pathlib.Path("/study")
NEW = "minatar_space_invaders"


def make_study(**numbers):
    changes = {f"reproduce.{key}": value for key, value in numbers.items()}
    config = blocks_lib.load_config(["minatar", "small"]).update(changes)
    return Study(("minatar", "small"), config, HOME, 1, (NEW,))


STUDY = make_study(dqn=100, collect=200, pretrain=300, train=400, episodes=5, frames=6)
MODEL = commands.pretrain(STUDY, NEW, HOME / "space_invaders" / "pretrain_0", 0, 300)


def value(job, flag):
    return job.args[job.args.index(flag) + 1]


def test_a_player_is_trained_for_each_step_that_the_study_says():
    job = commands.train_player(STUDY, "minatar_asterix")
    assert (job.name, job.script) == ("dqn_asterix", "train_dqn")
    assert job.args == (
        *("--configs", "minatar", "small", "dqn", "--task", "minatar_asterix"),
        *("--steps", "100", "--logdir", "/study/dqn/asterix"),
    )
    assert (job.units, job.unit) == (100, "step of an agent")


def test_players_collect_where_there_are_any():
    player = commands.train_player(STUDY, "minatar_asterix")
    job = commands.collect(STUDY, [player])
    assert job.needs == ("dqn_asterix",) and job.units == 5 * 200
    assert value(job, "--dqn.checkpoints") == "/study/dqn"
    assert "--dqn.checkpoints" not in commands.collect(STUDY, []).args


def test_how_players_take_turns_is_set_where_they_play():
    study = dataclasses.replace(STUDY, settings={"policies.random": "0.5"})
    model = commands.pretrain(study, NEW, MODEL.logdir, 0, 300)
    for job in (commands.collect(study, []), model):  # The analysis reads the model's.
        assert value(job, "--policies.random") == "0.5"
    agent = commands.train_agent(study, NEW, MODEL.logdir, 0, MODEL)
    player = commands.train_player(study, "minatar_asterix")
    assert "--policies.random" not in (*agent.args, *player.args)


def test_an_agent_starts_from_its_model_or_from_scratch():
    logdir = HOME / "space_invaders" / "x_0"
    tuned = commands.train_agent(STUDY, NEW, logdir, 0, MODEL, ("freeze_rssm",))
    start = tuned.args.index("finetune")
    assert tuned.args[start : start + 2] == ("finetune", "freeze_rssm")
    assert value(tuned, "--init") == "/study/space_invaders/pretrain_0"
    assert tuned.needs == ("space_invaders/pretrain_0",)
    scratch = commands.train_agent(STUDY, NEW, logdir, 0)
    assert "scratch" in scratch.args and "--init" not in scratch.args
    assert scratch.needs == ("collect",)


@pytest.mark.parametrize("held_out", [True, False])
def test_held_out_losses_are_measured_where_the_study_says_so(held_out):
    study = make_study(held_out=held_out)
    agent = commands.train_agent(study, NEW, HOME / "x", 0)
    assert ("--eval_dataset" in agent.args) == held_out
    evaluation = commands.evaluate(study, agent)
    assert ("--dataset" in evaluation.args) == held_out
    assert value(evaluation, "--json") == "/study/x/evaluation.json"


def test_the_analysis_is_of_the_games_that_the_model_has_learned():
    job = commands.analyze(STUDY, NEW, MODEL)
    games = [f"minatar_{x}" for x in ("seaquest", "asterix", "breakout", "freeway")]
    assert value(job, "--task") == ",".join(games)
    assert value(job, "--policy") == "/study/dqn"
    assert "--policy" not in commands.analyze(make_study(dqn=0), NEW, MODEL).args


def test_a_figure_and_the_report_wait_for_what_they_show():
    figure = commands.plot(STUDY, NEW, "returns", ("--yaxis", "x"), [MODEL])
    assert figure.args == (
        *("--runs", "/study/space_invaders", "--yaxis", "x"),
        *("--out", "/study/space_invaders/figures/returns.png"),
        *("--json", "/study/space_invaders/figures/returns.json"),
    )
    report = commands.report(STUDY, NEW, [MODEL, figure])
    assert report.needs == (MODEL.name, "space_invaders/figure_returns")
