"""Fields of records to the turns of a conversation, as OpenAI, ShareGPT and their kin write them.

Every field that would change what is learnt is read or refused by name. Fields that say where a record comes from, such
as an id or a source, are left alone, and so are fields without a value.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from gptsmith.base.errors import DataError
from gptsmith.data.records import brief, without_lone_surrogates
from gptsmith.data.tool_fields import TOOLS_FIELDS, call_in_text, calls_of, thoughts_in
from gptsmith.text.chat_template import TRAIN, Message, checked_messages
from gptsmith.text.thoughts import divided_thoughts, thoughts_of

ROLES = {
    "human": "user",
    "gpt": "assistant",
    "bing": "assistant",
    "chatgpt": "assistant",
    "model": "assistant",
    "developer": "system",
    "observation": "tool",
    "function": "tool",
    "function_response": "tool",
}
"""Roles of other programs, by ours."""
SYSTEM_FIELDS = ("system", "system_prompt", "system_message", "developer")
"""Fields beside the turns that hold the system prompt."""
TRAIN_FIELDS = ("weight", "train", "training")
"""Fields of a turn that say whether it is learnt: OpenAI's (0 or 1), and Axolotl's (true or false)."""
CALLING_ROLES = ("function_call", "tool_call")
"""Roles of turns that are a call, as LLaMA-Factory writes them in ShareGPT's form."""
UNREAD_RECORD_FIELDS = (
    "tool_choice", "function_call", "chat_template_kwargs", "documents",
    "images", "image", "videos", "video", "audios", "audio",
)  # fmt: skip
UNREAD_IN_PREFERENCES = (*TOOLS_FIELDS, *UNREAD_RECORD_FIELDS)
UNREAD_TURN_FIELDS = ("train_detail", "audio", "images", "image")
KEPT_FIELDS = (TRAIN, "tool_calls", "reasoning_content", "name", "tool_call_id")
"""Fields of a turn, beside its role and its content, that templates or training read."""
HH_TURN = re.compile(r"(?:^|\n\n)(Human|Assistant):[ ]?")
"""The beginning of a turn as Anthropic's HH data writes it."""


def text_of(value: Any, name: str) -> str:
    """A field's value as text.

    Raises:
        DataError: it is neither text nor a number.
    """
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise DataError(f"the {name} is {brief(value)}, not a text")
    return without_lone_surrogates(str(value))


def require_read(fields: Mapping[str, Any], unread: Sequence[str], of: str) -> None:
    """Checks that none of some fields, which nothing reads, has a value.

    Raises:
        DataError: one has; the message names it.
    """
    for name in unread:
        if fields.get(name) not in (None, "", [], {}):
            raise DataError(
                f"{of} has {name}, which fine-tuning does not read: write it into the contents as the model is to see "
                f"it, or leave the field out with --set 'examples.ignored_fields=[\"{name}\"]'"
            )


def turn(value: Mapping[str, Any], number: int = 1) -> dict[str, Any]:
    """A turn: its role and its content; of the assistant's its calls and thoughts, and `train` if it is not to be
    learnt; of a tool's the call that it answers."""
    role = value.get("role", value.get("from"))
    require_read(value, UNREAD_TURN_FIELDS, f"turn {number}")
    content = value.get("content", value.get("value"))
    calls = calls_of(value, number)
    if role in CALLING_ROLES:
        role, content, calls = "assistant", None, [*calls, *call_in_text(content, number)]
    role = ROLES.get(role, role) if isinstance(role, str) else role
    if isinstance(content, list):
        content = "".join(_part(part, number) for part in content)
    if content is None and calls:
        content = ""
    found = {"role": role, "content": text_of(content, f"{role}'s turn")}
    if not _is_trained(value, number):
        found[TRAIN] = False
    thoughts = thoughts_in(value, number)
    if role == "assistant":
        return found | _thought_fields(thoughts, found["content"]) | ({"tool_calls": calls} if calls else {})
    if calls or thoughts is not None:
        raise DataError(f"turn {number} is the {role}'s, and has {'calls' if calls else 'thoughts'} of the assistant")
    return found | _result_fields(value) if role == "tool" else found


def _thought_fields(thoughts: str | None, content: str) -> dict[str, Any]:
    """The thoughts of an answer, from their field or from the beginning of its text, and the text without them."""
    if thoughts is None:
        thoughts, content = divided_thoughts(content)
    return {"content": content, "reasoning_content": thoughts} if thoughts else {"content": content}


def _result_fields(value: Mapping[str, Any]) -> dict[str, str]:
    """Which tool a result is of, and which call it answers."""
    return {name: value[name] for name in ("name", "tool_call_id") if isinstance(value.get(name), str) and value[name]}


