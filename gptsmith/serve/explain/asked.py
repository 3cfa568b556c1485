"""The question that a request asks about a word of a reply."""

from __future__ import annotations

from collections.abc import Sequence

from gptsmith.base.errors import UserError
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.question import LEAST_DIFFERENCE, Question
from gptsmith.explain.units import token_starts
from gptsmith.model.gpt import GPT
from gptsmith.serve.chat.messages import flatten_messages
from gptsmith.serve.errors import refused
from gptsmith.serve.explain.schemas import ContextFields, ExplainRequest
from gptsmith.serve.served_model import ServedModel
from gptsmith.text.tokenizer import Tokenizer

NUM_LIKELY = 100
"""Tokens among which a contrast is looked for by its text."""


def read_prompt(served: ServedModel, body: ContextFields) -> Prompt:
    """What the model had read.

    Raises:
        ApiError: neither or both of prompt and messages are given, or they cannot be read.
    """
    if (body.prompt is None) == (body.messages is None):
        raise refused("prompt", "give a prompt or messages, and not both")
    if body.messages is None:
        return Prompt.of_text(served.tokenizer, body.prompt or "")
    return Prompt.of_messages(served.tokenizer, served.template(), flatten_messages(body.messages))


def read_question(served: ServedModel, body: ExplainRequest, model: GPT) -> Question:
    """The question about a word, answered by `model`.

    Raises:
        ApiError: the word is not in the reply.
        UserError: the words cannot be compared.
    """
    prompt = read_prompt(served, body)
    before, target = target_in(served.tokenizer, body.reply, body.start, body.token)
    question = Question(model, served.tokenizer, prompt, target, target, before)
    contrast = _contrast(question, body.against)
    return Question(model, served.tokenizer, prompt, target, contrast, before)


def target_in(
    tokenizer: Tokenizer, reply: str, start: int | None, number: int | None = None
) -> tuple[tuple[int, ...], int]:
    """The tokens of a reply before a word, and the first one of the word. Where the reply's own tokens have no boundary
    there, it is cut there first.

    Raises:
        ApiError: there is no such place in the reply.
    """
    if (start is None) == (number is None):
        raise refused("start", "give start or token, and not both")
    ids = tuple(tokenizer.encode_inside(reply))
    if number is not None:
        if number >= len(ids):
            raise refused("token", f"the reply has {len(ids)} tokens, numbered from 0")
        return ids[:number], ids[number]
    assert start is not None
    if start >= len(reply):
        raise refused("start", f"the reply has {len(reply)} characters, numbered from 0")
    starts = token_starts(reply, ids, tokenizer)
    if start in starts:
        place = starts.index(start)
        return ids[:place], ids[place]
    return tuple(tokenizer.encode_inside(reply[:start])), tokenizer.encode_inside(reply[start:])[0]


def _contrast(question: Question, text: str | None) -> int:
    """The token to compare with: that of a text, or the most probable one that is not the target and not as probable.

    Raises:
        ApiError: the text is no token of this model, or the target.
    """
    logits = question.logits
    likely: Sequence[int] = logits.topk(min(NUM_LIKELY, len(logits))).indices.tolist()
    if text is None:
        for token in likely:
            if abs(float(logits[token] - logits[question.target])) >= LEAST_DIFFERENCE and token != question.target:
                return token
        raise UserError("no other token is clearly less or more probable: there is nothing to compare with")
    alike = [token for token in likely if question.text_of(token) == text]
    found = alike or question.tokenizer.encode_inside(text)
    if len(found) > 1 and not alike:
        raise refused("against", f"{text!r} is {len(found)} tokens to this model: give the first of them")
    if found[0] == question.target:
        raise refused("against", "that is the word itself: compare it with another one")
    return found[0]
