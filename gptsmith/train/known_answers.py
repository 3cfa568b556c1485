"""The answers that a base gives to general prompts, to measure how many of them its tuned model would still give."""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded
from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED
from gptsmith.generate.api import generate_batch
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import Encoded
from gptsmith.train.datasets.base import KeptAnswers, KnownAnswers
from gptsmith.train.samples import padded

QUESTIONS_FILE = files("gptsmith.train").joinpath("general_questions.jsonl")
"""Short questions of all sorts, each with an answer."""
QUESTIONS, BEGINNINGS = "questions", "beginnings"
ANSWER_TOKENS = 24
NUM_BEGINNINGS, BEGINNING_TOKENS = 24, 24
KEPT_FRACTION = 0.8
"""Of the tokens of an answer that is still given."""


def known_answers(base: Loaded, model: GPT, own_text: TokenStream | None) -> KnownAnswers | None:
    """The first tokens of the model's greedy answers before training; None if it has no room for any.

    A model that was made for conversations answers the general questions of this package in its own template. Others
    continue beginnings of the text that they were pretrained on, and where that is not known, the same questions as
    plain text.
    """
    name, prompts = general_prompts(base, own_text)
    limit = model.config.context_length - 1
    prompts = [prompt for prompt in prompts if len(prompt) < limit]
    if not prompts:
        return None
    answers = _greedy_answers(model, base, prompts, ANSWER_TOKENS)
    spoken = [(prompt, answer) for prompt, answer in zip(prompts, answers, strict=True) if answer]
    if not spoken:
        return None
    input_ids, targets = padded(
        [Encoded([*prompt, *answer], [False] * len(prompt) + [True] * len(answer)) for prompt, answer in spoken]
    )
    # What the model generates and what it finds likeliest in one pass may differ by rounding: only the latter compares.
    before = _first_choices(model.eval(), input_ids, targets)

    def kept(now: GPT) -> KeptAnswers:
        same = [was == is_now for was, is_now in zip(before, _first_choices(now, input_ids, targets), strict=True)]
        num_kept = sum(float(each.float().mean()) >= KEPT_FRACTION for each in same)
        return KeptAnswers(len(same), num_kept, float(torch.cat(same).float().mean()))

    return KnownAnswers(name, kept)


def general_questions() -> list[dict[str, str]]:
    """The general questions of this package, each with a `question` and an `answer`."""
    return [json.loads(line) for line in QUESTIONS_FILE.read_text(encoding="utf-8").splitlines()]


def general_prompts(base: Loaded, own_text: TokenStream | None) -> tuple[str, list[list[int]]]:
    """The ids of prompts, and what they are: general questions in the model's own template, beginnings of its own text,
    or the questions as plain text."""
    questions = [row["question"] for row in general_questions()]
    if base.template is not None:
        template, tokenizer = base.template, base.tokenizer
        try:
            asked = [template.prompt_ids(tokenizer, [{"role": "user", "content": text}]) for text in questions]
            return QUESTIONS, asked
        except UserError:  # its template takes no such conversation
            pass
    if own_text is not None:
        length = min(BEGINNING_TOKENS, base.config.context_length // 2)
        places = range(0, max(len(own_text) - length, 1), max(1, len(own_text) // NUM_BEGINNINGS))
        return BEGINNINGS, [own_text.slice(place, place + length).tolist() for place in list(places)[:NUM_BEGINNINGS]]
    return QUESTIONS, [base.tokenizer.prompt_ids(f"Question: {text}\nAnswer:") for text in questions]


def _greedy_answers(model: GPT, base: Loaded, prompts: Sequence[Sequence[int]], max_tokens: int) -> list[list[int]]:
    """The ids of the likeliest answers, with the token that ended each."""
    model.eval()
    completions = generate_batch(
        model,
        base.tokenizer,
        prompts,
        max_tokens=max_tokens,
        sampling=SamplingSettings(temperature=0),
        seeds=[0] * len(prompts),
    )
    return [[*each.ids, *([] if each.end_id is None else [each.end_id])] for each in completions]


@torch.inference_mode()
def _first_choices(model: GPT, input_ids: Tensor, targets: Tensor) -> list[Tensor]:
    """The likeliest token at each position of a row (B, T) that has a target, row by row."""
    hidden = model.hidden(input_ids.to(model.device))  # (B, T, C)
    weight = model.head_weight.to(hidden.dtype)  # without the cap of logits, which leaves their order
    asked = (targets != IGNORED).to(hidden.device)
    return [(row[wanted] @ weight.T).argmax(-1).cpu() for row, wanted in zip(hidden, asked, strict=True)]
