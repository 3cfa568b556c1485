"""Records to examples of a task: conversations, labelled texts, preferences. A record's fields tell its shape."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from gptsmith.base.errors import UserError
from gptsmith.data.discover import discover
from gptsmith.data.readers import ReadSettings, SourceFile
from gptsmith.data.records import TEXT_FIELDS, Record, without_lone_surrogates
from gptsmith.text.chat_template import Message, checked_messages

MAX_SHOWN_CHARACTERS = 200


@dataclass(frozen=True)
class Example(ABC):
    """What every example has: where a person finds it, such as `answers.jsonl, line 7`."""

    place: str

    @abstractmethod
    def question(self) -> str:
        """What is asked, as one text: examples that ask the same stay together when examples are divided."""


@dataclass(frozen=True)
class ChatExample(Example):
    """A conversation whose last turn is the assistant's."""

    messages: tuple[Message, ...]

    def question(self) -> str:
        return json.dumps([dict(message) for message in self.messages[:-1]])


@dataclass(frozen=True)
class LabelledExample(Example):
    """Texts with a label: one text, a premise and a hypothesis, two sentences, or a question and its choices."""

    form: str
    """`text`, `entailment`, `similarity` or `choice`."""
    texts: tuple[str, ...]
    label: str | None
    """Nothing where it is to be foretold."""

    def question(self) -> str:
        return json.dumps(self.texts)

    def without_label(self) -> LabelledExample:
        """The same example, its label to be foretold."""
        return replace(self, label=None)


@dataclass(frozen=True)
class PreferenceExample(Example):
    """A conversation and two answers to it, of which people like one better."""

    messages: tuple[Message, ...]
    chosen: str
    rejected: str

    def question(self) -> str:
        return json.dumps([dict(message) for message in self.messages])


SHAPES: dict[str, str] = {
    "preference": "prompt, chosen, rejected",
    "chat": "messages; conversations; prompt, response (or completion); question, answer; instruction, input, output",
    "labelled": "label, with text; premise, hypothesis; sentence1, sentence2; or question, choices",
}
"""The shapes of records and the fields that each is known by. Fields in other columns are left alone."""

TEXT = "text"
"""The shape of plain text, in records or not."""
TEXT_NAMES = frozenset(name for names in TEXT_FIELDS if len(names) == 1 for name in names)
CHAT_PAIRS = (("prompt", "response"), ("prompt", "completion"), ("question", "answer"), ("question", "response"))
LABELLED_TEXTS = {
    ("premise", "hypothesis"): "entailment",
    ("sentence1", "sentence2"): "similarity",
    ("text",): "text",
    ("sentence",): "text",
}
SHAREGPT_ROLES = {"human": "user", "gpt": "assistant", "bing": "assistant", "chatgpt": "assistant"}


def shape_of(fields: Mapping[str, Any]) -> str | None:
    """Which of `SHAPES` a record has, or `text`; nothing where it is none of these."""
    names = fields.keys()
    if {"chosen", "rejected"} <= names:
        return "preference"
    if "label" in names and ({"question", "choices"} <= names or any(set(key) <= names for key in LABELLED_TEXTS)):
        return "labelled"
    if names & {"messages", "conversations"} or any(set(pair) <= names for pair in CHAT_PAIRS):
        return "chat"
    if {"instruction", "output"} <= names or {"instruction", "response"} <= names:
        return "chat"
    return TEXT if any(name.casefold() in TEXT_NAMES for name in names) else None


def read_shape(sources: Iterable[str | Path]) -> str:
    """The shape of the records in some files, told by the first one; `text` where they hold no records.

    Raises:
        UserError: a record is of no known shape; the message shows it.
    """
    for path, record in records(sources):
        shape = shape_of(record.fields)
        if shape is None:
            raise UserError(unknown_shape(f"{path}, {record.place}", record.fields))
        return shape
    return TEXT


def read_examples(sources: Iterable[str | Path], shape: str) -> list[Example]:
    """All examples of one shape, in order.

    Raises:
        UserError: a file cannot be read, or a record is not of the shape; the message shows it and what is known.
    """
    make = MAKERS[shape]
    found = []
    for path, record in records(sources):
        place = f"{path}, {record.place}"
        try:
            found.append(make(record.fields, place))
        except UserError as error:
            raise UserError(f"{place}: {error}") from None
        except (KeyError, TypeError, AttributeError, StopIteration):
            raise UserError(unknown_shape(place, record.fields, shape)) from None
    if not found:
        raise UserError(f"{', '.join(map(str, sources))}: no examples in it")
    return found


def unknown_shape(place: str, fields: Mapping[str, Any], wanted: str | None = None) -> str:
    """What to tell a person whose record is of no known shape, or not of the wanted one."""
    shown = json.dumps(dict(fields), ensure_ascii=False, default=str)
    shown = shown if len(shown) <= MAX_SHOWN_CHARACTERS else shown[:MAX_SHOWN_CHARACTERS] + "…"
    known = "; or ".join(f"{name} ({needs})" for name, needs in SHAPES.items() if wanted in (None, name))
    more = "; or plain text (text)" if wanted is None else ""
    return f"{place} is {shown}: expected fields of {known}{more}"


