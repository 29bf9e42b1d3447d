"""What may be searched, and what is refused before anything starts."""

import pytest

from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.config import ConfigError
from dreamerv2_transfer.sweeps import space
from tests import runs

EXAMPLE = runs.ROOT / "sweep_spaces" / "minatar.yaml"


@pytest.fixture(scope="module")
def config():
    return blocks.load_config(["minatar", "small", "scratch"])


@pytest.fixture
def read(tmp_path, config):
    def read(text):
        path = tmp_path / "space.yaml"
        path.write_text(text)
        return space.read(path, config)

    return read


def one(read, text):
    (parameter,) = read(f"space:\n  {text}\n").parameters
    return parameter


def test_the_example_has_the_keys_that_matter_and_the_returns_of_all_games(config):
    found = space.read(EXAMPLE, config)
    assert [parameter.name for parameter in found.parameters] == [
        "model_opt.lr",
        "actor_opt.lr",
        "critic_opt.lr",
        "slow_target_update",
        "train_every",
        "dataset.rewarded",
        "loss_scales.kl",
        "imag_horizon",
        "discount_lambda",
        "actor_ent",
    ]
    assert {*found.returns} == {*config.reproduce.games}
    # The first trial is `small` as it is.
    assert found.baseline(config)["model_opt.lr"] == 1e-3
    assert found.baseline(config)["train_every"] == "16"


def test_a_range_has_the_type_of_its_key(read):
    rate = one(read, "model_opt.lr: {low: 1e-4, high: 1, log: True}")
    assert (rate.low, rate.high, rate.log, rate.step) == (1e-4, 1.0, True, 0)
    assert str(rate) == "0.0001 to 1, log"
    horizon = one(read, "imag_horizon: {low: 5.0, high: 20, step: 5}")
    assert [*map(type, (horizon.low, horizon.high, horizon.step))] == [int] * 3
    assert str(horizon) == "5 to 20 in steps of 5"


def test_choices_are_texts_bools_and_lists_too(read):
    kernels = one(read, "encoder.cnn_kernels: {choices: [[3, 3, 3], [4, 4]]}")
    assert kernels.values == ((3, 3, 3), (4, 4)) and kernels.value("4,4") == (4, 4)
    assert one(read, "slow_target: {choices: [True, False]}").values == (True, False)
    schedule = one(read, "actor_ent: {choices: [1e-3, 'linear(1,0.1,1e5)']}")
    assert schedule.values == (1e-3, "linear(1,0.1,1e5)")
    assert str(schedule) == "0.001 or linear(1,0.1,1e5)"


def test_an_expression_stands_for_all_keys_that_it_matches(read):
    units = one(read, r".*_head\.units: {choices: [64, 128]}")
    assert units.keys == ("reward_head.units", "discount_head.units", "expl_head.units")


