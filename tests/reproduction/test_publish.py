"""What a study leaves for others."""

import json

import pytest

from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.reproduction import publish


def test_evaluations_stay_and_many_other_lines_are_thinned(monkeypatch):
    monkeypatch.setattr(publish, "MOST", 3)
    rows = [{"step": i, "loss": i / 3} for i in range(13)]
    rows.insert(4, {"step": 3, "eval_return_mean": 1.0})
    lines = [json.dumps(row) for row in rows] + ['{"step": 13, "lo']
    kept = [json.loads(line) for line in publish.thinned(lines)]
    assert [row["step"] for row in kept] == [0, 3, 5, 10, 12]
    assert kept[1] == {"step": 3, "eval_return_mean": 1.0}
    assert kept[2] == {"step": 5, "loss": 1.6667}


def test_200_lines_of_updates_all_stay():
    lines = [json.dumps({"step": i}) for i in range(200)]
    assert len([*publish.thinned(lines)]) == 200
    assert len([*publish.thinned([*lines, lines[0]])]) == 101
    assert [*publish.thinned([])] == []


def test_runs_are_published_without_what_they_resume_from(tmp_path):
    run = tmp_path / "study" / "asterix" / "scratch_0"
    for folder in ("checkpoints", "train_episodes", "analysis"):
        (run / folder).mkdir(parents=True)
        (run / folder / "file").write_text(folder)
    (run / "metrics.jsonl").write_text('{"step": 1, "loss": 2.0}\n')
    (run / "config.yaml").write_text(f"logdir: {run}\nseed: 0\n")
    (run / "world_model.weights.h5").write_text("weights")
    (run / "analysis" / "found.json").write_text(f'["{run}"]')
    out = tmp_path / "out"
    assert publish.publish(tmp_path / "study", out) == [out / "asterix" / "scratch_0"]
    config = (out / "asterix" / "scratch_0" / "config.yaml").read_text()
    assert config == "logdir: STUDY/asterix/scratch_0\nseed: 0\n"
    analysis = out / "asterix" / "scratch_0" / "analysis"
    assert (analysis / "found.json").read_text() == '["STUDY/asterix/scratch_0"]'
    (analysis / "found.json").unlink()
    files = {str(p.relative_to(out)) for p in out.rglob("*") if p.is_file()}
    assert files == {
        "stages.json",
        *(
            f"asterix/scratch_0/{name}"
            for name in ("metrics.jsonl", "config.yaml", "analysis/file")
        ),
    }


def test_a_study_without_runs_and_a_folder_in_the_study_are_named(tmp_path):
    with pytest.raises(publish.PublishError, match="no run"):
        publish.publish(tmp_path / "nowhere", tmp_path / "out")
    with pytest.raises(publish.PublishError, match="in the study itself"):
        publish.publish(tmp_path, tmp_path / "out")


def test_what_each_job_took_is_published(tmp_path):
    held = {"command": ["x", str(tmp_path)], "seconds": 12.34567, "units": 3}
    done = {"asterix/scratch_0": {**held, "unit": "update"}}
    done["asterix/scratch_1"] = {"under_way": ["x"], "seconds": 2.0}
    study = tmp_path / "study"
    (study / "run").mkdir(parents=True)
    (study / "run" / "metrics.jsonl").write_text('{"step": 1}\n')
    (study / "reproduce.json").write_text(json.dumps(done))
    publish.publish(study, tmp_path / "out")
    assert json.loads((tmp_path / "out" / "stages.json").read_text()) == {
        "asterix/scratch_0": {"units": 3, "unit": "update", "seconds": 12.346}
    }


def test_metrics_outside_of_the_study_are_not_published(tmp_path):
    (tmp_path / "study" / "run").mkdir(parents=True)
    (tmp_path / "private.jsonl").write_text('{"step": 1, "secret": 2.0}\n')
    (tmp_path / "study/run/metrics.jsonl").symlink_to(tmp_path / "private.jsonl")
    with pytest.raises(UserError, match="metrics.jsonl"):
        publish.publish(tmp_path / "study", tmp_path / "out")
