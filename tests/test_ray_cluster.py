"""A study on a Ray cluster of two nodes on this machine, one of which is lost.

Needs the extra `ray`, which the tests of every commit do not install; see
docs/clusters.md.
"""

import signal

import psutil
import pytest

from tests import runs

pytest.importorskip("ray")

STUDY = ("launch/reproduce.py", "minatar", "--scale", "debug", "--engine", "ray")
# Models are trained long enough that both are under way when a node is lost.
LENGTHS = (
    "reproduce.dqn=0,reproduce.collect=200,reproduce.pretrain=40,checkpoint_every=5"
)
PRETRAINED = ("collect", "pretrain")
ANALYZED = ("scratch_0", "analyze", "figure_minatar_space_invaders_return", "report")


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """A cluster whose nodes have a core each, and no cache in common."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    made = Cluster()
    for name in ("head", "other"):
        made.add_node(**node, env_vars={"XDG_CACHE_HOME": str(tmp_path / name)})
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


@pytest.mark.parametrize("is_shared", [True, False])
def test_a_study_completes_though_a_node_is_lost(cluster, tmp_path, is_shared):
    logdir, store = tmp_path / "study", tmp_path / "store"
    trained = (logdir if is_shared else store) / "space_invaders"
    args = (*STUDY, "--set", LENGTHS, "--logdir", logdir, "--seeds", 2)
    args += () if is_shared else ("--runs", store.as_uri())
    study = runs.start(*args, "--only", *PRETRAINED, fresh=True)
    models = [trained / f"pretrain_{seed}" for seed in range(2)]
    for model in models:
        runs.wait_for_step(model, 10)
    (lost,) = cluster.worker_nodes
    cluster.remove_node(lost, allow_graceful=False)
    output = runs.finish(study)
    assert output.count("it starts again from its last checkpoint") == 1
    logs = [x.read_text() for x in (logdir / "logs").glob("*pretrain*")]
    assert sorted("resumed from step" in log for log in logs) == [False, True]
    assert [runs.rows(model)[-1]["step"] for model in models] == [40, 40]
    for model in models:
        assert (model / "world_model.weights.h5").exists()
        steps = [row["step"] for row in runs.rows(model) if "model_loss" in row]
        assert steps == sorted(set(steps))


def test_runs_on_a_store_become_pages_of_the_study(cluster, tmp_path):
    logdir, store = tmp_path / "study", tmp_path / "store"
    args = (*STUDY, "--set", LENGTHS, "--logdir", logdir, "--seeds", 1)
    args += ("--runs", store.as_uri(), "--only", *PRETRAINED, *ANALYZED)
    runs.finish(runs.start(*args, fresh=True))
    made = logdir / "space_invaders"
    assert (made / "space_invaders_scratch_0" / "evaluation.json").exists()
    assert list((made / "figures").glob("minatar_space_invaders_return.*"))
    assert (made / "report" / "index.html").exists()
    there = store / "space_invaders"
    assert (there / "pretrain_0" / "analysis" / "analysis.json").exists()
    assert not list(logdir.rglob("checkpoints"))


def test_a_job_ends_with_its_worker_and_with_the_study(cluster, tmp_path):
    lengths = LENGTHS.replace("pretrain=40", "pretrain=10000")
    args = (*STUDY, "--set", lengths, "--logdir", tmp_path, "--seeds", 1)
    study = runs.start(*args, "--only", *PRETRAINED, fresh=True)
    model = tmp_path / "space_invaders" / "pretrain_0"
    runs.wait_for_step(model, 2)
    (job,) = [x for x in psutil.process_iter() if f"{model}" in told(x)]
    job.parent().kill()
    job.wait(60)
    runs.wait_for_step(model, runs.rows(model)[-1]["step"] + 1)
    study.send_signal(signal.SIGINT)
    output, _ = study.communicate(timeout=120)
    assert study.returncode == 130
    assert "it starts again from its last checkpoint" in output
    assert "Stopped  space_invaders/pretrain_0; the same command resumes" in output
    log = (tmp_path / "logs" / "space_invaders.pretrain_0.log").read_text()
    assert log.count("the same command resumes from it") == 2


def told(process) -> str:
    """Returns the command line of a job, '' of other processes."""
    try:
        line = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    return line if "-m dreamerv2_transfer train" in line else ""
