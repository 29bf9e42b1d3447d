import functools

import ale_py
import gymnasium
import numpy as np
import pytest
from gymnasium.wrappers import AtariPreprocessing

from dreamerv2_transfer.common import blocks as blocks_lib
from dreamerv2_transfer.common import envs, errors
from dreamerv2_transfer.common.envs import atari

PAPER = [
    "air_raid",
    "assault",
    "beam_rider",
    "carnival",
    "journey_escape",
    "phoenix",
    "pong",
    "private_eye",
    "riverraid",
    "breakout",
]


def play(env, seed, steps=40):
    """Images and rewards of random play."""
    rng = np.random.default_rng(seed)
    images, rewards = [env.reset(seed=seed)[0]["image"]], []
    for _ in range(steps):
        obs, reward, *_ = env.step(rng.integers(env.action_space.n))
        images.append(obs["image"])
        rewards.append(reward)
    return np.array(images), rewards


@pytest.mark.parametrize("game", PAPER)
def test_games_of_the_paper(game):
    env = envs.make_env(f"atari_{game}", all_actions=True)
    assert env.action_space.n == 18
    images, _ = play(env, 0)
    assert images.shape == (41, 64, 64, 1)
    assert images.dtype == np.uint8
    assert len({x.tobytes() for x in images}) > 10


def test_every_game_that_one_player_can_play_has_a_name():
    assert len(atari.games()) == 104
    assert "beam_rider" in atari.games()
    assert "warlords" not in atari.games()


@pytest.mark.parametrize(("game", "actions"), [("pong", 6), ("private_eye", 18)])
def test_minimal_actions_by_default(game, actions):
    assert envs.make_env(f"atari_{game}").action_space.n == actions


# Games that keep something of the episode before beyond ALE's own reset.
@pytest.mark.parametrize("game", ["beam_rider", "private_eye", "qbert"])
def test_an_episode_depends_on_its_seed_alone(game):
    env = envs.make_env(f"atari_{game}")
    first = play(env, 5)[0]
    assert not np.array_equal(play(env, 6, 100)[0][:41], first)
    assert np.array_equal(play(env, 5)[0], first)
    assert np.array_equal(play(envs.make_env(f"atari_{game}"), 5)[0], first)


def test_without_a_seed_episodes_differ():
    env = envs.make_env("atari_pong")
    actions = np.random.default_rng(0).integers(6, size=30)
    episodes = []
    for _ in range(2):
        env.reset()
        episodes.append([env.step(action)[0]["image"] for action in actions])
    assert not np.array_equal(*episodes)


def test_frames_are_those_of_gymnasiums_preprocessing(monkeypatch):
    monkeypatch.setattr(atari, "STICKY", 0.0)
    monkeypatch.setattr(atari, "NOOPS", 0)
    ours = envs.make_env("atari_pong")
    gymnasium.register_envs(ale_py)
    bare = gymnasium.make("ALE/Pong-v5", frameskip=1, repeat_action_probability=0.0)
    theirs = AtariPreprocessing(
        bare, noop_max=0, frame_skip=4, screen_size=64, grayscale_newaxis=True
    )
    assert np.array_equal(ours.reset(seed=0)[0]["image"], theirs.reset()[0])
    for action in np.random.default_rng(0).integers(6, size=50):
        obs, reward, *_ = ours.step(action)
        expected, their_reward, *_ = theirs.step(action)
        assert np.array_equal(obs["image"], expected)
        assert reward == their_reward


def test_a_quarter_of_the_frames_sticks():
    env = envs.make_env("atari_pong", action_repeat=1)
    done = []
    act = env._act  # Beyond what makes actions stick.
    env._act = lambda action: done.append(action) or act(action)
    env.reset(seed=0)
    done.clear()
    for i in range(2000):
        if env.step(i % 6)[2]:
            env.reset()
    asked = [env._actions[i % 6] for i in range(2000)]
    stuck = np.mean([a != b for a, b in zip(asked, done[-2000:], strict=True)])
    assert 0.22 < stuck < 0.28


def test_noops_begin_an_episode():
    env = envs.make_env("atari_pong", action_repeat=1)
    numbers = set()
    for seed in range(40):
        env.reset(seed=seed)
        numbers.add(env.unwrapped.ale.getEpisodeFrameNumber())
    first = min(numbers)
    assert max(numbers) - first <= 29
    assert len(numbers) > 10


def test_an_action_takes_four_frames_and_the_greater_of_the_last_two():
    env = envs.make_env("atari_pong")
    env.reset(seed=0)
    before = env.unwrapped.ale.getEpisodeFrameNumber()
    env.step(0)
    assert env.unwrapped.ale.getEpisodeFrameNumber() - before == 4


def test_size_color_and_screen():
    make = functools.partial(envs.make_env, "atari_breakout")
    color = make(size=(48, 32), grayscale=False, screen=84)
    obs, _ = color.reset(seed=0)
    assert obs["image"].shape == (48, 32, 3)
    assert obs["log_screen"].shape == (84, 84)
    gray = make(screen=84).reset(seed=0)[0]["log_screen"].astype(int)
    assert np.abs(gray - obs["log_screen"]).mean() < 2
    assert gray.max() > 50


def test_image_is_the_same_with_and_without_a_screen():
    plain, both = (envs.make_env("atari_pong", screen=size) for size in (0, 84))
    assert np.array_equal(play(plain, 0)[0], play(both, 0)[0])


def test_losing_a_life_ends_no_episode():
    env = envs.make_env("atari_breakout")
    env.reset(seed=0)
    lives, ended = [env.unwrapped.ale.lives()], False
    while not ended:
        ended = env.step(1)[2]
        lives.append(env.unwrapped.ale.lives())
    assert lives[0] == 5
    assert lives[-1] == 0
    assert sorted(set(lives)) == [0, 1, 2, 3, 4, 5]


def test_the_originals_spelling_of_a_game():
    assert envs.make_env("atari_james_bond").unwrapped._game == "jamesbond"


def test_unknown_game_names_the_nearest():
    with pytest.raises(errors.EnvError, match="Did you mean atari_pong") as error:
        envs.make_env("atari_pongg")
    assert "104 games" in str(error.value)


def test_game_whose_rom_is_missing_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("ALE_ROMS_DIR", str(tmp_path))
    with pytest.raises(errors.EnvError, match="atari_pong could not be made.*ale-py"):
        envs.make_env("atari_pong")


@pytest.mark.parametrize(
    ("blocks", "all_actions"),
    [
        ("atari pretrain", True),
        ("atari collect", True),
        ("atari finetune", True),
        ("atari scratch", False),
        ("atari", False),
    ],
)
def test_all_actions_where_games_are_mixed(blocks, all_actions):
    loaded = blocks_lib.load_config(blocks.split())
    options = envs.options(loaded, "atari_pong")
    assert options["all_actions"] == all_actions
    assert options["size"] == (64, 64)
    assert (options["action_repeat"], options["grayscale"]) == (4, True)


def test_named_flag_decides_about_actions():
    flags = ["--atari_all_actions", "False"]
    loaded = blocks_lib.load_config(["atari", "finetune"], flags)
    assert not envs.options(loaded, "atari_pong")["all_actions"]
