"""The files that a sweep leaves."""

import csv
import json

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import difference
from dreamerv2_transfer.sweeps import results, trials
from dreamerv2_transfer.sweeps.search import Search
from tests.sweeps.sweeping import make_plan

pytest.importorskip("optuna")
GAMES = ("minatar_breakout", "minatar_seaquest")
BASELINE = {"imag_horizon": 5, "model_opt.lr": 2e-4, "encoder.cnn_kernels": "3,3"}


@pytest.fixture
def ended(folder):
    """A sweep with a complete trial, a pruned one, a failed one and one under way."""
    plan = make_plan(folder, games=GAMES, baseline=BASELINE)
    search = Search(plan)
    trial = search.ask()
    trial.set_user_attr(trials.LEVELS, dict(zip(GAMES, (6.0, 40.0), strict=True)))
    trial.set_user_attr(trials.SHARE, 1.0)
    trial.set_user_attr(trials.SECONDS, 90.0)
    search.tell(trial, "COMPLETE", 0.5)
    trial = search.ask()
    trial.report(0.25, 7)
    search.tell(trial, "PRUNED")
    trial = search.ask()
    trial.set_user_attr(trials.ERROR, 'It said "no", twice')
    search.tell(trial, "FAIL")
    search.ask()
    results.write(plan, search)
    return plan


def test_each_trial_that_ended_has_a_row(ended):
    rows = [*csv.DictReader((ended.logdir / "results.csv").read_text().splitlines())]
    assert rows[0] == {
        "trial": "0",
        "state": "complete",
        "value": "0.5",
        "train_return/minatar_breakout": "6.0",
        "train_return/minatar_seaquest": "40.0",
        "share": "1",
        "minutes": "1.5",
        "imag_horizon": "5",
        "model_opt.lr": "0.0002",
        "encoder.cnn_kernels": "3,3",
        "error": "",
    }
    assert [x["state"] for x in rows] == ["complete", "pruned", "failed"]
    assert [x["value"] for x in rows] == ["0.5", "0.25", ""]
    assert rows[2]["error"] == 'It said "no", twice'


def test_json_has_the_same_and_what_was_run(ended):
    content = json.loads((ended.logdir / "results.json").read_text())
    assert content["best"] == 0 and content["sweep"] == ended.definition()
    assert content["trials"][0]["parameters"] == {
        "imag_horizon": 5,
        "model_opt.lr": 2e-4,
        "encoder.cnn_kernels": [3, 3],
    }


def test_configs_takes_the_best_one(ended):
    file = ended.logdir / results.BEST
    assert file.read_text().startswith("# normalized train_return 0.5, trial 0 of 3. ")
    names = ["minatar", "small", "scratch"]
    changed = difference(
        blocks.load_config(names), blocks.load_config([*names, str(file)]), ["logdir"]
    )
    assert changed == {
        "imag_horizon": (10, 5),
        "model_opt.lr": (1e-3, 2e-4),
        "encoder.cnn_kernels": ((3,), (3, 3)),
    }


def test_the_best_values_outdo_the_flags_of_the_sweep(folder):
    flags = ("--actor_ent", "0.1", r"--(model|actor)_opt\.lr=7e-4")
    plan = make_plan(folder, games=GAMES, baseline=BASELINE, flags=flags)
    search = Search(plan)
    search.tell(search.ask(), "COMPLETE", 1.0)
    configs, *blocks_and_flags = results.usage(plan, search.best)
    results.write(plan, search)
    assert configs == "--configs"
    first = next(i for i, x in enumerate(blocks_and_flags) if x.startswith("--"))
    names, given = blocks_and_flags[:first], blocks_and_flags[first:]
    config = blocks.load_config(names, given)
    assert config.model_opt.lr == 2e-4 and config.actor_opt.lr == 7e-4
    assert config.actor_ent == 0.1 and config.task == GAMES[0]


def test_the_best_of_an_expression_names_each_key(folder):
    plan = make_plan(folder)
    (folder / "units.yaml").write_text(
        "space:\n  (actor|critic)\\.units: {choices: [64, 96]}\n"
    )
    config = blocks.load_config(plan.blocks)
    from dreamerv2_transfer.sweeps import space

    plan = make_plan(folder, space=space.read(folder / "units.yaml", config))
    search = Search(plan)
    search.tell(search.ask(), "COMPLETE", 1.0)
    results.write(plan, search)
    best = blocks.load_config([*plan.blocks, str(plan.logdir / results.BEST)])
    assert best.actor.units == best.critic.units
    assert best.actor.units in (64, 96) and best.reward_head.units == 128
