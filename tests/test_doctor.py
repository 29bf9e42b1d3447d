"""The doctor: what it finds, what it advises, and the exit status."""

import os
import pathlib
import subprocess
import sys
import types

import pytest

from dreamerv2_transfer import doctor
from dreamerv2_transfer.common.errors import EnvError
from tests import runs

MEMINFO = "MemTotal:       25165824 kB\nMemAvailable:   20971520 kB\n"


def run(*args, **environment):
    return subprocess.run(
        [sys.executable, "-m", "dreamerv2_transfer.doctor", *map(str, args)],
        cwd=runs.ROOT,
        env={**os.environ, "COLUMNS": "80", **environment},
        capture_output=True,
        text=True,
        timeout=300,
    )


@pytest.fixture(scope="module")
def report(tmp_path_factory):
    return run("--logdir", tmp_path_factory.mktemp("run") / "new")


def test_a_machine_without_a_gpu_trains_and_the_report_is_one_screen(report):
    assert report.returncode == 0, report.stdout + report.stderr
    lines = report.stdout.splitlines()
    assert lines[-1] == "Training can run."
    assert len(lines) <= 40 and max(map(len, lines)) <= 80


def test_the_report_has_every_topic_once(report):
    topics = [x[9:22].strip() for x in report.stdout.splitlines()[:-1]]
    basics = ["Python", "Packages", "Configs", "Memory", "Disk", "Logdir", "MinAtar"]
    assert [x for x in topics if x in basics] == basics
    for topic in ("Atari", "Extras", "GPU", "Precision", "XLA"):
        assert topics.count(topic) == 1


def test_the_report_says_what_auto_takes_and_why(report):
    line = next(x for x in report.stdout.splitlines() if "Precision" in x)
    assert "(auto: a " in line


