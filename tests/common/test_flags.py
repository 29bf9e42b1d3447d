import pytest

from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.common.files.paths import PathError
from dreamerv2_transfer.common.flags import Flags


@pytest.fixture
def flags():
    return Flags(
        seed=0,
        lr=1e-4,
        jit=True,
        directory="data",
        actor_ent=2e-3,
        kernels=[4, 4],
        keys=["image"],
        rssm={"deter": 1024, "norm": "none"},
        encoder={"norm": "none"},
    )


@pytest.mark.parametrize(
    "argv, key, value",
    [
        (["--seed", "3"], "seed", 3),
        (["--seed=3"], "seed", 3),
        (["--seed", "-1"], "seed", -1),
        (["--seed", "5e4"], "seed", 50000),
        (["--seed", "1", "--seed", "2"], "seed", 2),
        (["--lr", "3e-4"], "lr", 3e-4),
        (["--jit", "False"], "jit", False),
        (["--jit", "true"], "jit", True),
        (["--directory", ""], "directory", ""),
        (["--directory="], "directory", ""),
        (["--directory=a=b"], "directory", "a=b"),
        (["--directory", "a,b"], "directory", "a,b"),
        (["--rssm.deter", "8"], "rssm.deter", 8),
        (["--kernels", "3", "2", "1"], "kernels", (3, 2, 1)),
        (["--kernels", "3,2,1"], "kernels", (3, 2, 1)),
        (["--kernels=3,2"], "kernels", (3, 2)),
        (["--kernels", "3,", "2"], "kernels", (3, 2)),
        (["--kernels", "3"], "kernels", (3,)),
        (["--keys", "a", "b"], "keys", ("a", "b")),
        (["--actor_ent", "linear(1,0.1,1e5)"], "actor_ent", "linear(1,0.1,1e5)"),
        ([r"--.*\.norm", "layer"], "encoder.norm", "layer"),
        ([r"--.*\.norm=layer"], "rssm.norm", "layer"),
    ],
)
def test_flags_set_values(flags, argv, key, value):
    result = flags.parse(argv)[key]
    assert result == value
    assert type(result) is type(value)


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--runs", ""], "--runs is empty"),
        (["--runs="], "--runs is empty"),
        (["--runs", "a", ""], "--runs is empty"),
        (["--runs", "a,simplecache::s3://b"], "--runs is a chain of URLs"),
        (["--out", ""], "--out is empty"),
        (["--out="], "--out is empty"),
        (["--out", "\udcff"], r"--out has bytes .*Received: '\\udcff'"),
    ],
)
def test_a_flag_that_is_no_path_is_named(argv, message):
    flags = Flags(runs=["x"], out="")
    flags.paths = ["runs", "out"]
    with pytest.raises(PathError, match=message):
        flags.parse(argv)


def test_a_comma_separates_paths_unless_it_belongs_to_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "layers=[16,16]").mkdir()
    flags = Flags(runs=["x"])
    assert flags.parse(["--runs", "layers=[16,16]"]).runs == ("layers=[16", "16]")
    flags.paths = ["runs"]
    assert flags.parse(["--runs", "layers=[16,16]", "a,b"]).runs == (
        "layers=[16,16]",
        "a",
        "b",
    )


def test_a_comma_separates_nothing_where_values_are_whole():
    flags = Flags(labels=[""], runs=["x"])
    flags.whole = ["labels"]
    argv = ["--labels", "pretrained", "40,000 updates", "--runs", "a,b"]
    assert flags.parse(argv).labels == ("pretrained", "40,000 updates")
    assert flags.parse(argv).runs == ("a", "b")


def test_no_flags_change_nothing(flags):
    assert flags.parse([]).seed == 0
    assert flags.given == frozenset()


def test_given_keys_are_told(flags):
    flags.parse(["--seed", "0", r"--.*\.norm", "layer"])
    assert flags.given == {"seed", "rssm.norm", "encoder.norm"}