@pytest.mark.parametrize(
    ("text", "drawn"),
    [
        ("imag_horizon: {low: 5, high: 20}", 10),
        ("imag_horizon: {low: 11, high: 20}", None),
        ("imag_horizon: {low: 4, high: 10, step: 3}", 10),
        ("imag_horizon: {low: 5, high: 11, step: 2}", None),
        ("imag_horizon: {choices: [5, 10]}", "10"),
        ("imag_horizon: {choices: [5, 11]}", None),
        ("(actor|model)_opt.lr: {low: 1e-6, high: 1}", None),  # They differ.
    ],
)
def test_a_value_is_in_the_space_or_not(read, config, text, drawn):
    found = read(f"space:\n  {text}\n")
    name = found.parameters[0].name
    assert found.baseline(config) == (None if drawn is None else {name: drawn})


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("model_opt.rl: {low: 1, high: 2}", "'model_opt.rl'.*'model_opt.lr'"),
        ("model_opt: {low: 1, high: 2}", "is a group; name one of model_opt.opt"),
        ("(x: {low: 1, high: 2}", "is not a regular expression"),
        ("seed: {low: 1, high: 2}", "'seed' cannot be searched"),
        ("stages.scratch.steps: {low: 1, high: 2}", "cannot be searched"),
        ("eval_every: {low: 1, high: 2}", "cannot be searched"),
        ("model_opt.lr: 3", "needs low and high, or choices.*Received: 3"),
        ("model_opt.lr: {}", "needs low and high, or choices"),
        ("model_opt.lr: {low: 1}", "needs low and high"),
        ("model_opt.lr: {low: 1, hihg: 2}", "field 'hihg'. Did you mean 'high'?"),
        ("imag_horizon: {low: 9, high: 3}", "low .* less than .* low=9, high=3"),
        ("imag_horizon: {low: 9, high: 9}", "must be less than"),
        ("imag_horizon: {low: 2.5, high: 9}", "must be of type int.*2.5"),
        ("imag_horizon: {low: 1, high: 9}", "at least 2. Received: 1"),
        ("imag_horizon: {low: 3, high: x}", "must be of type int.*'x'"),
        ("model_opt.lr: {low: 0, high: 1, log: True}", "begins above 0.*from 0"),
        ("model_opt.lr: {low: -1, high: 1}", "at least 0. Received: -1"),
        ("model_opt.lr: {low: .nan, high: 1}", "must be of type float"),
        ("model_opt.lr: {low: 0, high: .inf}", "a finite number"),
        ("model_opt.lr: {low: 0, high: 1, log: 1}", "True or False. Received: 1"),
        ("model_opt.lr: {low: 1, high: 2, log: True, step: 1}", "log or step"),
        ("model_opt.lr: {low: 0, high: 1, step: 0.3}", "not a number of whole steps"),
        ("imag_horizon: {low: 2, high: 4, step: 0.5}", "a whole one.*0.5"),
        ("imag_horizon: {low: 2, high: 4, step: -1}", "above 0"),
        ("model_opt.clip: {low: 0, high: 9}", "0 or at least 1. Received: low=0"),
        ("discount: {low: 0.9, high: 1.1}", "at most 1. Received: 1.1"),
        ("clip_rewards: {low: 0, high: 1}", "has no range.*Received: str"),
        ("jit: {low: 0, high: 1}", "has no range.*Received: bool"),
        (".*layers: {low: 0, high: 1}", "has no range.*Received: int, ints"),
        ("clip_rewards: {choices: [tanh, sgn]}", "one of identity, sign, tanh.*sgn"),
        ("imag_horizon: {choices: [5, five]}", "must be of type int.*'five'"),
        ("imag_horizon: {choices: [5, 1]}", "at least 2. Received: 1"),
        ("imag_horizon: {choices: []}", "at least two choices"),
        ("imag_horizon: {choices: [5, 5.0]}", "at least two choices, which differ"),
        ("imag_horizon: {choices: 5}", "are a list. Received: 5"),
        ("imag_horizon: {choices: [5, 6], low: 5}", "takes no other field"),
        ("actor_ent: {low: 1e-3, high: 'linear(1,0,9)'}", "schedules, which are"),
    ],
)
def test_a_parameter_that_is_impossible_says_why(read, text, message):
    with pytest.raises(ConfigError, match=message) as error:
        read(f"space:\n  {text}\n")
    assert "space.yaml: " in str(error.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("space: {}\n", "The section space is empty"),
        ("returns: {minatar_breakout: [0, 1]}\n", "The section space is empty"),
        ("model_opt.lr: {low: 1, high: 2}\n", "Unknown section 'model_opt.lr'"),
        ("spaec: {}\n", "'spaec'. Did you mean 'space'?"),
        ("- 1\n", "has no keys"),
        ("space: {\n", "is not a yaml file"),
        (
            "space:\n  imag_horizon: {low: 3, high: 5}\n  .*horizon: {low: 3, high: 5}",
            "'imag_horizon' is searched twice, by 'imag_horizon' and '.*horizon'",
        ),
    ],
)
def test_a_file_that_is_no_space_says_why(read, text, message):
    with pytest.raises(ConfigError, match=message):
        read(text)


@pytest.mark.parametrize(
    "pair", ["3", "[1]", "[1, 2, 3]", "[a, 1]", "[.nan, 1]", "[2, 2]"]
)
def test_returns_are_pairs_of_numbers(read, pair):
    valid = "space:\n  imag_horizon: {low: 3, high: 5}\n"
    with pytest.raises(ConfigError, match="returns of pong"):
        read(f"{valid}returns:\n  pong: {pair}\n")


def test_a_file_that_is_missing_is_named(config, tmp_path):
    with pytest.raises(ConfigError, match="Cannot read .*none.yaml"):
        space.read(tmp_path / "none.yaml", config)


def test_values_have_all_digits_as_flags_and_few_where_they_are_read():
    assert space.as_text(0.1 + 0.2) == "0.30000000000000004"
    assert space.as_text((3, 4)) == "3,4"
    assert space.shown(0.1 + 0.2) == "0.3" and space.shown("tanh") == "tanh"
