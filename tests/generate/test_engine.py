"""The engine writes what a plain generator writes, alone and in company; nothing that is asked for is ignored."""

from __future__ import annotations

import itertools
import json
import random
import re
import threading
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare

from gptsmith.base.errors import UserError
from gptsmith.base.randomness import derived_seed
from gptsmith.generate import logprobs, sampler
from gptsmith.generate.detokenizer import Detokenizer
from gptsmith.generate.draft_model import DraftModel
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.request import Constraint, ContextOverflowError, OutputChunk, QueueFullError, Request
from gptsmith.generate.sampling import NoDistributionError, SamplingSettings, apply_penalties, sample_from_uniform
from gptsmith.generate.settings import EngineSettings
from gptsmith.generate.speculative import prompt_lookup
from gptsmith.generate.structured_output import Grammar
from gptsmith.model.gpt import GPT
from gptsmith.model.packed_linear import PackedLinear
from gptsmith.model.presets import preset
from gptsmith.model.transform import quantize
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings

TOKENIZER: Tokenizer = BytesTokenizerSettings().train(list, 0)
CONTEXT = 96


def model_of(**changes: Any) -> GPT:
    shape = {"vocab_size": TOKENIZER.vocab_size, "context_length": CONTEXT, "embed_dim": 64, "num_layers": 2}
    model = GPT(preset("smith", **{**shape, "num_heads": 2, "head_dim": 32, **changes}), seed=1)
    with torch.no_grad():
        for number, parameter in enumerate(model.parameters()):
            if parameter.dim() == 2:
                generator = torch.Generator().manual_seed(number)
                parameter.copy_(torch.randn(parameter.shape, generator=generator) * 0.35)
    return model.eval()


MODEL = model_of()


def plain(request: Request, model: GPT = MODEL) -> list[int]:
    """The twin: one text at a time, all of it read anew for every token."""
    ids = list(request.prompt_ids)
    written: list[int] = []
    seed = derived_seed(request.seed, "choice", request.choice) if request.choice else request.seed
    while len(written) < request.max_tokens and len(ids) + len(written) < model.config.context_length:
        with torch.no_grad():
            logits = model(torch.tensor([ids + written]))[0, -1].float()
        if request.sampling.has_penalties:
            logits = apply_penalties(logits, request.sampling, ids, written)
        for token, bias in request.logit_bias.items():
            logits[token] += bias
        if request.ignore_end:
            logits[sorted(TOKENIZER.end_ids)] = float("-inf")
        chance = (derived_seed(seed, "token", len(written)) >> 10) / 2**53
        token = int(sample_from_uniform(logits[None], request.sampling, [chance])[0])
        if (token in TOKENIZER.end_ids and not request.ignore_end) or token in request.stop_ids:
            break
        written.append(token)
    return written


def run(engine: Engine) -> None:
    """Steps an engine that has no thread."""
    while not engine.is_threaded and engine.has_work:
        engine.step()


def together(engine: Engine, requests: list[Request]) -> list[list[OutputChunk]]:
    """The pieces of requests that are all asked for at once."""
    pieces: list[list[OutputChunk]] = [[] for _ in requests]
    left = threading.Semaphore(0)

    def deliver(number: int, piece: OutputChunk) -> None:
        pieces[number].append(piece)
        if piece.finish_reason is not None:
            left.release()

    for number, request in enumerate(requests):
        engine.submit(request, lambda piece, number=number: deliver(number, piece))
    run(engine)
    for _ in requests:
        assert left.acquire(timeout=120)
    return pieces


def tokens_of(pieces: list[OutputChunk]) -> list[int]:
    return [told.id for piece in pieces for told in piece.tokens]


def text_of(pieces: list[OutputChunk]) -> str:
    return "".join(piece.text for piece in pieces)


def some_requests(count: int, seed: int = 0) -> list[Request]:
    """Requests of every kind of sampling, some of which begin alike."""
    chance = random.Random(seed)
    shared = [chance.randrange(256) for _ in range(20)]
    kinds = [
        SamplingSettings(temperature=0),
        SamplingSettings(temperature=1),
        SamplingSettings(temperature=0.7, top_k=5),
        SamplingSettings(temperature=1.3, top_p=0.8, min_p=0.02),
        SamplingSettings(temperature=0, repetition_penalty=1.4, frequency_penalty=0.3, presence_penalty=0.2),
    ]
    return [
        Request(
            prompt_ids=[*shared[: chance.choice([0, 7, 20])], *(chance.randrange(256) for _ in range(1 + number % 9))],
            max_tokens=chance.randrange(1, 40),
            sampling=kinds[number % len(kinds)],
            seed=number // 2,
            choice=number % 2,
            logit_bias={65: 2.0} if number % 4 == 0 else {},
            ignore_end=number % 3 == 0,
        )
        for number in range(count)
    ]


