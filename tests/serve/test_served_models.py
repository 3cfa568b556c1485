"""Lists of models, embeddings, tokens, the page, health."""

from __future__ import annotations

import base64
import struct
from pathlib import Path

import pytest
import torch
from openai import BadRequestError, NotFoundError, OpenAI

import gptsmith
from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.settings import Settings
from gptsmith.convert.load import load
from gptsmith.convert.open import open_model
from gptsmith.generate.draft_model import DraftModel
from gptsmith.generate.request import TokenLogprob
from gptsmith.run.folder import Run
from gptsmith.serve import model_memory
from gptsmith.serve.chat.logprobs import chat_logprob
from gptsmith.serve.example_prompts import first_prompts
from gptsmith.serve.load import load_served, trained_on
from gptsmith.serve.served_models import ServedModels
from gptsmith.serve.settings import ServeSettings

from .conftest import Served, serving


def test_models_are_listed_with_what_is_known_of_them(served: Served, client: OpenAI) -> None:
    assert [model.id for model in client.models.list()] == ["base", "chat", "adapted"]
    cards = {card["id"]: card for card in served.ask("GET", "/v1/models").json["data"]}
    base, chat = cards["base"]["gptsmith"], cards["chat"]["gptsmith"]
    assert (base["kind"], chat["kind"]) == ("base", "chat")
    assert base["context_length"] == 768
    assert base["trained_on"] == "smiths"
    assert chat["trained_on"] == "smiths, tuned on talk.jsonl"
    assert base["vocab_size"] == served.state.models.loaded["base"].vocab_size
    assert base["num_parameters"] == sum(
        p.numel() for p in served.state.models.loaded["base"].loaded.model.parameters()
    )
    assert base["sampling"]["temperature"] == 0.8
    assert len(base["prompts"]) == 3
    assert all(prompt.startswith("The ") for prompt in base["prompts"])
    first, middle, last = (int(prompt.split(":")[0]) for prompt in chat["prompts"])
    assert (first, 20 < middle < 40, last) == (0, True, 59)
    assert [chat[name] for name in ("max_choices", "max_tokens")] == [16, None]
    assert client.models.retrieve("chat").created == cards["chat"]["created"]
    with pytest.raises(NotFoundError):
        client.models.retrieve("gpt-9")


def test_bounds_are_on_the_card(runs: Path) -> None:
    with serving([str(runs / "base")], max_tokens=20, max_choices=9, max_num_seqs=2, max_queue_size=3) as running:
        card = running.ask("GET", "/v1/models/base").json["gptsmith"]
        assert (card["max_choices"], card["max_tokens"]) == (5, 20)
        asked = {"model": "base", "prompt": "a", "max_tokens": 20}
        assert running.ask("POST", "/v1/completions", {**asked, "n": 5}).status == 200
        assert running.ask("POST", "/v1/completions", {**asked, "n": 6}).error["param"] == "n"


def test_end_tokens_are_spelt_as_log_probabilities_spell_them(served: Served) -> None:
    ends = served.ask("GET", "/v1/models/chat").json["gptsmith"]["end_tokens"]
    assert ends == ["<|endoftext|>", "<|im_end|>"]
    tokenizer = served.state.models.loaded["chat"].tokenizer
    assert ends == [chat_logprob(tokenizer, TokenLogprob(token, None))["token"] for token in sorted(tokenizer.end_ids)]


def test_what_is_not_there_any_more_is_not_told(runs: Path, tmp_path: Path) -> None:
    base = open_model(runs / "base")
    assert trained_on(base) == "smiths"
    settings = base.settings()
    settings["request"]["sources"] = [str(tmp_path / "gone")]
    moved = Run.create(tmp_path / "moved", settings, Settings)
    assert first_prompts(open_model(moved.folder)) == []


def test_weights_that_models_share_are_in_memory_once(served: Served) -> None:
    base, adapted, chat = (served.state.models.loaded[name] for name in ("base", "adapted", "chat"))
    homes = {parameter.data_ptr() for parameter in base.loaded.model.parameters()}
    frozen = [p for name, p in adapted.loaded.model.named_parameters() if ".lora_" not in name]
    assert frozen
    assert all(parameter.data_ptr() in homes for parameter in frozen)
    assert adapted.run.shared_bytes == sum(parameter.numel() * 4 for parameter in frozen)
    assert base.run.shared_bytes == chat.run.shared_bytes == 0
    changed = dict(chat.loaded.model.named_parameters())["embedding.weight"]
    assert not torch.equal(changed, base.loaded.model.embedding.weight)


def test_names_are_those_of_folders_or_given(runs: Path) -> None:
    names = [run.name for run in load_served([str(runs / "base"), f"other={runs / 'base'}"], device="cpu")]
    assert names == ["base", "other"]
    with pytest.raises(UserError, match=r"both called base.*base-2="):
        load_served([str(runs / "base"), str(runs / "base")])
    with pytest.raises(UserError, match="NAME=RUN"):
        load_served([f"={runs / 'base'}"])


