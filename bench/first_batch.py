"""Measures how soon a dataset in an object store gives its first batch.

    pip install 'moto[server]' s3fs
    python bench/first_batch.py [--gib 1] [--folder FOLDER]

Starts moto's S3 server on this machine and uploads a dataset of noise, which no
compression makes smaller, with its packed index. Then fresh processes with empty caches
draw batches: by ranges, and once all episodes are fetched. Seconds count from the end
of our own imports and include that of s3fs; the CPU time of the reader and of the
server is told too, as other work on the machine changes it less. The last line is the
result as JSON; the exit status is 1 if the batches differ.
"""

from __future__ import annotations

import argparse
import contextlib
import hashlib
import json
import multiprocessing
import os
import pathlib
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from concurrent import futures

import numpy as np

from dreamerv2_transfer import commands
from dreamerv2_transfer.common import blocks
from dreamerv2_transfer.common.files import cache, memory, remote
from dreamerv2_transfer.common.replay import offline, store

TASK = "atari_pong"
LENGTH = 2000  # Steps of an episode.
STEP_BYTES = 4096 + 1 + 4 + 2
COMPARED = 20  # Batches.
SERVER = "FIRST_BATCH_SERVER"  # Names the server's process in the environment.


def main(argv: list[str] | None = None) -> int:
    """Writes the dataset, measures both ways and prints."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", help="where to write; by default the system's")
    parser.add_argument("--gib", type=float, default=1.0, help="of the dataset")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=50)
    parser.add_argument("--url", help="where to write instead of moto's server")
    args = parser.parse_args(argv)
    with contextlib.ExitStack() as stack:
        folder = tempfile.TemporaryDirectory(dir=args.folder)
        root = pathlib.Path(stack.enter_context(folder))
        url = args.url or stack.enter_context(serving(root))
        result: dict = upload(url, root, args.gib)
        for name in ("ranges", "whole"):
            os.environ["XDG_CACHE_HOME"] = str(root / name)
            result[name] = in_fresh_process(measure, url, args.batch, args.length)
            print(name, json.dumps(result[name]), flush=True)
            shutil.rmtree(root / name)
            if name == "ranges":
                remove_index(url)
    same = result["ranges"]["digest"] == result["whole"]["digest"]
    print(json.dumps({"same_batches": same, **result}))
    return 0 if same else 1


@contextlib.contextmanager
def serving(root: pathlib.Path) -> Iterator[str]:
    """Runs moto's server; yields the URL of a folder there."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", str(port)]
    os.environ.update(
        AWS_ACCESS_KEY_ID="moto",
        AWS_SECRET_ACCESS_KEY="moto",
        AWS_DEFAULT_REGION="us-east-1",
        FSSPEC_S3_ENDPOINT_URL=f"http://127.0.0.1:{port}",
    )
    import s3fs

    with open(root / "moto.log", "wb") as log:
        server = subprocess.Popen(command, stdout=log, stderr=log)
    os.environ[SERVER] = str(server.pid)
    try:
        for _ in range(100):
            with contextlib.suppress(OSError):
                socket.create_connection(("127.0.0.1", port)).close()
                break
            time.sleep(0.2)
        endpoint = os.environ["FSSPEC_S3_ENDPOINT_URL"]
        s3fs.S3FileSystem(endpoint_url=endpoint).mkdir("bucket")
        yield "s3://bucket/episodes"
    finally:
        server.kill()
        server.wait()


def upload(url: str, root: pathlib.Path, gib: float) -> dict[str, float]:
    """Writes the dataset with its index to the store; returns its size and seconds."""
    os.environ["XDG_CACHE_HOME"] = str(root / "writer")
    count, start = max(2, round(gib * 2**30 / (LENGTH * STEP_BYTES))), time.monotonic()
    with remote.opened(url) as folder:
        (folder.path / TASK).mkdir(parents=True)
        for number in range(count):
            store.save_episode(folder.path / TASK, episode(number))
        files = [*(folder.path / TASK).glob("*.npz")]
        size = sum(x.stat().st_size for x in files) / 2**30
    assert commands.main(["dataset", "index", url]) == 0
    shutil.rmtree(cache.folder())
    return {"episodes": count, "gib": size, "upload_s": time.monotonic() - start}


def episode(number: int) -> dict[str, np.ndarray]:
    """Returns an episode of noise."""
    rng = np.random.default_rng(number)
    last = np.arange(LENGTH) == LENGTH - 1
    action = np.eye(18, dtype=np.float32)[rng.integers(18, size=LENGTH)]
    action[0] = 0
    return {
        "image": rng.integers(0, 256, (LENGTH, 64, 64, 1), np.uint8),
        "action": action,
        "reward": rng.random(LENGTH).astype(np.float32),
        "is_first": last[::-1],
        "is_last": last,
        "is_terminal": last,
    }


def in_fresh_process(function, *args) -> dict:
    """Calls a function in a process that has imported this script alone."""
    spawn = multiprocessing.get_context("spawn")
    with futures.ProcessPoolExecutor(1, spawn) as fresh:
        return fresh.submit(function, *args).result()


def measure(url: str, batch: int, length: int) -> dict:
    """Opens the dataset and draws batches: seconds, and a digest of the batches."""
    memory.keep_freed()
    sizes = {"batch": batch, "length": length}
    config = blocks.load_config(["atari", "pretrain"]).update(
        {f"dataset.{key}": value for key, value in sizes.items()}
        | {"tasks": [TASK], "task_weights": [1.0], "atari_all_actions": True}
    )
    start, digest = clocks(), hashlib.blake2b(digest_size=8)
    with tempfile.TemporaryDirectory(dir=cache.folder().parent.parent) as packed:
        dataset = offline.open_dataset(config, url, [TASK], packed)
        told = {"open": clocks() - start}
        for number in range(COMPARED):
            for key, values in sorted(dataset.next().items()):
                digest.update(key.encode() + values.tobytes())
            if not number:
                told["first_batch"] = clocks() - start
        told[f"batches_{COMPARED}"] = clocks() - start
    kinds = ("s", "reader_cpu_s", "server_cpu_s")
    named = {
        f"{name}_{kind}": round(float(value), 2)
        for name, values in told.items()
        for kind, value in zip(kinds, values, strict=True)
    }
    return {**named, "digest": digest.hexdigest()}


def clocks() -> np.ndarray:
    """Returns seconds: of the clock, and of CPU time of this process and the server."""
    server = 0
    if SERVER in os.environ:
        stat = pathlib.Path(f"/proc/{os.environ[SERVER]}/stat").read_text().split()
        server = (int(stat[13]) + int(stat[14])) / os.sysconf("SC_CLK_TCK")
    return np.array([time.monotonic(), time.process_time(), server])


def remove_index(url: str) -> None:
    """Removes the packed index of the task from the store."""
    import fsspec

    fs, place = fsspec.url_to_fs(f"{url}/{TASK}/.packed")
    fs.rm(place, recursive=True)


if __name__ == "__main__":
    sys.exit(main())
