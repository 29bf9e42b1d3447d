import pytest

from dreamerv2_transfer.common.files import memory

MEMINFO = "MemTotal:       25165824 kB\nMemAvailable:   20971520 kB\n"
GIB = 2**30


@pytest.mark.parametrize(
    ("limit", "found"),
    [
        ("max", (20 * GIB, 24 * GIB)),
        (str(4 * GIB), (4 * GIB, 4 * GIB)),
        (str(30 * GIB), (20 * GIB, 24 * GIB)),
    ],
)
def test_memory_is_what_the_container_may_take(tmp_path, limit, found):
    meminfo, file = tmp_path / "meminfo", tmp_path / "memory.max"
    meminfo.write_text(MEMINFO)
    file.write_text(limit + "\n")
    assert memory.free_and_total(meminfo, [file, tmp_path / "missing"]) == found


def test_a_system_may_not_tell_its_memory(tmp_path):
    assert memory.free_and_total(tmp_path / "missing", []) is None
