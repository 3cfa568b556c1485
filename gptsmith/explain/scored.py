"""Questions about what a classifier or a reward model says of a text."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gptsmith.base.errors import UserError, did_you_mean
from gptsmith.base.hints import shell_command
from gptsmith.convert.load import Loaded
from gptsmith.explain.other_questions import ScoreQuestion
from gptsmith.explain.prompt import Prompt
from gptsmith.explain.units import Passage
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import Message
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.classifier import Classifier
from gptsmith.train.encoder import Encoder


def label_question(loaded: Loaded, model: GPT, text: str, against: str | None = None, **more: Any) -> ScoreQuestion:
    """The question why a classifier gives a text its most probable label, and not another: the next one if none is
    named.

    Args:
        model: the classifier as an engine runs it.
        more: further fields of the question.

    Raises:
        UserError: the model labels no single texts, or has no such label.
    """
    classifier = Classifier.of(loaded)
    if classifier is None or not classifier.text_labels or not classifier.objective.reads_last_token:
        raise UserError(
            f"{loaded.run.folder}: only labels of single texts, read from the last token, can be explained, not those "
            f"of pairs, choices or means; {shell_command('predict', loaded.run.folder, 'FILE')} gives these"
        )
    [sample] = classifier.samples([text])
    labels, ids = tuple(classifier.text_labels), tuple(sample.sequences[0].ids)
    prompt = Prompt(ids, (_passage(loaded.tokenizer, ids[1:-1], 1),) if len(ids) > 2 else ())
    [probabilities] = classifier.probabilities([sample])
    order = sorted(range(len(labels)), key=lambda label: -probabilities[label])
    if against is not None and against not in labels:
        raise UserError(f"against {against!r}: no such label ({did_you_mean(against, labels)})")
    other = order[1] if against is None else labels.index(against)
    target = order[0] if other != order[0] else order[1]
    return ScoreQuestion(model, loaded.tokenizer, prompt, target, other, labels=labels, **more)


def reward_question(loaded: Loaded, model: GPT, messages: Sequence[Message], reply: str, **more: Any) -> ScoreQuestion:
    """The question why a reward model gives a reply to a conversation its score.

    Raises:
        UserError: they do not fit in the model's context.
    """
    assert loaded.template is not None, "a reward model is made of a chat model"
    encoder = Encoder(loaded.tokenizer, loaded.template, loaded.config.context_length)
    [sequence] = encoder.completions(messages, (reply,), only_last=False).sequences
    last = max(place for place, trained in enumerate(sequence.trained) if trained)
    conversation = [*messages, {"role": "assistant", "content": reply}]
    prompt = Prompt.of_conversation(loaded.tokenizer, loaded.template, conversation, tuple(sequence.ids[: last + 1]))
    return ScoreQuestion(model, loaded.tokenizer, prompt, 0, 0, **more)


def _passage(tokenizer: Tokenizer, ids: tuple[int, ...], first: int) -> Passage:
    return Passage(tokenizer.decode(ids, keep_special=True), first, ids)
