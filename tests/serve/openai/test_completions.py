"""Completions, asked for by OpenAI's own client."""

from __future__ import annotations

import math
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, OpenAI

from gptsmith.generate.api import generate
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.serve.chat import generation

from ..conftest import Served

LIKELIEST: dict[str, Any] = {"model": "base", "prompt": "The old", "temperature": 0}


def test_the_text_is_that_of_the_model(served: Served, client: OpenAI) -> None:
    loaded = served.state.models.loaded["base"].loaded
    expected = "".join(
        generate(loaded.model, loaded.tokenizer, "The old", max_tokens=12, sampling=SamplingSettings(temperature=0))
    )
    answer = client.completions.create(**LIKELIEST, max_tokens=12)
    assert answer.choices[0].text == expected
    assert answer.choices[0].finish_reason == "length"
    assert answer.object == "text_completion"
    assert answer.usage
    num_prompt = len(loaded.tokenizer.prompt_ids("The old"))
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens) == (num_prompt, 12)
    assert answer.usage.total_tokens == num_prompt + 12


def test_a_stream_says_the_same(client: OpenAI) -> None:
    whole = client.completions.create(**LIKELIEST, max_tokens=12)
    chunks = list(client.completions.create(**LIKELIEST, max_tokens=12, stream=True))
    assert "".join(chunk.choices[0].text for chunk in chunks) == whole.choices[0].text
    assert [chunk.choices[0].finish_reason for chunk in chunks] == [None] * (len(chunks) - 1) + ["length"]
    assert len(chunks) > 3
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_comes_in_a_stream_that_asks_for_it(client: OpenAI) -> None:
    options: Any = {"include_usage": True}
    *chunks, last = client.completions.create(**LIKELIEST, max_tokens=5, stream=True, stream_options=options)
    assert not last.choices
    assert last.usage
    assert last.usage.completion_tokens == 5
    assert all(chunk.choices for chunk in chunks)


def test_the_default_is_sixteen_tokens(client: OpenAI) -> None:
    usage = client.completions.create(**LIKELIEST).usage
    assert usage
    assert usage.completion_tokens == 16


def test_a_seed_decides_and_choices_differ(client: OpenAI) -> None:
    def texts(seed: int) -> list[str]:
        answer = client.completions.create(model="base", prompt="The", n=4, max_tokens=12, seed=seed, temperature=1.5)
        assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
        return [choice.text for choice in answer.choices]

    assert texts(7) == texts(7)
    assert texts(7) != texts(8)
    assert len(set(texts(7))) == 4


def test_without_a_seed_texts_differ(client: OpenAI) -> None:
    texts = {
        client.completions.create(model="base", prompt="The", max_tokens=16, temperature=2).choices[0].text
        for _ in range(4)
    }
    assert len(texts) > 1