@pytest.fixture(params=["stepped", "threaded"])
def engine(request: pytest.FixtureRequest) -> Iterator[Engine]:
    """An engine that its caller steps, and one that a thread does."""
    thread = EngineThread() if request.param == "threaded" else None
    settings = EngineSettings(max_num_seqs=4, max_prefill_tokens=7)
    made = Engine(MODEL, TOKENIZER, settings=settings, thread=thread)
    yield made
    made.close()
    if thread is not None:
        thread.close()


@pytest.fixture
def thread() -> Iterator[EngineThread]:
    made = EngineThread()
    yield made
    made.close()


def test_in_any_company_each_text_is_the_plain_twins(engine: Engine) -> None:
    requests = some_requests(24)
    found = together(engine, requests)
    for request, pieces in zip(requests, found, strict=True):
        assert tokens_of(pieces) == plain(request)
        assert [piece.finish_reason for piece in pieces[:-1]] == [None] * (len(pieces) - 1)
    assert engine.figures().num_cached_tokens > 0
    alone = [tokens_of(list(engine.stream(request))) for request in requests[:6]]
    assert alone == [tokens_of(pieces) for pieces in found[:6]]


SHAPES: dict[str, dict[str, Any]] = {
    "sliding_window": {"attention": {"kind": "sliding_window", "window_size": 9}},
    "additive": {"attention": {"kind": "additive"}},
    "residual_query": {"attention": {"kind": "residual_query"}},
    "alibi": {"position": {"kind": "alibi"}},
    "learned": {"position": {"kind": "learned"}},
    "sinusoidal": {"position": {"kind": "sinusoidal"}},
    "none": {"position": {"kind": "none"}},
    "grouped": {"num_heads": 4, "attention": {"kind": "full", "num_kv_heads": 1, "qk_norm": True}},
    "after": {"norm_placement": "post"},
}


@pytest.mark.parametrize("name", SHAPES)
def test_every_shape_is_written_with_as_its_twin(name: str) -> None:
    model = model_of(**SHAPES[name])
    engine = Engine(model, TOKENIZER, settings=EngineSettings(max_num_seqs=3, max_prefill_tokens=5))
    requests = some_requests(7, seed=5)
    found = together(engine, requests)
    engine.close()
    assert [tokens_of(pieces) for pieces in found] == [plain(request, model) for request in requests]


@settings(max_examples=15)
@given(st.integers(0, 10**6), st.integers(1, 6), st.integers(1, 50), st.integers(0, 6))
def test_no_setting_of_the_engine_changes_a_text(seed: int, streams: int, piece: int, proposed: int) -> None:
    own = EngineSettings(max_num_seqs=streams, max_prefill_tokens=piece, num_speculative_tokens=proposed)
    engine = Engine(MODEL, TOKENIZER, settings=own)
    requests = some_requests(5, seed=seed)
    found = together(engine, requests)
    engine.close()
    assert [tokens_of(pieces) for pieces in found] == [plain(request) for request in requests]


def test_prompts_that_come_together_are_soon_decoded_together() -> None:
    ticks = itertools.count()
    settings = EngineSettings(max_num_seqs=64, num_speculative_tokens=0)
    engine = Engine(MODEL, TOKENIZER, settings=settings, clock=lambda: float(next(ticks)))
    generator = torch.Generator().manual_seed(0)
    prompts = [torch.randint(200, (16,), generator=generator).tolist() for _ in range(64)]
    together(engine, [Request(ids, 40, SamplingSettings(temperature=0), ignore_end=True) for ids in prompts])
    assert engine.figures().num_steps < 60  # 168 where only the first 32 were read at once and the others bit by bit
    engine.close()


def test_guesses_are_checked_and_change_nothing() -> None:
    rhyme = list(b"one two three one two three one two ")
    request = Request(rhyme, 40, SamplingSettings(temperature=0), logit_bias=dict.fromkeys(b"one two three", 30.0))
    engine = Engine(MODEL, TOKENIZER)
    written = tokens_of(list(engine.stream(request)))
    figures = engine.figures()
    engine.close()
    assert written == plain(request)
    assert 0 < figures.num_accepted_tokens <= figures.num_proposed_tokens
    assert figures.num_steps < len(written)


