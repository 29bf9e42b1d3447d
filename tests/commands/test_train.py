"""The command that a user types, mostly in a separate process."""

import functools
import json
import signal
import socket

import pytest

from dreamerv2_transfer.commands import train
from dreamerv2_transfer.common import blocks, cli
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.replay import store
from dreamerv2_transfer.reproduction import seeds
from tests import fakes, runs
from tests.runs import finish, rows, wait_for_step

DEBUG = ["--configs", "minatar", "debug", "pretrain"]
SCRATCH = ["--configs", "minatar", "debug", "scratch", "--prefill", 60]
FINETUNE = ["--configs", "minatar", "debug", "finetune", "--prefill", 60]
FEW = ["--imag_horizon", 3, "--dataset.batch", 2, "--dataset.length", 6]
SMALL = ["--collect.steps", 150, "--dataset.batch", 4, "--video.rows", 1]

start = functools.partial(runs.start, "launch/train.py")


def test_killed_and_resumed_metrics_are_those_of_a_whole_run(tmp_path):
    """Also if they differ in the seed of hashes, as new interpreters do."""
    run = [*DEBUG, *SMALL, "--steps", 8, "--eval_every", 4, "--checkpoint_every", 3]
    finish(start(*run, "--logdir", tmp_path / "a", fresh=True))
    killed = start(*run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output = finish(start(*run, "--logdir", tmp_path / "b"))
    assert "resumed from step 3" in output or "resumed from step 6" in output
    a, b = (rows(tmp_path / x) for x in "ab")
    assert a == b
    again = finish(start(*run, "--logdir", tmp_path / "b"))
    assert "All 8 updates are done" in again
    assert not [k for row in a for k in row if k.startswith(("actor", "critic"))]


def test_a_killed_online_run_goes_on_as_if_nothing_had_happened(tmp_path):
    """Also if they differ in the seed of hashes, as new interpreters do."""
    run = [*SCRATCH, *FEW, "--steps", 8, "--eval_every", 4, "--checkpoint_every", 3]
    run += ["--train_every", 4, "--time_limit", 10]
    finish(start(*run, "--logdir", tmp_path / "a", fresh=True))
    killed = start(*run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    reported = {p.name for p in (tmp_path / "b" / "train_episodes").glob("*.npz")}
    output = finish(start(*run, "--logdir", tmp_path / "b"))
    assert "resumed from step 3" in output or "resumed from step 6" in output
    a, b = (rows(tmp_path / x) for x in "ab")
    assert a == b
    names = {p.name for p in (tmp_path / "b" / "train_episodes").glob("*.npz")}
    assert reported <= names
    assert "All 8 updates are done" in finish(start(*run, "--logdir", tmp_path / "b"))


def test_seeds_at_once_are_single_runs_even_if_all_are_killed(tmp_path):
    run = [*SCRATCH, *FEW, "--steps", 6, "--log_every", 1, "--checkpoint_every", 2]
    run += ["--eval_every", 0, "--train_every", 4, "--time_limit", 10]
    run += ["--precision", 32]
    both = [*run, "--seed", 3, "--seeds", 2, "--logdir", tmp_path / "both"]
    finish(start(*run, "--seed", 4, "--logdir", tmp_path / "one"))
    killed = start(*both)
    wait_for_step(tmp_path / "both" / "seed4", 3)
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output = finish(start(*both))
    assert "seed3" in output and f"--runs {tmp_path / 'both'} --out" in output
    log = (tmp_path / "both" / "logs" / "seed4.log").read_text()
    assert "resumed from step" in log
    assert "Traceback" not in log
    one, four, three = (rows(tmp_path / x) for x in ("one", "both/seed4", "both/seed3"))
    assert [row["step"] for row in four] == [row["step"] for row in one]
    for wanted, got in zip(one, four, strict=True):  # Fewer threads, other roundings.
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)
    assert three[0] != pytest.approx(one[0], rel=1e-5, abs=1e-5)


def test_resumed_seeds_do_not_need_their_initial_model(tmp_path, monkeypatch):
    for seed in (0, 1):
        config = blocks.load_config(["minatar", "debug", "finetune"])
        known = {"known.directory": "data", "known.tasks": ["minatar_asterix"]}
        (tmp_path / f"seed{seed}").mkdir()
        config.update(known).save(tmp_path / f"seed{seed}" / "config.yaml")
    run = [*FINETUNE, "--init", "gone", "--known.evaluate", True, "--seeds", 2]
    monkeypatch.setattr(seeds, "run", lambda *args: False)
    resumed, new = (
        [*map(str, run), "--logdir", str(tmp_path / x)] for x in ("", "new")
    )
    assert train.main(resumed) == cli.INTERRUPTED
    with pytest.raises(CheckpointError, match="gone"):
        train.main(new)


def test_a_model_of_other_sizes_is_named(tmp_path):
    run = [*SCRATCH, *FEW, "--steps", 1, "--eval_every", 0]
    finish(start(*run, "--rssm.deter", 12, "--logdir", tmp_path / "a"))
    other = [*FINETUNE, *FEW, "--steps", 1, "--init", tmp_path / "a"]
    process = start(*other, "--logdir", tmp_path / "b")
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2 and "Traceback" not in output
    assert "rssm/" in output and "does not fit" in output


def test_ctrl_c_saves_and_exits_cleanly(tmp_path):
    run = [*DEBUG, *SMALL, "--steps", 500, "--outputs", "jsonl"]
    process = start(*run, "--logdir", tmp_path)
    wait_for_step(tmp_path, 2)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 130
    last = rows(tmp_path)[-1]["step"]
    assert f"Stopped at update {last}" in output and "Traceback" not in output
    assert (tmp_path / "checkpoints" / f"ckpt-{last}.index").exists()
    assert not list(tmp_path.glob("events.*"))


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (["--configs", "minatar", "nosuchblock"], "nosuchblock"),
        ([*DEBUG, "--rssm.deterr", 5], "rssm.deter"),
        (["--configs", "minatar"], "Name the stage"),
        ([*DEBUG, "--outputs", "terminal"], "--outputs terminal"),
        ([*DEBUG, "--tasks", "minatar_breakot"], "minatar_breakout"),
        ([*DEBUG, "--dataset.directory", "/nowhere/at/all"], "/nowhere/at/all"),
        ([*FINETUNE], "--init LOGDIR"),
        ([*FINETUNE, "--init", "/nowhere/at/all"], "/nowhere/at/all"),
        ([*DEBUG, "--strategy", "multiworker"], "TF_CONFIG=''"),
        ([*DEBUG, "--strategy", "mirored"], "mirored"),
        ([*DEBUG, "--seeds", 2, "--strategy", "multiworker"], "each seed is one"),
        ([*DEBUG, "--seeds", 0], "seeds"),
        ([*SCRATCH, "--init", "x"], "Training from scratch takes no world model"),
        ([*SCRATCH, "--task", "gym_CartPol-v1"], "gym_CartPole-v1"),
        ([*SCRATCH, "--freeze.rssm.cel", True], "freeze.rssm.cell"),
    ],
)
def test_bad_input_is_one_line_that_names_it(tmp_path, args, message):
    process = start(*args, "--logdir", tmp_path)
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert message in output and "Traceback" not in output


