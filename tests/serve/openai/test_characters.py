"""Characters of several tokens, and characters that some clients take for the end of a line."""

from __future__ import annotations

import json
from typing import Any

import httpx2
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from openai import OpenAI

from gptsmith.serve.chat.logprobs import TextOffsets, token_text
from gptsmith.serve.server_sent_events import event

from ..conftest import QUESTION, Served

LINES = "a\u2028b\u2029c\u0085d"


@pytest.mark.parametrize("max_tokens", range(1, 9))
def test_a_text_that_is_cut_has_whole_characters(client: OpenAI, max_tokens: int) -> None:
    form: Any = {"type": "regex", "regex": "é👩鍛"}
    asked: Any = {"model": "chat", "messages": QUESTION, "response_format": form, "max_tokens": max_tokens}
    content = client.chat.completions.create(**asked).choices[0].message.content or ""
    assert "é👩鍛".startswith(content)
    chunks = client.chat.completions.create(**asked, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks) == content


def test_offsets_are_those_of_the_text(served: Served) -> None:
    tokenizer = served.state.models.loaded["base"].tokenizer

    @settings(max_examples=200, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck))
    @given(st.text(st.sampled_from("a b🔨鍛é.") | st.characters(exclude_categories=["Cs"])))
    def offsets_are_right(text: str) -> None:
        ids = tokenizer.encode(text)
        offsets = TextOffsets(tokenizer)
        places = [offsets.add(token) for token in ids]
        assert places == sorted(places)
        for token, place in zip(ids, places, strict=True):
            word = token_text(tokenizer, token)
            assert word.startswith("bytes:") or tokenizer.decode(ids)[place : place + len(word)] == word

    offsets_are_right()


def test_offsets_of_echoed_ids_are_those_of_the_text(served: Served, client: OpenAI) -> None:
    tokenizer = served.state.models.loaded["base"].tokenizer
    ids = [tokenizer.eos_token_id, *tokenizer.encode("a🔨b鍛c"), tokenizer.eos_token_id]
    asked: Any = {"model": "base", "prompt": ids, "echo": True, "max_tokens": 3, "logprobs": 0, "temperature": 0}
    choice = client.completions.create(**asked).choices[0]
    assert choice.text.startswith(f"{tokenizer.eos_token}a🔨b鍛c{tokenizer.eos_token}")
    assert choice.logprobs
    assert choice.logprobs.tokens
    assert choice.logprobs.text_offset
    for word, place in zip(choice.logprobs.tokens, choice.logprobs.text_offset, strict=True):
        assert word.startswith("bytes:") or choice.text[place : place + len(word)] == word
    chunks = [chunk.choices[0] for chunk in client.completions.create(**asked, stream=True)]
    assert "".join(chunk.text for chunk in chunks) == choice.text
    offsets = [place for chunk in chunks if chunk.logprobs for place in chunk.logprobs.text_offset or ()]
    assert offsets == choice.logprobs.text_offset


def test_events_are_lines_for_every_client(served: Served) -> None:
    data = event({"text": LINES}).decode()
    assert data.isascii()
    assert json.loads(data.removeprefix("data: ")) == {"text": LINES}
    body = {"model": "chat", "messages": QUESTION, "stream": True, "max_tokens": 40}
    body["response_format"] = {"type": "regex", "regex": LINES}
    text = ""
    with httpx2.stream("POST", f"{served.address}/v1/chat/completions", json=body) as answer:
        for line in answer.iter_lines():
            if line.startswith("data: {"):
                text += json.loads(line[6:])["choices"][0]["delta"].get("content") or ""
    assert text == LINES