def test_an_embedding_is_the_mean_of_the_last_layer(served: Served, client: OpenAI) -> None:
    model = served.state.models.loaded["base"]
    ids = model.tokenizer.prompt_ids("The old smith")
    with torch.inference_mode():
        expected = model.loaded.model.hidden(torch.tensor([ids]))[0].mean(dim=0)
        expected /= expected.norm()
    # The client asks for base64 unless it is told otherwise.
    for answer in (
        client.embeddings.create(model="base", input=["a", "The old smith"]).data[1],
        client.embeddings.create(model="base", input="The old smith", encoding_format="float").data[0],
        client.embeddings.create(model="base", input=ids).data[0],
        client.embeddings.create(model="base", input=[[1], ids]).data[1],
    ):
        torch.testing.assert_close(torch.tensor(answer.embedding), expected)
    raw = served.ask("POST", "/v1/embeddings", {"model": "base", "input": "a", "encoding_format": "base64"}).json
    packed = base64.b64decode(raw["data"][0]["embedding"])
    assert len(struct.unpack(f"<{len(packed) // 4}f", packed)) == 64
    assert raw["pooling"] == "mean of the last layer"
    assert client.embeddings.create(model="base", input="The old smith").usage.prompt_tokens == len(ids)


def test_embeddings_that_cannot_be_are_refused(served: Served, client: OpenAI) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.embeddings.create(model="base", input="a", dimensions=3)
    assert caught.value.param == "dimensions"
    for wrong in ([5] * 800, [100000], ["a"] * 257):
        with pytest.raises(BadRequestError) as caught:
            client.embeddings.create(model="base", input=wrong)
        assert caught.value.param == "input"


def test_tokens_and_back(served: Served) -> None:
    text = "The old smith: é😀"
    told = served.ask("POST", "/tokenize", {"model": "base", "prompt": text, "return_token_strs": True}).json
    assert told["tokens"] == served.state.models.loaded["base"].tokenizer.prompt_ids(text)
    assert told["count"] == len(told["tokens"]) == len(told["token_strs"])
    assert told["max_model_len"] == 768
    assert served.ask("POST", "/detokenize", {"model": "base", "tokens": told["tokens"]}).json == {"prompt": text}
    assert served.ask("POST", "/detokenize", {"model": "base", "tokens": [9999]}).error["param"] == "tokens"
    assert served.ask("POST", "/tokenize", {"model": "base"}).error["param"] == "prompt"
    assert served.ask("POST", "/tokenize", {"prompt": "a"}).error["param"] == "model"


def test_the_page_is_a_fixed_list_of_files(runs: Path, tmp_path: Path) -> None:
    page = tmp_path / "page"
    page.mkdir()
    (page / "index.html").write_text("<!doctype html><title>é</title>", encoding="utf-8")
    (page / "app.js").write_text("1;", encoding="utf-8")
    (page / "secret.txt").write_text("no", encoding="utf-8")
    (tmp_path / "other.js").write_text("no", encoding="utf-8")
    with serving([str(runs / "base")], page=page) as running:
        index = running.ask("GET", "/")
        assert index.data.decode() == "<!doctype html><title>é</title>"
        assert index.headers["content-type"] == "text/html; charset=utf-8"
        assert index.headers["cache-control"] == "no-cache"
        script = running.ask("GET", "/page/app.js")
        assert (script.data, script.headers["content-type"]) == (b"1;", "text/javascript; charset=utf-8")
        assert script.headers["content-security-policy"].startswith("default-src 'none'; script-src 'self';")
        for path in ("secret.txt", "../other.js", "%2e%2e/other.js", "..%2fother.js", "", "app.js/", "%00"):
            answer = running.ask("GET", f"/page/{path}")
            assert (answer.status, answer.error["code"]) == (404, "not_found")


def test_health_and_metrics(served: Served) -> None:
    assert served.ask("GET", "/health").json == {"status": "ok"}
    assert served.ask("GET", "/ready").json == {"status": "ready"}
    before = served.gauge("gptsmith_generation_tokens_total")
    served.client().completions.create(model="base", prompt="a", max_tokens=7, temperature=0)
    assert served.gauge("gptsmith_generation_tokens_total") == before + 7
    text = served.ask("GET", "/metrics")
    assert text.headers["content-type"].startswith("text/plain")
    assert 'gptsmith_requests_total{route="/v1/completions",status="200"}' in text.data.decode()
    assert served.gauge("gptsmith_time_to_first_token_seconds_count") >= 1
    assert served.gauge("gptsmith_inter_token_latency_seconds_count") >= 1
    assert served.gauge("gptsmith_engine_native") == 0  # a small model
    assert served.gauge("gptsmith_kv_cache_blocks") >= 1
    assert served.gauge("gptsmith_kv_cache_bytes") >= served.gauge("gptsmith_kv_cache_blocks") * 64
    assert served.gauge("gptsmith_kv_cache_blocks") >= served.gauge("gptsmith_kv_cache_shared_blocks") >= 0
    assert served.gauge("gptsmith_preemptions_total") == 0


