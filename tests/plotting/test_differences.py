"""In which settings runs differ."""

import pathlib

import numpy as np

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.plotting import differences
from dreamerv2_transfer.plotting.runs import Run
from dreamerv2_transfer.plotting.tables import Strong

CONFIG = blocks.load_config(["minatar", "debug", "scratch"])
FINETUNE = blocks.load_config(["minatar", "debug", "finetune"])


def make_run(name, config=CONFIG, **changes):
    held = {"train_return": (np.array([0.0]), np.array([1.0]))}
    changed = config and config.update(changes)
    return Run(name, pathlib.Path(name), changed, held)


def test_runs_that_differ_in_their_seed_are_of_one_kind():
    found = [
        make_run("a"),
        make_run("b", seed=1, logdir="/else"),
        make_run("c", None),
        make_run("d", discount=0.5),
    ]
    kinds = differences.kinds(found)
    assert [[run.name for run in runs] for runs in kinds.runs] == [["a", "b"], ["d"]]
    assert kinds.differences == [("discount", ["0.99", "0.5"])]


def test_runs_from_models_of_their_own_seeds_are_of_one_kind():
    path = "/study/pretrain_{}"
    found = [
        make_run("a", FINETUNE, seed=0, **{"init.path": path.format(0)}),
        make_run("b", FINETUNE, seed=1, **{"init.path": path.format(1)}),
        make_run("c", FINETUNE, seed=0, **{"init.path": "/other"}),
    ]
    kinds = differences.kinds(found)
    assert [len(runs) for runs in kinds.runs] == [2, 1]
    assert kinds.differences == [("init.path", ["/study/pretrain_SEED", "/other"])]


def test_numbers_in_the_place_of_a_study_are_no_seeds():
    path = "/study_1/pretrain_{}"
    found = [
        make_run(str(i), FINETUNE, seed=i, **{"init.path": path.format(i)})
        for i in range(3)
    ]
    assert [len(runs) for runs in differences.kinds(found).runs] == [3]
    shared = [make_run(str(i), FINETUNE, seed=i, **{"init.path": "/2"}) for i in (1, 2)]
    assert [len(runs) for runs in differences.kinds(shared).runs] == [2]


def test_a_lone_run_keeps_the_place_of_its_model():
    found = [
        make_run("a", FINETUNE, **{"init.path": "/pretrain_0"}),
        make_run("b", FINETUNE, **{"init.path": "/longer_0"}),
    ]
    rows = dict(differences.kinds(found).differences)
    assert rows["init.path"] == ["/pretrain_0", "/longer_0"]


def test_the_table_marks_what_most_kinds_do_not_have():
    found = [
        make_run("a", discount=0.5),
        make_run("b", seed=3),
        make_run("c", seed=4),
        make_run("d", imag_horizon=3),
    ]
    (table,) = differences.table(differences.kinds(found))
    name = "Space Invaders (MinAtar), from scratch"
    assert table.headings == (
        "key",
        f"{name}, seed 0",
        f"{name}, seeds 3, 4",
        f"{name}, seed 0",
    )
    cells = {row.cells[0]: row.cells[1:] for row in table.rows}
    assert cells["discount"] == (Strong("0.5"), "0.99", "0.99")
    assert cells["imag_horizon"][2] == Strong("3")


def test_many_kinds_get_several_tables():
    found = [make_run(str(x), discount=x / 10) for x in range(8)]
    tables = differences.table(differences.kinds(found))
    assert [len(table.headings) for table in tables] == [7, 3]
    assert all(row.cells[0] == "discount" for x in tables for row in x.rows)


def test_values_of_several_parts_are_listed():
    found = [make_run("a"), make_run("b", tasks=("x", "y"))]
    assert dict(differences.kinds(found).differences)["tasks"][1] == "x, y"
