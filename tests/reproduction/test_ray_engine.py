"""Jobs on a Ray cluster, without Ray: its scheduler is a fake."""

import dataclasses
import pathlib
import signal
import socket
import sys
import threading
import time
import types
import unittest.mock

import pytest

from dreamerv2_transfer.common.files import remote
from dreamerv2_transfer.reproduction import processes
from dreamerv2_transfer.reproduction import ray_engine as engine_lib
from dreamerv2_transfer.reproduction.jobs import Job
from dreamerv2_transfer.reproduction.ray_engine import Place, RayEngine, RayError
from dreamerv2_transfer.reproduction.runner import Runner, StudyError


class FakeRay(types.ModuleType):
    """Has nodes, and ends the call `run` of an actor when a test says how.

    Attributes:
        cluster: What each node has.
        actors: The actors, in the order of their creation.
        killed: Those that were killed.
    """

    def __init__(self, *cluster):
        super().__init__("ray")
        self.cluster = list(cluster)
        self.actors: list[FakeActor] = []
        self.killed: list[FakeActor] = []
        error = type("RayError", (Exception,), {})
        self.exceptions = types.SimpleNamespace(
            RayError=error,
            RayTaskError=type("RayTaskError", (error,), {}),
            ActorDiedError=type("ActorDiedError", (error,), {}),
        )

    def init(self, address, **options):
        self.address = address

    def nodes(self):
        return [{"Alive": True, "Resources": x} for x in self.cluster]

    def remote(self, **options):
        def make(kind):
            return types.SimpleNamespace(remote=lambda *args: FakeActor(self, options))

        return make

    def wait(self, results, timeout):
        return [x for x in results if x], [x for x in results if not x]

    def get(self, result):
        if isinstance(result[0], Exception):
            raise result[0]
        return result[0]

    def kill(self, actor):
        self.killed.append(actor)
        actor.status.append(self.exceptions.ActorDiedError("It was killed."))


class FakeActor:
    """An actor whose results are lists that are empty until they are there."""

    def __init__(self, ray, options):
        self.options, self.status, self.placed, self.jobs = options, [], [], []
        self.logs: list[pathlib.Path | None] = []
        self.ready = types.SimpleNamespace(remote=lambda: self.placed)
        self.run = types.SimpleNamespace(remote=self._run)
        self.stop = types.SimpleNamespace(remote=lambda: self.status.append((130, b"")))
        ray.actors.append(self)

    def _run(self, job, log):
        self.jobs.append(job)
        self.logs.append(log)
        return self.status


@pytest.fixture
def ray(monkeypatch):
    fake = FakeRay({"CPU": 4.0}, {"CPU": 2.0})
    monkeypatch.setitem(sys.modules, "ray", fake)
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(processes, "POLL", 0.01)
    return fake


def job(folder, name, needs=()) -> Job:
    return Job(name, "work", (), tuple(needs), folder / name, 1, "unit")


@pytest.mark.parametrize(
    ("cluster", "parallel", "cores", "places", "taken"),
    [
        ([{"CPU": 4.0}, {"CPU": 2.0}], 0, 0, 6, (1, 0)),
        ([{"CPU": 4.0}, {"CPU": 2.0}], 0, 3, 1, (3, 0)),  # Not 6 / 3 over all nodes.
        ([{"CPU": 4.0}, {"CPU": 2.0}], 5, 1, 5, (1, 0)),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 4.0, "GPU": 1.0}], 0, 0, 3, (4, 1)),
        ([{"CPU": 16.0, "GPU": 2.0}, {"CPU": 64.0}], 0, 0, 2, (8, 1)),
    ],
)
def test_jobs_have_cores_and_gpus_of_one_node_each(
    ray, tmp_path, cluster, parallel, cores, places, taken
):
    ray.cluster = cluster
    engine = RayEngine(parallel, cores)
    assert (engine.places, ray.address) == (places, "auto")
    engine.start(job(tmp_path, "a"), tmp_path / "log")
    options = ray.actors[0].options
    assert (options["num_cpus"], options["num_gpus"]) == taken


