"""Examples of a collection as a model will see them."""

from __future__ import annotations

from dataclasses import asdict
from functools import cache
from itertools import groupby, islice
from typing import Any

from gptsmith.base.errors import DataError, UserError
from gptsmith.data.care.cleaning import Cleaning
from gptsmith.data.examples import ExampleReading, NamedRecord, example_of, named_records, shape_of
from gptsmith.data.settings import DataSettings
from gptsmith.data.shapes import TEXT
from gptsmith.serve.studio.data.made import Made
from gptsmith.text.chat_template import Message, default_template
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.text.tokenizers import KINDS

MAX_SHOWN_CHARACTERS = 4000


def examples(made: Made, offset: int, limit: int) -> list[dict[str, Any]]:
    """Some of the examples in a collection, in order: the `kind` and the `place` of each; a conversation as `parts`, as
    the chat template writes it, each with whether a model `is_trained` to write it; and all else by its name. Of a
    record of which no example can be made, the `problem`.

    Raises:
        UserError: a file cannot be read, or it is not clear which fields are text and label.
    """
    settings = DataSettings.parse({"redact": made.redacts}, "data")
    without = [] if made.without is None else [made.without]
    reading = ExampleReading(settings, cleaning=Cleaning.of(settings.redact, without, []))
    records = (named for named in named_records([made.source], reading) if shape_of(named.fields) != TEXT)
    return [_shown(named) for named in islice(records, offset, offset + limit)]


def _shown(named: NamedRecord) -> dict[str, Any]:
    place = f"{named.path.name}, {named.place.rpartition(', ')[2]}"
    try:
        kind = shape_of(named.fields)
        if kind is None:
            raise DataError("its fields are those of no kind of example")
        example = example_of(named, kind)
        fields = {name: value for name, value in asdict(example).items() if name != "place" and value not in ((), None)}
        messages, tools = fields.pop("messages", ()), fields.pop("tools", ())
        parts = _rendered(messages, tools) if messages else []
    except UserError as error:
        return {"place": place, "problem": str(error)}
    return {"kind": kind, "place": place, "parts": parts, "fields": fields}


def _rendered(messages: tuple[Message, ...], tools: tuple[Any, ...]) -> list[dict[str, Any]]:
    """A conversation as the chat template writes it, cut short where it is long."""
    tokenizer = _tokenizer()
    template = default_template(tokenizer)
    if messages[-1]["role"] != "assistant":
        text = template.render(messages, tokenizer=tokenizer, tools=tools, open_turn=True)
        return [{"text": text[:MAX_SHOWN_CHARACTERS], "is_trained": False}]
    encoded = template.encode(tokenizer, messages, tools=tools)
    parts, left = list[dict[str, Any]](), MAX_SHOWN_CHARACTERS
    for is_trained, tokens in groupby(zip(encoded.ids, encoded.trained, strict=True), key=lambda token: token[1]):
        text = tokenizer.decode([number for number, _ in tokens], keep_special=True, begins=not parts)
        parts.append({"text": text[:left], "is_trained": bool(is_trained)})
        left -= len(text)
        if left <= 0:
            break
    return parts


@cache
def _tokenizer() -> Tokenizer:
    """One that every text has tokens in."""
    return KINDS.validate("bytes").train(list, 0)
