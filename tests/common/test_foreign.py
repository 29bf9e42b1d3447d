"""Other libraries still have the private names that we use or replace."""

import ast
import importlib.util
import inspect
import pathlib
import re
import subprocess
import sys

import fsspec
import keras
import pytest
import tensorflow as tf
from fsspec.asyn import AsyncFileSystem

from dreamerv2_transfer.common import envs, foreign


@pytest.fixture
def adam():
    variable = keras.Variable([1.0, 2.0], name="x")
    optimizer = keras.optimizers.Adam(0.1, beta_1=0.9, beta_2=0.99)
    optimizer.build([variable])
    return optimizer, variable


def test_keras_sums_gradients_by_the_method_that_is_replaced(adam):
    optimizer, variable = adam
    called = []
    original = optimizer._all_reduce_sum_gradients
    optimizer._all_reduce_sum_gradients = lambda x: called.append(x) or original(x)
    optimizer.apply([tf.constant([1.0, 1.0])], [variable])
    assert len(called) == 1
    foreign.skip_gradient_sum(optimizer)
    optimizer.apply([tf.constant([1.0, 1.0])], [variable])
    assert len(called) == 1


def test_moments_are_those_of_the_variable(adam):
    optimizer, variable = adam
    optimizer.apply([tf.constant([1.0, -2.0])], [variable])
    first, second = foreign.adam_moments(optimizer, variable)
    assert first.numpy() == pytest.approx([0.1, -0.2])
    assert second.numpy() == pytest.approx([0.01, 0.04])


def test_a_writer_of_summaries_writes_any_event(tmp_path):
    log = tf.compat.v1.SessionLog(status=tf.compat.v1.SessionLog.START)
    event = tf.compat.v1.Event(step=7, session_log=log)
    writer = tf.summary.create_file_writer(str(tmp_path))
    foreign.write_event(writer, event.SerializeToString())
    writer.close()
    (path,) = tmp_path.iterdir()
    written = [*tf.compat.v1.train.summary_iterator(str(path))]
    assert [(x.step, x.session_log.status) for x in written[1:]] == [(7, log.status)]


def test_tensorflow_has_the_module_that_opens_its_libraries():
    assert importlib.util.find_spec(foreign.GLOBAL_FLAGS)


def test_tensorflow_works_without_opening_its_libraries():
    code = (
        "import sys; from dreamerv2_transfer.common import foreign\n"
        "assert 'tensorflow' not in sys.modules\n"
        "foreign.hide_tensorflow_symbols()\n"
        "import tensorflow as tf\n"
        "assert sys.modules[foreign.GLOBAL_FLAGS] is None\n"
        "print(float(tf.exp(0.0)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "1.0\n"), done.stderr


def test_minatar_comes_without_its_display():
    code = (
        "import sys; from dreamerv2_transfer.common import envs\n"
        "envs.make_env('minatar_breakout')\n"
        "assert 'seaborn' not in sys.modules\n"
        "from matplotlib import pyplot"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_processes_of_gymnasium_end_when_they_are_asked_to():
    env = envs.make_vector_env("dummy_discrete", 2, "process")
    foreign.ask_to_close(env)
    for process in env.processes:
        process.join(10)
    assert [process.exitcode for process in env.processes] == [0, 0]
    foreign.ask_to_close(env)  # The processes are gone.
    env.close_extras(terminate=True)
    env.closed = True


class Walking(AsyncFileSystem):
    """A store, such as those of s3fs, that lists a folder at a time."""


class Listing(AsyncFileSystem):
    """A store with a request of its own for all files below a folder."""

    async def _find(self, path, **kwargs):
        return {}


class Found(fsspec.AbstractFileSystem):
    """One that lists files itself, as that of "memory" does in new versions."""

    def find(self, path, **kwargs):
        return {}


def test_stores_that_walk_are_told_from_those_with_a_listing_of_their_own():
    assert foreign.lists_by_walking(fsspec.filesystem("file"))
    assert foreign.lists_by_walking(Walking())
    assert not foreign.lists_by_walking(Found())
    assert not foreign.lists_by_walking(Listing())


def test_private_names_of_other_libraries_are_used_in_one_file():
    root = pathlib.Path(foreign.__file__).parents[1]
    trees = {path: ast.parse(path.read_text()) for path in root.rglob("*.py")}
    nodes = [(path, x) for path, tree in trees.items() for x in ast.walk(tree)]
    kinds = ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef
    ours = {x.name for _, x in nodes if isinstance(x, kinds)}
    ours |= {x.id for _, x in nodes if isinstance(x, ast.Name)}
    ours |= {
        x.attr
        for path, x in nodes
        if isinstance(x, ast.Attribute) and isinstance(x.ctx, ast.Store)
        if path != root / "common" / "foreign.py" and ast.unparse(x.value) == "self"
    }
    private = [
        f"{path.relative_to(root)}:{x.lineno} {ast.unparse(x)}"
        for path, x in nodes
        if isinstance(x, ast.Attribute) and re.fullmatch("_[a-z].*", x.attr)
        if x.attr not in ours and path != root / "common" / "foreign.py"
    ]
    public = (" os._exit", "._replace")  # Of the standard library, and documented.
    assert [x for x in private if not x.endswith(public)] == []


def test_a_trial_of_optuna_is_resumed_by_its_id():
    optuna = pytest.importorskip("optuna")
    study = optuna.create_study()
    study.ask().suggest_int("x", 3, 3)
    number = foreign.trial_id(study.get_trials()[0])
    assert optuna.trial.Trial(study, number).suggest_int("x", 3, 3) == 3


def test_the_processes_of_gymnasium_take_what_we_hand_them():
    names = list(inspect.signature(foreign.async_worker()).parameters)
    assert names == [
        "index",
        "env_fn",
        "pipe",
        "parent_pipe",
        "shared_memory",
        "error_queue",
        "autoreset_mode",
        *["semaphore"] * ("semaphore" in names),  # Not in 1.1.
    ]


@pytest.mark.parametrize("name", [*foreign.UNUSED, *foreign.COLLECTIONS])
def test_modules_that_are_imported_later_exist(name):
    assert importlib.util.find_spec(name) is not None


@pytest.mark.parametrize("name", foreign.COLLECTIONS)
def test_collections_import_names_and_define_none(name):
    body = ast.parse(pathlib.Path(importlib.util.find_spec(name).origin).read_text())
    defined = {type(node).__name__ for node in body.body}
    assert defined <= {"Expr", "Import", "ImportFrom", "Assign", "Delete"}


def test_tensorflow_tells_the_variable_of_a_resource():
    variable = tf.Variable([1.0, 2.0], name="some/name")
    graph = tf.function(lambda: variable + 1).get_concrete_function()
    (handle,) = graph.captured_inputs
    name, value = foreign.read_variable(handle)
    assert re.fullmatch(r"some/name(/\d+)?", name) and list(value.numpy()) == [1, 2]
