"""Files of metrics, some of them damaged."""

import json

import pytest

from dreamerv2_transfer.plotting import metrics_file
from tests.plotting.folders import values


def read(tmp_path, rows, before=b""):
    """Reads these rows, below some lines that are bytes."""
    path = tmp_path / "metrics.jsonl"
    path.write_bytes(before + "\n".join(map(json.dumps, rows)).encode())
    return metrics_file.read(path)


ROWS = [{"step": 1, "loss": 2.0}, {"step": 2, "loss": 1.0}]


@pytest.mark.parametrize(
    "line",
    [b"\xff\xfe", b"[1]", b'{"loss": 1}', b'{"step": true, "loss": 1}', b"[" * 10**5],
)
def test_damaged_lines_are_counted(tmp_path, line):
    metrics, notes = read(tmp_path, ROWS, line + b"\n\n")
    assert values(metrics["loss"]) == ([1, 2], [2, 1])
    assert notes == ["1 damaged lines were left out, the first is 1."]
    assert metrics_file.parse(line) is None and metrics_file.parse(b" ") == {}


def test_a_last_line_that_is_cut_off_is_told_from_damage_before(tmp_path):
    path = tmp_path / "metrics.jsonl"
    path.write_text('{"step": 1, "loss": 2}\n{\n{"step": 2, "lo')
    metrics, notes = metrics_file.read(path)
    assert values(metrics["loss"]) == ([1], [2])
    assert notes == [
        "the last line is cut off and was left out.",
        "1 damaged lines were left out, the first is 2.",
    ]


def test_values_that_are_no_finite_numbers_are_left_out_and_named(tmp_path):
    rows = [{"step": 1, "loss": None, "kl": 1}, {"step": 2, "loss": float("nan")}]
    rows += [{"step": 3, "loss": 5, "text": "x", "huge": 10**400}]
    metrics, notes = read(tmp_path, rows)
    assert values(metrics["loss"]) == ([3], [5])
    assert set(metrics) == {"loss", "kl"}
    assert notes == [
        "values that are not finite numbers were left out: loss 2, text 1, huge 1."
    ]


def test_of_a_step_that_was_logged_again_the_last_counts(tmp_path):
    rows = [{"step": 1, "loss": 1}, {"step": 3, "loss": 2}, {"step": 2, "loss": 3}]
    rows += [{"step": 3, "loss": 4}]
    metrics, _ = read(tmp_path, rows)
    assert values(metrics["loss"]) == ([1, 2, 3], [1, 3, 4])
