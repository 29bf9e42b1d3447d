from dreamerv2_transfer.common.files import cache


def test_the_cache_is_the_home_folders_where_nothing_else_is_said(monkeypatch):
    monkeypatch.delenv("XDG_CACHE_HOME")
    monkeypatch.setenv("HOME", "/home/ada")
    assert str(cache.folder()) == "/home/ada/.cache/dreamerv2_transfer"


def test_another_folder_can_be_named(monkeypatch):
    monkeypatch.setenv("XDG_CACHE_HOME", "/var/cache")
    assert str(cache.folder()) == "/var/cache/dreamerv2_transfer"
