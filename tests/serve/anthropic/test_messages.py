"""Messages, asked for by Anthropic's own client."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import anthropic
import pytest
from anthropic import Anthropic

from gptsmith.generate.request import OutputChunk
from gptsmith.serve.anthropic.events import MessageEvents
from gptsmith.serve.anthropic.messages import MessagesJob
from gptsmith.serve.anthropic.schemas import MessagesRequest
from gptsmith.serve.auth import ApiKeys
from gptsmith.serve.chat.streaming import SequenceOutput
from gptsmith.text.tool_calls import render_call

from ..conftest import QUESTION, Served, serving

SENT: dict[str, Any] = {"model": "chat", "messages": QUESTION, "max_tokens": 20}
ASKED: dict[str, Any] = {**SENT, "extra_body": {"temperature": 0}}
"""The client has no parameter for the temperature."""
FORGE: Any = {
    "name": "forge",
    "description": "Makes it.",
    "input_schema": {"type": "object", "properties": {"tool": {"enum": ["nail"]}}, "required": ["tool"]},
    "cache_control": {"type": "ephemeral"},
}
KEY = "a-key-of-sixteen-signs"
USAGE = {"prompt_tokens": 9, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}}


@pytest.fixture
def claude(served: Served) -> Iterator[Anthropic]:
    with Anthropic(base_url=served.address, api_key="none", max_retries=0) as made:
        yield made


def test_the_text_is_that_of_chat_completions(served: Served, claude: Anthropic) -> None:
    blocks = [{"type": "text", "text": QUESTION[0]["content"], "cache_control": {"type": "ephemeral"}}]
    samplings: list[dict[str, Any]] = [{"temperature": 0}, {"temperature": 1, "seed": 5}]
    for sampling in samplings:
        chat: Any = {"model": "chat", "messages": [{"role": "system", "content": "Be brief."}, *QUESTION]}
        expected = served.ask("POST", "/v1/chat/completions", {**chat, **sampling, "max_tokens": 20}).json
        asked: dict[str, Any] = {**ASKED, "messages": [{"role": "user", "content": blocks}], "system": "Be brief."}
        asked |= {"extra_body": sampling, "metadata": {"user_id": "me"}}
        answer = claude.messages.create(**asked)
        (block,) = answer.content
        assert block.type == "text"
        assert block.text == expected["choices"][0]["message"]["content"]
        usage = answer.usage
        assert usage.input_tokens + (usage.cache_read_input_tokens or 0) == expected["usage"]["prompt_tokens"]
        assert usage.output_tokens == expected["usage"]["completion_tokens"]
        with claude.messages.stream(**asked) as stream:
            assert "".join(stream.text_stream) == block.text
            assert stream.get_final_message().stop_reason == answer.stop_reason


def test_max_tokens_cuts(claude: Anthropic) -> None:
    answer = claude.messages.create(**{**ASKED, "max_tokens": 2})
    assert (answer.stop_reason, answer.usage.output_tokens) == ("max_tokens", 2)


def test_stop_sequences_stop(claude: Anthropic) -> None:
    whole = claude.messages.create(**ASKED).content[0]
    assert whole.type == "text"
    sign = whole.text[3]
    answer = claude.messages.create(**ASKED, stop_sequences=["never said", sign])
    assert (answer.stop_reason, answer.stop_sequence) == ("stop_sequence", sign)
    cut = answer.content[0]
    assert cut.type == "text"
    assert cut.text == whole.text[: whole.text.index(sign)]
    with claude.messages.stream(**ASKED, stop_sequences=["never said", sign]) as stream:
        last = stream.get_final_message()
    assert (last.stop_reason, last.stop_sequence) == ("stop_sequence", sign)


def test_a_call_is_read_in_the_next_request(claude: Anthropic) -> None:
    asked: dict[str, Any] = {**ASKED, "max_tokens": 200, "tools": [FORGE]}
    choice: Any = {"type": "tool", "name": "forge"}
    answer = claude.messages.create(**asked, tool_choice=choice)
    (call,) = answer.content
    assert call.type == "tool_use"
    assert (call.name, call.input, answer.stop_reason) == ("forge", {"tool": "nail"}, "tool_use")
    with claude.messages.stream(**asked, tool_choice=choice) as stream:
        (streamed,) = stream.get_final_message().content
    assert streamed.type == "tool_use"
    assert streamed.input == call.input
    result = {"type": "tool_result", "tool_use_id": call.id, "content": [{"type": "text", "text": "done"}]}
    turns = [*QUESTION, {"role": "assistant", "content": answer.content}, {"role": "user", "content": [result]}]
    assert claude.messages.create(**{**asked, "messages": turns, "max_tokens": 4}).usage.output_tokens
    with pytest.raises(anthropic.BadRequestError, match=r"messages\.0\.content\.0\.tool_use_id"):
        claude.messages.create(**{**asked, "messages": [{"role": "user", "content": [result]}]})


def test_thoughts_words_and_calls_are_blocks(served: Served) -> None:
    body = MessagesRequest.model_validate({**SENT, "tools": [FORGE]})
    job = MessagesJob(body, served.state.models.loaded["chat"])
    text = "<think>\nWell.\n</think>\n\nSo.\n" + render_call("forge", '{"tool": "nail"}')
    answer = job.response([SequenceOutput(text, finish_reason="stop")], USAGE)
    assert [block["type"] for block in answer["content"]] == ["thinking", "text", "tool_use"]
    assert answer["usage"]["input_tokens"] == 5
    again = [*QUESTION, {"role": "assistant", "content": answer["content"]}, *QUESTION]
    MessagesJob(MessagesRequest.model_validate({**SENT, "messages": again}), served.state.models.loaded["chat"])
    events = job.chunk_events()
    assert isinstance(events, MessageEvents)
    sent = [*events.opening()]
    for place, sign in enumerate(text):
        sent += events.chunk(0, OutputChunk(sign, finish_reason="stop" if place == len(text) - 1 else None))
    sent += events.closing(USAGE)
    names = [data.split(b"\n")[0].removeprefix(b"event: ").decode() for data in sent]
    assert [name for name in names if name != "content_block_delta"] == [
        "message_start", "ping", *["content_block_start", "content_block_stop"] * 3, "message_delta", "message_stop",
    ]  # fmt: skip


def test_tokens_are_counted(claude: Anthropic) -> None:
    usage = claude.messages.create(**ASKED).usage
    asked: Any = {"model": "chat", "messages": QUESTION}
    count = claude.messages.count_tokens(**asked).input_tokens
    assert count == usage.input_tokens + (usage.cache_read_input_tokens or 0)
    assert claude.messages.count_tokens(**asked, tools=[FORGE]).input_tokens > count
    long: Any = {"model": "chat", "messages": [{"role": "user", "content": "a nail " * 2000}]}
    assert claude.messages.count_tokens(**long).input_tokens > 768
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(**long, max_tokens=1)


@pytest.mark.parametrize(
    ("wrong", "place"),
    [
        ({"messages": [{"role": "user", "content": [{"type": "image", "source": {}}]}]}, "image is no text"),
        ({"messages": [{"role": "user", "content": [{"type": "document", "source": {}}]}]}, "document is no text"),
        ({"tools": [{"type": "bash_20250124", "name": "bash"}]}, "bash_20250124"),
        ({"tool_choice": {"type": "any"}}, "tool_choice"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"container": "x"}, "container: nothing is run here"),
        ({"contaner": "x"}, "contaner: no such field (did you mean container?)"),
    ],
)
def test_fields_are_refused_by_name(served: Served, wrong: dict[str, Any], place: str) -> None:
    answer = served.ask("POST", "/v1/messages", {**SENT, **wrong})
    assert answer.status == 400
    assert answer.json["type"] == "error"
    assert answer.json["error"]["type"] == "invalid_request_error"
    assert place in answer.json["error"]["message"]


def test_errors_are_anthropics(claude: Anthropic, runs: Path) -> None:
    with pytest.raises(anthropic.NotFoundError, match="not_found_error"):
        claude.messages.create(**{**ASKED, "model": "none"})
    with (
        serving([str(runs / "chat")], keys=ApiKeys([KEY])) as guarded,
        Anthropic(base_url=guarded.address, api_key=KEY, max_retries=0) as known,
        Anthropic(base_url=guarded.address, api_key="wrong", max_retries=0) as stranger,
        Anthropic(base_url=guarded.address, auth_token=KEY, max_retries=0) as bearer,
    ):
        assert known.messages.create(**ASKED).content
        assert bearer.messages.create(**ASKED).content
        with pytest.raises(anthropic.AuthenticationError, match="authentication_error"):
            stranger.messages.create(**ASKED)