def test_a_draft_that_is_the_model_is_always_right_and_another_changes_nothing() -> None:
    request = Request(list(b"smith"), 30, SamplingSettings(temperature=0), ignore_end=True)
    for draft, is_same in ((MODEL, True), (model_of(embed_dim=32), False)):
        engine = Engine(MODEL, TOKENIZER, proposer=DraftModel(draft))
        written = tokens_of(list(engine.stream(request)))
        figures = engine.figures()
        engine.close()
        assert written == plain(request)
        assert (figures.num_accepted_tokens == figures.num_proposed_tokens) == is_same


def test_with_guesses_tokens_are_drawn_from_the_models_distribution() -> None:
    prompt = list(b"abcabcab")
    sampling = SamplingSettings(temperature=1.0, top_k=6)
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(speculative_max_batch_size=16))
    requests = [Request(prompt, 2, sampling, seed=seed, ignore_end=True) for seed in range(1500)]
    drawn = Counter()
    for start in range(0, len(requests), 60):
        drawn.update(tokens_of(pieces)[0] for pieces in together(engine, requests[start : start + 60]))
    engine.close()
    with torch.no_grad():
        logits = MODEL(torch.tensor([prompt]))[0, -1].double()
    logits[sorted(TOKENIZER.end_ids)] = float("-inf")
    likeliest = logits.topk(6)
    expected = likeliest.values.softmax(-1) * len(requests)
    observed = [drawn[token] for token in likeliest.indices.tolist()]
    assert sum(observed) == len(requests)
    assert chisquare(observed, expected.numpy()).pvalue > 0.001


def test_a_shared_beginning_is_read_once(engine: Engine) -> None:
    prompt = [number % 256 for number in range(50)]
    first = list(engine.stream(Request(prompt, 3)))
    read = engine.figures().num_prompt_tokens
    ticket_pieces = together(engine, [Request([*prompt, 9], 3)])[0]
    assert engine.figures().num_cached_tokens == 50
    assert engine.figures().num_prompt_tokens - read == 51
    assert tokens_of(ticket_pieces) == plain(Request([*prompt, 9], 3))
    assert tokens_of(first) == plain(Request(prompt, 3))


def test_log_probabilities_are_the_models_own(engine: Engine) -> None:
    request = Request(
        list(b"iron"), 5, SamplingSettings(temperature=0.5, top_k=1), top_logprobs=3, prompt_logprobs=True,
        logit_bias={7: 5.0}, ignore_end=True,
    )  # fmt: skip
    pieces = list(engine.stream(request))
    told = [told for piece in pieces for told in piece.tokens]
    prompt = [told for piece in pieces for told in piece.prompt]
    ids = [*request.prompt_ids, *(one.id for one in told)]
    with torch.no_grad():
        logs = MODEL(torch.tensor([ids]))[0].log_softmax(-1)
    assert [one.id for one in prompt] == list(b"iron")
    assert prompt[0].logprob is None
    for place, one in enumerate([*prompt[1:], *told], 1):
        assert one.logprob == pytest.approx(float(logs[place - 1, ids[place]]), abs=1e-4)
        best = logs[place - 1].topk(3)
        assert [likely.id for likely in one.top_logprobs] == best.indices.tolist()
        assert [likely.logprob for likely in one.top_logprobs] == pytest.approx(best.values.tolist(), abs=1e-4)
    silent = list(engine.stream(replace(request, top_logprobs=None, prompt_logprobs=False)))
    assert all(one.logprob is None for piece in silent for one in piece.tokens)


def test_a_prompt_may_be_read_without_a_word_being_written(engine: Engine) -> None:
    pieces = list(engine.stream(Request(list(b"iron"), 0, top_logprobs=0, prompt_logprobs=True)))
    assert [piece.finish_reason for piece in pieces] == ["length"]
    assert len(pieces[0].prompt) == 4
    assert tokens_of(pieces) == []


