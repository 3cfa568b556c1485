"""What all tests share: one thread a process, kept bytecode, a cache of their own, examples that stay the same."""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

os.environ["OMP_NUM_THREADS"] = "1"
# Without kept bytecode each of the many processes compiles the whole package again, and each worker every test.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False
# The libraries are millions of objects: looking through all of them often takes a tenth of the time.
gc.set_threshold(100_000, 20, 50)
# As in a shell where the environment is activated: messages then name the program by its short name.
os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
settings.register_profile("fixed", derandomize=True, deadline=None)
settings.load_profile("fixed")


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """What opens a browser is a story."""
    for item in items:
        if "browser" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.story)


def pytest_collection_finish() -> None:
    """What has been imported and collected by now stays: looking for garbage passes it over."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session", autouse=True)
def own_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Prepared data goes to a folder of this test session."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("GPTSMITH_CACHE", str(tmp_path_factory.mktemp("cache")))
        yield


@pytest.fixture(scope="session", autouse=True)
def no_compiler() -> Iterator[None]:
    """No plan of a long run tries PyTorch's compiler, which takes a minute."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("CXX", "no-compiler-in-tests")
        yield


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real text beside the project; it may be missing."""
    return Path(__file__).resolve().parents[1].parent / "shared" / "data"
