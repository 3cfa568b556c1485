"""How much a model forgets while it is fine-tuned, measured on what its base knew."""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from importlib.resources import as_file, files

import torch

from gptsmith.base.errors import UserError
from gptsmith.convert.load import Loaded
from gptsmith.data.prepare import prepare
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.evaluate.perplexity import score_language
from gptsmith.model.gpt import GPT
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.batch import sequence_log_likelihoods
from gptsmith.train.datasets.base import KnownText
from gptsmith.train.encoder import Encoder
from gptsmith.train.known_answers import general_questions
from gptsmith.train.samples import padded
from gptsmith.train.validation_text import validation_text

FORGETTING_TOKENS = 65_536
"""How much of a text is read."""
OWN, TEXT, QUESTIONS = "the base's own text", "general text", "general questions"
RESOURCES = files("gptsmith.train")
TEXT_FILE = RESOURCES.joinpath("general_text.txt")
"""Some pages of plain English: prose, dialogue, instructions, facts, a letter, a little code."""


def known_text(base: Loaded, model: GPT, own_text: TokenStream | None) -> KnownText:
    """The text on which forgetting is measured, and the model's bits per byte of it before training.

    That is the validation text of the base's pretraining. Where it is not known, as for a model that somebody else has
    trained, it is a text of this package: the answers to general questions for a model that was made for conversations,
    else pages of prose. A chat model can lose its answers while its prose stays as it was.
    """
    name, bits_per_byte = _measure(base, own_text)
    started = time.perf_counter()
    before = bits_per_byte(model.eval())
    return KnownText(name, bits_per_byte, before, time.perf_counter() - started)


def own_text(base: Loaded) -> TokenStream | None:
    """The validation text of the base's pretraining; None if it is not known."""
    try:
        return validation_text(base.run)[0]
    except UserError:
        return None


def _measure(base: Loaded, own_text: TokenStream | None) -> tuple[str, Callable[[GPT], float]]:
    if own_text is not None:
        return OWN, _bits_per_byte_of(base, own_text)
    try:
        if base.template is not None:
            return QUESTIONS, _bits_per_byte_of_answers(
                Encoder(base.tokenizer, base.template, base.config.context_length)
            )
    except UserError:  # its template or its context takes no such conversation
        pass
    return TEXT, _bits_per_byte_of(base, general_text(base.tokenizer))


def general_text(tokenizer: Tokenizer) -> TokenStream:
    """The general text of this package, in a tokenizer's tokens."""
    with as_file(TEXT_FILE) as path:
        return prepare([path], settings=DataSettings(validation_fraction=0.0), tokenizer=tokenizer, seed=0).train


def _bits_per_byte_of(base: Loaded, stream: TokenStream) -> Callable[[GPT], float]:
    bytes_of = base.tokenizer.num_bytes_per_token
    return lambda model: score_language(model, stream, bytes_of, max_tokens=FORGETTING_TOKENS).bits_per_byte


def _bits_per_byte_of_answers(encoder: Encoder) -> Callable[[GPT], float]:
    """
    Raises:
        UserError: the chat template does not take the questions, or the context does not hold them.
    """
    examples = general_questions()
    turns = [list(zip(("user", "assistant"), (row["question"], row["answer"]), strict=True)) for row in examples]
    messages = [[{"role": role, "content": text} for role, text in pair] for pair in turns]
    encoded = [sequence for each in messages for sequence in encoder.conversation(each).sequences]
    input_ids, targets = padded(encoded)
    num_bytes = sum(len(row["answer"].encode()) for row in examples)

    @torch.inference_mode()
    def bits_per_byte(model: GPT) -> float:
        device = model.device
        nats = -float(sequence_log_likelihoods(model, input_ids.to(device), targets.to(device)).sum())
        return nats / math.log(2) / num_bytes

    return bits_per_byte