def test_a_text_ends_where_it_should(engine: Engine) -> None:
    base = Request(list(b"iron"), 30, SamplingSettings(temperature=0), ignore_end=True)
    whole = bytes(plain(base)).decode("utf-8", "replace")
    assert text_of(list(engine.stream(base))) == whole
    stop = whole[4:7]
    stopped = list(engine.stream(replace(base, stop=["never there", stop])))
    assert text_of(stopped) == whole[: whole.find(stop)]
    assert stopped[-1].finish_reason == "stop"
    token = plain(base)[5]
    by_token = list(engine.stream(replace(base, stop_ids=frozenset({token}))))
    assert tokens_of(by_token) == plain(base)[: plain(base).index(token)]
    assert by_token[-1].finish_reason == "stop"
    full = list(engine.stream(Request(list(b"x" * (CONTEXT - 5)), 50, ignore_end=True)))
    assert (len(tokens_of(full)), full[-1].finish_reason) == (5, "context")
    ended = list(engine.stream(replace(base, ignore_end=False, logit_bias={TOKENIZER.eos_token_id: 1000.0})))
    assert (tokens_of(ended), ended[-1].finish_reason) == ([], "stop")


SCHEMA = {
    "type": "object",
    "properties": {"name": {"enum": ["iron", "steel"]}, "count": {"type": "integer", "maximum": 9, "minimum": 0}},
    "required": ["name", "count"],
    "additionalProperties": False,
}


@pytest.mark.parametrize("temperature", [0.0, 1.5])
def test_what_must_match_a_schema_does(engine: Engine, temperature: float) -> None:
    constraint = Constraint("json_schema", json.dumps(SCHEMA))
    requests = [
        Request(list(b"x"), 80, SamplingSettings(temperature=temperature), seed=seed, constraint=constraint)
        for seed in range(6)
    ]
    requests.append(Request(list(b"x"), 10, SamplingSettings(temperature=0)))
    found = together(engine, requests)
    for pieces in found[:-1]:
        assert pieces[-1].finish_reason == "stop"
        value = json.loads(text_of(pieces))
        assert value["name"] in ("iron", "steel")
        assert 0 <= value["count"] <= 9
    assert tokens_of(found[-1]) == plain(requests[-1])


def test_what_must_match_an_expression_or_a_grammar_does(engine: Engine) -> None:
    sampling = SamplingSettings(temperature=1.0)
    (by_regex,) = together(engine, [Request([1], 40, sampling, constraint=Constraint("regex", r"[a-c]{3}-\d{2}"))])
    assert re.fullmatch(r"[a-c]{3}-\d{2}", text_of(by_regex))
    lark = 'start: "iron" | "steel"'
    (by_grammar,) = together(engine, [Request([1], 40, sampling, constraint=Constraint("grammar", lark))])
    assert text_of(by_grammar) in ("iron", "steel")


@pytest.mark.parametrize(
    ("request_", "message"),
    [
        (Request([], 1), "at least one token"),
        (Request([10**6], 1), "must be from 0"),
        (Request([1], 1, stop=[""]), "stop string is empty"),
        (Request([1], 1, logit_bias={10**6: 1.0}), "logit_bias names token 1000000"),
        (Request([1], 1, constraint=Constraint("json_schema", "{")), "json_schema is not sound"),
        (Request([1], 1, constraint=Constraint("regex", "(")), "regex is not sound"),
        (Request([1] * CONTEXT, 1), f"{CONTEXT} tokens and the model's context holds {CONTEXT}"),
    ],
)
def test_a_request_that_is_not_sound_is_refused_at_once(engine: Engine, request_: Request, message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        engine.submit(request_, lambda piece: None)
    assert tokens_of(list(engine.stream(Request([1], 2)))) == plain(Request([1], 2))


def test_the_queue_is_bounded(thread: EngineThread) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=1, max_queue_size=2), thread=thread)
    go = threading.Event()
    engine.call(lambda: go.wait(60))
    for _ in range(3):
        engine.submit(Request([1], 1), lambda piece: None)
    with pytest.raises(QueueFullError, match="try again"):
        engine.submit(Request([1], 1), lambda piece: None)
    go.set()
    assert tokens_of(together_when_free(engine, Request([2], 2))) == plain(Request([2], 2))
    engine.close()


def together_when_free(engine: Engine, request: Request) -> list[OutputChunk]:
    engine.call(lambda: None).result(timeout=60)
    while engine.figures().waiting:
        engine.call(lambda: None).result(timeout=60)
    return list(engine.stream(request))


