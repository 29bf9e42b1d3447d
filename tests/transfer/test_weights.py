import re

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import checkpoint
from dreamerv2_transfer.transfer import weights


class Run:
    """A run whose state is a variable and a number."""

    def __init__(self, directory, keep=2):
        self.weight = tf.Variable([0.0, 0.0])
        self.count = 0
        self.checkpoint = checkpoint.Checkpoint(
            directory,
            {"weight": self.weight},
            lambda: {"count": self.count, "precise": 0.1 + 0.2},
            self.load,
            keep,
        )

    def load(self, state):
        assert state["precise"] == 0.1 + 0.2
        self.count = state["count"]

    def save(self, step):
        self.weight.assign([step, -step])
        self.count = 10 * step
        self.checkpoint.save(step)


def steps(directory) -> list[int]:
    names = (p.name for p in directory.glob("ckpt-*.index"))
    return sorted(int(re.search(r"\d+", name)[0]) for name in names)


def test_nothing_to_restore(tmp_path):
    run = Run(tmp_path / "none")
    assert run.checkpoint.restore() is None


def test_restores_variables_and_python_state(tmp_path):
    Run(tmp_path).save(7)
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 7
    np.testing.assert_array_equal(run.weight, [7, -7])
    assert run.count == 70


def test_keeps_the_last_few(tmp_path):
    run = Run(tmp_path, keep=2)
    for step in (9, 10, 11):
        run.save(step)
    assert steps(tmp_path) == [10, 11]
    assert Run(tmp_path).checkpoint.restore() == 11


def test_a_damaged_checkpoint_is_named_and_passed_over(tmp_path, capsys):
    run = Run(tmp_path)
    run.save(1)
    run.save(2)
    data = tmp_path / "ckpt-2.data-00000-of-00001"
    data.write_bytes(data.read_bytes()[:-5])
    run = Run(tmp_path)
    assert run.checkpoint.restore() == 1
    np.testing.assert_array_equal(run.weight, [1, -1])
    assert run.count == 10
    assert "ckpt-2" in capsys.readouterr().out


def test_a_missing_data_file_is_passed_over(tmp_path):
    run = Run(tmp_path)
    run.save(1)
    run.save(2)
    (tmp_path / "ckpt-2.data-00000-of-00001").unlink()
    assert Run(tmp_path).checkpoint.restore() == 1


def test_a_damaged_state_file_does_not_hide_checkpoints(tmp_path):
    Run(tmp_path).save(3)
    (tmp_path / "checkpoint").write_bytes(b"\x00garbage")
    assert Run(tmp_path).checkpoint.restore() == 3


def test_unreadable_checkpoints_are_an_error_not_a_fresh_start(tmp_path):
    Run(tmp_path).save(3)
    for path in tmp_path.glob("ckpt-3.*"):
        path.write_bytes(b"garbage")
    with pytest.raises(checkpoint.CheckpointError, match="ckpt-3"):
        Run(tmp_path).checkpoint.restore()


def test_a_checkpoint_of_other_variables_is_an_error(tmp_path):
    Run(tmp_path).save(3)
    wider = checkpoint.Checkpoint(
        tmp_path, {"other": tf.Variable(1.0)}, dict, lambda state: None
    )
    with pytest.raises(checkpoint.CheckpointError, match="ckpt-3"):
        wider.restore()


def test_leftovers_of_a_kill_are_removed(tmp_path):
    (tmp_path / "ckpt-5_temp").mkdir(parents=True)
    (tmp_path / "ckpt-5_temp" / "part").write_bytes(b"x")
    Run(tmp_path).save(6)
    assert not (tmp_path / "ckpt-5_temp").exists()


def test_a_folder_that_cannot_be_written(tmp_path):
    run = Run(tmp_path / "run")
    (tmp_path / "run").rmdir() if (tmp_path / "run").exists() else None
    (tmp_path / "run").write_text("a file in the way")
    with pytest.raises(checkpoint.CheckpointError, match="Cannot write a checkpoint"):
        run.save(1)


def layer(units=3) -> dict:
    made = keras.layers.Dense(units, name="encoder")
    made.build((None, 2))
    return {"encoder": made}


def test_weights_travel_by_path(tmp_path):
    source, target = layer(), layer()
    path = tmp_path / "world_model.weights.h5"
    weights.save_weights(path, source)
    with h5py.File(path) as file:
        assert sorted(file["encoder"]) == ["bias", "kernel"]
    weights.load_weights(path, target)
    kernels = [x["encoder"].kernel.numpy() for x in (source, target)]
    np.testing.assert_array_equal(*kernels)