def test_a_dataset_of_other_shapes_is_named(tmp_path):
    for task in ("asterix", "breakout", "freeway", "seaquest"):
        folder = tmp_path / "data" / f"minatar_{task}"
        folder.mkdir(parents=True)
        store.save_episode(folder, fakes.episode(30, image_shape=(10, 10, 4)))
    process = start(
        *DEBUG, "--dataset.directory", tmp_path / "data", "--logdir", tmp_path / "run"
    )
    output, _ = process.communicate(timeout=120)
    assert process.returncode == 2
    assert "(10, 10, 4)" in output and "(10, 10, 10)" in output
    assert "minatar_asterix" in output and "Traceback" not in output


def free_ports(number):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(number)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def start_workers(monkeypatch, *args):
    """Starts two processes of one run, the chief first."""
    workers = [f"127.0.0.1:{port}" for port in free_ports(2)]
    started = []
    for index in range(2):
        task = {"type": "worker", "index": index}
        told = {"cluster": {"worker": workers}, "task": task}
        monkeypatch.setenv("TF_CONFIG", json.dumps(told))
        started.append(start(*args, "--strategy", "multiworker"))
    monkeypatch.delenv("TF_CONFIG")
    return started


def wait_for_more(logdir):
    """Waits until new processes have resumed a run and logged more."""
    wait_for_step(logdir, rows(logdir)[-1]["step"] + 3)