def test_a_text_that_is_cancelled_frees_its_slot_in_the_next_step(thread: EngineThread) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=1), thread=thread)
    pieces: list[OutputChunk] = []
    begun, ended = threading.Event(), threading.Event()

    def deliver(piece: OutputChunk) -> None:
        pieces.append(piece)
        begun.set()
        if piece.finish_reason:
            ended.set()

    ticket = engine.submit(Request([1], 90, ignore_end=True), deliver)
    assert begun.wait(60)
    ticket.cancel()
    assert ended.wait(60)
    assert pieces[-1].finish_reason in ("cancelled", "length")
    count = len(pieces)
    assert tokens_of(list(engine.stream(Request([2], 3)))) == plain(Request([2], 3))
    assert len(pieces) == count
    engine.close()
    assert engine.figures().running == 0


def test_whoever_fails_to_listen_is_let_go_and_nobody_else(engine: Engine) -> None:
    def deaf(piece: OutputChunk) -> None:
        raise RuntimeError("gone")

    engine.submit(Request([1], 50, ignore_end=True), deaf)
    assert tokens_of(list(engine.stream(Request([2], 8)))) == plain(Request([2], 8))
    engine.call(lambda: None).result(timeout=60)
    assert engine.figures().running == 0


def test_a_failure_ends_the_texts_of_its_step_and_the_engine_goes_on(engine: Engine) -> None:
    pieces: list[OutputChunk] = []
    engine.on_pass = lambda: 1 / 0
    if engine.is_threaded:
        (pieces,) = together(engine, [Request([1], 5)])
    else:
        engine.submit(Request([1], 5), pieces.append)
        with pytest.raises(ZeroDivisionError):
            run(engine)
    assert (pieces[-1].finish_reason, pieces[-1].error) == ("error", "ZeroDivisionError: division by zero")
    engine.on_pass = lambda: None
    assert tokens_of(list(engine.stream(Request([2], 8)))) == plain(Request([2], 8))


NAN_AFTER = 200
"""The token after which the model of a test has no logits."""


class InjectedError(Exception):
    """An error that no library raises."""


@pytest.mark.parametrize("fault", ["nan", "sampling", "grammar", "logprobs", "text"])
def test_an_error_of_one_text_stays_with_it(engine: Engine, monkeypatch: pytest.MonkeyPatch, fault: str) -> None:
    others = [
        Request([2, number], 8, SamplingSettings(temperature=1), seed=number, ignore_end=True) for number in range(3)
    ]
    culprit = replace(others[0], prompt_ids=[NAN_AFTER], seed=9)

    def fail(*_: Any) -> None:
        raise InjectedError

    if fault == "nan":
        hidden = engine.model.hidden

        def poisoned(ids: torch.Tensor, **more: Any) -> torch.Tensor:
            return hidden(ids, **more).masked_fill((ids == NAN_AFTER)[..., None], torch.nan)

        monkeypatch.setattr(engine.model, "hidden", poisoned)
    elif fault == "sampling":
        culprit = replace(culprit, logit_bias={5: 1.0})
        penalise = sampler.process_logits
        monkeypatch.setattr(
            sampler, "process_logits", lambda *given: fail() if given[1].request.logit_bias else penalise(*given)
        )
    elif fault == "grammar":
        culprit = replace(culprit, constraint=Constraint("regex", "a+"), ignore_end=False)
        monkeypatch.setattr(Grammar, "accept", fail)
    elif fault == "logprobs":
        culprit = replace(culprit, prompt_ids=[NAN_AFTER, 1], prompt_logprobs=True)
        monkeypatch.setattr(logprobs, "token_logprob", fail)
    else:
        culprit = replace(culprit, stop=["\n\n"])
        feed = Detokenizer.feed
        monkeypatch.setattr(
            Detokenizer, "feed", lambda self, *given, **more: fail() if self._matchers else feed(self, *given, **more)
        )
    expected = [plain(request) for request in others]
    *found, failed = together(engine, [*others, culprit])
    assert [tokens_of(pieces) for pieces in found] == expected
    assert failed[-1].finish_reason == "error"
    assert isinstance(failed[-1].failure, NoDistributionError if fault == "nan" else InjectedError)
    monkeypatch.undo()
    again = [replace(request, prompt_ids=[*request.prompt_ids, 3]) for request in others]
    assert [tokens_of(pieces) for pieces in together(engine, again)] == [plain(request) for request in again]
    stored = (*engine.kv_cache.keys, *engine.kv_cache.values)
    assert not any(tensor.isnan().any() for layer in stored for tensor in layer.tensors)