@pytest.mark.parametrize(
    "argv, message",
    [
        (["--rssm.deterr", "5"], r"'--rssm.deterr'.*'rssm.deter'"),
        (["--rssm.deterr=5"], r"'--rssm.deterr'.*'rssm.deter'"),
        (["--config", "atari"], "'--config'.*'configs'"),
        (["--rssm", "5"], "'rssm' is a group"),
        (["--*", "5"], "not a regular expression"),
        ([r"--.*\.size", "5"], "matches no key"),
        (["--seed", "many"], "'seed'.*int.*many"),
        (["--seed", "1", "2"], "'--seed' takes one value.*1 2"),
        (["--seed"], "'--seed' needs a value"),
        (["--seed", "--lr", "1"], "'--seed' needs a value"),
        (["--kernels="], "'kernels'.*non-empty"),
        (["--kernels", "3,x"], "'kernels'.*int.*x"),
        (["seed", "3"], "--key value. Received: seed"),
        (["xxseed", "3"], "--key value. Received: xxseed"),
        (["atari", "--seed", "3"], "--key value. Received: atari"),
    ],
)
def test_a_bad_flag_is_named(flags, argv, message):
    with pytest.raises(ConfigError, match=message):
        flags.parse(argv)


LOSSES = {
    "kl": {"separate": False, "balance": 0.8},
    "loss_scales": {"kl": 1.0, "dyn": 0.5},
    "loss_balance": "none",
}


@pytest.mark.parametrize(
    ("argv", "message"),
    [
        (
            ["--kl.separate", "True", "--loss_scales.kl", "0.1"],
            "loss_scales.kl has no effect with kl.separate=True, which takes "
            "loss_scales.dyn, loss_scales.rep, and kl.free by step. Leave out one of "
            "them. Received: --loss_scales.kl 0.1",
        ),
        (["--kl.balance=0.5", "--kl.separate"], "kl.balance has no effect with kl.sep"),
        (
            ["--loss_scales.dyn", "1"],
            "loss_scales.dyn has no effect with kl.",
        ),
        (
            ["--loss_balance", "harmony", "--loss_scales.kl", "2"],
            "loss_scales.kl has no effect with loss_balance=harmony",
        ),
    ],
)
def test_a_flag_without_effect_is_named(argv, message):
    with pytest.raises(ConfigError) as error:
        Flags(LOSSES).parse(argv)
    assert str(error.value).startswith(message)


@pytest.mark.parametrize(
    "argv",
    [
        [],
        ["--kl.separate", "True", "--loss_scales.dyn", "1"],
        ["--loss_scales.kl", "0.1", "--kl.balance", "0.5"],
        ["--loss_scales\\..*", "0.1"],  # Not written for one of them.
    ],
)
def test_other_flags_of_losses_have_one(argv):
    Flags(LOSSES).parse(argv)


def test_a_bool_without_a_value_is_true():
    argv = ["--quick", "--freeze.*", "--seed", "1"]
    made = Flags(quick=False, seed=0, freeze={"encoder": False, "rssm": False})
    parsed = made.parse(argv)
    assert parsed.quick is True and parsed.seed == 1
    assert dict(parsed.freeze) == {"encoder": True, "rssm": True}
    assert Flags(quick=False).parse(["--quick", "False"]).quick is False


def test_parse_known_leaves_the_rest():
    argv = ["x", "--configs", "a", "b", "--seed=3", "--lr", "1", "--keys="]
    parsed, remaining = Flags(configs=["defaults"]).parse_known(argv)
    assert parsed.configs == ("a", "b")
    assert remaining == ["x", "--seed=3", "--lr", "1", "--keys="]


def test_arguments_come_from_the_command_line_by_default(flags, monkeypatch):
    monkeypatch.setattr("sys.argv", ["train.py", "--seed", "7"])
    assert flags.parse().seed == 7
    assert flags.parse_known()[0].seed == 7


def test_help_prints_the_keys_and_exits(capsys):
    with pytest.raises(SystemExit) as stop:
        Flags({"rssm": {"deter": 8}, "sizes": [1, 2]}).parse(["--help"])
    assert stop.value.code == 0
    assert capsys.readouterr().out.splitlines() == [
        "Flags:",
        "--rssm.deter  8    (int)",
        "--sizes       1,2  (ints)",
    ]


def test_help_reaches_the_next_parser(capsys):
    _, remaining = Flags(configs=["defaults"]).parse_known(["--configs", "a", "--help"])
    assert remaining == ["--help"]
    assert "--configs  defaults  (strs)" in capsys.readouterr().out
