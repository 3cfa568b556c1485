"""Models on the Hub, fetched into the cache: whole, once, of one revision, and as the Hub says that they are."""

from __future__ import annotations

import signal
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path

import huggingface_hub.constants
import pytest

import gptsmith
from gptsmith.base.errors import ConversionError
from gptsmith.convert.hub import fetch, on_the_hub
from gptsmith.convert.open import open_model
from gptsmith.data.cache_contents import contents
from gptsmith.run.folder import Run
from tests.convert.folders import write_model
from tests.convert.sources import form, source
from tests.forked import Forked
from tests.hub_server import Hub, Repository, hub_server

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


@pytest.mark.parametrize(
    "name", ["../escaped.json", "/escaped.json", "a/../../escaped.json", "a\\..\\..\\escaped.json"]
)
def test_a_file_outside_of_its_folder_is_refused(hub: Hub, tmp_path: Path, name: str) -> None:
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit({"config.json": b"{}", name: b"{}"})
    with pytest.raises(ConversionError, match="has a file outside of its folder"):
        fetch(NAME)
    assert not hub.downloads()
    assert not list(tmp_path.rglob("*escaped.json"))


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


@pytest.fixture
def quantised(hub: Hub) -> dict[str, bytes]:
    """The files of a repository of GGUF models, not sound ones."""
    names = ("Q2_K", "Q4_K_M", "UD-Q4_K_M", "Q8_0", "f16")
    files = {f"tiny-{name}.gguf": name.encode() * 1000 for name in names}
    files |= {f"BF16/tiny-BF16-0000{n}-of-00002.gguf": b"%d" % n * 5000 for n in (1, 2)}
    files |= {"mmproj-tiny-Q8_0.gguf": b".", "README.md": b"# tiny", "config.json": b"{}"}
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit(files)
    return files


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        ("", "tiny-Q4_K_M.gguf"),
        (":Q2_K", "tiny-Q2_K.gguf"),
        (":q8_0", "tiny-Q8_0.gguf"),
        (":F16", "tiny-f16.gguf"),
        (":ud-q4_k_m", "tiny-UD-Q4_K_M.gguf"),
        ("/tiny-Q2_K.gguf", "tiny-Q2_K.gguf"),
    ],
)
def test_of_gguf_models_only_the_one_that_is_named_is_fetched(
    hub: Hub, quantised: dict[str, bytes], choice: str, expected: str
) -> None:
    path = fetch(NAME + choice)
    assert (path.name, path.read_bytes()) == (expected, quantised[expected])
    assert hub.downloads() == Counter([expected])
    before = len(hub.requests)
    assert on_the_hub(f"hf:{NAME}{choice}@{path.parent.parent.name}") == path
    assert len(hub.requests) == before, "a commit that is here asks nobody"


def test_the_gguf_model_that_is_taken_by_default_is_said_with_the_others(
    hub: Hub, quantised: dict[str, bytes], capsys: pytest.CaptureFixture[str]
) -> None:
    hub.repositories["smith/said"] = hub.repositories[NAME]
    assert fetch("smith/said") == fetch("smith/said")
    said = capsys.readouterr().err.replace("\n", " ")
    assert said.count("smith/said on the Hub: tiny-Q4_K_M.gguf (6 kB) is taken; there are also") == 1
    assert "BF16/tiny-BF16-00001-of-00002.gguf (10 kB)" in said
    assert "mmproj" not in said
    assert "as hf:smith/said:Q4_K_M, or by its file" in said


@pytest.mark.parametrize("choice", [":bf16", *(f"/BF16/tiny-BF16-0000{n}-of-00002.gguf" for n in (1, 2))])
def test_all_parts_of_a_gguf_model_are_fetched(hub: Hub, quantised: dict[str, bytes], choice: str) -> None:
    path = fetch(NAME + choice)
    first, second = (Path(name).name for name in quantised if name.startswith("BF16"))
    assert path.name == first
    assert hub.downloads() == Counter([first, second])
    path.with_name(second).unlink()
    hub.requests.clear()
    fetch(NAME + choice)
    assert hub.downloads() == Counter([second])


