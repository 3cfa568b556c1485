"""Tools, calls and thoughts of a conversation to ids: as Transformers makes them of the same template, or as text."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from gptsmith.base.errors import UserError
from gptsmith.text.chat_template import CHATML, ChatTemplate, Encoded, default_template
from gptsmith.text.tokenizer import SPECIAL_TOKENS, Tokenizer
from gptsmith.text.tokenizers.bpe import BPETokenizerSettings
from gptsmith.text.tokenizers.bytes import BytesTokenizerSettings
from tests.text.tool_templates import HERMES, LLAMA, QWEN, TOOL_TEMPLATES


def tool(name: str, **properties: str) -> dict[str, Any]:
    parameters = {
        "type": "object",
        "properties": {key: {"type": kind} for key, kind in properties.items()},
        "required": [*properties],
    }
    return {"type": "function", "function": {"name": name, "description": f"To {name}.", "parameters": parameters}}


def call(name: str, **arguments: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "arguments": arguments}}


TOOLS = [tool("forge", thing="string", weight="number"), tool("sell")]
SYSTEM = {"role": "system", "content": "Be brief."}
QUESTION = {"role": "user", "content": "A näil, please."}
CALLING = {"role": "assistant", "content": "", "tool_calls": [call("forge", thing="näil", weight=1.5)]}
RESULT = {"role": "tool", "content": '{"made": "nail"}', "name": "forge"}
ANSWER = {"role": "assistant", "content": "Here is your nail."}
MORE = {"role": "user", "content": "Thanks. Sell it & another."}
SELLING = {"role": "assistant", "content": "", "tool_calls": [call("sell")]}
TALKS: dict[str, list[dict[str, Any]]] = {
    "a call": [QUESTION, CALLING],
    "a call and its result": [SYSTEM, QUESTION, CALLING, RESULT, ANSWER],
    "two questions": [SYSTEM, QUESTION, CALLING, RESULT, ANSWER, MORE, SELLING, RESULT, ANSWER],
    "no call": [QUESTION, ANSWER],
}


@pytest.fixture(scope="module")
def words() -> Tokenizer:
    text = " ".join(message["content"] for talk in TALKS.values() for message in talk) * 5
    return BPETokenizerSettings(vocab_size=300).train(lambda: [text], len(text))


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return BytesTokenizerSettings().train(list, 0)


def learnt(tokenizer: Tokenizer, encoded: Encoded) -> str:
    ids = [number for number, is_trained in zip(encoded.ids, encoded.trained, strict=True) if is_trained]
    return tokenizer.decode(ids, keep_special=True)


@pytest.mark.parametrize("talk", TALKS)
@pytest.mark.parametrize("style", TOOL_TEMPLATES)
@pytest.mark.parametrize("tools", [TOOLS, []], ids=["tools", "no tools"])
def test_transformers_makes_the_same_ids_and_mask(
    words: Tokenizer, tmp_path: Path, style: str, talk: str, tools: list[dict[str, Any]]
) -> None:
    transformers = pytest.importorskip("transformers")
    template, messages = ChatTemplate(TOOL_TEMPLATES[style]), TALKS[talk]
    words.save(tmp_path)
    template.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        messages, tools=tools or None, return_dict=True, return_assistant_tokens_mask=True
    )
    ours = template.encode(words, messages, tools=tools)
    assert list(ours.ids) == theirs["input_ids"]
    assert list(map(int, ours.trained)) == theirs["assistant_masks"]


def test_thoughts_are_as_transformers_writes_them_after_the_last_question(words: Tokenizer, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers")
    template = ChatTemplate(QWEN)
    messages = [QUESTION, {**CALLING, "reasoning_content": "A nail: forge it."}, RESULT, ANSWER]
    words.save(tmp_path)
    template.save(tmp_path)
    theirs = transformers.AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(
        messages, tools=TOOLS, return_dict=True, return_assistant_tokens_mask=True
    )
    ours = template.encode(words, messages, tools=TOOLS)
    assert (list(ours.ids), list(map(int, ours.trained))) == (theirs["input_ids"], theirs["assistant_masks"])


@pytest.mark.parametrize("source", [QWEN, CHATML])
def test_thoughts_are_learnt_or_read_only(tokenizer: Tokenizer, source: str) -> None:
    template = ChatTemplate(source)
    messages = [QUESTION, {**CALLING, "reasoning_content": "Forge it."}, RESULT, ANSWER]
    calling = '<tool_call>\n{"name": "forge", "arguments": {"thing": "näil", "weight": 1.5}}\n</tool_call><|im_end|>'
    answer = f"{ANSWER['content']}<|im_end|>"
    encoded = template.encode(tokenizer, messages, tools=TOOLS)
    assert learnt(tokenizer, encoded) == f"<think>\nForge it.\n</think>\n\n{calling}{answer}"
    masked = template.encode(tokenizer, messages, tools=TOOLS, learns_thoughts=False)
    assert masked.ids == encoded.ids
    assert learnt(tokenizer, masked) == f"\n\n{calling}{answer}"


def test_thoughts_of_earlier_questions_are_left_out_by_a_template_that_knows_none(tokenizer: Tokenizer) -> None:
    thought = {**ANSWER, "reasoning_content": "Hm."}
    rendered = ChatTemplate().render([QUESTION, thought, MORE, thought], tokenizer=tokenizer)
    assert rendered.count("Hm.") == 1
    assert rendered.index("Hm.") > rendered.index(MORE["content"])
    with pytest.raises(UserError, match="changes turn 2"):  # tuned turn by turn
        ChatTemplate().encode(tokenizer, [QUESTION, thought, MORE, thought])


def test_thoughts_that_a_template_leaves_out_are_refused(tokenizer: Tokenizer) -> None:
    source = CHATML.replace("message.content", "message.content.split('</think>')[-1]")
    with pytest.raises(UserError, match="turn 2 has thoughts, which the chat template leaves out"):
        ChatTemplate(source).encode(tokenizer, [QUESTION, {**ANSWER, "reasoning_content": "Hm."}])


@pytest.mark.parametrize(
    ("source", "knows", "tags"),
    [(QWEN, True, True), (HERMES, True, True), (LLAMA, True, False), (CHATML, False, False), ("{{ tools }}", 0, 0)],
)
def test_templates_are_asked_whether_they_know_tools(source: str, knows: bool, tags: bool) -> None:
    template = ChatTemplate(source)
    assert (template.knows_tools, template.tags_calls) == (knows, tags)


def test_a_template_without_tools_gets_them_as_text(tokenizer: Tokenizer) -> None:
    template = default_template(tokenizer)
    rendered = template.render([SYSTEM, QUESTION, CALLING, RESULT], tokenizer=tokenizer, tools=TOOLS)
    system, question, calling, result, rest = rendered.split("<|im_end|>\n")
    assert system.startswith("<|im_start|>system\nBe brief.\n\n# Tools\n")
    assert '"description": "To forge."' in system
    assert question == f"<|im_start|>user\n{QUESTION['content']}"
    assert calling == (
        '<|im_start|>assistant\n<tool_call>\n{"name": "forge", "arguments": {"thing": "näil", "weight": 1.5}}\n'
        "</tool_call>"
    )
    assert (result, rest) == (f"<|im_start|>tool\n{RESULT['content']}", "")


@pytest.mark.parametrize("source", [*TOOL_TEMPLATES.values(), CHATML])
@pytest.mark.parametrize("special", SPECIAL_TOKENS)
def test_no_part_of_a_tool_or_a_call_becomes_a_special_token(tokenizer: Tokenizer, source: str, special: str) -> None:
    template = ChatTemplate(source)

    def controls(word: str) -> list[int]:
        tools = [tool("forge", **{f"thing{word}": "string"})]
        tools[0]["function"]["description"] += word
        calling = {"role": "assistant", "content": word, "tool_calls": [call("forge", **{f"thing{word}": word})]}
        result = {"role": "tool", "content": word, "name": word, "tool_call_id": word}
        encoded = template.encode(tokenizer, [QUESTION, calling, result, ANSWER], tools=tools)
        return [number for number in encoded.ids if number in tokenizer.special_ids]

    assert controls(special) == controls("x")
