"""Each benchmark runs at the smallest size, and says what it measured."""

import importlib
import json
import os
import subprocess
import sys
import types

import pytest

from dreamerv2_transfer.common.replay import store
from tests import fakes, forks, runs

DEBUG = ("--configs", "minatar", "debug")
FEW = ("--imag_horizon", 3, "--dataset.batch", 2, "--dataset.length", 6)
# The Python of an environment with the original, see tests/golden/record.py.
ORIGINAL = os.environ.get("DREAMERV2_PYTHON", "")


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script of bench/, whose import of TensorFlow is then not repeated."""
    monkeypatch.syspath_prepend(str(runs.ROOT / "bench"))
    return importlib.import_module


def measured(script, *args) -> dict:
    """Runs a script as a process of its own; its last line of JSON."""
    done = runs.run(f"bench/{script}.py", *args)
    assert done.returncode == 0, done.stdout + done.stderr
    return json.loads([x for x in done.stdout.splitlines() if x.startswith("{")][-1])


def run_here(module, tmp_path, *args) -> dict:
    """Runs a script within this process; what it wrote."""
    out = tmp_path / "result.json"
    assert module.main([*map(str, args), "--json", str(out)]) == 0
    return json.loads(out.read_text())


def test_collect_counts_steps_a_second_of_both_loops():
    found = measured("collect", "--games", "breakout", "--steps", 300)
    assert found["tasks"] == ["minatar_breakout"] and found["steps"] == 300
    assert found["ratio"] == found["random"] / found["plain"] > 0


def test_loader_compares_both_loaders():
    sizes = ("--batch", 2, "--length", 4, "--maxlen", 4, "--seconds", 0.01)
    found = measured(
        "loader",
        "--tasks",
        "minatar_breakout",
        "--steps",
        200,
        "--seconds",
        0.01,
        *sizes,
    )
    assert found["batches_s"] > 0 and found["plain_batches_s"] > 0
    assert found["ratio"] > 0 and found["steps_s"] > 0


def test_memory_finds_the_same_batches_with_a_cap(tmp_path):
    sizes = ("--game", "minatar", "--cap", 0.002, "--times", 2, "--seconds", 0.01)
    done = runs.run("bench/memory.py", "--folder", tmp_path, *sizes)
    # So small a cap is exceeded by what a process takes for other things.
    assert done.returncode in (0, 1), done.stdout + done.stderr
    found = json.loads(done.stdout.splitlines()[-1])
    assert found["same_batches"] and found["cap_mib"] == pytest.approx(2.048)
    assert found["capped"]["dataset_mib"] == pytest.approx(4.1, rel=0.1)
    assert {"build_peak_mib", "cold_batches_s"} <= found["capped"].keys()


def test_first_batch_finds_the_same_batches_both_ways(tmp_path):
    sizes = ("--gib", 0.001, "--batch", 2, "--length", 4, "--folder", tmp_path)
    found = measured("first_batch", "--url", (tmp_path / "store").as_uri(), *sizes)
    assert found["same_batches"] and found["episodes"] == 2
    for way in ("ranges", "whole"):
        # In hundredths of a second; so small a dataset may take none for its batch.
        assert 0 < found[way]["open_s"] <= found[way]["first_batch_s"]


def test_onehot_times_every_way(benchmark, capsys):
    sizes = ("--rows", "64", "--latents", "2", "--classes", "3", "--units", "8")
    assert benchmark("onehot").main([*sizes, "--repeats", "1"]) == 0
    found = json.loads(capsys.readouterr().out)
    ways = ("product, full", "product, segment_sum", "product, ours")
    ways += ("gradient, full", "gradient, ours")
    assert list(found) == [f"{way}, ms" for way in ways]


def test_coverage_of_intervals_is_counted(benchmark, tmp_path, monkeypatch):
    coverage = benchmark("coverage")
    monkeypatch.setattr(coverage, "SEEDS", (2, 5))
    found = run_here(coverage, tmp_path, "--studies", 100, "--games", 4)["coverage"]
    assert found["2"]["percentile"] < 0.8 < 0.9 < found["2"]["ratio"]
    assert found["5"]["ratio"] > 0.9 and 0 <= found["5"]["games"] <= 1


def test_train_step_times_both_updates(benchmark, tmp_path):
    found = run_here(benchmark("train_step"), tmp_path, *DEBUG, *FEW, "--repeats", 1)
    assert found["wm_step_s"] > 0 and found["step_s"] > 0
    assert found["wm_efficiency"] > 0 and found["efficiency"] > 0


def test_freeze_gives_shares_of_the_step_without_freezing(benchmark, tmp_path):
    found = run_here(benchmark("freeze"), tmp_path, *DEBUG, *FEW, "--repeats", 1)
    assert list(found) == ["none", "freeze_rssm", "freeze_world_model"]
    assert found["none"]["step_share"] == 1 and found["freeze_rssm"]["step_share"] > 0


def test_operations_are_listed_by_time(benchmark, capsys):
    args = [*DEBUG, *map(str, FEW), "--jit", "True", "--step", "wm", "--top", "3"]
    assert benchmark("operations").main(args) == 0
    lines = [x for x in capsys.readouterr().out.splitlines() if " calls  " in x]
    assert len(lines) == 3


def test_scaling_fits_a_line_and_draws_it(benchmark, tmp_path, monkeypatch):
    scaling = benchmark("scaling")
    monkeypatch.setattr(scaling, "WARM_UP", 0)
    sizes = ("--batches", "1,2,3", "--lengths", "3,4,6")
    picture = ("--repeats", 1, "--picture", tmp_path / "scaling.png")
    found = run_here(scaling, tmp_path, *DEBUG, *FEW, *sizes, *picture)
    assert found["batch"]["at"] == [1, 2, 3] and found["length"]["at"] == [3, 4, 6]
    assert len(found["batch"]["wm_step"]["departures"]) == 3
    assert (tmp_path / "scaling.png").read_bytes()[1:4] == b"PNG"


def test_online_shares_out_the_time_of_a_run(benchmark, tmp_path):
    task = ("--task", "minatar_space_invaders", "--updates", 2)
    found = run_here(benchmark("online"), tmp_path, *DEBUG, *FEW, *task)
    assert found["policy_ms"] > 0 and found["update_s"] > 0 and found["wall_s"] > 0
    assert sum(found["share"].values()) == pytest.approx(1)
    assert found["overhead"] < 1


def test_distribute_times_one_process_and_two(benchmark, tmp_path, monkeypatch):
    if len(os.sched_getaffinity(0)) < 2:
        pytest.skip("Two processes need two cores.")
    distribute = benchmark("distribute")

    def fork(command, env, **pipes):
        return forks.Fork(command[1:], environment=env)

    processes = types.SimpleNamespace(Popen=fork, PIPE=None, DEVNULL=None)
    monkeypatch.setattr(distribute, "subprocess", processes)
    measured_at = ("--rounds", 1, "--repeats", 1)
    found = run_here(distribute, tmp_path, *DEBUG, *FEW, *measured_at)
    assert found["speedup"] == found["processes_1_s"] / found["processes_2_s"] > 0
    assert [len(x) for x in found["all_s"].values()] == [1, 1]


def test_startup_times_both_stages(benchmark, tmp_path, monkeypatch):
    startup = benchmark("startup")
    monkeypatch.setattr(startup, "COLLECTED", 60)
    once = ("--updates", 1, "--repeats", 1, "--eval_eps", 0)
    tasks = ("--tasks", "minatar_breakout", "--dataset.holdout", 0)
    found = run_here(startup, tmp_path, *DEBUG, *FEW, *once, *tasks)
    for stage in ("pretrain", "scratch"):
        assert found[stage]["first_update_s"] > 0
        assert 0 < found[stage]["peak_gib_updates"] <= found[stage]["peak_gib"]


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (DEBUG, "dreamerv2==2.2.0.*Received: nothing"),
        ((*DEBUG, "--original", "python"), r"an image of shape \(10, 10, 10\)"),
        ((*DEBUG, "--authors", "/nowhere"), "must be a checkout of .*: /nowhere"),
        (
            ("--configs", "atari", "debug", "--original", "no-such-python"),
            "cannot be started: .* Received: no-such-python",
        ),
    ],
)
def test_peers_says_what_it_needs(benchmark, args, message):
    peers = benchmark("peers")
    with pytest.raises(peers.PeerError, match=message):
        peers.main([*args, "--rounds", "1"])


def test_peers_lets_projects_step_in_turn(benchmark, tmp_path, monkeypatch):
    peers = benchmark("peers")
    (tmp_path / "pydreamer").mkdir()
    lines = (
        "import pathlib, sys",
        "from peer_answers import answer, reserve_output",
        "answers = reserve_output()",
        "print('what a project prints')",
        "def step(kind):",
        "    with open(sys.argv[2], 'a') as file: file.write(kind + ' ')",
        "    return 2.5",
        "answer(step, answers)",
    )
    (tmp_path / "fake.py").write_text("\n".join(lines))
    command = [sys.executable, str(tmp_path / "fake.py"), str(tmp_path / "kinds")]
    monkeypatch.setattr(peers, "commands", lambda options: {"authors": command})
    args = ("--authors", tmp_path, "--rounds", 2, "--steps", 1)
    found = run_here(peers, tmp_path, *DEBUG, *FEW, *args)
    assert (tmp_path / "kinds").read_text().split() == ["whole", "wm"] * 4
    assert len(found["peak_gflops"]) == 2
    assert [len(x) for x in found["seconds"]["authors"].values()] == [2, 2]
    assert found["first_model_loss"]["authors"] == 2.5
    ratio, seconds = found["ratios"]["authors"]["wm"], found["seconds"]
    best = min(seconds["authors"]["wm"]) / min(seconds["ours"]["wm"])
    assert ratio["best"] == pytest.approx(best)


def test_peers_counts_no_run_on_a_busy_machine(benchmark):
    busy = benchmark("peers").busy
    assert busy(0.5, [100.0, 90.5]) == ""
    assert busy(0.6, [100.0, 100.0]) == "a load of 0.6 before it began"
    assert busy(0.0, [100.0, 88.0, 95.0]) == (
        "the fastest matrix product differed by 12%"
    )


@pytest.mark.skipif(
    not ORIGINAL,
    reason="peer_original.py needs a Python with dreamerv2==2.2.0: DREAMERV2_PYTHON",
)
def test_original_takes_the_same_first_step(benchmark, tmp_path):
    args = ("--configs", "atari", "debug", "--original", ORIGINAL, "--rounds", 1)
    found = run_here(benchmark("peers"), tmp_path, *args)
    losses = found["first_model_loss"]
    assert losses["ours"] == pytest.approx(losses["original"], rel=0.1)
    assert found["ratios"]["original"]["whole"]["median"] > 0


def test_soak_watches_a_run_and_stops_it(tmp_path):
    watched = ("--hours", 0.001, "--every", 2, "--folder", tmp_path / "soak")
    run = ("scratch", "--tasks", "minatar_breakout", "--log_every", 1)
    picture = ("--picture", tmp_path / "soak.png")
    args = (*watched, *picture, "--", *DEBUG, *run)
    found = measured("soak", *args)
    assert found["stopped_when_asked"] and not found["ended_by_itself"]
    assert found["processes"]["peak"] == 1 and found["memory_mib"]["peak"] > 100
    assert (tmp_path / "soak.png").stat().st_size > 1000


def test_kills_compares_what_a_killed_collection_ends_with(tmp_path):
    args = ("--kinds", "collection", "--kills", 1, "--a_chain", 1)
    found = measured("kills", *args, "--folder", tmp_path)
    assert found == {"kills": 1, "runs": 1, "differ": 0, "left_over": 0}


def test_kills_finds_another_bit(benchmark, tmp_path):
    fingerprint = benchmark("kills").fingerprint
    store.save_episode(tmp_path, fakes.episode(5, 0))
    assert fingerprint(tmp_path) == fingerprint(tmp_path)
    before = fingerprint(tmp_path)
    store.save_episode(tmp_path, fakes.episode(5, 1))
    assert fingerprint(tmp_path) != before


def test_kills_sees_what_came_before_a_new_folder_was_watched(benchmark, tmp_path):
    kills = benchmark("kills")
    with kills.Watch(tmp_path, kills.APPEARS, "deep/*.npz") as watch:
        (tmp_path / "deep").mkdir()
        (tmp_path / "deep" / "a.npz").touch()
        running = subprocess.Popen(["sleep", "60"])
        assert watch.wait([running])
        running.kill()
        running.wait()
        assert not watch.wait([running])


# Answers as a process of bench/seeds.py does that makes no updates.
ANSWER = (
    "import sys; print('warm', flush=True)\nfor _ in sys.stdin: print(2, flush=True)"
)


def test_seeds_compares_several_processes_with_one(benchmark, monkeypatch, tmp_path):
    module, started = benchmark("seeds"), []

    def start(argv, threads):
        started.append(threads)
        command = [sys.executable, "-c", ANSWER]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        return subprocess.Popen(command, **pipes, text=True)

    monkeypatch.setattr(module, "start", start)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: range(6))
    sizes = ("--seeds", 3, "--rounds", 2, "--repeats", 4)
    found = run_here(module, tmp_path, *DEBUG, *sizes)
    assert started == [6, 2, 2, 2] and found["cores"] == 6
    assert found["together"]["cpu_seconds_an_update"] == 3 * 2 / (3 * 4)
    assert found["alone"]["cpu_seconds_an_update"] == 2 / 4 and found["cpu_gain"] == 1
    assert found["gain"] > 0 and len(found["together_all"]) == 2


def test_a_process_of_seeds_makes_updates_when_it_is_told_to(
    benchmark, monkeypatch, capsys
):
    monkeypatch.setattr(sys, "stdin", ["go", "go"])
    module = benchmark("seeds")
    few = (*DEBUG, *FEW, "--precision", 32, "--repeats", 1, "--worker", True)
    assert module.main([*map(str, few)]) == 0
    warm, *spent = capsys.readouterr().out.splitlines()
    assert warm == "warm" and len(spent) == 2 and min(map(float, spent)) > 0
