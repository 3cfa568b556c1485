"""A model that writes in channels, served: thoughts, words and calls apart, as of any other."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import pytest
import torch
from torch import Tensor

from gptsmith.convert.formats import Source
from gptsmith.convert.formats.huggingface import HuggingFaceFormatSettings
from gptsmith.generate import engine
from gptsmith.generate.conversation import Conversation
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.generate.scheduler import ScheduledTokens
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import preset
from gptsmith.serve.openai.chat import ChatCompletionJob
from gptsmith.serve.openai.schemas.chat import ChatCompletionRequest
from gptsmith.text.chat_template import ChatTemplate
from tests.text.harmony import TEMPLATE, harmony_tokenizer, marked_ids

from ..conftest import Served, serving

TOKENIZER = harmony_tokenizer()
ANALYSIS, FINAL = "<|channel|>analysis<|message|>", "<|channel|>final<|message|>"
ANSWER = f"{ANALYSIS}Hm.<|end|><|start|>assistant{FINAL}Hello.<|return|>"
CALL = (
    f"{ANALYSIS}A tool.<|end|><|start|>assistant<|channel|>commentary to=functions.forge <|constrain|>json<|message|>"
    '{"n": 1}<|call|>'
)
HI = [{"role": "user", "content": "Hi"}]
BEGUN = [*HI, {"role": "assistant", "content": "<think>\nHm.\n</think>\n\nHe"}]
FORGE = {"type": "function", "function": {"name": "forge", "parameters": {"type": "object", "properties": {}}}}


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """A server of a small gpt-oss in a Hugging Face folder."""
    folder = tmp_path_factory.mktemp("harmony")
    shape = {"embed_dim": 32, "num_layers": 2, "num_heads": 2, "head_dim": 16, "attention": {"num_kv_heads": 1}}
    sizes = {"feedforward": {"hidden_dim": 16, "num_experts": 4, "experts_per_token": 2}, "context_length": 512}
    model = GPT(preset("gpt-oss-20b", vocab_size=TOKENIZER.vocab_size, **shape, **sizes))
    source = Source("harmony", model, TOKENIZER, ChatTemplate(TEMPLATE), {}, "", "gpt_oss", None, folder)
    HuggingFaceFormatSettings().write(source, folder)
    with serving([f"harmony={folder}"]) as running:
        yield running


@pytest.fixture
def scripted(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Has the model write a text in which special tokens are spelt out."""
    plain = engine.scheduled_logits

    def begin(text: str) -> None:
        ids = marked_ids(TOKENIZER, text)

        def logits(model: GPT, scheduled: Sequence[ScheduledTokens], hidden: Tensor) -> Tensor:
            found = torch.full_like(plain(model, scheduled, hidden), -1e9)
            for each in scheduled:
                first = each.rows.start if each.is_decoding else each.rows.stop - 1
                for number, row in enumerate(range(first, each.rows.stop), len(each.sequence.output_ids)):
                    found[row, ids[min(number, len(ids) - 1)]] = 0
            return found

        monkeypatch.setattr(engine, "scheduled_logits", logits)

    return begin


def test_an_answer_has_its_thoughts_apart(served: Served, scripted: Any) -> None:
    scripted(ANSWER)
    client = served.client()
    message: Any = client.chat.completions.create(model="harmony", messages=HI).choices[0].message
    assert (message.reasoning_content, message.content) == ("Hm.", "Hello.")
    deltas: list[Any] = [
        chunk.choices[0].delta for chunk in client.chat.completions.create(model="harmony", messages=HI, stream=True)
    ]
    assert "".join(getattr(delta, "reasoning_content", None) or "" for delta in deltas) == "Hm."
    assert "".join(delta.content or "" for delta in deltas) == "Hello."


def test_a_message_to_a_function_is_a_call(served: Served, scripted: Any) -> None:
    scripted(CALL)
    choice: Any = served.client().chat.completions.create(model="harmony", messages=HI, tools=[FORGE]).choices[0]
    (call,) = choice.message.tool_calls
    assert (call.function.name, call.function.arguments, choice.finish_reason) == ("forge", '{"n": 1}', "tool_calls")
    assert choice.message.reasoning_content == "A tool."


@pytest.mark.parametrize(
    ("fields", "opened"),
    [
        ({}, ""),
        ({"tools": [FORGE]}, ""),
        ({"tools": [FORGE], "tool_choice": "required"}, FINAL),
        ({"response_format": {"type": "json_object"}}, FINAL),
        ({"messages": BEGUN, "continue_final_message": True}, f"{FINAL}He"),
    ],
)
def test_an_answer_of_a_given_form_is_opened_in_its_channel(served: Served, fields: Any, opened: str) -> None:
    body = ChatCompletionRequest.model_validate({"model": "harmony", "messages": HI, **fields})
    (request,) = ChatCompletionJob(body, served.state.models.loaded["harmony"]).requests()
    prompt = TOKENIZER.decode(request.prompt_ids, keep_special=True)
    assert prompt.endswith(f"<|start|>assistant{opened}")
    assert (request.constraint is not None) == (opened == FINAL)


def test_a_conversation_leaves_out_what_was_thought(served: Served, scripted: Any) -> None:
    model = served.state.models.loaded["harmony"]
    talk = Conversation(
        model.engine, TOKENIZER, model.template(), system=None, max_tokens=50, sampling=SamplingSettings(), seed=0
    )
    scripted(ANSWER)
    assert talk.say("Hi") == "<think>\nHm.\n</think>\n\nHello."
    reply = talk.send("And?")
    prompt = TOKENIZER.decode(reply.prompt_ids, keep_special=True)
    assert f"<|start|>assistant{FINAL}Hello.<|end|>" in prompt
    assert "Hm." not in prompt