def test_places_follow_the_nodes(ray, tmp_path):
    engine = RayEngine(0, 2)
    for name in "abc":
        assert engine.has_place
        engine.start(job(tmp_path, name), tmp_path / "log")
    assert not engine.has_place
    ray.cluster.append({"CPU": 2.0})
    assert engine.has_place
    ray.cluster.clear()  # The next job waits for a node.
    assert engine.places == 1 and not engine.has_place


def test_a_cluster_without_room_is_an_error(ray):
    with pytest.raises(RayError, match="room for a job of 5 cores. Lower --cores") as e:
        RayEngine(0, 5)
    assert "4 cores and 0 GPUs, 2 cores and 0 GPUs" in str(e.value)
    ray.cluster = [{"CPU": 4.0, "GPU": 1.0}]
    with pytest.raises(RayError, match="a job of 5 cores and a GPU"):
        RayEngine(0, 5)


def run(study, jobs) -> threading.Thread:
    """Runs a study in a thread, whose outcome is its attribute `told`."""

    def told():
        try:
            thread.told = study.run(jobs)
        except StudyError as error:
            thread.told = str(error)

    thread = threading.Thread(target=told)
    thread.start()
    return thread


def wait_until(condition) -> None:
    end = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


def test_a_job_whose_node_is_lost_starts_again_and_another_goes_on(
    ray, tmp_path, capsys
):
    ray.cluster = [{"CPU": 1.0}, {"CPU": 1.0}]
    study = Runner(tmp_path, RayEngine(0, 1), retries=1)
    thread = run(study, [job(tmp_path, "a"), job(tmp_path, "b", needs=["a"])])
    wait_until(lambda: ray.actors)
    del ray.cluster[1]
    lost = ray.exceptions.ActorDiedError("The node died.\nMore.")
    ray.actors[0].status.append(lost)
    wait_until(lambda: len(ray.actors) == 2)
    ray.actors[1].status.append((0, b""))
    wait_until(lambda: len(ray.actors) == 3)
    ray.actors[2].status.append((0, b""))
    thread.join()
    assert thread.told is True
    assert [x.name for actor in ray.actors for x in actor.jobs] == ["a", "a", "b"]
    assert "Died     a; it starts again from its last" in capsys.readouterr().out
    assert (tmp_path / "logs" / "a.log").read_text() == "Ray: The node died.\n"
    assert ray.killed == ray.actors  # All places are free again.


def test_a_job_that_is_lost_too_often_or_cannot_start_fails(ray, tmp_path):
    thread = run(Runner(tmp_path, RayEngine(0, 1), retries=1), [job(tmp_path, "a")])
    for number in (0, 1):
        wait_until(lambda n=number: len(ray.actors) > n)
        ray.actors[number].status.append(ray.exceptions.ActorDiedError("It died."))
    thread.join()
    assert thread.told.startswith("a failed with status -9: Ray: It died. (see ")
    text = "ray::Place.run()\n  File ...\nPermissionError: /study/logs"
    thread = run(Runner(tmp_path, RayEngine(0, 1), retries=1), [job(tmp_path, "a")])
    wait_until(lambda: len(ray.actors) == 3)
    ray.actors[2].status.append(ray.exceptions.RayTaskError(text))
    thread.join()
    assert thread.told.startswith(
        "a failed with status 1: Ray: PermissionError: /study/logs (see "
    )


def test_jobs_are_stopped_whether_they_run_or_wait_for_room(ray, tmp_path):
    engine = RayEngine(0, 1)
    for name in "ab":
        engine.start(job(tmp_path, name), tmp_path / "log")
    ray.actors[0].placed.append(None)
    assert [(x.job.name, x.status) for x in engine.stop_all()] == [
        ("a", 130),
        ("b", -9),
    ]
    assert engine.running == [] and (tmp_path / "log").read_text().startswith("Ray: It")


WORK = """
import sys, time
print("words", flush=True)
try:
    time.sleep(60)
except KeyboardInterrupt:
    sys.exit(130)
"""


