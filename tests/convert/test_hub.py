"""Models on the Hub, fetched into the cache: whole, once, of one revision, and as the Hub says that they are."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import huggingface_hub.constants
import pytest

import gptsmith
from gptsmith.base.errors import ConversionError
from gptsmith.convert.hub import fetch
from gptsmith.convert.open import open_model
from gptsmith.data.cache_contents import contents
from gptsmith.run.folder import Run
from tests.convert.folders import write_model
from tests.hub_server import Hub, hub_server

NAME = "smith/tiny"
LARGE = "model.safetensors"


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    monkeypatch.setenv("GPTSMITH_CACHE", str(tmp_path / "cache"))
    with hub_server(monkeypatch) as hub:
        yield hub


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Files as of a model, not sound ones."""
    folder = tmp_path / "files"
    folder.mkdir()
    (folder / "config.json").write_text("{}", encoding="utf-8")
    (folder / "tokenizer.json").write_text('{"a": 1}', encoding="utf-8")
    (folder / LARGE).write_bytes(bytes(range(256)) * 4096)
    (folder / "model.bin").write_bytes(b"a pickle")
    return folder


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def wanted(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in files(folder).items() if name != "model.bin"}


def test_a_model_is_fetched_once_and_nothing_else_of_it(hub: Hub, folder: Path, tmp_path: Path) -> None:
    hub.add(NAME, folder)
    fetched = fetch(NAME)
    assert fetched.name == "smith--tiny"
    assert files(fetched) == wanted(folder)
    asked = hub.downloads()
    assert asked == Counter(wanted(folder).keys())
    assert fetch(NAME) == fetch(f"hf:{NAME}") == fetched
    assert hub.downloads() == asked
    assert [(one.kind, one.made_from) for one in contents(tmp_path / "cache")] == [("models", NAME)]
    (fetched / LARGE).write_bytes(b"cut off")
    (fetched / "tokenizer.json").unlink()
    assert files(fetch(NAME)) == wanted(folder), "what is no longer whole is fetched again"


def test_a_revision_is_pinned_and_has_no_files_of_another(hub: Hub, folder: Path) -> None:
    old = hub.add(NAME, folder)
    (folder / LARGE).rename(folder / "model-00001-of-00002.safetensors")
    new = hub.add(NAME, folder)
    hub.repositories[NAME].tags["v1"] = old
    assert LARGE in files(fetch(NAME, "v1"))
    assert files(fetch(NAME)) == wanted(folder)
    assert fetch(NAME, new) == fetch(NAME)
    before = len(hub.requests)
    assert fetch(NAME, old).parent.name == old
    assert len(hub.requests) == before, "a commit that is here whole asks nobody"
    with pytest.raises(ConversionError, match=r"^smith/tiny on the Hub has no revision v9: give a branch"):
        fetch(NAME, "v9")


