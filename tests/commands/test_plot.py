"""The drawing of curves: the command, and in this process what it refuses."""

import json
import pathlib

import pytest

from dreamerv2_transfer.commands import options
from dreamerv2_transfer.commands import plot as command
from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common.errors import UserError
from tests import runs

ARMS = runs.ROOT / "results" / "minatar_small_arms"
PRETRAINED = runs.ROOT / "results" / "minatar_small_pretrain"


def plot(*args):
    done = runs.run("launch/plot.py", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def seeds(folder: pathlib.Path) -> pathlib.Path:
    """Two seeds of two arms; one was cut off."""
    for arm, height in (("scratch", 1), ("finetune", 3)):
        for seed in (0, 1):
            path = folder / f"{arm}_{seed}"
            path.mkdir(parents=True)
            rows = [
                {"step": step, "train_return": height + seed + step / 10}
                for step in range(0, 11 - seed)
            ]
            text = "\n".join(map(json.dumps, rows)) + '\n{"step": 11, "tr' * seed
            (path / "metrics.jsonl").write_text(text)
            blocks = ["minatar", "debug", arm]
            blocks_lib.load_config(blocks, ["--seed", str(seed)]).save(
                path / "config.yaml"
            )
    return folder


def test_runs_of_several_seeds_are_compared(tmp_path):
    out, numbers = tmp_path / "figure.png", tmp_path / "numbers.json"
    gains = tmp_path / "gains.png"
    files = ("--out", out, "--gains", gains, "--json", numbers)
    lines = plot("--runs", seeds(tmp_path / "runs"), *files)
    assert gains.read_bytes().startswith(b"\x89PNG")
    assert out.read_bytes().startswith(b"\x89PNG")
    assert "runs/scratch_1: the last line is cut off and was left out." in lines
    assert (
        "minatar_space_invaders, scratch, 2 runs (seeds 0, 1): train_return to step 9, "
        "fewer runs to 10" in lines
    )
    assert lines[-1] == f"Saved {out}, {gains}, {numbers}."
    result = json.loads(numbers.read_text())
    (transfer,) = result["transfer"]
    assert transfer["arm"] == "pretrained" and transfer["end"] == 9
    assert transfer["jump_start"]["value"] == pytest.approx(2)
    # Student's t of two degrees of freedom, times the error of the difference.
    assert transfer["jump_start"]["low"] == pytest.approx(2 - 4.302653 * 0.5**0.5)
    curve = next(curve for curve in result["curves"] if curve["arm"] == "scratch")
    assert curve["mean"][:2] == pytest.approx([1.5, 1.6])
    assert curve["count"][-2:] == [2, 1] and curve["low"][-1] is None


def test_a_pretraining_run_shows_its_losses_by_game(tmp_path):
    files = ("--out", tmp_path / "figure.pdf", "--gains", tmp_path / "gains.png")
    lines = plot("--runs", PRETRAINED, *files)
    assert (tmp_path / "figure.pdf").read_bytes().startswith(b"%PDF")
    games = ("4 games mixed", "minatar_asterix", "minatar_seaquest")
    assert all(any(line.startswith(game) for line in lines) for game in games)
    assert not any("scratch" in line for line in lines[:-2])
    said = "gains.png is not drawn: no game has returns from scratch and of another arm"
    assert said in lines[-2] and not (tmp_path / "gains.png").exists()
    assert lines[-1] == f"Saved {tmp_path / 'figure.pdf'}."


def test_a_figure_of_the_paper_is_of_its_game_and_metric(tmp_path):
    figures = ["minatar_space_invaders_model_loss", "minatar_seaquest_return"]
    files = sorted(ARMS.glob("*.jsonl"))
    chosen = ["--figure", *figures, "--paper", "True"]
    lines = plot("--runs", *files, "--outdir", tmp_path, *chosen)
    assert (tmp_path / "curves.png").exists() and (tmp_path / "curves.pdf").exists()
    drawn = [
        line.split(", ")[0] + line.split(":")[1] for line in lines if "(seed" in line
    ]
    assert sorted(drawn) == [
        "minatar_seaquest train_return to step 5000",
        *["minatar_space_invaders model_error to step 5000"] * 3,
    ]


def test_folders_of_the_original_are_read_as_it_does(tmp_path):
    folder = tmp_path / "atari_pong" / "dreamerv2" / "3"
    folder.mkdir(parents=True)
    (folder / "metrics.jsonl").write_text('{"step": 40, "eval_return": -21.0}\n')
    lines = plot(
        *("--indir", tmp_path, "--outdir", tmp_path / "out", "--yaxis", "eval_return"),
        *("--xaxis", "step", "--bins", "1e6", "--methods", "dreamer", "--agg", "none"),
    )
    assert any(
        line.startswith("atari_pong, dreamerv2, 1 run (seed 3)") for line in lines
    )


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--out", "a.png"], "--runs LOGDIR"),
        (["--runs", "x"], "--out figure.png"),
        (["--runs", "x", "--out", "a.gif"], "a.gif"),
        (["--runs", "/nowhere", "--out", "a.png"], "/nowhere"),
        (
            ["--runs", "x", "--out", "a.png", "--figure", "pong"],
            "atari_breakout_return",
        ),
        (["--runs", "x", "--out", "a.png", "--agg", "mean"], "ci95, std1"),
        (["--runs", "x", "--out", "a.png", "--threshold", "high"], "high"),
        (["--runs", "x", "--out", "a.png", "--threshold", "nan"], "nan"),
        (["--runs", "x", "--out", "a.png", "--xmult", "-1"], "xmult must be at least"),
        (["--runs", "x", "--out", "a.png", "--size", "-1", "3"], "Received: -1.0 3.0"),
        (["--runs", "x", "--out", "a.png", "--ylim", "1"], "two numbers"),
        (["--runs", "x", "--out", "a.png", "--labels", "a"], "pairs"),
        (["--runs", PRETRAINED, "--out", "a.png", "--yaxis", "los"], "has no 'los'"),
    ],
)
def test_bad_input_is_refused_with_its_name(args, message):
    with pytest.raises(UserError, match=message):
        command.main([str(arg) for arg in args])


@pytest.mark.parametrize("option", ["methods", "tasks", "labels"])
def test_arms_and_their_names_may_hold_commas(option):
    argv = [f"--{option}", "pretrained, replay.mix=0.25", "a{1,2}"]
    chosen = options.parse(command.CURVES | command.APPEARANCE, argv)
    assert chosen[option] == ("pretrained, replay.mix=0.25", "a{1,2}")


def test_an_error_is_one_line():
    done = runs.run("launch/plot.py", "--runs", "/nowhere", "--out", "a.png")
    assert done.returncode == 2
    assert "/nowhere" in done.stderr and "Traceback" not in done.stderr