def test_a_process_is_stopped_from_another_thread_though_ray_blocks_sigint(tmp_path):
    (tmp_path / "work.py").write_text(WORK)
    place, log, found = Place([str(tmp_path / "work.py")], 1), tmp_path / "log", []

    def as_a_worker():
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
        found.append(place.run(job(tmp_path, "a"), log))

    thread = threading.Thread(target=as_a_worker)
    thread.start()
    wait_until(lambda: log.exists() and log.read_text() == "words\n")
    place.stop()
    thread.join()
    assert found == [(130, b"")] == [place.run(job(tmp_path, "a"), log)]
    assert log.read_text() == "words\n"  # A stopped place starts nothing more.


def test_a_process_that_has_no_file_for_its_output_returns_the_end_of_it(
    tmp_path, monkeypatch
):
    monkeypatch.setattr(engine_lib, "SAID", 6)
    (tmp_path / "work.py").write_text("print('one\\ntwo\\nend'); exit(3)")
    place = Place([str(tmp_path / "work.py")], 1)
    assert place.run(job(tmp_path, "a"), None) == (3, b"o\nend\n")


def test_a_process_waits_until_its_store_is_free(tmp_path, monkeypatch):
    (tmp_path / "work.py").write_text("print('ran')")
    written = unittest.mock.Mock(side_effect=[True, False])
    monkeypatch.setattr(remote, "is_written", written)
    monkeypatch.setattr(processes, "POLL", 0.01)
    made = dataclasses.replace(job(tmp_path, "a"), store="s3://bucket/run")
    place = Place([str(tmp_path / "work.py")], 1)
    assert place.run(made, None) == (0, b"ran\n") and written.call_count == 2
    written.side_effect = [True]
    place.stop()
    assert place.run(made, None) == (130, b"")


def test_without_a_shared_folder_output_travels_and_pages_are_made_here(
    ray, tmp_path, monkeypatch
):
    name = "ray.util.scheduling_strategies"
    monkeypatch.setitem(sys.modules, "ray.util", types.ModuleType("ray.util"))
    monkeypatch.setitem(sys.modules, name, strategies := types.ModuleType(name))
    strategies.NodeAffinitySchedulingStrategy = lambda **x: x
    ray.get_runtime_context = lambda: types.SimpleNamespace(get_node_id=lambda: "me")
    engine = RayEngine(0, 1, is_shared=False)
    page = dataclasses.replace(job(tmp_path, "page"), here=True)
    for one in (job(tmp_path, "run"), page):
        engine.start(one, tmp_path / one.name)
    run, page = ray.actors
    assert (run.logs, page.logs) == ([None], [tmp_path / "page"])
    assert run.options == {"num_cpus": 1, "num_gpus": 0, "max_concurrency": 2}
    assert page.options["scheduling_strategy"] == {"node_id": "me", "soft": False}
    assert (page.options["num_cpus"], page.options["num_gpus"]) == (0, 0)
    run.status.append((3, b"words\n"))
    assert [x.status for x in engine.ended()] == [3]
    assert (tmp_path / "run").read_bytes() == b"words\n"


def test_a_lack_of_ray_is_told(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(RayError, match="pip install 'dreamerv2_transfer.ray"):
        RayEngine(1, 1)


def test_a_cluster_that_does_not_answer_is_told_at_once(ray, monkeypatch):
    with socket.create_server(("127.0.0.1", 0)) as server:
        there = f"127.0.0.1:{server.getsockname()[1]}"
        monkeypatch.setenv("RAY_ADDRESS", there)
        RayEngine(0, 1)
        assert ray.address == there
    monkeypatch.setattr(engine_lib, "PATIENCE", 1.0)
    for address in (there, f"ray://{there}", "127.0.0.1:many"):
        monkeypatch.setenv("RAY_ADDRESS", address)
        with pytest.raises(RayError, match=f"Start one by .*RAY_ADDRESS {address}; "):
            RayEngine(0, 1)
    monkeypatch.setenv("RAY_ADDRESS", "")
    ray.init = lambda **x: (_ for _ in ()).throw(ConnectionError("No instance."))
    with pytest.raises(RayError, match="ADDRESS auto; ConnectionError: No instance"):
        RayEngine(0, 1)
