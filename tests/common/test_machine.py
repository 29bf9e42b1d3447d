import os
import shutil

import pytest
import tensorflow as tf

from dreamerv2_transfer.common import blocks, machine, tfutils


def test_auto_precision(tmp_path):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text("flags : fpu avx2 avx512f\n")
    assert machine.choose_precision("auto", False, cpuinfo)[0] == "32"
    cpuinfo.write_text("flags : fpu avx512_bf16 avx2\n")
    assert machine.choose_precision("auto", False, cpuinfo)[0] == "bf16"
    cpuinfo.write_text("flags : amx_bf16 avx2\n")
    assert machine.choose_precision("auto", False, cpuinfo)[0] == "bf16"
    assert machine.choose_precision("auto", True, cpuinfo)[0] == "16"
    assert machine.choose_precision("32", True, cpuinfo)[0] == "32"
    assert machine.choose_precision("auto", False, tmp_path / "none")[0] == "32"


def test_setup_follows_the_configuration(precision):
    config = blocks.load_config(["minatar", "pretrain"])
    said = machine.setup(config.update(precision="bf16", jit=False))
    assert tfutils.compute_dtype() == tf.bfloat16
    assert tf.config.functions_run_eagerly()
    assert "mixed_bfloat16" in said and "eager" in said


CPU = "model name : EPYC\nflags : fpu avx2\n"


GPU = "Model: \t\t NVIDIA H100 80GB HBM3\nIRQ:   \t\t 110\n"


def keep_compiled(folder, monkeypatch, flags="", cpu=CPU, gpus=()):
    drivers = folder / "gpus"
    shutil.rmtree(drivers, ignore_errors=True)
    for number, gpu in enumerate(gpus):
        (drivers / str(number)).mkdir(parents=True)
        (drivers / str(number) / "information").write_text(gpu)
    monkeypatch.setenv("XDG_CACHE_HOME", str(folder / "cache"))
    monkeypatch.setenv("TF_XLA_FLAGS", flags)
    (folder / "cpuinfo").write_text(cpu)
    return machine.keep_compiled(folder / "cpuinfo", drivers)


def test_what_xla_compiles_is_kept_for_the_user_alone(tmp_path, monkeypatch):
    kept = keep_compiled(tmp_path, monkeypatch, "--tf_xla_auto_jit=0")
    assert kept.stat().st_mode & 0o777 == 0o700
    flag = f"--tf_xla_persistent_cache_directory={kept}"
    assert os.environ["TF_XLA_FLAGS"] == f"--tf_xla_auto_jit=0 {flag}"
    assert keep_compiled(tmp_path, monkeypatch) == kept


@pytest.mark.parametrize("name, mark", [("a b", "'"), ("it's\tmine", '"'), ("a'", "")])
def test_a_cache_with_spaces_in_its_path_is_quoted(tmp_path, monkeypatch, name, mark):
    (tmp_path / name).mkdir()
    kept = keep_compiled(tmp_path / name, monkeypatch)
    flag = f"--tf_xla_persistent_cache_directory={mark}{kept}{mark}"
    assert os.environ["TF_XLA_FLAGS"] == flag


def test_a_cache_that_no_flag_can_name_is_left_out(tmp_path, monkeypatch):
    (tmp_path / "a '\"").mkdir()
    assert keep_compiled(tmp_path / "a '\"", monkeypatch) is None
    assert os.environ["TF_XLA_FLAGS"] == ""


def test_machine_code_is_kept_apart_for_each_kind_of_cpu(tmp_path, monkeypatch):
    kept = keep_compiled(tmp_path, monkeypatch)
    assert keep_compiled(tmp_path, monkeypatch, cpu=CPU + "bogomips : 5\n") == kept
    assert keep_compiled(tmp_path, monkeypatch, cpu="flags : fpu avx512f\n") != kept


def test_machine_code_is_kept_apart_for_each_model_of_gpu(tmp_path, monkeypatch):
    without = keep_compiled(tmp_path, monkeypatch)
    one = keep_compiled(tmp_path, monkeypatch, gpus=[GPU])
    other = keep_compiled(tmp_path, monkeypatch, gpus=[GPU.replace("H100", "H200")])
    assert len({without, one, other}) == 3
    eight = [GPU.replace("110", str(i)) for i in range(8)]
    assert keep_compiled(tmp_path, monkeypatch, gpus=eight) == one


def test_a_cache_of_ones_own_stays(tmp_path, monkeypatch):
    own = "--tf_xla_persistent_cache_directory=/mine"
    assert keep_compiled(tmp_path, monkeypatch, own) is None
    assert os.environ["TF_XLA_FLAGS"] == own


def test_without_a_folder_for_it_nothing_is_kept(tmp_path, monkeypatch):
    (tmp_path / "cache").write_text("a file")
    assert keep_compiled(tmp_path, monkeypatch) is None
    assert os.environ["TF_XLA_FLAGS"] == ""


def test_convolutions_avoid_bfloat16_that_is_emulated(tmp_path, precision):
    cpuinfo = tmp_path / "cpuinfo"
    cpuinfo.write_text(CPU)
    precision("mixed_bfloat16")
    assert machine.conv_dtype(cpuinfo) == "float32"
    cpuinfo.write_text("flags : fpu avx512_bf16\n")
    assert machine.conv_dtype(cpuinfo) is None
    precision("float32")
    cpuinfo.write_text(CPU)
    assert machine.conv_dtype(cpuinfo) is None
