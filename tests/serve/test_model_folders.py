"""A server of a folder of models, which are loaded on first use and come and go."""

from __future__ import annotations

import asyncio
import dataclasses
import http.client
import json
import shutil
import threading
import weakref
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import ollama
import pytest
import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.model.cost import cost
from gptsmith.serve import model_folders, model_memory, served_models
from gptsmith.serve.load import LoadedRun, ModelDescription
from gptsmith.serve.model_folders import ModelFolders, split_folders
from gptsmith.serve.model_memory import ModelMemory
from gptsmith.serve.ollama.keep_alive import keep_alive_s
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.settings import ServeSettings

from .conftest import DEADLINE_S, QUESTION, Answer, Served, serving, slowed, until

BASE = {"model": "base", "prompt": "The", "max_tokens": 4}
CHAT = {"model": "chat", "messages": QUESTION, "max_tokens": 4}


@pytest.fixture(scope="module")
def all_models(runs: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of three models."""
    folder = tmp_path_factory.mktemp("models")
    for name in ("base", "chat", "labels"):
        shutil.copytree(runs / name, folder / name)
    return folder


@pytest.fixture
def folder(all_models: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    return Path(shutil.copytree(all_models, tmp_path / "models"))


@pytest.fixture(scope="module")
def lasting(all_models: Path) -> Iterator[Served]:
    """A server of it that every test leaves with nothing loaded."""
    with serving([str(all_models)]) as running:
        yield running


@pytest.fixture
def server(lasting: Served) -> Iterator[Served]:
    yield lasting
    until(lasting.is_idle, "nothing is generated")
    for name in list(lasting.state.models.loaded):
        assert lasting.ask("POST", "/api/generate", {"model": name, "keep_alive": 0}).json["done_reason"] == "unload"
    until(lambda: not lasting.state.models.loaded, "nothing is loaded")


@pytest.fixture
def smith(server: Served) -> Iterator[ollama.Client]:
    client = ollama.Client(server.address)
    yield client
    client.close()


class Gate:
    """Loading that does not end before it is let through."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.begun, self.is_open, self.num_loads = threading.Event(), threading.Event(), 0
        load = ModelFolders.load

        def gated(folders: ModelFolders, about: ModelDescription) -> LoadedRun:
            self.num_loads += 1
            self.begun.set()
            assert self.is_open.wait(60)
            return load(folders, about)

        monkeypatch.setattr(ModelFolders, "load", gated)


@pytest.fixture
def gate(monkeypatch: pytest.MonkeyPatch) -> Gate:
    return Gate(monkeypatch)


def states(server: Served) -> dict[str, str]:
    return {card["id"]: card["gptsmith"]["state"] for card in server.ask("GET", "/v1/models").json["data"]}


@pytest.mark.parametrize(("small_bytes", "engines"), [(0, ["auto"]), (10**9, [])])
def test_code_is_compiled_before_anybody_waits_where_a_model_may_need_it(
    all_models: Path, monkeypatch: pytest.MonkeyPatch, small_bytes: int, engines: list[str]
) -> None:
    asked: list[str] = []
    monkeypatch.setattr(served_models, "SMALL_BYTES", small_bytes)
    monkeypatch.setattr(served_models, "compile_ahead", asked.append)
    with serving([str(all_models)]):
        assert asked == engines


def complete(server: Served, **more: Any) -> Answer:
    return server.ask("POST", "/v1/completions", {**BASE, **more})


def test_models_are_loaded_on_first_use_and_listed_with_their_state(server: Served, smith: ollama.Client) -> None:
    assert states(server) == {"base": "unloaded", "chat": "unloaded", "labels": "unloaded"}
    card = server.ask("GET", "/v1/models/labels").json["gptsmith"]
    assert (card["kind"], sorted(card["labels"])) == ("classifier", ["food", "tool"])
    assert [model.model for model in smith.list().models] == ["base:latest", "chat:latest", "labels:latest"]
    assert smith.ps().models == []
    assert server.ask("POST", "/v1/chat/completions", CHAT).status == 200
    assert states(server) == {"base": "unloaded", "chat": "loaded", "labels": "unloaded"}
    (loaded,) = smith.ps().models
    assert loaded.model == "chat:latest"
    labelled = server.ask("POST", "/v1/classify", {"model": "labels", "input": "3 nail"})
    assert labelled.json["data"][0]["label"] in ("tool", "food")
    text = server.ask("GET", "/metrics").data.decode()
    assert 'gptsmith_model_state{model="chat",state="loaded"} 1.0' in text
    assert 'gptsmith_model_state{model="base",state="unloaded"} 1.0' in text
    assert 'gptsmith_num_requests_running{model="chat"} 0.0' in text
    assert 'num_requests_running{model="base"}' not in text


def test_a_model_of_the_wrong_kind_is_not_loaded(server: Served, gate: Gate) -> None:
    answer = server.ask("POST", "/v1/chat/completions", {**CHAT, "model": "labels"})
    assert answer.error["code"] == "not_a_generative_model"
    answer = server.ask("POST", "/v1/classify", {"model": "base", "input": "a"})
    assert answer.error["code"] == "not_a_classifier"
    assert (
        server.ask("POST", "/v1/completions", {"prompt": "a"}).error["message"]
        == "model: name one of base, chat, labels"
    )
    assert gate.num_loads == 0


def test_first_requests_at_once_load_a_model_once(server: Served, gate: Gate, all_models: Path) -> None:
    with ThreadPoolExecutor(4) as clients:
        answers = [clients.submit(complete, server) for _ in range(4)]
        until(lambda: server.state.models.entries["base"].num_waiting == 4, "all wait")
        (all_models / "base" / "metrics.jsonl").touch()  # as by a training that goes on; its weights are what they were
        assert states(server)["base"] == "loading"
        gate.is_open.set()
        assert [answer.result().status for answer in answers] == [200] * 4
    assert gate.num_loads == 1


def test_a_stream_goes_on_while_another_model_is_loaded(server: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    assert complete(server).status == 200
    gate = Gate(monkeypatch)
    with ThreadPoolExecutor(1) as clients:
        waiting = clients.submit(server.ask, "POST", "/v1/chat/completions", CHAT)
        assert gate.begun.wait(60)
        assert complete(server, max_tokens=30).json["usage"]["completion_tokens"] <= 30
        assert not waiting.done()
        gate.is_open.set()
        assert waiting.result().status == 200


def test_who_leaves_while_a_model_is_loaded_harms_nobody(server: Served, gate: Gate) -> None:
    entries = server.state.models.entries
    leaving = [http.client.HTTPConnection("127.0.0.1", server.port) for _ in range(2)]
    for connection, model in zip(leaving, ("base", "chat"), strict=True):
        connection.request("POST", "/v1/completions", json.dumps({**BASE, "model": model}))
    until(lambda: entries["base"].num_waiting == entries["chat"].num_waiting == 1, "both wait")
    with ThreadPoolExecutor(1) as clients:
        staying = clients.submit(complete, server)
        until(lambda: entries["base"].num_waiting == 2, "it waits")
        for connection in leaving:
            connection.close()
        until(lambda: (entries["base"].num_waiting, entries["chat"].num_waiting) == (1, 0), "they have left")
        gate.is_open.set()
        assert staying.result().status == 200
    until(lambda: entries["chat"].loading is None, "nothing is loaded any more")
    # A model that nobody waits for any more is not loaded.
    assert (gate.num_loads, states(server)["chat"]) == (1, "unloaded")


@pytest.mark.parametrize(
    ("error", "said"),
    [
        (UserError("{path}: the weights are damaged"), "chat could not be loaded: chat: the weights are damaged"),
        (RuntimeError("somebody's text"), "chat could not be loaded: chat cannot be read: see the log of the server"),
        (MemoryError(), "chat could not be loaded: chat cannot be read: see the log of the server"),
    ],
)
def test_a_load_that_fails_harms_nobody(
    server: Served, monkeypatch: pytest.MonkeyPatch, error: Exception, said: str
) -> None:
    def failing(_: ModelFolders, about: ModelDescription) -> LoadedRun:
        error.args = tuple(str(part).format(path=about.path) for part in error.args)
        raise error

    with monkeypatch.context() as broken:
        assert complete(server).status == 200
        broken.setattr(ModelFolders, "load", failing)
        answer = server.ask("POST", "/v1/chat/completions", CHAT)
        assert (answer.status, answer.error["code"], answer.error["message"]) == (500, "model_load_failed", said)
        assert states(server)["chat"] == "failed"
        assert complete(server).status == 200
    assert server.ask("POST", "/v1/chat/completions", CHAT).status == 200
    assert states(server)["chat"] == "loaded"


def test_idle_models_are_unloaded_and_their_memory_is_free(folder: Path) -> None:
    with serving([str(folder)], keep_loaded_s=0.12) as server:
        assert complete(server).status == 200
        served = server.state.models.loaded["base"]
        weights = weakref.ref(served.loaded.model.embedding.weight)
        engine = served.engine
        with slowed(engine, 0.02):
            assert complete(server, max_tokens=12).status == 200  # longer than a model is kept
            assert states(server)["base"] == "loaded"
        del served, engine
        until(lambda: states(server)["base"] == "unloaded", "it is unloaded")
        until(lambda: weights() is None, "its weights are free")
        assert complete(server).status == 200
        assert server.gauge("gptsmith_model_loads_total") == 2


def test_keep_alive_is_honoured(server: Served, smith: ollama.Client) -> None:
    assert smith.generate("base", keep_alive=-1).done_reason == "load"
    assert smith.ps().models[0].expires_at is not None
    assert smith.ps().models[0].expires_at.year == 9999
    smith.chat("chat", QUESTION, options={"num_predict": 2}, keep_alive=0)
    until(lambda: states(server)["chat"] == "unloaded", "it is unloaded")
    assert states(server)["base"] == "loaded"
    assert [keep_alive_s(given) for given in (None, "", 5, "90", "1h30m", "1.5s", "250ms")] == [
        None, None, 5, 90, 5400, 1.5, 0.25,
    ]  # fmt: skip
    assert keep_alive_s("-1m") == keep_alive_s(-1) == float("inf")
    assert server.ask("POST", "/api/generate", {"model": "base", "keep_alive": "5 apples"}).status == 400


def with_room_for(server: Served, num_models: int, monkeypatch: pytest.MonkeyPatch) -> int:
    """Lets memory be free for so many models of the size of ours, whose bytes are returned."""
    models = server.state.models
    one = max(models._memory.weight_bytes(entry.about) for entry in models.entries.values())
    monkeypatch.setattr(model_memory, "free_bytes", lambda _: (num_models - len(models.loaded)) * one)
    return one


def test_where_memory_is_short_the_model_that_was_used_least_recently_goes(
    all_models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving([str(all_models)], kv_cache_memory="1GB") as server:
        with_room_for(server, 2, monkeypatch)
        for model in ("base", "chat", "base"):
            assert complete(server, model=model).status == 200
        assert server.ask("POST", "/v1/classify", {"model": "labels", "input": "3 nail"}).status == 200
        assert states(server) == {"base": "loaded", "chat": "unloaded", "labels": "loaded"}
        # One with running requests never goes.
        with slowed(server.state.models.loaded["base"].engine, 0.03), ThreadPoolExecutor(1) as clients:
            running = clients.submit(complete, server, max_tokens=20)
            until(lambda: server.state.models.loaded["base"].num_reserved == 1, "it runs")
            assert complete(server, model="chat").status == 200
            assert states(server) == {"base": "loaded", "chat": "loaded", "labels": "unloaded"}
            with_room_for(server, 1, monkeypatch)
            answer = server.ask("POST", "/v1/classify", {"model": "labels", "input": "3 nail"})
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            assert "are free while base is in use: try again" in answer.error["message"]
            assert states(server)["labels"] == "unloaded"
            assert not running.done()
        assert running.result().status == 200


def test_a_model_that_does_not_fit_says_what_it_needs(all_models: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with serving([str(all_models)]) as server:
        with_room_for(server, 0, monkeypatch)
        models = server.state.models
        needed = models._memory.weight_bytes(models.entries["base"].about)
        answer = complete(server)
        assert (answer.status, answer.error["code"]) == (400, "insufficient_memory")
        assert answer.error["message"] == f"base takes {readable_bytes(needed)} of memory, and 0 bytes are free"
        assert states(server)["base"] == "failed"


def test_weights_are_counted_as_they_will_be_kept(folder: Path) -> None:
    (base,) = (about for about in ModelFolders([folder]).found.values() if about.name == "base")
    as_it_came, num_parameters = base.file_bytes, cost(base.config).num_parameters
    half = dataclasses.replace(base, stamps=(("weights", as_it_came // 2, 0),))
    for dtype, about, expected in (
        ("auto", half, as_it_came // 2),
        ("auto", base, 4 * num_parameters),
        ("float32", half, 4 * num_parameters),
        ("bfloat16", base, 2 * num_parameters),
    ):
        assert ModelMemory(torch.device("cpu"), dtype, ServeSettings()).weight_bytes(about) == expected


def test_the_memory_of_caches_is_promised_once(all_models: Path) -> None:
    with serving([str(all_models)], kv_cache_memory="8MB") as server:
        bounds = []
        for model in ("base", "chat"):
            assert complete(server, model=model).status == 200
            bounds.append(server.state.models.loaded[model].engine.kv_memory.num_bytes)
        assert bounds == [4_000_000, 2_000_000]
    with serving([str(all_models)], kv_cache_memory="600KB") as server:  # less than a whole context of either
        assert complete(server).status == complete(server, model="chat").status == 200
        assert states(server)["base"] == "unloaded"
        assert server.state.models.loaded["chat"].engine.kv_memory.num_bytes == 600_000


def test_a_model_that_changes_appears_or_disappears_is_noticed(folder: Path, runs: Path) -> None:
    with serving([str(folder)]) as server:
        assert complete(server).status == complete(server, model="chat").status == 200
        old = server.state.models.loaded["base"]
        with slowed(old.engine, 0.03), ThreadPoolExecutor(1) as clients:
            running = clients.submit(complete, server, max_tokens=20)
            until(lambda: old.num_reserved == 1, "it runs")
            shutil.rmtree(folder / "base")
            shutil.copytree(runs / "chat", folder / "base")  # another model under the name
            shutil.rmtree(folder / "chat")
            shutil.copytree(runs / "base", folder / "owner" / "new")
            assert states(server) == {"base": "unloaded", "labels": "unloaded", "owner/new": "unloaded"}
            assert complete(server, model="chat").error["code"] == "model_not_found"
            assert server.ask("POST", "/v1/chat/completions", {**CHAT, "model": "base"}).status == 200
            assert complete(server, model="owner/new").status == 200
            assert not running.done()
        assert running.result().status == 200  # what was begun ends with the model that it began with
        assert not server.state.models._retiring
        shutil.copytree(runs / "base", folder / "unlisted")
        assert complete(server, model="unlisted").status == 200


def test_what_changes_while_it_is_loaded_is_loaded_again(
    folder: Path, runs: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with serving([str(folder)]) as server, ThreadPoolExecutor(2) as clients:
        gate = Gate(monkeypatch)
        answer, gone = clients.submit(complete, server), clients.submit(complete, server, model="chat")
        assert gate.begun.wait(60)
        until(lambda: server.state.models.entries["chat"].num_waiting == 1, "it waits")
        for name in ("base", "chat"):
            shutil.rmtree(folder / name)
        shutil.copytree(runs / "chat", folder / "base")
        states(server)
        gate.is_open.set()
        assert answer.result().status == 200
        assert server.state.models.loaded["base"].run.about.kind == "chat"
        assert gone.result().error["code"] == "model_not_found"


def test_a_model_that_goes_while_it_is_loaded_is_not_there(folder: Path, gate: Gate) -> None:
    with serving([str(folder)]) as server, ThreadPoolExecutor(1) as clients:
        answer = clients.submit(complete, server)
        assert gate.begun.wait(60)
        (folder / "base").rename(folder.parent / "elsewhere")
        assert "base" not in states(server)
        (folder.parent / "elsewhere").rename(folder / "base")  # whole again when it is read, and another one now
        gate.is_open.set()
        assert answer.result().error["code"] == "model_not_found"
        assert server.state.models.loaded == {}
        assert complete(server).status == 200


def test_what_cannot_be_read_is_left_out_and_says_why(folder: Path) -> None:
    (folder / "chat" / "run.toml").write_text("format_version = 99999", encoding="utf-8")
    (folder / "cut.gguf").write_bytes(b"GGUF\x03")
    (folder / "adapter").mkdir()
    (folder / "adapter" / "adapter_config.json").write_text("{}", encoding="utf-8")
    (folder / "notes").mkdir()
    (folder / "notes" / "read.me").write_text("no model", encoding="utf-8")
    shutil.rmtree(folder / "labels" / "checkpoints")
    with serving([str(folder)]) as server:
        assert list(states(server)) == ["base"]
        for name, reason in (
            ("chat", "upgrade gptsmith"), ("cut", "cut"), ("adapter", "adapters"), ("labels", "checkpoint"),
        ):  # fmt: skip
            answer = complete(server, model=name)
            assert (answer.status, answer.error["code"]) == (404, "model_not_found")
            assert answer.error["message"].startswith(f"{name} cannot be served: ")
            assert reason in answer.error["message"]
            assert str(folder) not in answer.error["message"]
        assert complete(server, model="notes").error["message"] == "there is no model of that name here; there are base"
        # Weights that were changed later are noticed when they are loaded.
        for weights in (folder / "base").rglob("model.safetensors"):
            data = bytearray(weights.read_bytes())
            data[-1] ^= 1
            weights.write_bytes(data)
        assert complete(server).error["code"] == "model_load_failed"
        assert server.ask("GET", "/health").status == 200


def test_a_model_that_was_named_stays(all_models: Path, runs: Path) -> None:
    with serving([str(all_models), f"chat={runs / 'base'}"], keep_loaded_s=0) as server:
        assert states(server) == {"chat": "loaded", "base": "unloaded", "labels": "unloaded"}
        for more in ({"prompt": "The", "options": {"num_predict": 2}}, {}):
            asked = {"model": "chat", "keep_alive": 0, "stream": False, **more}
            assert server.ask("POST", "/api/generate", asked).json["done"]
        assert states(server)["chat"] == "loaded"
        assert server.ask("GET", "/api/ps").json["models"][0]["expires_at"].startswith("9999")
        assert complete(server).status == 200
        until(lambda: states(server)["base"] == "unloaded", "it is unloaded at once")


def test_a_folder_of_models_is_told_from_a_model(runs: Path, tmp_path: Path) -> None:
    gguf = tmp_path / "shelf" / "owner"
    gguf.mkdir(parents=True)
    for name in ("a.gguf", "b-00001-of-00002.gguf", "b-00002-of-00002.gguf"):
        (gguf / name).write_bytes(b"GGUF")
    empty = tmp_path / "empty"
    empty.mkdir()
    given = [str(runs), str(runs / "base"), f"x={runs / 'base'}", str(tmp_path / "shelf"), str(empty), "hf:owner/name"]
    models, folders = split_folders(given)
    assert models == [given[1], given[2], given[4], given[5]]
    assert folders == [runs, tmp_path / "shelf"]
    assert sorted(ModelFolders([tmp_path / "shelf"]).problems) == ["owner/a", "owner/b-00001-of-00002"]


def test_a_model_whose_files_did_not_change_is_not_read_again(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = ModelFolders([folder])
    read: list[str] = []
    describe = model_folders.describe
    monkeypatch.setattr(
        model_folders, "describe", lambda name, *given, **more: read.append(name) or describe(name, *given, **more)
    )
    folders.scan()
    assert read == []
    (folder / "base" / "run.toml").touch()
    folders.scan()
    assert read == ["base"]


def test_a_start_does_not_wait_for_a_large_folder(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    may_look = threading.Event()
    scan = ModelFolders._scan

    def held(folders: ModelFolders) -> None:
        assert may_look.wait(DEADLINE_S)
        scan(folders)

    monkeypatch.setattr(ModelFolders, "_scan", held)
    compiled: list[str] = []
    monkeypatch.setattr(served_models, "compile_ahead", compiled.append)
    monkeypatch.setattr(served_models, "SMALL_BYTES", 1)
    models = ServedModels([], ServeSettings(), folders=ModelFolders([runs], device="cpu", in_background=True))
    assert models.entries == {}
    may_look.set()

    async def looked() -> None:
        for _ in range(2):
            await models.look_once()
        await models.workers.run_on_loader(lambda: None)

    asyncio.run(looked())
    assert {"base", "chat"} <= models.entries.keys()
    assert compiled == ["auto"], "once, after the start"
    models.close()