def test_compiled_code_decodes_from_the_integers_of_an_int8_run(runs: Path, tmp_path: Path) -> None:
    pytest.importorskip("numba")
    gptsmith.compress(runs / "base", to="int8", out=tmp_path / "smaller")
    with serving([str(tmp_path / "smaller")], engine="native") as running:  # which refuses what is packed already
        assert running.gauge("gptsmith_engine_native") == 1
        answer = running.client().completions.create(model="smaller", prompt="a", max_tokens=5, temperature=0)
        assert answer.usage is not None
        assert answer.usage.completion_tokens == 5


def test_models_share_the_memory_for_their_contexts(runs: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [str(runs / name) for name in ("base", "chat", "labels")]
    with serving(names, kv_cache_memory="600KB") as running:
        models = running.state.models.loaded
        memory = models["base"].engine.kv_memory
        assert memory.num_bytes == models["chat"].engine.kv_memory.num_bytes == 300_000
        assert models["labels"].engine.kv_memory.num_bytes is None
        room = 300_000 // memory.bytes_of(64) * 64
        assert 64 <= room < 768
        assert running.ask("GET", "/v1/models/chat").json["gptsmith"]["context_length"] == room
        said = " ".join(capsys.readouterr().err.split())
        whole = readable_bytes(memory.bytes_of(768))
        assert f"base: a context of 768 tokens takes {whole} of KV cache, and 300 kB hold {room}" in said
        for path, body in (
            ("/v1/completions", {"prompt": [1] * (room + 1)}),
            ("/v1/completions", {"prompt": "word " * 3000}),
            ("/v1/embeddings", {"input": "word " * 3000}),
        ):
            error = running.ask("POST", path, {"model": "base", **body}).error
            assert error["code"] == "context_length_exceeded"
            assert "--kv-cache-memory: a context of 768 tokens takes" in error["message"]
            assert f"300 kB hold {room} tokens" in error["message"]
        asked = {"model": "base", "prompt": "The", "max_tokens": room, "n": 4}
        assert running.ask("POST", "/v1/completions", asked).status == 200


def test_by_default_three_quarters_of_what_is_free(runs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for free, expected in ((8_000_000, 6_000_000), (None, None)):
        monkeypatch.setattr(model_memory, "free_bytes", lambda _, free=free: free)
        models = ServedModels(load_served([str(runs / "base")], device="cpu"), ServeSettings())
        assert models.loaded["base"].engine.kv_memory.num_bytes == expected
        models.close()


def test_too_little_memory_for_any_text_is_refused_with_what_is_needed(runs: Path) -> None:
    with pytest.raises(UserError, match=r"holds no block of 64 tokens, .*: allow at least .*--kv-cache-memory"):
        ServedModels(load_served([str(runs / "base")], device="cpu"), ServeSettings(kv_cache_memory="9KB"))


def test_a_draft_is_for_models_that_write_text(runs: Path) -> None:
    draft = load(runs / "base", device="cpu")
    labels = load_served([str(runs / "labels")], device="cpu")
    with pytest.raises(UserError, match=r"--draft .*base proposes text, and labels writes none, but labels texts"):
        ServedModels(labels, ServeSettings(), draft)
    with pytest.raises(UserError, match="labels"):
        ServedModels(load_served([str(runs / "chat")], device="cpu"), ServeSettings(), labels[0].loaded)
    with serving([str(runs / "chat"), str(runs / "labels")], draft=str(runs / "base")) as running:
        answer = running.ask("POST", "/v1/classify", {"model": "labels", "input": "3 nail"})
        assert answer.json["data"][0]["label"] in ("tool", "food")
        asked = {"model": "chat", "prompt": "The", "max_tokens": 5}
        assert running.ask("POST", "/v1/completions", asked).status == 200


def test_a_drafts_cache_counts_in_the_bound(runs: Path) -> None:
    draft = load(runs / "base", device="cpu")
    models = ServedModels(load_served([str(runs / "chat")], device="cpu"), ServeSettings(kv_cache_memory="2MB"), draft)
    served = models.loaded["chat"]
    proposer = served.engine._proposer
    assert isinstance(proposer, DraftModel)
    bounds = [engine.kv_memory.num_bytes for engine in (served.engine, proposer.engine)]
    assert bounds == [1_000_000, 1_000_000]  # models of one shape
    assert served.kv_cache_bytes == 2_000_000
    models.close()


def test_the_document_names_the_models_that_can_answer(runs: Path) -> None:
    with serving([str(runs / name) for name in ("base", "chat", "labels")]) as running:
        schemas = running.ask("GET", "/openapi.json").json["components"]["schemas"]
    found = {}
    for name in (
        "CompletionRequest",
        "ChatCompletionRequest",
        "ResponsesRequest",
        "ClassifyRequest",
        "TokenizeRequest",
    ):
        model = schemas[name]["properties"]["model"]
        found[name] = (model["anyOf"][0] if "anyOf" in model else model)["enum"]
    assert found == {
        "CompletionRequest": ["base", "chat"],
        "ChatCompletionRequest": ["chat"],
        "ResponsesRequest": ["chat"],
        "ClassifyRequest": ["labels"],
        "TokenizeRequest": ["base", "chat", "labels"],
    }