def test_gguf_models_of_a_revision_lie_beside_each_other_and_open_without_a_network(
    hub: Hub, quantised: dict[str, bytes], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = fetch(f"{NAME}:Q2_K"), fetch(f"{NAME}:Q8_0")
    assert first.parent == second.parent
    monkeypatch.setattr(huggingface_hub.constants, "ENDPOINT", "http://127.0.0.1:1")
    assert [fetch(f"{NAME}:q2_k"), fetch(f"{NAME}/tiny-Q8_0.gguf")] == [first, second]
    with pytest.raises(ConversionError, match="could not be fetched from the Hub"):
        fetch(NAME)


def test_a_gguf_model_of_other_content_than_the_hub_names_is_refused(hub: Hub, quantised: dict[str, bytes]) -> None:
    hub.changes = {"tiny-Q2_K.gguf": quantised["tiny-Q2_K.gguf"][:-1] + b"!"}
    with pytest.raises(ConversionError, match=r"^tiny-Q2_K.gguf of smith/tiny comes with other content"):
        fetch(f"{NAME}:Q2_K")
    hub.changes = {}
    assert fetch(f"{NAME}:Q2_K").read_bytes() == quantised["tiny-Q2_K.gguf"]


def test_a_gated_gguf_model_says_what_to_do(hub: Hub, quantised: dict[str, bytes]) -> None:
    hub.repositories[NAME].is_gated = True
    with pytest.raises(ConversionError, match="accept them on its page, and set HF_TOKEN"):
        fetch(f"{NAME}:Q2_K")


@pytest.mark.parametrize(
    ("choice", "expected"),
    [
        (":Q4_K_S", r"has no GGUF model Q4_K_S: did you mean Q4_K_M\? \(it holds .*tiny-Q2_K.gguf \(4 kB\)"),
        ("/tiny-Q3_K.gguf", r"has no GGUF model tiny-Q3_K.gguf: did you mean tiny-Q2_K.gguf\?"),
        ("/mmproj-tiny-Q8_0.gguf", "has no GGUF model mmproj-tiny-Q8_0.gguf"),
    ],
)
def test_of_a_gguf_model_that_is_not_there_the_nearest_is_named(
    hub: Hub, quantised: dict[str, bytes], choice: str, expected: str
) -> None:
    with pytest.raises(ConversionError, match=expected):
        fetch(NAME + choice)
    assert not hub.downloads()


@pytest.mark.parametrize(
    ("names", "choice", "expected"),
    [
        (["a-Q2_K.gguf", "a-Q3_K_S.gguf"], "", r"holds a-Q2_K.gguf \(.*\), a-Q3_K_S.gguf \(.*\): choose one"),
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], ":q8_0", r"holds several of q8_0, .*as hf:smith/tiny/a-Q8_0.gguf"),
        (["a-Q8_0.gguf", "b-Q8_0.gguf"], "", "holds several of Q8_0"),
        (["a-Q8_0-00001-of-00002.gguf"], "", "lacks a-Q8_0-00002-of-00002.gguf"),
        (["model.safetensors"], ":Q8_0", "holds no GGUF model: name it as hf:smith/tiny"),
    ],
)
def test_which_gguf_model_is_meant_has_to_be_clear(hub: Hub, names: list[str], choice: str, expected: str) -> None:
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit(dict.fromkeys(names, b"."))
    with pytest.raises(ConversionError, match=expected):
        fetch(NAME + choice)
    assert not hub.downloads()


def test_of_a_model_with_other_weights_a_gguf_file_is_taken_only_where_it_is_named(hub: Hub, folder: Path) -> None:
    (folder / "any name.gguf").write_bytes(b"GGUF")
    hub.add(NAME, folder)
    assert files(fetch(NAME)).keys() == wanted(folder).keys() - {"any name.gguf"}
    assert fetch(f"{NAME}/any name.gguf").name == "any name.gguf"
    (folder / LARGE).unlink()
    hub.add(NAME, folder)
    assert fetch(NAME).name == "any name.gguf", "the only one is taken"


def test_a_gguf_model_on_the_hub_works_wherever_one_is_named(hub: Hub, tmp_path: Path) -> None:
    file = tmp_path / "model.gguf"
    form("gguf", "float32").write(source("smith"), tmp_path)
    hub.repositories[NAME] = Repository()
    hub.repositories[NAME].commit({"tiny-f32.gguf": file.read_bytes()})
    name = f"hf:{NAME}/tiny-f32.gguf"
    assert open_model(name).config == open_model(file).config
    made = gptsmith.import_model(name, out=tmp_path / "run")
    assert open_model(made["run"]).config == open_model(file).config
    if find_spec("llama_cpp") is not None:  # which reads the second side
        assert gptsmith.certify(made["run"], name)["status"] == "passed"


@pytest.mark.parametrize("is_damaged", [False, True])
@pytest.mark.skipif(sys.platform == "win32", reason="the signals are those of POSIX")
def test_after_a_kill_the_same_command_goes_on_where_it_stopped(
    hub: Hub, folder: Path, tmp_path: Path, is_damaged: bool
) -> None:
    hub.add(NAME, folder)
    hub.is_slow = True
    program = f"""
import huggingface_hub.constants
huggingface_hub.constants.DOWNLOAD_CHUNK_SIZE = 100_000
from gptsmith.convert.hub import fetch
fetch({NAME!r})
"""
    # Other tests of this process may have kept Transformers from the network.
    process = Forked(program=program, environment={"HF_HUB_OFFLINE": "0"})
    small = set(wanted(folder)) - {LARGE}
    while process.poll() is None:
        come = {path.name for path in (tmp_path / "cache").rglob("smith--tiny/*.json")}
        parts = [path for path in (tmp_path / "cache").rglob("*.incomplete") if path.stat().st_size]
        if parts and come >= small:
            break
        time.sleep(0.02)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert come >= small
    (part,) = parts
    num_bytes = part.stat().st_size
    assert 0 < num_bytes < len(files(folder)[LARGE])
    if is_damaged:
        part.write_bytes(b"." * num_bytes)
    hub.is_slow = False
    hub.requests.clear()
    assert files(fetch(NAME)) == wanted(folder)
    assert set(hub.downloads()) == {LARGE}
    starts = [start for method, path, start in hub.requests if method == "GET" and path.endswith(LARGE)]
    assert starts == [f"bytes={num_bytes}-", *([None] if is_damaged else [])]
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
