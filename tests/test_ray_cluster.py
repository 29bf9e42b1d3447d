"""A study on a Ray cluster of two nodes on this machine, one of which is lost.

Needs the extra `ray`, which the tests of every commit do not install; see
docs/clusters.md.
"""

import pytest

from tests import runs

pytest.importorskip("ray")

STUDY = ("launch/reproduce.py", "minatar", "--scale", "debug", "--seeds", 2)
# One game takes the time of the others' play; the two runs last long enough to be hit.
SETTINGS = (
    "reproduce.dqn=0,reproduce.collect=200,reproduce.pretrain=60,checkpoint_every=5"
)


@pytest.fixture
def cluster(monkeypatch):
    """A cluster whose nodes have a core each."""
    from ray.cluster_utils import Cluster

    node = {"num_cpus": 1, "num_gpus": 0, "include_dashboard": False}
    made = Cluster(initialize_head=True, head_node_args=node)
    made.add_node(**node)
    monkeypatch.setenv("RAY_ADDRESS", made.address)
    yield made
    made.shutdown()


def test_a_study_completes_though_a_node_is_lost(cluster, tmp_path):
    chosen = ("--set", SETTINGS, "--only", "collect", "pretrain")
    study = runs.start(
        *STUDY, *chosen, "--engine", "ray", "--logdir", tmp_path, fresh=True
    )
    models = [tmp_path / "space_invaders" / f"pretrain_{seed}" for seed in range(2)]
    for model in models:
        runs.wait_for_step(model, 10)
    (lost,) = cluster.worker_nodes
    cluster.remove_node(lost, allow_graceful=False)
    output = runs.finish(study)
    assert output.count("it starts again from its last checkpoint") == 1
    logs = [x.read_text() for x in sorted((tmp_path / "logs").glob("*pretrain*"))]
    assert sorted("resumed from step" in log for log in logs) == [False, True]
    assert runs.rows(models[0])[-1]["step"] == runs.rows(models[1])[-1]["step"] == 60
    for model in models:
        assert (model / "world_model.weights.h5").exists()
        steps = [row["step"] for row in runs.rows(model) if "model_loss" in row]
        assert steps == sorted(set(steps))
