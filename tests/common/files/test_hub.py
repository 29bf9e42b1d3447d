import pytest

from dreamerv2_transfer.common.files import hub
from tests import hub as fake

pytest.importorskip("huggingface_hub")


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    with fake.serving() as served:
        monkeypatch.setenv("HF_ENDPOINT", served.url)
        yield served


def test_a_revision_pins_what_is_fetched(server):
    first = server.push("ada/breakout", {"config.yaml": b"one", "x.pkl": b"no"})
    server.push("ada/breakout", {"config.yaml": b"two"})
    newest = hub.fetched("hf://ada/breakout", ["config.yaml"])
    assert (newest / "config.yaml").read_bytes() == b"two"
    pinned = hub.fetched(f"hf://ada/breakout@{first}", ["config.yaml"])
    assert (pinned / "config.yaml").read_bytes() == b"one"
    assert pinned.name == first
    assert not (pinned / "x.pkl").exists()


def test_what_is_uploaded_can_be_fetched(server, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_TOKEN", "hf_of_this_test")
    folder = tmp_path / "made"
    folder.mkdir()
    (folder / "config.yaml").write_bytes(b"three")
    url = hub.upload(folder, "hf://ada/fresh")
    assert url == f"hf://ada/fresh@{fake.revision({'config.yaml': b'three'})}"
    assert (hub.fetched(url, ["*"]) / "config.yaml").read_bytes() == b"three"


def test_what_is_not_there_is_said_in_a_sentence(server):
    with pytest.raises(hub.HubError, match=r"hf://ada/none cannot be reached: .* name"):
        hub.fetched("hf://ada/none", ["*"])
    server.push("ada/breakout", {"config.yaml": b"one"})
    with pytest.raises(hub.HubError, match="hf://ada/breakout@gone cannot be reached"):
        hub.fetched("hf://ada/breakout@gone", ["*"])


@pytest.mark.parametrize(
    "url", ["hf://ada", "hf://", "hf://a/b/c", "hf://a/b@", "hf://é/b"]
)
def test_a_name_is_user_and_model(url):
    with pytest.raises(hub.HubError, match="hf://USER/NAME@REVISION. Received"):
        hub.split(url)


def test_a_name_may_have_a_revision():
    assert hub.split("hf://ada/b-1.0") == ("ada/b-1.0", None)
    assert hub.split("hf://ada/b@v1/x") == ("ada/b", "v1/x")
    assert hub.is_hub("hf://ada/b") and not hub.is_hub("s3://ada/b")


def test_the_missing_package_is_named(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "huggingface_hub", None)
    with pytest.raises(hub.HubError, match=r"dreamerv2_transfer\[hub\]"):
        hub.fetched("hf://ada/b", ["*"])