def _part(part: Any, number: int) -> str:
    if isinstance(part, str):
        return part
    if isinstance(part, Mapping) and isinstance(part.get("text"), str):
        return str(part["text"])
    kind = part.get("type") if isinstance(part, Mapping) else brief(part)
    raise DataError(f"turn {number} has a part that is no text ({kind}): leave the example out")


def _is_trained(value: Mapping[str, Any], number: int) -> bool:
    """Whether a turn is to be learnt, as its fields say."""
    for name in TRAIN_FIELDS:
        said = value.get(name)
        if said is None:
            continue
        if said not in (0, 1):  # true and false are equal to these
            raise DataError(f"turn {number} has {name} {brief(said)}: allowed are 0 or false, and 1 or true")
        return bool(said)
    return True


def turns(values: Sequence[Any]) -> list[dict[str, Any]]:
    """A list of turns.

    Raises:
        DataError: one of them holds something that is not read.
        AttributeError, TypeError: one of them is no turn.
    """
    return [turn(value, number) for number, value in enumerate(values, 1)]


def prompt_turns(prompt: Any) -> list[dict[str, Any]]:
    """The turns of a prompt: a list of them, or the text of a single question."""
    if isinstance(prompt, list):
        return turns(prompt)
    return [{"role": "user", "content": text_of(prompt, "question")}]


def with_system(found: list[dict[str, Any]], fields: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Turns with the system prompt that stands beside them in the record.

    Raises:
        DataError: they begin with another one.
    """
    for name in SYSTEM_FIELDS:
        if fields.get(name) in (None, ""):
            continue
        system = {"role": "system", "content": text_of(fields[name], name)}
        if found and found[0]["role"] == "system":
            if found[0]["content"] != system["content"]:
                raise DataError(f"the record has a {name} and another system turn: leave one of them out")
            return found
        return [system, *found]
    return found


def checked_turns(found: list[dict[str, Any]]) -> tuple[Message, ...]:
    """Turns that every template takes, with their calls and thoughts, and the mark of those that are not to be learnt.

    Raises:
        DataError: they make no conversation.
    """
    checked = checked_messages(found)
    return tuple(
        {**message, **{name: turn[name] for name in KEPT_FIELDS if name in turn}}
        for message, turn in zip(checked, found, strict=True)
    )


def completed(prompt: Sequence[Message], completion: Any, name: str) -> tuple[list[dict[str, Any]], str]:
    """The turns before an answer, and the answer: `completion` is a text, or a list of turns that may begin with the
    prompt again.

    Raises:
        DataError: it has no answer.
    """
    before = [dict(message) for message in prompt]
    if not isinstance(completion, list):
        return before, text_of(completion, name)
    found = turns(completion)
    if not found or found[-1]["role"] != "assistant":
        raise DataError(f"the {name} does not end with the assistant's turn")
    return joined(before, found[:-1]), plain_answer(found[-1], name)


def plain_answer(turn: Mapping[str, Any], name: str) -> str:
    """The text of an answer that is learnt as a text alone.

    Raises:
        DataError: it has calls or thoughts.
    """
    for field, words in (("tool_calls", "calls a tool"), ("reasoning_content", "has thoughts")):
        if turn.get(field):
            raise DataError(
                f"the {name} {words}, which only conversations teach: write it into the content, or leave it out with "
                f"--set 'examples.ignored_fields=[\"{field}\"]'"
            )
    return str(turn["content"])


def joined(prompt: list[dict[str, Any]], more: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """A prompt and the turns after it, which may begin with the prompt again, with or without its system turn."""
    for start in range(len(prompt) + 1):
        again = prompt[start:]
        if more[: len(again)] == again and all(message["role"] == "system" for message in prompt[:start]):
            return [*prompt[:start], *more]
    return [*prompt, *more]


def hh_turns(text: Any) -> list[dict[str, Any]] | None:
    r"""The turns of a text such as `\n\nHuman: Hello\n\nAssistant: Hi`; None if it is another text. An open turn of the
    assistant at the end is no turn."""
    if not isinstance(text, str) or not text.lstrip("\n").startswith("Human:"):
        return None
    pieces = HH_TURN.split("\n\n" + text.lstrip("\n"))[1:]
    found = [
        {"role": ROLES["human"] if speaker == "Human" else "assistant", "content": content.strip("\n")}
        for speaker, content in zip(pieces[::2], pieces[1::2], strict=True)
    ]
    return found[:-1] if found[-1]["role"] == "assistant" and not found[-1]["content"].strip() else found


def contents(messages: Iterable[Message]) -> Iterator[str]:
    """The texts of turns: the thoughts of each, if it has some, and its content."""
    for message in messages:
        yield from (text for text in (thoughts_of(message), message["content"]) if text)
