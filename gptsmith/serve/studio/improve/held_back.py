"""The prompts that an improvement is judged on: training never sees them, nor what is nearly the same."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

from gptsmith.base.cache_folder import default_cache
from gptsmith.base.disjoint_sets import DisjointSets
from gptsmith.base.json_text import json_text
from gptsmith.data.care.near_examples import near_examples
from gptsmith.data.shapes.unpaired_preference import UnpairedPreferenceExample
from gptsmith.retrieval.quotation import question_of
from gptsmith.serve.studio.marks.examples import shown_prompt

FRACTION, MOST_PROMPTS = 0.2, 40
"""Of the prompts."""
MOST_OF_MARKS = 0.25
"""More of the marks are not held back, however many a prompt has."""

Mark = dict[str, Any]
Messages = list[dict[str, str]]


def split(marks: Sequence[Mark]) -> tuple[list[Mark], list[Messages]]:
    """The marks to learn from, and prompts that are held back, with the passages that they had. Which these are depends
    on their words alone, so that a prompt is held back in further rounds, too."""
    groups: dict[int, list[Mark]] = {}
    for mark, group in zip(marks, _groups(marks), strict=True):
        groups.setdefault(group, []).append(mark)
    order = sorted(groups.values(), key=lambda members: min(digest(mark["prompt"]) for mark in members))
    num_prompts, most_marks = min(int(FRACTION * len(order)), MOST_PROMPTS), MOST_OF_MARKS * len(marks)
    held: list[Mark] = []
    prompts: list[Messages] = []
    for members in order:
        if len(prompts) < num_prompts and len(held) + len(members) <= most_marks:
            held += members
            prompts.append(shown_prompt(min(members, key=lambda mark: digest(mark["prompt"]))))
    left_out = {id(mark) for mark in held}
    return [mark for mark in marks if id(mark) not in left_out], prompts


def num_prompts(marks: Sequence[Mark]) -> int:
    """The number of different prompts, nearly equal ones being one."""
    return len(set(_groups(marks)))


def _groups(marks: Sequence[Mark]) -> list[int]:
    """The number of the group of each mark: of prompts that are nearly the same, or begin with the same question, as
    those of one conversation do."""
    if not marks:
        return []
    examples = [UnpairedPreferenceExample("", tuple(mark["prompt"]), "", True) for mark in marks]
    sets, firsts = DisjointSets(len(marks)), dict[str, int]()
    near = near_examples(examples, default_cache()).group_of
    for number, mark in enumerate(marks):
        question = [turn for turn in mark["prompt"] if turn["role"] == "user"][:1]
        sets.join(number, firsts.setdefault(digest(question), number))
        if near is not None:
            sets.join(number, int(near[number]))
    return [int(first) for first in sets.firsts()]


def digest(prompt: Sequence[Mapping[str, str]]) -> str:
    """A number that a prompt always has, however it is spaced, in upper or lower case, and with passages or without."""
    words = [[turn["role"], " ".join(question_of(turn["content"]).casefold().split())] for turn in prompt]
    return hashlib.sha256(json_text(words).encode()).hexdigest()
