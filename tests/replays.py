"""Small datasets and replays for tests, made of `fakes.episode`."""

import pathlib

import numpy as np

from dreamerv2_transfer.common.replay import offline, packed, shards, store
from tests import fakes

COUNTS = ("total_steps", "total_episodes", "loaded_steps", "loaded_episodes")


def pack(lengths, first=0, **kwargs):
    """Packs episodes of the given steps, numbered from `first`; see `fakes`."""
    numbered = enumerate(lengths, first)
    episodes = [fakes.episode(steps, number, **kwargs) for number, steps in numbered]
    return packed.PackedEpisodes.join(
        [packed.PackedEpisodes.from_episode(x, f"{x['reward'][0]}") for x in episodes],
        "some folder",
    )


def two_games():
    return {"short": pack([3, 5, 9] * 10), "long": pack([60] * 10, first=40)}


def dataset(tasks=None, **kwargs):
    """An offline dataset of two games, unless told otherwise."""
    options = dict(batch=6, length=16, minlen=1, maxlen=0, holdout=0, seed=0)
    return offline.OfflineDataset(tasks or two_games(), **{**options, **kwargs})


def load_all(path):
    """An episode's keys, also those that are only for logging."""
    return store.load_episode(path, logs=True)


def on_disk(root, memory, **kwargs):
    """Two games' episodes in files, opened with or without a memory cap."""
    for task, lengths in {"short": [3, 5, 9] * 4, "long": [60] * 5}.items():
        folder = root / task
        if folder.exists():
            continue
        folder.mkdir(parents=True)
        for number, steps in enumerate(lengths, 40 * (task == "long")):
            store.save_episode(folder, fakes.episode(steps, number, **kwargs))
    return packed.open_dataset(
        root, ["short", "long"], root / f"{memory}", None, memory
    )


def same(one, other):
    """Whether two batches or episodes have the same keys, types and values."""
    return one.keys() == other.keys() and all(
        v.dtype == other[k].dtype and np.array_equal(v, other[k])
        for k, v in one.items()
    )


def spans(batch):
    """Each row of a batch as its runs of steps: "43014+8" are 8 from 43014 on."""
    lines = []
    for row in batch["reward"].astype(int):
        runs = np.split(row, np.flatnonzero(np.diff(row) != 1) + 1)
        lines.append(" ".join(f"{run[0]}+{len(run)}" for run in runs))
    return lines


def add(replay, episode, worker=0, stop=None, start=0):
    """Adds the steps of an episode to a replay, all of them or a part."""
    for time in range(len(episode["action"]))[start:stop]:
        replay.add_step({k: v[time] for k, v in episode.items()}, worker)


def fill(replay, lengths, first=0):
    """Adds complete episodes of the given steps, numbered from `first`."""
    for number, steps in enumerate(lengths, first):
        add(replay, fakes.episode(steps, number))


def save(folder, lengths):
    """Writes files of numbered episodes in a folder, as an older run did."""
    folder.mkdir(exist_ok=True)
    for number, steps in enumerate(lengths):
        path = store.save_episode(folder, fakes.episode(steps, number), f"{number:032}")
        path.rename(folder / f"20240101T{number:06}-{number:032}-{steps}.npz")


def counts(stats):
    """Total steps and episodes, then those in memory."""
    return tuple(stats[name] for name in COUNTS)


def contents(folder):
    """The bytes of each file in a folder by name."""
    return {x.name: x.read_bytes() for x in pathlib.Path(folder).iterdir()}


def save_shard(folder, episodes, identifier):
    """Writes episodes to one file as a collection does, but without a look at them."""
    (first, *others), steps = episodes, sum(map(store.eplen, episodes))
    if not others:
        return store.save_episode(folder, first, identifier)
    offsets = np.cumsum([0, *(len(x["action"]) for x in episodes)])
    joined = {key: np.concatenate([x[key] for x in episodes]) for key in first}
    name = f"{identifier}-{steps}x{len(episodes)}"
    return store.write(folder, name, joined | {shards.OFFSETS: offsets})
