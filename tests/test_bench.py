"""The benchmarks that reach into a run still find what they measure."""

import json

import pytest

from tests import runs

DEBUG = ("--configs", "minatar", "debug")


@pytest.mark.parametrize(
    ("script", "options", "names"),
    [
        (
            "online",
            ("--task", "minatar_space_invaders", "--updates", 2),
            {"policy_ms", "update_s", "wall_s", "share", "overhead"},
        ),
        ("train_step", ("--repeats", 1), {"wm_step_s", "step_s", "efficiency"}),
    ],
)
def test_a_benchmark_says_what_it_measured(script, options, names, tmp_path):
    out = tmp_path / "result.json"
    found = runs.run(f"bench/{script}.py", *DEBUG, *options, "--json", out)
    assert found.returncode == 0, found.stderr
    assert names <= json.loads(out.read_text()).keys()
