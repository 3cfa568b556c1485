"""The server, asked by OpenAI's own client over a real socket."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2 as httpx
import openai
import pytest
import torch
import uvicorn

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.serve.app import Server
from gptsmith.serve.models import Models
from gptsmith.serve.run import listen, read_keys
from gptsmith.serve.settings import ServeSettings
from gptsmith.workflows.serve import load_served
from tests.workflows.conftest import SMALL, Outcome, write_text


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A base run, and one that was tuned to converse."""
    folder = tmp_path_factory.mktemp("serve")
    small = [setting.replace("context_length=32", "context_length=128") for setting in SMALL]
    base = gptsmith.pretrain(
        [write_text(folder / "smiths")], out=folder / "base", settings=[*small, "train.num_steps=20"]
    )
    rows = [{"prompt": f"{n}?", "response": f"{n}."} for n in range(40)]
    (folder / "talk.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    chat = gptsmith.finetune(
        base["run"], [folder / "talk.jsonl"], out=folder / "chat", lora=2, settings=["train.num_steps=8"]
    )
    return {"base": str(base["run"]), "chat": str(chat["run"])}


class Running:
    """A server in a thread of this process."""

    def __init__(self, server: Server) -> None:
        self.server = server
        bound = listen("127.0.0.1", 0)
        self.address = f"http://127.0.0.1:{bound.getsockname()[1]}"
        self.uvicorn = uvicorn.Server(uvicorn.Config(server.app, log_config=None, access_log=False))
        self.thread = threading.Thread(target=lambda: asyncio.run(self.uvicorn.serve([bound])), daemon=True)
        self.thread.start()

    def client(self, **options: Any) -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.address}/v1", **{"api_key": "none", "max_retries": 0, **options})

    def gauge(self, name: str) -> float:
        text = httpx.get(f"{self.address}/metrics").text
        return sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith(name + "{"))


@contextmanager
def running(runs: dict[str, str], *, keys: frozenset[str] = frozenset(), **settings: Any) -> Iterator[Running]:
    own = ServeSettings(**settings)
    models = Models(load_served([f"{name}={run}" for name, run in runs.items()]), own)
    one = Running(Server(models, own, keys))
    try:
        yield one
    finally:
        one.uvicorn.should_exit = True
        one.thread.join(timeout=60)
        assert not one.thread.is_alive()


@pytest.fixture(scope="module")
def one(runs: dict[str, str]) -> Iterator[Running]:
    with running(runs, max_streams=4) as server:
        yield server


@pytest.fixture
def client(one: Running) -> openai.OpenAI:
    return one.client()


def until(is_so: Callable[[], bool]) -> None:
    """Waits for something that comes about by itself."""
    deadline = threading.Event()
    for _ in range(600):
        if is_so():
            return
        deadline.wait(0.05)
    raise AssertionError("it did not come about in 30 s")


def test_models_are_listed_with_what_they_are(client: openai.OpenAI) -> None:
    cards = {card.id: card for card in client.models.list()}
    assert set(cards) == {"base", "chat"}
    assert cards["chat"].gptsmith["kind"] == "chat"  # type: ignore[attr-defined]
    assert cards["base"].gptsmith["trained_on"] == "smiths"  # type: ignore[attr-defined]
    assert client.models.retrieve("base").id == "base"


def test_a_completion_is_what_the_model_writes(client: openai.OpenAI, runs: dict[str, str]) -> None:
    answer = client.completions.create(model="base", prompt="The old smith", max_tokens=12, temperature=0)
    assert answer.choices[0].text == gptsmith.load(runs["base"]).generate("The old smith", max_tokens=12, temperature=0)
    assert answer.choices[0].finish_reason == "length"
    assert answer.usage is not None
    assert answer.usage.completion_tokens == 12