def test_several_prompts_have_their_choices_one_after_the_other(client: OpenAI) -> None:
    prompts = ["The old", "The young smith"]
    answer = client.completions.create(model="base", prompt=prompts, n=2, max_tokens=3, echo=True)
    assert [choice.index for choice in answer.choices] == [0, 1, 2, 3]
    assert [choice.text.startswith(prompts[choice.index // 2]) for choice in answer.choices] == [True] * 4
    alone = client.completions.create(model="base", prompt=prompts[0], max_tokens=3).usage
    other = client.completions.create(model="base", prompt=prompts[1], max_tokens=3).usage
    assert alone
    assert other
    assert answer.usage
    assert answer.usage.prompt_tokens == alone.prompt_tokens + other.prompt_tokens
    assert answer.usage.completion_tokens == 12


def test_a_prompt_may_be_ids(served: Served, client: OpenAI) -> None:
    ids = served.state.models.loaded["base"].tokenizer.prompt_ids("The old")
    by_text = client.completions.create(**LIKELIEST, max_tokens=6).choices[0].text
    for prompt in (ids, [ids]):
        answer = client.completions.create(model="base", prompt=prompt, temperature=0, max_tokens=6)
        assert answer.choices[0].text == by_text


def test_echo_scores_a_prompt_without_writing(client: OpenAI) -> None:
    text = "The old smith forges a nail"
    choice = client.completions.create(model="base", prompt=text, max_tokens=0, echo=True, logprobs=2).choices[0]
    assert choice.text == text
    told = choice.logprobs
    assert told
    assert told.tokens
    assert told.token_logprobs
    assert told.text_offset
    assert told.top_logprobs
    assert "".join(told.tokens) == text
    assert told.token_logprobs[0] is None
    assert all(value <= 0 for value in told.token_logprobs[1:])
    assert [text[start:].startswith(word) for start, word in zip(told.text_offset, told.tokens, strict=True)] == [
        True
    ] * len(told.tokens)
    for word, value, top in zip(told.tokens[1:], told.token_logprobs[1:], told.top_logprobs[1:], strict=True):
        assert top[word] == value
        assert 2 <= len(top) <= 3


def test_logprobs_are_those_of_the_model(client: OpenAI) -> None:
    choice = client.completions.create(**LIKELIEST, max_tokens=4, logprobs=3).choices[0]
    assert choice.logprobs
    assert choice.logprobs.token_logprobs
    assert choice.logprobs.top_logprobs
    for value, top in zip(choice.logprobs.token_logprobs, choice.logprobs.top_logprobs, strict=True):
        assert value == max(top.values())
        assert sum(math.exp(one) for one in top.values()) <= 1 + 1e-5


def test_a_streams_logprobs_are_those_of_the_whole(client: OpenAI) -> None:
    asked: dict[str, Any] = {**LIKELIEST, "max_tokens": 8, "logprobs": 1, "echo": True}
    whole = client.completions.create(**asked).choices[0].logprobs
    parts = [chunk.choices[0].logprobs for chunk in client.completions.create(**asked, stream=True)]
    assert whole
    for name in ("tokens", "text_offset"):
        assert [value for part in parts for value in getattr(part, name)] == getattr(whole, name)


def test_the_best_of_several_is_the_likeliest(client: OpenAI) -> None:
    asked: dict[str, Any] = {"model": "base", "prompt": "A", "max_tokens": 6, "seed": 5, "temperature": 2}
    several = client.completions.create(**asked, n=4, logprobs=0).choices
    means = {
        choice.text: sum(choice.logprobs.token_logprobs) / len(choice.logprobs.token_logprobs)
        for choice in several
        if choice.logprobs and choice.logprobs.token_logprobs
    }
    answer = client.completions.create(**asked, n=1, best_of=4)
    assert len(answer.choices) == 1
    assert answer.choices[0].text == max(means, key=lambda text: means[text])
    assert answer.usage
    assert answer.usage.completion_tokens == 24


@pytest.mark.parametrize("stop", [" smith", [" smith", "zzz"]])
def test_a_stop_string_ends_the_text_before_it(client: OpenAI, stop: Any) -> None:
    whole = client.completions.create(**LIKELIEST, max_tokens=30).choices[0].text
    assert " smith" in whole
    choice = client.completions.create(**LIKELIEST, max_tokens=30, stop=stop).choices[0]
    assert choice.text == whole[: whole.index(" smith")]
    assert choice.finish_reason == "stop"


def test_a_stop_token_ends_the_text(served: Served, client: OpenAI) -> None:
    first = client.completions.create(**LIKELIEST, max_tokens=1).choices[0].text
    (token,) = served.state.models.loaded["base"].tokenizer.encode(first)
    choice = client.completions.create(**LIKELIEST, extra_body={"stop_token_ids": [token]}).choices[0]
    assert (choice.text, choice.finish_reason) == ("", "stop")


def test_the_end_may_be_passed_over(served: Served, client: OpenAI) -> None:
    end = served.state.models.loaded["base"].tokenizer.eos_token_id
    asked: dict[str, Any] = {**LIKELIEST, "max_tokens": 4, "logit_bias": {str(end): 100}}
    assert client.completions.create(**asked).choices[0].text == ""
    went_on = client.completions.create(**asked, extra_body={"ignore_eos": True})
    assert went_on.usage
    assert went_on.usage.completion_tokens == 4


def test_logit_bias_forces_a_token(served: Served, client: OpenAI) -> None:
    tokenizer = served.state.models.loaded["base"].tokenizer
    (token,) = tokenizer.encode("z")
    answer = client.completions.create(**LIKELIEST, max_tokens=3, logit_bias={str(token): 100})
    assert answer.choices[0].text == "zzz"


def test_penalties_are_honoured(served: Served, client: OpenAI) -> None:
    (token,) = served.state.models.loaded["base"].tokenizer.encode("z")
    asked: dict[str, Any] = {**LIKELIEST, "max_tokens": 6, "logit_bias": {str(token): 20}}
    assert client.completions.create(**asked).choices[0].text == "zzzzzz"
    # Each z costs 2, so that after enough of them another token is likelier; presence costs once only.
    assert client.completions.create(**{**asked, "max_tokens": 30}, frequency_penalty=2).choices[0].text != "z" * 30
    assert client.completions.create(**{**asked, "max_tokens": 30}, presence_penalty=2).choices[0].text == "z" * 30


def test_our_own_sampling_is_honoured(client: OpenAI) -> None:
    likeliest = client.completions.create(**LIKELIEST, max_tokens=10).choices[0].text
    for own in ({"top_k": 1}, {"min_p": 1.0}):
        wild = client.completions.create(model="base", prompt="The old", max_tokens=10, temperature=2, extra_body=own)
        assert wild.choices[0].text == likeliest
    narrow = client.completions.create(model="base", prompt="The old", max_tokens=10, temperature=2, top_p=1e-6)
    assert narrow.choices[0].text == likeliest
    other = client.completions.create(**LIKELIEST, max_tokens=10, extra_body={"repetition_penalty": 10.0})
    assert other.choices[0].text != likeliest


def test_a_full_context_ends_the_text(served: Served, client: OpenAI) -> None:
    context = served.state.models.loaded["base"].context_length
    asked: Any = {"ignore_eos": True}
    answer = client.completions.create(
        model="base", prompt=[5] * (context - 3), max_tokens=50, extra_body=asked, temperature=0
    )
    assert answer.usage
    assert answer.usage.total_tokens == context
    assert answer.choices[0].finish_reason == "length"


def test_no_prompt_begins_a_document(client: OpenAI) -> None:
    answer = client.completions.create(model="base", prompt=None, max_tokens=2)
    assert answer.usage
    assert answer.usage.prompt_tokens == 1


def test_what_was_read_before_is_counted(client: OpenAI) -> None:
    prompt = "The old smith forges a nail of iron. The young smith bends a plough."
    client.completions.create(model="base", prompt=prompt, max_tokens=1)
    usage = client.completions.create(model="base", prompt=prompt, max_tokens=1).usage
    assert usage
    assert usage.prompt_tokens_details
    assert usage.prompt_tokens_details.cached_tokens == usage.prompt_tokens - 1


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"suffix": "end"}, "suffix"),
        ({"n": 17}, "n"),
        ({"n": 3, "best_of": 2}, "best_of"),
        ({"best_of": 2, "stream": True}, "best_of"),
        ({"stream_options": {"include_usage": True}}, "stream_options"),
        ({"stop": 5}, "stop"),
        ({"stop": ["a", 5]}, "stop.1"),
        ({"logit_bias": {"100000": 1}}, "logit_bias"),
        ({"prompt": [100000]}, "prompt"),
        ({"temperature": 3}, "temperature"),
        ({"max_tokens": -2}, "max_tokens"),
    ],
)
def test_what_cannot_be_is_refused_by_name(client: OpenAI, wrong: dict[str, Any], param: str) -> None:
    with pytest.raises(BadRequestError) as caught:
        client.completions.create(**{**LIKELIEST, **wrong})
    assert caught.value.param == param


def test_a_prompt_that_is_too_long_is_told_both_lengths(served: Served, client: OpenAI) -> None:
    context = served.state.models.loaded["base"].context_length
    with pytest.raises(BadRequestError, match=rf"{context + 9} tokens.*{context}") as caught:
        client.completions.create(model="base", prompt=[5] * (context + 9))
    assert caught.value.code == "context_length_exceeded"


def test_a_model_that_is_not_there_is_not_found(client: OpenAI) -> None:
    with pytest.raises(NotFoundError) as caught:
        client.completions.create(model="gpt-9", prompt="a")
    assert (caught.value.code, caught.value.param) == ("model_not_found", "model")


def test_an_answer_with_many_log_probabilities_is_the_same(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is written on another thread, and by another function."""
    body = {
        "model": "base",
        "prompt": "The old smith",
        "max_tokens": 20,
        "n": 2,
        "seed": 1,
        "logprobs": 5,
        "echo": True,
    }
    expected = served.ask("POST", "/v1/completions", body).json
    monkeypatch.setattr(generation, "MANY_LOGPROBS", 0)
    assert served.ask("POST", "/v1/completions", body).json["choices"] == expected["choices"]
