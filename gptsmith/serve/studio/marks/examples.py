"""Marks as records that training reads: the shapes of SFT, DPO and KTO."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Literal

from gptsmith.base.errors import UserError
from gptsmith.data.shapes import ExampleShape
from gptsmith.data.shapes.chat import ChatShape
from gptsmith.data.shapes.preference import PreferenceShape
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceShape
from gptsmith.retrieval.documents import Source
from gptsmith.retrieval.quotation import quoted_turn

Objective = Literal["sft", "dpo", "kto"]
SHAPES: Mapping[Objective, ExampleShape] = {
    "sft": ChatShape(),
    "dpo": PreferenceShape(),
    "kto": UnpairedPreferenceShape(),
}
"""The shape that each objective reads."""
CONTINUATION = "continuation"
"""The kind of a choice between two continuations of a text. No objective learns from it: DPO prefers answers in
conversations."""


def shown_prompt(mark: Mapping[str, Any], number: int = 0) -> list[dict[str, str]]:
    """The prompt of a mark as the model of its answer `number` was shown it: with the passages of documents that it was
    given."""
    *before, last = mark["prompt"]
    answer = mark["answers"][number]
    if not (sources := answer.get("sources")):
        return [*before, last]
    passages = [Source("", one["file"], tuple(one["headings"]), None, one["text"]) for one in sources]
    return [*before, {**last, "content": quoted_turn(passages, last["content"], answer["markers"])}]


def examples(
    marks: Iterable[Mapping[str, Any]], objective: Objective, *, with_thumbs: bool = False
) -> Iterator[dict[str, Any]]:
    """The records that an objective learns from some marks: SFT from edits, and `with_thumbs` from answers with a thumb
    up; DPO from choices, and from edits against what was edited; KTO from thumbs. A mark from which it can learn
    nothing, such as one of an empty answer, gives none."""
    for mark in marks:
        record = _record(mark, objective, with_thumbs)
        if record is not None and _is_read(record, objective):
            yield record


def continuations(marks: Iterable[Mapping[str, Any]]) -> Iterator[dict[str, str]]:
    """The choices between continuations as pairs of plain text: prompt, chosen, rejected."""
    for mark in marks:
        if mark["kind"] == CONTINUATION:
            texts = [answer["text"] for answer in mark["answers"]]
            chosen, rejected = texts if mark["verdict"] == "first" else texts[::-1]
            if chosen != rejected:
                yield {"prompt": mark["prompt"][0]["content"], "chosen": chosen, "rejected": rejected}


def _record(mark: Mapping[str, Any], objective: Objective, with_thumbs: bool) -> dict[str, Any] | None:
    kind, verdict = mark["kind"], mark["verdict"]
    if kind == CONTINUATION:
        return None
    prompt = shown_prompt(mark, int(verdict == "second"))
    texts = [answer["text"] for answer in mark["answers"]]
    if objective == "sft":
        if kind == "edit" or (with_thumbs and verdict == "up"):
            answer = mark["edited"] if kind == "edit" else texts[0]
            return {"messages": [*prompt, {"role": "assistant", "content": answer}]}
    elif objective == "dpo":
        if kind == "edit":
            return _preference(prompt, mark["edited"], texts[0])
        if verdict in ("first", "second"):
            return _preference(prompt, *(texts if verdict == "first" else reversed(texts)))
    elif kind == "thumb":
        return {"prompt": prompt, "completion": texts[0], "label": verdict == "up"}
    return None


def _preference(prompt: Any, chosen: str, rejected: str) -> dict[str, Any] | None:
    if not chosen.strip():
        return None
    answers = {"chosen": chosen, "rejected": rejected}
    if all(text.lstrip("\n").startswith("Human:") for text in answers.values()):
        # As texts, they would be read as the turns of a dialogue.
        return {"prompt": prompt, **{name: [{"role": "assistant", "content": text}] for name, text in answers.items()}}
    return {"prompt": prompt, **answers}


def _is_read(record: Mapping[str, Any], objective: Objective) -> bool:
    """Whether training can learn from a record."""
    try:
        SHAPES[objective].example(record, "")
    except UserError:
        return False
    return True