def test_streams_bring_the_same_text(client: openai.OpenAI) -> None:
    options: dict[str, Any] = {"model": "base", "prompt": "A young", "max_tokens": 20, "seed": 3}
    whole = client.completions.create(**options)
    chunks = list(client.completions.create(**options, stream=True, stream_options={"include_usage": True}))
    assert "".join(chunk.choices[0].text for chunk in chunks if chunk.choices) == whole.choices[0].text
    assert chunks[-1].usage == whole.usage or chunks[-1].usage.completion_tokens == 20
    talk: dict[str, Any] = {
        "model": "chat",
        "messages": [{"role": "user", "content": "3?"}],
        "seed": 1,
        "max_tokens": 9,
    }
    answer = client.chat.completions.create(**talk)
    deltas = list(client.chat.completions.create(**talk, stream=True))
    assert "".join(chunk.choices[0].delta.content or "" for chunk in deltas) == answer.choices[0].message.content
    assert [chunk.choices[0].finish_reason for chunk in deltas if chunk.choices[0].finish_reason] == [
        answer.choices[0].finish_reason
    ]


def test_a_conversation_is_answered_as_in_python(client: openai.OpenAI, runs: dict[str, str]) -> None:
    messages = [{"role": "system", "content": "Count."}, {"role": "user", "content": "7?"}]
    answer = client.chat.completions.create(model="chat", messages=messages, temperature=0, max_tokens=9)  # type: ignore[arg-type]
    assert answer.choices[0].message.content == gptsmith.load(runs["chat"]).reply(messages, max_tokens=9, temperature=0)


def test_choices_differ_and_a_seed_repeats_them(client: openai.OpenAI) -> None:
    def texts(seed: int) -> list[str]:
        answer = client.completions.create(model="base", prompt="The", n=4, seed=seed, max_tokens=15, temperature=1.5)
        return [choice.text for choice in answer.choices]

    assert len(set(texts(5))) > 1
    assert texts(5) == texts(5) != texts(6)


def test_several_prompts_and_the_best_of_many(client: openai.OpenAI) -> None:
    answer = client.completions.create(model="base", prompt=["The old", "A young"], n=2, max_tokens=4, echo=True)
    assert [choice.text[:5] for choice in answer.choices] == ["The o", "The o", "A you", "A you"]
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    ids = client.completions.create(model="base", prompt=[84, 104], max_tokens=1)
    assert ids.usage is not None
    assert ids.usage.prompt_tokens == 2
    best = client.completions.create(model="base", prompt="The", best_of=6, n=1, seed=1, max_tokens=6, logprobs=0)
    all_of_them = client.completions.create(model="base", prompt="The", n=6, seed=1, max_tokens=6, logprobs=0)

    def mean(choice: Any) -> float:
        return sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)

    assert mean(best.choices[0]) == pytest.approx(max(map(mean, all_of_them.choices)))


def test_log_probabilities_are_the_models(client: openai.OpenAI, runs: dict[str, str]) -> None:
    answer = client.completions.create(
        model="base", prompt="The old", max_tokens=5, temperature=0, logprobs=3, echo=True
    )
    told = answer.choices[0].logprobs
    assert told is not None
    assert told.tokens is not None
    assert told.token_logprobs is not None
    loaded = gptsmith.load(runs["base"])
    ids = loaded.tokenizer.encode("".join(told.tokens))
    with torch.no_grad():
        logs = loaded.model(torch.tensor([ids]))[0].log_softmax(-1)
    assert told.token_logprobs[0] is None
    for place in range(1, len(ids)):
        assert told.token_logprobs[place] == pytest.approx(float(logs[place - 1, ids[place]]), abs=1e-3)
    assert answer.choices[0].text == "".join(told.tokens)
    chat = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "3?"}], logprobs=True, top_logprobs=4, max_tokens=3
    )
    entries = chat.choices[0].logprobs
    assert entries is not None
    assert entries.content is not None
    assert all(len(entry.top_logprobs) == 4 for entry in entries.content)
    data = b"".join(bytes(entry.bytes or []) for entry in entries.content)
    assert data.decode("utf-8", "replace") == chat.choices[0].message.content