def test_engines_share_a_thread() -> None:
    thread = EngineThread()
    other = model_of(embed_dim=32)
    engines = [Engine(model, TOKENIZER, thread=thread) for model in (MODEL, other)]
    request = Request(list(b"iron"), 12, SamplingSettings(temperature=0))
    found = [list(engine.stream(request)) for engine in engines]
    assert [tokens_of(pieces) for pieces in found] == [plain(request), plain(request, other)]
    for engine in engines:
        engine.close()
    thread.close()
    with pytest.raises(UserError, match="closed"):
        engines[0].submit(request, lambda piece: None)


def test_closing_ends_every_text(thread: EngineThread) -> None:
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_num_seqs=1), thread=thread)
    reasons: list[Any] = []
    for _ in range(3):
        engine.submit(Request([1], 10**6, ignore_end=True), lambda piece: reasons.append(piece.finish_reason))
    engine.close()
    assert len([reason for reason in reasons if reason is not None]) == 3


def test_an_embedding_is_the_mean_of_the_last_layer(engine: Engine) -> None:
    ids = list(b"iron")
    with torch.no_grad():
        expected = MODEL.hidden(torch.tensor([ids]))[0].mean(0)
    torch.testing.assert_close(torch.tensor(engine.embed(ids).result(timeout=60)), expected)
    with pytest.raises(ContextOverflowError):
        engine.embed([1] * (CONTEXT + 1))


def test_a_long_text_is_embedded_in_chunks_beside_others(monkeypatch: pytest.MonkeyPatch) -> None:
    thread = EngineThread()
    engine = Engine(MODEL, TOKENIZER, settings=EngineSettings(max_prefill_tokens=8), thread=thread)
    sizes: list[int] = []
    hidden = engine.model.hidden

    def spy(ids: torch.Tensor, **more: Any) -> torch.Tensor:
        sizes.append(ids.shape[1])
        return hidden(ids, **more)

    monkeypatch.setattr(engine.model, "hidden", spy)
    ids = [number * 7 % 256 for number in range(90)]
    found = engine.embed(ids).result(timeout=60)
    assert sum(sizes) == len(ids)
    assert max(sizes) <= 8
    expected = MODEL.hidden(torch.tensor([ids]))[0].float().mean(dim=0)
    torch.testing.assert_close(torch.tensor(found), expected.detach(), atol=1e-5, rtol=1e-4)
    engine.close()
    thread.close()


@given(st.text(max_size=40), st.lists(st.text(min_size=1, max_size=4), max_size=3), st.randoms(use_true_random=False))
def test_text_in_any_pieces_ends_at_the_first_stop_string(text: str, stop: list[str], chance: random.Random) -> None:
    data = text.encode("utf-8", "replace")
    text = data.decode()
    stream, shown, at = Detokenizer(stop), "", 0
    while at < len(data):
        step = chance.randrange(1, 4)
        shown += stream.feed(data[at : at + step])
        at += step
    shown += stream.feed(b"", final=True)
    # Of stop strings that end at different places the one that is whole first ends the text.
    found = [(text.find(one) + len(one), text.find(one)) for one in stop if one in text]
    assert (stream.stop_string is not None) == bool(found)
    if not found:
        assert shown == text
    else:
        assert text.startswith(shown)
        assert not any(one in shown for one in stop)
        assert len(shown) <= min(found)[1]


def test_what_followed_before_is_looked_up() -> None:
    assert prompt_lookup([1, 2, 3, 4, 1, 2, 3], 3) == [4, 1, 2]
    assert prompt_lookup([1, 2, 9, 1, 2, 3, 7, 1, 2], 2) == [3, 7]
    assert prompt_lookup([1, 2, 3], 3) == []


def test_int8_texts_are_those_of_each_request_alone() -> None:
    """In float64. The inputs of int8 products are quantized, so that a float32 whose last bit depends on the company,
    as attention's do, may become another integer, and the text another text."""
    model = quantize(model_of().double())
    engine = Engine(model, TOKENIZER, settings=EngineSettings(max_num_seqs=3, max_prefill_tokens=5))
    assert isinstance(engine.model.head, PackedLinear)
    requests = some_requests(6, seed=3)
    found = together(engine, requests)
    twin = engine.model
    engine.close()
    assert [tokens_of(pieces) for pieces in found] == [plain(request, twin) for request in requests]