def test_a_quick_look_leaves_tensorflow_out(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise SystemExit('imported')")
    done = run("--quick", True, "--logdir", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "XLA" not in done.stdout and "MinAtar" in done.stdout


def test_a_broken_tensorflow_is_a_finding(tmp_path):
    (tmp_path / "tensorflow.py").write_text("raise OSError('no libcudart')")
    done = run("--logdir", tmp_path, PYTHONPATH=str(tmp_path))
    assert done.returncode == 1 and "Traceback" not in done.stderr
    assert "TROUBLE  TensorFlow   OSError: no libcudart" in done.stdout
    assert done.stdout.endswith("Training cannot run: see TROUBLE above.\n")


def test_a_logdir_that_cannot_be_written_is_trouble(tmp_path):
    (tmp_path / "file").touch()
    done = run("--quick", True, "--logdir", tmp_path / "file" / "run")
    assert done.returncode == 1
    assert "TROUBLE  Logdir" in done.stdout and "--logdir" in done.stdout


def test_a_mistyped_flag_is_one_line(tmp_path):
    done = run("--logdri", tmp_path)
    assert done.returncode == 2
    assert "'logdir'" in done.stderr and "Traceback" not in done.stderr


def test_looking_leaves_nothing_behind(tmp_path):
    there = doctor.check_logdir(tmp_path)
    new = doctor.check_logdir(tmp_path / "a" / "b")
    assert there.found.endswith("can be written")
    assert new.found.endswith("can be created")
    assert list(tmp_path.iterdir()) == []


def test_a_missing_package_is_named():
    finding = doctor.check_packages(["numpy >= 2.0", "no-such-package >= 1, < 2"])
    assert finding.status == doctor.TROUBLE
    assert finding.found == "Missing: no-such-package" and "pip" in finding.todo


def test_an_untested_version_is_a_note():
    finding = doctor.check_packages(["numpy >= 99", "keras > 1"])
    assert finding.status == doctor.NOTE and "numpy 2" in finding.found
    assert "keras" not in finding.found


def test_a_doctor_without_its_packages_says_so(monkeypatch, capsys):
    monkeypatch.setattr(doctor, "_required", lambda: ["no-such-package"])
    assert doctor.start() == 1
    assert "Missing: no-such-package" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("limit", "found", "status"),
    [
        ("max", "20.0 of 24.0 GiB are free", "ok"),
        (str(4 * doctor.GIB), "4.0 of 4.0 GiB are free", "ok"),
        (str(doctor.GIB), "1.0 of 1.0 GiB are free", "note"),
    ],
)
def test_memory_is_what_the_container_may_take(tmp_path, limit, found, status):
    meminfo, file = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text(MEMINFO)
    file.write_text(limit + "\n")
    finding = doctor.check_memory(meminfo, [file, tmp_path / "missing"])
    assert (finding.found, finding.status) == (found, status)


def test_a_system_without_meminfo_is_no_trouble(tmp_path):
    assert doctor.check_memory(tmp_path / "missing", []).status == "ok"


def test_little_disk_is_a_note(monkeypatch, tmp_path):
    usage = types.SimpleNamespace(free=doctor.GIB // 2)
    monkeypatch.setattr(doctor.shutil, "disk_usage", lambda path: usage)
    finding = doctor.check_disk(tmp_path)
    assert finding.status == "note" and finding.found.startswith("0.5 GiB are free")


CUDA = {"is_cuda_build": True, "cuda_version": "12.5.1"}


def no_cuda_is_asked():
    raise AssertionError


def test_a_driver_whose_gpu_tensorflow_does_not_see_is_a_note(monkeypatch):
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    old = "NVIDIA A100 (39000 MiB of 40960 MiB are free, driver 470.57)"
    finding = doctor.check_gpus(0, [old], lambda: CUDA)
    assert finding.status == "note"
    assert finding.found == (
        "TensorFlow sees none (CUDA 12.5.1 needs a driver of version 525 or later), "
        f"but the driver reports {old}"
    )
    assert finding.todo == "Install a driver of version 525 or later."


def test_gpus_and_their_absence_are_told():
    found = doctor.check_gpus(2, ["A", "B"], no_cuda_is_asked).found
    assert found == "TensorFlow sees 2: A; B"
    none = doctor.check_gpus(0, [], no_cuda_is_asked)
    assert "training runs on the CPU" in none.found
    assert "pip install '.[gpu]'" in none.todo
    assert doctor.check_precision(True).found == "mixed_float16 (auto: a GPU)"


def test_tensorflow_says_how_it_was_built():
    assert doctor.build_info()["is_cuda_build"] in (True, False)


def test_xla_that_fails_leaves_training_without_it():
    def fail():
        raise RuntimeError("no ptxas")

    finding = doctor.check_xla(pathlib.Path("/cache"), fail)
    assert finding.status == "note" and "no ptxas" in finding.found
    assert "--jit False" in finding.todo


def test_xla_without_a_cache_is_a_note():
    finding = doctor.check_xla(None, doctor.compile_product)
    assert finding.status == "note" and "XDG_CACHE_HOME" in finding.todo


def test_an_optional_suite_that_is_broken_is_a_note(monkeypatch):
    def broken(task):
        raise EnvError("no EGL")

    monkeypatch.setattr(doctor, "_play", broken)
    finding = doctor.check_suite("dmc", "dmc_walker_walk")
    assert finding == doctor.Finding("note", "dmc", "dmc_walker_walk: no EGL")


def test_games_that_cannot_be_made_are_trouble(monkeypatch):
    def broken(task):
        raise EnvError(f"{task} could not be made")

    monkeypatch.setattr(doctor, "_play", broken)
    finding = doctor.examine("MinAtar", doctor.check_minatar)
    assert finding.status == "TROUBLE" and "minatar_asterix" in finding.found


def test_absent_extras_come_with_the_line_that_installs_them():
    finding = doctor.check_extras(lambda module: module == "wandb")
    absent = "crafter, dmc, fast, gcs, hub, minari, mlflow, play, ray, s3, sweep"
    assert finding.found.endswith(absent)
    assert "pip install '.[crafter]'" in finding.todo
    assert doctor.check_extras(lambda module: True).status == "ok"


def test_every_extra_of_the_package_is_known_to_the_doctor():
    text = (runs.ROOT / "setup.cfg").read_text().split("[options.extras_require]")[1]
    named = {x[:-2] for x in text.split("\n[")[0].splitlines() if x.endswith(" =")}
    assert named - {"docs", "gpu", "test"} == {*doctor.EXTRAS}