def test_a_broken_download_goes_on_where_it_broke(hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.file_download.time.sleep", lambda _: None)
    monkeypatch.setattr(huggingface_hub.constants, "DOWNLOAD_CHUNK_SIZE", 100_000)
    hub.add(NAME, folder)
    hub.breaks_after = {LARGE: 300_000, "config.json": 1}
    assert files(fetch(NAME)) == wanted(folder)
    ranges = [asked for method, path, asked in hub.requests if method == "GET" and path.endswith(LARGE)]
    assert ranges == [None, "bytes=300000-"]


@pytest.mark.parametrize("name", [LARGE, "config.json"])
def test_other_content_than_the_hub_names_is_refused_and_fetched_anew(hub: Hub, folder: Path, name: str) -> None:
    hub.add(NAME, folder)
    content = (folder / name).read_bytes()
    hub.changes = {name: content[:-1] + b"!"}
    for _ in range(2):
        with pytest.raises(ConversionError, match=rf"^{name} of smith/tiny comes with other content than"):
            fetch(NAME)
    hub.changes = {}
    asked = hub.downloads()
    assert files(fetch(NAME)) == wanted(folder)
    assert hub.downloads() - asked == Counter([name]), "what was whole is not fetched again"


def test_a_gated_model_says_what_to_do_and_is_had_with_a_token(
    hub: Hub, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add(NAME, folder)
    hub.repositories[NAME].is_gated = True
    with pytest.raises(ConversionError, match="accept them on its page, and set HF_TOKEN"):
        fetch(NAME)
    monkeypatch.setenv("HF_TOKEN", "good")
    assert files(fetch(NAME)) == wanted(folder)


def test_without_a_network_what_was_fetched_last_is_used_and_said(
    hub: Hub, folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    commit = hub.add(NAME, folder)
    fetched = fetch(NAME)
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert fetch(NAME) == fetch(NAME, commit) == fetched
    assert f"cannot be reached: smith/tiny as it was fetched before, revision {commit}" in capsys.readouterr().err
    for name, revision in ((NAME, "v1"), ("smith/other", None)):
        with pytest.raises(ConversionError, match="could not be fetched from the Hub"):
            fetch(name, revision)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    assert fetch(NAME) == fetched
    with pytest.raises(ConversionError, match="OfflineModeIsEnabled"):
        fetch("smith/other")


@pytest.mark.parametrize("name", ["nothing", "a/b/c", "../x", "hf:", "~/x", "a/../b", "a b/c", "http://x/y"])
def test_what_is_no_name_on_the_hub_is_not_asked_for(hub: Hub, name: str) -> None:
    with pytest.raises(ConversionError, match="there is no such folder"):
        fetch(name)
    assert not hub.requests


def test_an_unknown_model_is_one_line(hub: Hub) -> None:
    with pytest.raises(ConversionError, match=r"no folder here.*there is no such model, or it is private") as raised:
        fetch("smith/none")
    assert "\n" not in str(raised.value)


@pytest.mark.skipif(sys.platform == "win32", reason="the signals are those of POSIX")
def test_after_a_kill_the_same_command_goes_on_with_the_files_that_had_come(
    hub: Hub, folder: Path, tmp_path: Path
) -> None:
    hub.add(NAME, folder)
    hub.is_slow = True
    program = f"from gptsmith.convert.hub import fetch; fetch({NAME!r})"
    # Other tests of this process may have kept Transformers from the network.
    process = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, "HF_HUB_OFFLINE": "0"})
    small = set(wanted(folder)) - {LARGE}
    while process.poll() is None:
        come = {path.name for path in (tmp_path / "cache").rglob("smith--tiny/*.json")}
        if hub.downloads()[LARGE] and come >= small:
            break
        time.sleep(0.05)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert come >= small
    assert list((tmp_path / "cache").rglob("*.incomplete"))
    hub.is_slow = False
    asked = hub.downloads()
    assert files(fetch(NAME)) == wanted(folder)
    assert hub.downloads() - asked == Counter([LARGE])
    assert not list((tmp_path / "cache").rglob("*.incomplete"))


def test_a_model_on_the_hub_works_wherever_one_is_named(hub: Hub, tmp_path: Path) -> None:
    sound = tmp_path / "sound"
    write_model("any-qwen2", sound)
    commit = hub.add(NAME, sound)
    for name in (f"hf:{NAME}", f"hf:{NAME}@{commit}"):
        assert open_model(name).config == open_model(sound).config
        assert gptsmith.info(name)["num_parameters"] == gptsmith.info(sound)["num_parameters"]
    rows = [{"prompt": f"Nail {n}?", "completion": "Yes."} for n in range(8)]
    tuned = gptsmith.finetune(f"hf:{NAME}", rows, out=tmp_path / "tuned", max_steps=1)
    assert commit in Run.open(tuned["run"]).settings()["request"]["base"]


@pytest.mark.parametrize(
    "make",
    [
        lambda name: gptsmith.compress(name, to="int8"),
        lambda name: gptsmith.export(name, to="huggingface"),
        lambda name: gptsmith.finetune(name, [{"prompt": "a", "completion": "b"}]),
    ],
)
def test_what_is_made_of_a_model_on_the_hub_needs_a_place(hub: Hub, make: Callable[[str], object]) -> None:
    with pytest.raises(ConversionError, match=r"^hf:smith/tiny is on the Hub.*name a folder with --out$"):
        make(f"hf:{NAME}")
    assert not hub.requests