def records(sources: Iterable[str | Path]) -> Iterator[tuple[Path, Record]]:
    """The records of .jsonl, .json, .csv, .tsv and .parquet files, with the file of each. Other files have none."""
    for candidate in discover(sources).candidates:
        if read := RECORD_READERS.get(candidate.file.extension):
            for record in read(candidate.file):
                yield candidate.file.path, record


def _jsonl(file: SourceFile) -> Iterator[Record]:
    from gptsmith.data.readers.jsonl import line_records, whole_records

    return (whole_records if file.extension == ".json" else line_records)(file, ReadSettings())


def _csv(file: SourceFile) -> Iterator[Record]:
    from gptsmith.data.readers.csv import row_records

    return row_records(file, ReadSettings())


def _parquet(file: SourceFile) -> Iterator[Record]:
    from gptsmith.data.readers.parquet import all_records

    return all_records(file)


RECORD_READERS: dict[str, Callable[[SourceFile], Iterator[Record]]] = {
    ".jsonl": _jsonl,
    ".ndjson": _jsonl,
    ".json": _jsonl,
    ".csv": _csv,
    ".tsv": _csv,
    ".parquet": _parquet,
}


def _chat(fields: Mapping[str, Any], place: str) -> ChatExample:
    messages = checked_messages(_messages(fields))
    if not any(message["role"] == "assistant" for message in messages):
        raise UserError("the conversation has no turn of the assistant to learn from")
    if messages[-1]["role"] != "assistant":
        raise UserError(f"the conversation ends with the {messages[-1]['role']}'s turn: end it with the assistant's")
    if not messages[-1]["content"].strip():
        raise UserError("the assistant's last turn is empty: there is nothing to learn")
    return ChatExample(place, tuple(messages))


def _messages(fields: Mapping[str, Any]) -> Any:
    """The turns of a record of any of the chat shapes."""
    turns = fields.get("messages", fields.get("conversations"))
    if turns is not None:
        return [_turn(turn) for turn in turns]
    if "instruction" in fields:
        more = fields.get("input") or fields.get("context")
        question = f"{fields['instruction']}\n\n{more}" if more else fields["instruction"]
        answer = fields.get("output", fields.get("response"))
    else:
        asked, answered = next(pair for pair in CHAT_PAIRS if set(pair) <= fields.keys())
        question, answer = fields[asked], fields[answered]
    before = [_turn({"role": "system", "content": fields["system"]})] if fields.get("system") else []
    asked_turns = [_turn(turn) for turn in question] if isinstance(question, list) else [_user(question)]
    return [*before, *asked_turns, {"role": "assistant", "content": _text(answer, "answer")}]


def _turn(turn: Mapping[str, Any]) -> dict[str, str]:
    """A turn as OpenAI or as ShareGPT writes it."""
    role = turn.get("role", turn.get("from"))
    content = turn.get("content", turn.get("value"))
    if isinstance(content, list):
        content = "".join(part["text"] for part in content)
    return {"role": SHAREGPT_ROLES.get(role, role), "content": _text(content, f"{role}'s turn")}


def _user(content: Any) -> dict[str, str]:
    return {"role": "user", "content": _text(content, "question")}


def _text(value: Any, what: str) -> str:
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        raise UserError(f"the {what} is {value!r}, not a text")
    return without_lone_surrogates(str(value))


def _labelled(fields: Mapping[str, Any], place: str, label_needed: bool = True) -> LabelledExample:
    label = fields.get("label")
    if label_needed and (label is None or label == ""):
        raise UserError("the label is missing: give every example one, or leave it out")
    label = None if label is None or label == "" else str(label)
    if "choices" in fields:
        choices = [_text(choice, "choice") for choice in fields["choices"]]
        return LabelledExample(place, "choice", (_text(fields["question"], "question"), *choices), label)
    names = next(names for names in LABELLED_TEXTS if set(names) <= fields.keys())
    texts = tuple(_text(fields[name], name) for name in names)
    if not any(text.strip() for text in texts):
        raise UserError(f"the {' and the '.join(names)} are empty: there is nothing to read")
    return LabelledExample(place, LABELLED_TEXTS[names], texts, label)


def unlabelled(fields: Mapping[str, Any], place: str) -> LabelledExample:
    """An example whose label is to be foretold.

    Raises:
        UserError: it has none of the fields that a labelled example has.
    """
    try:
        return _labelled(fields, place, label_needed=False)
    except (KeyError, TypeError, StopIteration):
        raise UserError(unknown_shape(place, fields, "labelled")) from None


def _preference(fields: Mapping[str, Any], place: str) -> PreferenceExample:
    chosen, rejected = (_answer(fields[name], name) for name in ("chosen", "rejected"))
    prompt = fields.get("prompt", fields.get("question"))
    if prompt is None and isinstance(fields["chosen"], list):
        prompt = fields["chosen"][:-1]
    if prompt is None:
        raise UserError("the prompt is missing")
    messages = checked_messages([_turn(turn) for turn in prompt] if isinstance(prompt, list) else [_user(prompt)])
    if chosen == rejected:
        raise UserError("chosen and rejected are the same: there is nothing to prefer")
    return PreferenceExample(place, tuple(messages), chosen, rejected)


def _answer(value: Any, name: str) -> str:
    return _turn(value[-1])["content"] if isinstance(value, list) and value else _text(value, name)


MAKERS: dict[str, Callable[[Mapping[str, Any], str], Example]] = {
    "chat": _chat,
    "labelled": _labelled,
    "preference": _preference,
}
