import json

from dreamerv2_transfer.dqn import curve


def test_a_run_becomes_a_picture(tmp_path):
    rows = [
        {"step": 100, "train_return": 0.5},
        {"step": 200, "train_return": 1.5, "eval_return_mean": None},
        {"step": 200, "eval_return_mean": 3.0},
    ]
    lines = "".join(f"{json.dumps(row)}\n" for row in rows)
    (tmp_path / "metrics.jsonl").write_text(lines)
    assert curve.read(tmp_path, "train_return") == ([100, 200], [0.5, 1.5])
    assert curve.read(tmp_path, "eval_return_mean") == ([200], [3.0])
    curve.draw(tmp_path, "minatar_breakout")
    picture = (tmp_path / "curve.png").read_bytes()
    assert picture.startswith(b"\x89PNG") and len(picture) > 5_000
