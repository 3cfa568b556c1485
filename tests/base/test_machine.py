"""What the machine, or a container's share of it, has."""

from __future__ import annotations

from pathlib import Path

import pytest

from gptsmith.base.errors import UserError
from gptsmith.base.machine import free_memory_bytes
from gptsmith.serve.settings import ServeSettings

MEMINFO = "MemTotal:       16000000 kB\nMemFree:          100000 kB\nMemAvailable:    4000000 kB\n"


def machine(folder: Path, **files: str) -> int | None:
    (folder / "meminfo").write_text(MEMINFO)
    for name, text in files.items():
        path = folder / name.replace("__", "/").replace("_max", ".max").replace("_current", ".current")
        path.parent.mkdir(exist_ok=True)
        path.write_text(text)
    return free_memory_bytes(folder, folder / "meminfo")


def test_free_memory_is_what_the_system_can_still_give(tmp_path: Path) -> None:
    assert machine(tmp_path) == 4_096_000_000
    assert machine(tmp_path, memory_max="max\n", memory_current="5\n") == 4_096_000_000


def test_and_no_more_than_the_container_has_left(tmp_path: Path) -> None:
    assert machine(tmp_path, memory_max="3000000000\n", memory_current="1000000000\n") == 2_000_000_000
    assert machine(tmp_path, memory_max="3000000000\n", memory_current="4000000000\n") == 0


def test_files_that_were_read_are_no_reason_to_refuse(tmp_path: Path) -> None:
    (tmp_path / "memory.stat").write_text("anon 7\ninactive_file 500000000\n")
    assert machine(tmp_path, memory_max="3000000000\n", memory_current="3000000000\n") == 500_000_000


def test_by_the_older_files_too(tmp_path: Path) -> None:
    folder = tmp_path / "memory"
    folder.mkdir()
    (folder / "memory.limit_in_bytes").write_text("2000\n")
    (folder / "memory.usage_in_bytes").write_text("500\n")
    assert machine(tmp_path) == 1500


def test_a_system_that_does_not_tell(tmp_path: Path) -> None:
    assert free_memory_bytes(tmp_path, tmp_path / "meminfo") is None


@pytest.mark.parametrize(("given", "size"), [("2GB", 2 * 10**9), ("1.5 GiB", 3 * 2**29), ("500mb", 5 * 10**8), (7, 7)])
def test_sizes_as_people_write_them(given: str | int, size: int) -> None:
    assert ServeSettings(kv_cache_memory=given).kv_cache_memory == size


@pytest.mark.parametrize("given", ["", "much", "-1GB", "0", "nan"])
def test_what_is_no_size_is_refused(given: str) -> None:
    with pytest.raises(UserError, match="is no size: write 2000000, 500MB"):
        ServeSettings.parse({"kv_cache_memory": given})