def test_an_answer_keeps_to_a_schema_and_to_stop_strings_and_biases(client: openai.OpenAI) -> None:
    schema = {"type": "object", "properties": {"n": {"enum": [1, 2]}}, "required": ["n"], "additionalProperties": False}
    answer = client.chat.completions.create(
        model="chat", messages=[{"role": "user", "content": "3?"}], max_tokens=40,
        response_format={"type": "json_schema", "json_schema": {"name": "x", "schema": schema}},
    )  # fmt: skip
    assert json.loads(answer.choices[0].message.content or "")["n"] in (1, 2)
    whole = client.completions.create(model="base", prompt="The", max_tokens=20, temperature=0).choices[0].text
    stop = whole[5:8]
    stopped = client.completions.create(model="base", prompt="The", max_tokens=20, temperature=0, stop=[stop])
    assert stopped.choices[0].text == whole[: whole.find(stop)]
    assert stopped.choices[0].finish_reason == "stop"
    biased = client.completions.create(model="base", prompt="The", max_tokens=3, temperature=0, logit_bias={"33": 100})
    loaded_token = biased.choices[0].text[0]
    assert biased.choices[0].text == loaded_token * 3


def test_an_answer_that_was_begun_goes_on(client: openai.OpenAI) -> None:
    talk = [{"role": "user", "content": "3?"}]
    options: dict[str, Any] = {"model": "chat", "temperature": 0, "logprobs": True}
    whole = client.chat.completions.create(messages=talk, max_tokens=8, **options).choices[0]  # type: ignore[arg-type]
    assert whole.logprobs is not None
    assert whole.logprobs.content is not None
    begun = [*talk, {"role": "assistant", "content": whole.logprobs.content[0].token}]
    rest = client.chat.completions.create(
        messages=begun,  # type: ignore[arg-type]
        max_tokens=7,
        extra_body={"continue_final_message": True},
        **options,
    )
    assert begun[-1]["content"] + (rest.choices[0].message.content or "") == whole.message.content


def test_embeddings_are_the_mean_of_the_last_layer(client: openai.OpenAI, runs: dict[str, str]) -> None:
    answer = client.embeddings.create(model="base", input=["The old smith", "steel"])
    loaded = gptsmith.load(runs["base"])
    with torch.no_grad():
        expected = loaded.model.hidden(torch.tensor([loaded.tokenizer.encode("The old smith")]))[0].mean(0)
    torch.testing.assert_close(torch.tensor(answer.data[0].embedding), expected, rtol=1e-4, atol=1e-5)


def test_text_becomes_tokens_and_text_again(one: Running) -> None:
    given = {"model": "base", "prompt": "Größe <|im_end|>", "return_token_strs": True}
    found = httpx.post(f"{one.address}/tokenize", json=given).json()
    assert found["count"] == len(found["tokens"]) == len(found["token_strs"])
    back = httpx.post(f"{one.address}/detokenize", json={"model": "base", "tokens": found["tokens"]}).json()
    assert back["prompt"] == "Größe <|im_end|>"


BAD: dict[str, tuple[str, Any, int, str | None, str]] = {
    "no JSON": ("completions", b"{", 400, None, "not JSON"),
    "not an object": ("completions", b"[1]", 400, None, "not an object"),
    "broken UTF-8": ("completions", b'{"model": "\xff"}', 400, None, "not JSON"),
    "deep JSON": ("completions", b"[" * 100_000, 400, None, "not JSON"),
    "a giant number": ("completions", b'{"model": "base", "max_tokens": 1e999}', 400, "max_tokens", ""),
    "a huge integer": ("completions", {"model": "base", "seed": 10**40}, 400, "seed", ""),
    "no model": ("completions", {"prompt": "x"}, 400, "model", "required"),
    "a wrong type": ("completions", {"model": "base", "temperature": "hot"}, 400, "temperature", "number"),
    "an unknown field": ("completions", {"model": "base", "temprature": 1}, 400, "temprature", "temperature"),
    "a model that is not there": ("completions", {"model": "gpt-9"}, 404, "model", "there are base, chat"),
    "a suffix": ("completions", {"model": "base", "suffix": "x"}, 400, "suffix", "suffix"),
    "too many texts": ("completions", {"model": "base", "n": 100}, 400, "n", "100 texts"),
    "an empty stop": ("completions", {"model": "base", "stop": [""]}, 400, "stop.0", "at least 1 character"),
    "stream options alone": (
        "completions", {"model": "base", "stream_options": {"include_usage": True}}, 400, "stream_options", "streams",
    ),
    "too long a prompt": (
        "completions", {"model": "base", "prompt": [1] * 200}, 400, "prompt", "200 tokens and the model's context",
    ),
    "a token that is not there": ("completions", {"model": "base", "prompt": [10**6]}, 400, "prompt", "numbers from 0"),
    "chat with a base model": (
        "chat/completions", {"model": "base", "messages": [{"role": "user", "content": "x"}]}, 400, "model",
        "use /v1/completions",
    ),
    "a picture": (
        "chat/completions",
        {"model": "chat", "messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {}}]}]},
        400, "messages.0.content", "image_url",
    ),
    "tools": (
        "chat/completions", {"model": "chat", "messages": [{"role": "user", "content": "x"}], "tools": [{}]}, 400,
        "tools", "not done",
    ),
    "a schema that is none": (
        "chat/completions",
        {
            "model": "chat", "messages": [{"role": "user", "content": "x"}],
            "response_format": {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "nothing"}}},
        },
        400, "messages", "not sound",
    ),
    "no such place": ("nowhere", {}, 404, None, "nothing at this address"),
}  # fmt: skip


