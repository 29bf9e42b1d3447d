import io
import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from dreamerv2_transfer.common import counter, logger
from dreamerv2_transfer.common.errors import UserError
from dreamerv2_transfer.common.files import atomic


def make_logger(step=5, multiplier=1):
    written = []
    step = counter.Counter(step)
    return logger.Logger(step, [lambda s: written.extend(s)], multiplier), written, step


def kinds(log):
    return [type(output).__name__ for output in log._outputs]


def test_the_outputs_are_those_that_are_named(tmp_path):
    log = logger.make_logger(tmp_path, counter.Counter())
    assert kinds(log) == ["TerminalOutput", "JSONLOutput", "TensorBoardOutput"]
    log = logger.make_logger(tmp_path, counter.Counter(), names=["jsonl", "jsonl"])
    assert kinds(log) == ["JSONLOutput"]


def test_what_curves_are_drawn_from_cannot_be_left_out():
    logger.check(["jsonl"])
    with pytest.raises(logger.LoggerError, match="Received: --outputs terminal"):
        logger.check(["terminal"])


def read(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


def scalars(step, **values):
    return [(step, name, np.array(value)) for name, value in values.items()]


def test_metrics_carry_the_step_at_which_they_were_added():
    log, written, step = make_logger(step=5, multiplier=4)
    log.add({"loss": 1.5, "kl": 2}, prefix="train")
    step.increment()
    log.scalar("return", 3.0)
    log.write()
    assert [(s, name, float(v)) for s, name, v in written] == [
        (20, "train_loss", 1.5),
        (20, "train_kl", 2.0),
        (24, "return", 3.0),
    ]
    log.write()
    assert len(written) == 3


def test_each_rank_has_its_meaning_and_others_are_refused():
    log, written, _ = make_logger()
    log.image("gray", np.zeros((4, 4)))
    log.image("rgb", np.zeros((4, 4, 3)))
    log.video("video", np.zeros((2, 4, 4, 3)))
    log.write()
    assert [v.ndim for _, _, v in written] == [2, 3, 4]
    with pytest.raises(ValueError, match=r"'vector'.*Received: shape=\(7,\)"):
        log.scalar("vector", np.zeros(7))
    with pytest.raises(ValueError):
        log.scalar("text", "hello")


def test_fps_counts_steps_with_the_multiplier(monkeypatch):
    clock = iter([10.0, 12.0])
    monkeypatch.setattr(time, "monotonic", lambda: next(clock))
    log, written, step = make_logger(step=0, multiplier=4)
    log.write(fps=True)
    step.increment(30)
    log.write(fps=True)
    assert [(s, n, float(v)) for s, n, v in written] == [
        (0, "fps", 0.0),
        (120, "fps", 60.0),
    ]


@pytest.mark.parametrize(
    "value, text",
    [
        (0, "0"),
        (-0.0, "0"),
        (3, "3"),
        (100, "100"),
        (2.5, "2.5"),
        (-3.14159, "-3.14"),
        (9999.4, "9999.4"),
        (10000, "1e4"),
        (-123456, "-1.2e5"),
        (0.01, "1e-2"),
        (0.00025, "2.5e-4"),
        (-3e-12, "-3e-12"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
    ],
)
def test_number_format(value, text):
    assert logger.format_number(value) == text


def test_terminal_prints_one_line(capsys):
    output = logger.TerminalOutput()
    output([*scalars(7, model_loss=12.5, kl_loss=0.001), (7, "v", np.zeros((2, 2)))])
    assert capsys.readouterr().out == "[7] model_loss 12.5 / kl_loss 1e-3\n"


def test_terminal_prints_only_the_keys_wanted(capsys):
    output = logger.TerminalOutput(keys="^model_loss$|return")
    output(scalars(7, model_loss=1, model_loss_std=2, train_return=3))
    output(scalars(8, other=1))
    assert capsys.readouterr().out == "[7] model_loss 1 / train_return 3\n"


def test_terminal_shows_returns_by_game(capsys):
    output = logger.TerminalOutput(logger.logger.TERMINAL_KEYS)
    names = ("train_return", "train_return_std", "train_length", "eval_return_mean")
    output([(8, f"{name}/minatar_asterix", np.array(2)) for name in names])
    assert capsys.readouterr().out == (
        "[8] train_return/minatar_asterix 2 / eval_return_mean/minatar_asterix 2\n"
    )


def test_terminal_has_one_order_and_no_rate_of_zero(capsys):
    output = logger.TerminalOutput()
    output(scalars(7, train_return=3, kl_loss=1, model_loss=2, fps=0))
    output(scalars(8, kl_loss=0, fps=5, train_return=3))
    assert capsys.readouterr().out.splitlines() == [
        "[7] kl_loss 1 / model_loss 2 / train_return 3",
        "[8] kl_loss 0 / train_return 3 / fps 5",
    ]


def test_jsonl_holds_scalars_and_null_for_numbers_that_json_lacks(tmp_path):
    output = logger.JSONLOutput(tmp_path / "new")
    output([*scalars(3, loss=0.5, count=2), (3, "image", np.zeros((2, 2)))])
    output(scalars(4, loss=float("nan"), worst=float("inf")))
    assert (tmp_path / "new" / "metrics.jsonl").read_text() == (
        '{"step": 3, "loss": 0.5, "count": 2.0}\n'
        '{"step": 4, "loss": null, "worst": null}\n'
    )


def test_rewind_drops_later_steps_and_a_damaged_last_line(tmp_path):
    output = logger.JSONLOutput(tmp_path)
    assert output.rewind(10) == 0 and not output.path.exists()
    for step in (1, 2, 3, 4):
        output(scalars(step, loss=step / 2))
    with output.path.open("a") as file:
        file.write('{"step": 5, "lo')
    assert output.rewind(3) == 1
    output(scalars(4, loss=9))
    assert read(output.path) == [
        {"step": 1, "loss": 0.5},
        {"step": 2, "loss": 1.0},
        {"step": 3, "loss": 1.5},
        {"step": 4, "loss": 9.0},
    ]
    assert os.listdir(tmp_path) == ["metrics.jsonl"]


@pytest.mark.parametrize("garbage", ["\x00\x00\n", "[1]\n", '{"loss": 1}\n', "3\n"])
def test_rewind_drops_and_counts_any_damaged_line(tmp_path, garbage):
    output = logger.JSONLOutput(tmp_path)
    output.path.write_text('{"step": 1}\n' + garbage + '{"step": 2}')
    assert output.rewind(2) == 1
    assert output.path.read_text() == '{"step": 1}\n{"step": 2}\n'


def test_a_line_after_a_damaged_one_is_intact(tmp_path):
    output = logger.JSONLOutput(tmp_path)
    output.path.write_text('{"step": 1, "lo')
    output(scalars(2, loss=1))
    assert output.path.read_text().splitlines()[1] == '{"step": 2, "loss": 1.0}'


def test_a_killed_process_damages_at_most_the_last_line(tmp_path):
    code = (
        "import itertools, sys, numpy as np\n"
        "from dreamerv2_transfer.common import logger\n"
        "output = logger.JSONLOutput(sys.argv[1])\n"
        "for step in itertools.count():\n"
        "    output([(step, f'metric_{i}', np.array(step)) for i in range(50)])\n"
        "    step == 20 and print('ready', flush=True)\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )
    with process:
        assert process.stdout.readline() == b"ready\n"
        process.send_signal(signal.SIGKILL)
    lines = (tmp_path / "metrics.jsonl").read_bytes().split(b"\n")[:-1]
    assert [json.loads(line)["step"] for line in lines] == list(range(len(lines)))
    assert len(lines) > 20


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs /dev/full")
def test_a_full_disk_is_an_error_that_names_the_file(tmp_path):
    (tmp_path / "metrics.jsonl").symlink_to("/dev/full")
    with pytest.raises(UserError, match="metrics.jsonl: No space left"):
        logger.JSONLOutput(tmp_path)(scalars(1, loss=1))


def read_events(folder):
    """All values in the folder's event files by name, with their steps."""
    from tensorboard.backend.event_processing import event_file_loader

    values = {}
    for path in folder.iterdir():
        for event in event_file_loader.LegacyEventFileLoader(str(path)).Load():
            for value in event.summary.value:
                values[value.tag] = (event.step, value)
    return values


def test_tensorboard_holds_scalars_images_and_animated_videos(tmp_path):
    film = np.zeros((3, 8, 6, 3), np.uint8)
    film[[0, 1, 2], :, :, [0, 1, 2]] = 255
    output = logger.TensorBoardOutput(tmp_path, fps=10)
    output(
        [
            (3, "model_loss", np.array(2.5)),
            (3, "photo", np.full((4, 5), 0.5)),
            (3, "openl", film),
        ]
    )
    values = read_events(tmp_path)
    step, loss = values["scalars/model_loss"]
    assert step == 3
    assert np.frombuffer(loss.tensor.tensor_content, np.float32) == 2.5

    step, photo = values["photo"]
    pixels = np.asarray(Image.open(io.BytesIO(photo.image.encoded_image_string)))
    assert pixels.shape == (4, 5, 3) and (pixels == 128).all()

    step, openl = values["openl"]
    assert (step, openl.image.height, openl.image.width) == (3, 8, 6)
    gif = Image.open(io.BytesIO(openl.image.encoded_image_string))
    assert gif.format == "GIF" and gif.n_frames == 3
    for index, color in enumerate([(255, 0, 0), (0, 255, 0), (0, 0, 255)]):
        gif.seek(index)
        assert gif.convert("RGB").getpixel((2, 2)) == color


def shown_by_tensorboard(folder):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing import plugin_event_accumulator
    from tensorboard.util import tensor_util

    read = plugin_event_accumulator.EventAccumulator(str(folder)).Reload()
    events = read.Tensors("scalars/loss")
    return [(x.step, float(tensor_util.make_ndarray(x.tensor_proto))) for x in events]


def test_tensorboard_drops_what_a_killed_run_wrote_after_its_checkpoint(tmp_path):
    killed = logger.TensorBoardOutput(tmp_path)
    for step in (10, 20, 30, 40):
        killed(scalars(step, loss=1))
    resumed = logger.TensorBoardOutput(tmp_path)
    resumed.rewind(20)
    assert len(shown_by_tensorboard(tmp_path)) == 4  # Nothing was written yet.
    resumed(scalars(30, loss=2))
    resumed(scalars(50, loss=2))
    assert shown_by_tensorboard(tmp_path) == [(10, 1), (20, 1), (30, 2), (50, 2)]


def test_tensorboard_drops_all_of_a_run_that_was_killed_before_its_first_checkpoint(
    tmp_path,
):
    first = logger.TensorBoardOutput(tmp_path)
    first.rewind(-1)
    first(scalars(0, loss=1))
    second = logger.TensorBoardOutput(tmp_path)
    second.rewind(-1)
    second(scalars(5, loss=2))
    assert shown_by_tensorboard(tmp_path) == [(5, 2)]


def test_tensorboard_names_a_folder_that_it_cannot_write(tmp_path):
    (tmp_path / "logdir").write_text("not a folder")
    with pytest.raises(atomic.OutputError, match=str(tmp_path / "logdir")):
        logger.TensorBoardOutput(tmp_path / "logdir")(scalars(1, loss=1))


def test_tensorflow_is_not_imported_before_the_first_write(tmp_path):
    code = (
        "import sys; from dreamerv2_transfer.common import logger\n"
        f"logger.TensorBoardOutput({str(tmp_path)!r})\n"
        "sys.exit('tensorflow' in sys.modules or 'matplotlib' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    assert subprocess.run([sys.executable, "-c", code], env=environment).returncode == 0
