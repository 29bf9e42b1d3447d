from dreamerv2_transfer.common.files import checkpoints


def test_other_files_are_no_checkpoints(tmp_path):
    assert checkpoints.steps(tmp_path / "none") == []
    for name in ("ckpt-2.index", "ckpt-10.index", "notes.index", "ckpt-3.index.old"):
        (tmp_path / name).touch()
    assert checkpoints.steps(tmp_path) == [10, 2]