@pytest.mark.parametrize("name", BAD)
def test_what_is_wrong_is_told_in_openais_shape(one: Running, name: str) -> None:
    path, body, status, param, message = BAD[name]
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    answer = httpx.post(f"{one.address}/v1/{path}", content=data)
    assert answer.status_code == status
    error = answer.json()["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["param"] == param
    assert message in error["message"]
    assert re.fullmatch(r"req-[0-9a-f]{24}", answer.headers["x-request-id"])


def test_other_methods_large_bodies_and_strange_names_are_refused(one: Running) -> None:
    assert httpx.get(f"{one.address}/v1/completions").json()["error"]["code"] == "method_not_allowed"
    large = httpx.post(f"{one.address}/v1/completions", content=b"x" * 3_000_000)
    assert (large.status_code, large.json()["error"]["code"]) == (413, "request_too_large")
    stranger = httpx.get(f"{one.address}/v1/models", headers={"Host": "evil.example"})
    assert stranger.status_code == 403
    other_page = httpx.get(f"{one.address}/v1/models", headers={"Origin": "https://evil.example"})
    assert other_page.status_code == 403


def test_keys_are_asked_for_and_pages_of_named_origins_let_in(runs: dict[str, str]) -> None:
    with running({"base": runs["base"]}, keys=frozenset({"secret"}), cors=("https://mine.example",)) as one:
        with pytest.raises(openai.AuthenticationError):
            one.client(api_key="wrong").models.list()
        assert [card.id for card in one.client(api_key="secret").models.list()] == ["base"]
        assert httpx.get(f"{one.address}/health").json() == {"status": "ok"}
        headers = {"Origin": "https://mine.example", "Authorization": "Bearer secret"}
        allowed = httpx.get(f"{one.address}/v1/models", headers=headers)
        assert allowed.headers["access-control-allow-origin"] == "https://mine.example"


def test_sixty_four_clients_get_what_each_would_get_alone(one: Running) -> None:
    client = one.client(max_retries=8)

    def text(seed: int) -> str:
        answer = client.completions.create(model="base", prompt="The old", seed=seed, max_tokens=10, temperature=1)
        return answer.choices[0].text

    with ThreadPoolExecutor(64) as pool:
        together = list(pool.map(text, range(64)))
    assert together[:6] == [text(seed) for seed in range(6)]
    assert len(set(together)) > 8
    until(lambda: one.gauge("gptsmith_running") == 0)


def test_a_full_queue_is_told_with_a_time_to_come_back(runs: dict[str, str]) -> None:
    with running({"base": runs["base"]}, max_streams=1, max_waiting=0) as one:
        go = threading.Event()
        one.server.models.by_name["base"].engine.call(lambda: go.wait(60))
        with ThreadPoolExecutor(1) as pool:
            first = pool.submit(one.client().completions.create, model="base", prompt="The", max_tokens=1)
            until(lambda: one.server.models.by_name["base"].num_reserved == 1)
            with pytest.raises(openai.RateLimitError) as refused:
                one.client().completions.create(model="base", prompt="The", max_tokens=1)
            assert refused.value.response.headers["retry-after"] == "1"
            go.set()
            assert first.result(timeout=60).choices[0].finish_reason == "length"


def test_streams_that_are_dropped_leave_nothing_behind(one: Running) -> None:
    body = {"model": "base", "prompt": "The", "max_tokens": 100, "stream": True, "ignore_eos": True}
    for _ in range(100):
        with httpx.stream("POST", f"{one.address}/v1/completions", json=body) as answer:
            next(answer.iter_lines())
    until(lambda: one.gauge("gptsmith_running") == 0 and one.gauge("gptsmith_waiting") == 0)
    assert one.server.models.by_name["base"].num_reserved == 0
    assert one.client().completions.create(model="base", prompt="The", max_tokens=2).choices[0].text


def test_whoever_leaves_before_the_answer_frees_the_place(one: Running) -> None:
    body = {"model": "base", "prompt": "The", "max_tokens": 100, "ignore_eos": True}
    engine = one.server.models.by_name["base"].engine
    go = threading.Event()
    engine.call(lambda: go.wait(60))
    with pytest.raises(httpx.ReadTimeout):
        httpx.post(f"{one.address}/v1/completions", json=body, timeout=0.3)
    go.set()
    until(lambda: one.server.models.by_name["base"].num_reserved == 0 and engine.figures().running == 0)


def test_the_asynchronous_client_streams_too(one: Running) -> None:
    async def text() -> str:
        async with openai.AsyncOpenAI(base_url=f"{one.address}/v1", api_key="none") as client:
            stream = await client.completions.create(model="base", prompt="The", max_tokens=6, seed=2, stream=True)
            return "".join([chunk.choices[0].text async for chunk in stream])

    same = one.client().completions.create(model="base", prompt="The", max_tokens=6, seed=2)
    assert asyncio.run(text()) == same.choices[0].text


def test_adapters_share_the_weights_of_their_base(runs: dict[str, str]) -> None:
    base, chat = load_served([f"base={runs['base']}", f"chat={runs['chat']}"])
    assert base.shared_bytes == 0
    assert base.prompts == []
    (shown,) = load_served([f"chat={runs['chat']}"], with_prompts=True)
    assert len(shown.prompts) == 3
    assert all(re.fullmatch(r"\d+\?", prompt) for prompt in shown.prompts)
    assert chat.shared_bytes > 0.9 * sum(p.nbytes for p in base.loaded.model.parameters())


def test_the_command_serves_and_leaves_when_it_is_told(runs: dict[str, str], tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gptsmith", "serve", f"smith={runs['base']}", "--port", "0", "--drain-s", "5"]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path, env={**os.environ}
    ) as process:
        assert process.stdout is not None
        line = process.stdout.readline()
        address = re.search(r"http://\S+", line)
        assert address, line
        client = openai.OpenAI(base_url=address[0], api_key="none")
        assert client.completions.create(model="smith", prompt="secret words", max_tokens=2).choices[0].text
        process.send_signal(signal.SIGTERM)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0
    assert "/v1/completions" in errors
    assert "secret words" not in errors


def test_what_cannot_be_served_is_said_in_one_line(
    runs: dict[str, str], call: Callable[..., Outcome], tmp_path: Path
) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        busy = call("serve", runs["base"], "--port", taken.getsockname()[1])
    assert (busy.code, "in use: choose another --port" in busy.err) == (2, True)
    twice = call("serve", runs["base"], runs["base"], "--port", 0)
    assert (twice.code, "are both called base" in twice.err) == (2, True)
    open_to_all = call("serve", runs["base"], "--host", "0.0.0.0")
    assert (open_to_all.code, "--api-key-file" in open_to_all.err) == (2, True)
    key = tmp_path / "keys"
    key.write_text("abc\n")
    key.chmod(0o644)
    with pytest.raises(UserError, match="chmod 600"):
        read_keys(key, "127.0.0.1")
    key.chmod(0o600)
    assert read_keys(key, "0.0.0.0") == {"abc"}


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Callable[..., Outcome]:
    """The command line, called in this process."""
    from gptsmith.cli import main

    def run(*arguments: object) -> Outcome:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["gptsmith", *map(str, arguments)])
        capsys.readouterr()
        with pytest.raises(SystemExit) as left:
            main()
        captured = capsys.readouterr()
        return Outcome(int(left.value.code or 0), captured.out, captured.err)

    return run