def test_weights_that_do_not_fit_name_both_shapes(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    weights.save_weights(path, layer(3))
    with pytest.raises(checkpoint.CheckpointError, match=r"\(2, 3\).*\(2, 4\)"):
        weights.load_weights(path, layer(4))


def test_missing_and_superfluous_weights_are_errors(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    weights.save_weights(path, layer())
    with h5py.File(path, "a") as file:
        file["encoder/extra"] = 1.0
    with pytest.raises(checkpoint.CheckpointError, match="encoder/extra"):
        weights.load_weights(path, layer())
    with h5py.File(path, "a") as file:
        del file["encoder/extra"], file["encoder/bias"]
    with pytest.raises(checkpoint.CheckpointError, match="encoder/bias"):
        weights.load_weights(path, layer())


def test_a_file_that_is_no_hdf5(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    path.write_bytes(b"garbage")
    with pytest.raises(checkpoint.CheckpointError, match="world_model.weights.h5"):
        weights.load_weights(path, layer())


def test_names_are_unique():
    named = checkpoint.named_variables("model", layer()["encoder"].variables)
    assert sorted(named) == ["model/encoder/bias", "model/encoder/kernel"]
    twice = layer()["encoder"].variables + layer()["encoder"].variables
    with pytest.raises(ValueError, match="share a path"):
        checkpoint.named_variables("model", twice)


def components(units=3, names=("encoder", "rssm", "actor", "critic", "target_critic")):
    made = {}
    for name in names:
        made[name] = keras.layers.Dense(units, name=name)
        made[name].build((None, 2))
    return made


def save_run(logdir, parts) -> None:
    behavior = {k: v for k, v in parts.items() if k in ("actor", "critic")}
    behavior["target_critic"] = parts["target_critic"]
    model = {k: v for k, v in parts.items() if k not in behavior}
    weights.save_weights(logdir / "world_model.weights.h5", model)
    weights.save_weights(logdir / "actor_critic.weights.h5", behavior)


def is_loaded(source, target) -> set[str]:
    pairs = {k: (source[k].kernel.numpy(), target[k].kernel.numpy()) for k in source}
    return {k for k, pair in pairs.items() if np.array_equal(*pair)}


def test_a_fresh_agent_is_filled_by_component(tmp_path):
    source, target = components(), components()
    save_run(tmp_path, source)
    said = weights.initialize(tmp_path, target, ["rssm"])
    assert said == (
        f"Loaded rssm from {tmp_path}/world_model.weights.h5; "
        "left fresh: encoder, actor, critic, target_critic."
    )
    assert is_loaded(source, target) == {"rssm"}


def test_behavior_is_loaded_where_it_is_asked_for(tmp_path):
    source, target = components(), components()
    save_run(tmp_path, source)
    file = tmp_path / "world_model.weights.h5"
    weights.initialize(file, target, ["encoder", "actor"])
    assert is_loaded(source, target) == {"encoder", "actor"}
    weights.initialize(file, target, ["critic"])
    assert is_loaded(source, target) == {"encoder", "actor", "critic", "target_critic"}


def test_a_component_that_neither_side_knows_is_passed_over(tmp_path):
    source, target = components(), components()
    save_run(tmp_path, source)
    said = weights.initialize(tmp_path, target, ["encoder", "discount"])
    assert "Loaded encoder from" in said


def test_a_component_that_one_side_lacks_is_an_error(tmp_path):
    save_run(tmp_path, components())
    target = components(names=("encoder", "decoder"))
    with pytest.raises(checkpoint.CheckpointError, match="decoder/kernel .* none in"):
        weights.initialize(tmp_path, target, ["decoder"])
    with pytest.raises(checkpoint.CheckpointError, match="none in the model"):
        weights.initialize(tmp_path, target, ["rssm"])


def test_nothing_is_loaded_where_one_component_does_not_fit(tmp_path):
    save_run(tmp_path, components())
    target = components()
    target["rssm"] = components(units=4)["rssm"]
    before = target["encoder"].kernel.numpy()
    with pytest.raises(checkpoint.CheckpointError, match=r"rssm.*\(2, 3\).*\(2, 4\)"):
        weights.initialize(tmp_path, target, ["encoder", "rssm"])
    np.testing.assert_array_equal(target["encoder"].kernel.numpy(), before)


def test_a_component_that_does_not_exist_is_named(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="'rsm'.*rssm"):
        weights.initialize(tmp_path, components(), ["rsm"])


def test_missing_weights_say_what_would_do(tmp_path):
    with pytest.raises(checkpoint.CheckpointError, match="world_model.weights.h5"):
        weights.initialize(tmp_path, components(), ["rssm"])