def lose(killed, left):
    """Kills one of two processes, and checks that the other says what to do."""
    killed.send_signal(signal.SIGKILL)
    killed.communicate()
    output, _ = left.communicate(timeout=120)
    assert left.returncode == 2 and "Traceback" not in output
    assert "Start all of them again with the same command" in output


def test_two_processes_make_the_run_of_one_even_if_one_is_killed(tmp_path, monkeypatch):
    folder = tmp_path / "data" / "minatar_asterix"
    folder.mkdir(parents=True)
    for number in range(4):
        store.save_episode(folder, fakes.episode(40, number))
    run = [
        *DEBUG,
        "--dataset.directory",
        tmp_path / "data",
        "--jit",
        True,
        "--steps",
        60,
    ]
    run += ["--tasks", "minatar_asterix", "--dataset.batch", 4, "--dataset.length", 6]
    run += ["--eval_every", 0, "--checkpoint_every", 3, "--decoder.cnn_dist", "binary"]
    finish(start(*run, "--logdir", tmp_path / "a"))
    chief, other = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 4)
    lose(other, chief)
    both = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    wait_for_more(tmp_path / "b")
    both[1].send_signal(signal.SIGINT)  # One gets the signal, both stop and save.
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [130, 130], outputs
    both = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    for output in map(finish, both):
        assert "multiworker with 2 replica(s)" in output
        assert "resumed from step" in output
    one, two = (rows(tmp_path / x) for x in "ab")
    assert [row["step"] for row in two] == [row["step"] for row in one]
    for wanted, got in zip(one, two, strict=True):
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)


def test_two_processes_play_and_learn_as_one_whatever_stops_them(tmp_path, monkeypatch):
    run = [*SCRATCH, "--imag_horizon", 3, "--dataset.batch", 4, "--dataset.length", 6]
    run += ["--jit", True, "--steps", 60, "--eval_every", 0, "--checkpoint_every", 3]
    run += ["--log_every", 1]
    finish(start(*run, "--logdir", tmp_path / "a"))
    both = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    wait_for_step(tmp_path / "b", 2)
    for process in both:
        process.send_signal(signal.SIGINT)
    outputs = [process.communicate(timeout=120)[0] for process in both]
    assert [process.returncode for process in both] == [130, 130], outputs
    assert not any("Traceback" in output for output in outputs)
    assert "Stopped at update" in outputs[0] and "Stopped" not in outputs[1]
    chief, other = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    wait_for_more(tmp_path / "b")
    lose(other, chief)
    both = start_workers(monkeypatch, *run, "--logdir", tmp_path / "b")
    chief, other = map(finish, both)
    assert "resumed from step" in chief
    assert "Takes part in the updates of the chief" in other
    one, two = (rows(tmp_path / x) for x in "ab")
    assert [row["step"] for row in two] == [row["step"] for row in one]
    assert one[-1]["step"] == 60
    for wanted, got in zip(one, two, strict=True):
        assert got == pytest.approx(wanted, rel=1e-5, abs=1e-5)
