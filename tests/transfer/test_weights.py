import pickle

import h5py
import keras
import numpy as np
import pytest
import tensorflow as tf

from dreamerv2_transfer.common import checkpoint, nets
from dreamerv2_transfer.common.errors import CheckpointError
from dreamerv2_transfer.common.files import hdf5
from dreamerv2_transfer.transfer import weights
from tests.fakes import Touch

ONES = np.ones(3, np.float32)


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


def test_weights_know_the_step_of_their_run(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    assert weights.step_of(path) is None
    weights.save_weights(path, layer())
    assert weights.step_of(path) is None
    weights.save_weights(path, layer(), step=7)
    assert weights.step_of(path) == 7
    path.write_bytes(path.read_bytes()[:-9])
    assert weights.step_of(path) is None


def test_weights_of_another_step_than_the_newest_checkpoint_are_named(tmp_path, capsys):
    path = tmp_path / "world_model.weights.h5"
    (tmp_path / "checkpoints").mkdir()
    for step, saved, warned in [(7, 7, False), (7, 9, True), (None, 11, False)]:
        (tmp_path / "checkpoints" / f"ckpt-{saved}.index").touch()
        weights.save_weights(path, layer(), step=step)
        weights.load_weights(path, layer())
        said = capsys.readouterr().err
        assert ("of step 7, but the newest" in said and "step 9." in said) == warned


def test_weights_that_do_not_fit_name_both_shapes(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    weights.save_weights(path, layer(3))
    with pytest.raises(checkpoint.CheckpointError, match=r"\(2, 3\).*\(2, 4\)"):
        weights.load_weights(path, layer(4))


def test_a_reward_head_of_another_distribution_is_named(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    heads = [
        nets.MLP((), 1, 2, name="reward", dist=x) for x in ("mse", "symlog_twohot")
    ]
    for head in heads:
        head.build(4)
    weights.save_weights(path, {"reward": heads[0]})
    with pytest.raises(checkpoint.CheckpointError, match="reward_head.dist was anoth"):
        weights.load_weights(path, {"reward": heads[1]})


def test_weights_of_another_type_name_both_types(tmp_path):
    path = tmp_path / "world_model.weights.h5"
    hdf5.save(path, {"encoder/kernel": np.zeros((2, 3), int), "encoder/bias": ONES})
    with pytest.raises(checkpoint.CheckpointError, match="holds int64 .* float32 in"):
        weights.load_weights(path, layer())


@pytest.mark.parametrize("state", [np.zeros(2, np.int64), np.float32(7)])
def test_state_that_does_not_fit_is_refused(tmp_path, state):
    path = tmp_path / "ported.weights.h5"
    hdf5.save(path, {"tfstep": state})
    with pytest.raises(checkpoint.CheckpointError, match="tfstep .* in the model"):
        weights.load_state(path, {"tfstep": tf.Variable(0, dtype=tf.int64)})


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite_are_refused(tmp_path, value):
    path = tmp_path / "world_model.weights.h5"
    spoiled, fresh, counter = layer(), layer(), tf.Variable(0.5)
    spoiled["encoder"].bias.assign([0, value, 0])
    weights.save_weights(path, spoiled, {"scale": tf.Variable(value)})
    kernel = fresh["encoder"].kernel.numpy()
    with pytest.raises(
        checkpoint.CheckpointError, match="encoder/bias is not a number"
    ):
        weights.load_weights(path, fresh)
    assert np.array_equal(fresh["encoder"].kernel, kernel)
    with pytest.raises(checkpoint.CheckpointError, match="scale is not a number"):
        weights.load_state(path, {"scale": counter})
    assert counter.numpy() == 0.5
    with pytest.raises(checkpoint.CheckpointError, match="weights.h5 cannot be used"):
        weights.read_weights(path)


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
    said = weights.initialize(tmp_path, target, ["rssm"]).text
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


def test_a_critic_is_loaded_with_or_without_a_target(tmp_path):
    whole, alone = components(), components(names=("rssm", "critic"))
    save_run(tmp_path, whole)
    weights.initialize(tmp_path, alone, ["critic"])
    np.testing.assert_array_equal(alone["critic"].kernel, whole["critic"].kernel)
    weights.save_weights(
        tmp_path / "actor_critic.weights.h5", {"critic": alone["critic"]}
    )
    target = components()
    said = weights.initialize(tmp_path, target, ["critic"]).text
    assert "left fresh: encoder, rssm, actor, target_critic." in said


def test_a_component_that_neither_side_knows_is_passed_over(tmp_path):
    source, target = components(), components()
    save_run(tmp_path, source)
    said = weights.initialize(tmp_path, target, ["encoder", "discount"]).text
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


def test_state_is_kept_beside_the_components(tmp_path):
    path = tmp_path / "ported.weights.h5"
    weights.save_weights(path, layer(), {"tfstep": tf.Variable(7, dtype=tf.int64)})
    step = tf.Variable(0, dtype=tf.int64)
    weights.load_state(path, {"tfstep": step})
    assert int(step) == 7
    with pytest.raises(checkpoint.CheckpointError, match="no reward_mag"):
        weights.load_state(path, {"reward_mag": step})


@pytest.mark.parametrize("name", ["variables.pkl", "model.pt", "pytorch_model.bin"])
def test_a_pickle_is_refused_unread(tmp_path, name):
    (tmp_path / name).write_bytes(pickle.dumps(Touch(tmp_path / "created")))
    with pytest.raises(CheckpointError, match="may run any code when it is read"):
        weights.read_weights(tmp_path / name)
    assert not (tmp_path / "created").exists()
