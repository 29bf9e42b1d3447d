"""What goes beyond the paper."""

import pathlib

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.reproduction import plan
from dreamerv2_transfer.reproduction.study import SUBLAYERS, Study

NEW = "minatar_space_invaders"
GAME = "space_invaders_beyond/minatar_space_invaders"


def jobs(seeds=1, beyond=True, best=()):
    """The jobs of the study at small scale, by name."""
    config = blocks_lib.load_config(["minatar", "small"])
    home = pathlib.Path("/study")
    study = Study(("minatar", "small"), config, home, seeds, (NEW,), beyond, best)
    return {job.name: job for job in plan.make(study)}


def test_beyond_the_paper_are_single_sublayers_and_other_lengths():
    more = {*jobs()} - {*jobs(beyond=False)}
    assert {name for name in more if not name.endswith("/evaluate")} == {
        *(f"{GAME}/frozen_{layer}/0" for layer in SUBLAYERS),
        *(f"space_invaders_beyond/pretrain_{steps}/0" for steps in (2500, 40000)),
        *(f"{GAME}/pretrained_{steps}/0" for steps in (2500, 40000)),
        "space_invaders/figure_single_freezes",
        "space_invaders/figure_pretraining",
    }


def test_the_best_sublayer_gets_all_seeds():
    made = jobs(seeds=3, best=("obs_out",))
    arm = made[f"{GAME}/frozen_obs_out/2"]
    assert arm.needs == ("space_invaders/pretrain_2",)
    assert arm.args[-2:] == ("--init", "/study/space_invaders/pretrain_2")
    assert arm.args[arm.args.index("--freeze.rssm.obs_out") + 1] == "True"
    assert f"{GAME}/frozen_img_in/2" not in made


def test_figures_show_the_papers_arms_on_the_new_game_beside_them():
    figure = jobs()["space_invaders/figure_pretraining"]
    assert figure.args[:4] == (
        "--runs",
        "/study/space_invaders",
        "--indir",
        "/study/space_invaders_beyond",
    )
    assert "space_invaders/space_invaders_finetune_0" in figure.needs
    assert "space_invaders/seaquest_scratch_0" not in figure.needs
    start = figure.args.index("--methods") + 1
    assert figure.args[start : start + 2] == ("^scratch$", r"^pretrained(_\d+)?$")
