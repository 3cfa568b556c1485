"""Made-up sentences as a model sees them: how probable they are, whether it writes them, and how their codes rank."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np
import torch

from gptsmith.convert.open import OpenedModel
from gptsmith.data.care.canaries import Sentence
from gptsmith.evaluate.loglikelihood import LOGITS_AT_ONCE
from gptsmith.model.gpt import GPT
from gptsmith.model.kv_cache import Cache
from gptsmith.privacy.exposure import exposure
from gptsmith.privacy.token_scores import token_scores
from gptsmith.privacy.tries import tries_of
from gptsmith.text.chat_template import ChatTemplate, default_template
from gptsmith.text.tokenizer import Tokenizer

SENTENCES_AT_ONCE = 64


@dataclass(frozen=True)
class SeenSentence:
    """A sentence in its place, without the full stop, as a model predicts it.

    Attributes:
        log_probabilities: (T,), ln p of each token.
        surprises: (T,), (ln p - mean) / deviation of ln p under the model's own prediction (see `min_k_plus_plus`).
        is_right: (T,), whether each token is the most likely one.
        num_name_tokens: the tokens of the name, with which a line begins; 0 of an answer.
        num_bytes: of the sentence.
    """

    log_probabilities: np.ndarray
    surprises: np.ndarray
    is_right: np.ndarray
    num_name_tokens: int
    num_bytes: int

    @property
    def log_likelihood(self) -> float:
        """ln p per byte: of a token, it would depend on what words the tokenizer has."""
        return float(self.log_probabilities.sum()) / self.num_bytes

    @property
    def tokens_per_byte(self) -> float:
        """How finely the tokenizer cuts it. A tokenizer that was trained on a name may have it as a word."""
        return len(self.log_probabilities) / self.num_bytes

    @property
    def is_by_heart(self) -> bool:
        """Whether the model, given the name or the question, writes all of the rest by greedy decoding."""
        return bool(self.is_right[self.num_name_tokens :].all())

    @property
    def tries(self) -> float:
        """How often somebody must sample after the name for an even chance of the rest."""
        return tries_of(float(self.log_probabilities[self.num_name_tokens :].sum()))


class Spelling:
    """Sentences as token ids in their place: on a line of their own, or as the answer to a question.

    Args:
        template: of conversations.
    """

    def __init__(self, tokenizer: Tokenizer, template: ChatTemplate) -> None:
        self._tokenizer, self._template = tokenizer, template
        self._openings: dict[str, list[int]] = {}

    @classmethod
    def of(cls, run: OpenedModel, tokenizer: Tokenizer) -> Self:
        """That of the canaries of a run."""
        return cls(tokenizer, run.template() or default_template(tokenizer))

    def ids(self, sentence: Sentence, text: str) -> list[int]:
        """The ids up to the end of a text in the place of a sentence, mostly a beginning of it."""
        if not sentence.question:
            return self._tokenizer.prompt_ids(f"\n{text}")
        return [*self._before(sentence), *self._tokenizer.encode(text)]

    def _before(self, sentence: Sentence) -> list[int]:
        """The ids before an answer, as in training: a template may begin it with more than it does a prompt's."""
        if sentence.question not in self._openings:
            turns = [{"role": "user", "content": sentence.question}, {"role": "assistant", "content": sentence.text}]
            encoded, special = self._template.encode(self._tokenizer, turns), self._tokenizer.special_ids
            pairs = zip(encoded.ids, encoded.trained, strict=True)
            stop = max(at for at, (token, is_own) in enumerate(pairs) if is_own and token not in special) + 1
            before = stop - len(self._tokenizer.encode(sentence.text))
            self._openings[sentence.question] = list(encoded.ids[:before])
        return self._openings[sentence.question]


@torch.inference_mode()
def see(
    model: GPT, spelling: Spelling, sentences: Sequence[Sentence], observe: Callable[[int], None] = lambda _: None
) -> list[SeenSentence]:
    """The sentences as the model predicts them.

    Args:
        observe: sees the number of sentences read so far.
    """
    found: list[SeenSentence] = []
    for start in range(0, len(sentences), SENTENCES_AT_ONCE):
        some = sentences[start : start + SENTENCES_AT_ONCE]
        ids = [spelling.ids(each, f"{each.before_code} {each.code}") for each in some]
        padded = np.zeros((len(some), max(map(len, ids))), np.int64)
        for row, line in enumerate(ids):
            padded[row, : len(line)] = line
        hidden = model.hidden(torch.from_numpy(padded[:, :-1]).to(model.device))  # (B, T, C)
        for row, (line, sentence) in enumerate(zip(ids, some, strict=True)):
            begin = max(1, len(_shared(spelling.ids(sentence, ""), line)))  # the first token has nothing before it
            name = 0 if sentence.question else len(_shared(spelling.ids(sentence, sentence.name), line)) - begin
            targets = torch.tensor(line[begin:], device=model.device)
            columns = token_scores(model, hidden[row, begin - 1 : len(line) - 1], targets)
            found.append(SeenSentence(*columns, num_name_tokens=max(0, name), num_bytes=len(sentence.text.encode())))
        observe(len(found))
    return found


@torch.inference_mode()
def code_exposures(
    model: GPT,
    spelling: Spelling,
    sentences: Sequence[Sentence],
    codes: Sequence[str],
    observe: Callable[[int], None] = lambda _: None,
) -> np.ndarray:
    """The exposure of the code of each sentence (N,), in bits, among other codes after the same words.

    Args:
        observe: sees the number of sentences measured so far.
    """
    found = []
    for sentence in sentences:
        lines = [spelling.ids(sentence, f"{sentence.before_code} {code}") for code in (sentence.code, *codes)]
        before = _shared(lines[0], spelling.ids(sentence, sentence.before_code))
        scores = _log_likelihoods(model, before, [line[len(before) :] for line in lines])
        found.append(float(exposure(scores[:1], scores[None, 1:])[0]))
        observe(len(found))
    return np.array(found)


def _shared(one: Sequence[int], other: Sequence[int]) -> list[int]:
    """The ids with which both begin."""
    length = 0
    while length < min(len(one), len(other)) and one[length] == other[length]:
        length += 1
    return list(one[:length])


def _log_likelihoods(model: GPT, before: Sequence[int], continuations: Sequence[Sequence[int]]) -> np.ndarray:
    """The sum of ln p of each continuation (N,) after the same ids, which are read once."""
    num_rows, longest = len(continuations), max(map(len, continuations))
    once, all_rows = (
        Cache(model.config, rows, len(before) + longest, dtype=model.dtype, device=model.device)
        for rows in (1, num_rows)
    )
    last = model.hidden(torch.tensor([list(before)], device=model.device), cache=once)[:, -1:]  # (1, 1, C)
    for name in ("keys", "values"):
        for layer, known in zip(getattr(all_rows, name), getattr(once, name), strict=True):
            layer[:] = known  # (1, K, S, D) for every row
    all_rows.length = once.length
    padded = np.zeros((num_rows, longest), np.int64)
    for row, ids in enumerate(continuations):
        padded[row, : len(ids)] = ids
    targets = torch.from_numpy(padded).to(model.device)
    hidden = last.expand(num_rows, -1, -1)
    if longest > 1:
        hidden = torch.cat([hidden, model.hidden(targets[:, :-1], cache=all_rows)], dim=1)  # (N, T, C)
    found = np.zeros(num_rows)
    rows_at_once = max(1, LOGITS_AT_ONCE // (model.config.vocab_size * longest))
    for start in range(0, num_rows, rows_at_once):
        rows = slice(start, start + rows_at_once)
        logits = model.logits(hidden[rows])
        logs = logits.to(torch.promote_types(logits.dtype, torch.float32)).log_softmax(dim=2)
        at_target = logs.gather(2, targets[rows][:, :, None])[:, :, 0].double().cpu().numpy()
        is_there = np.arange(longest) < np.array([len(ids) for ids in continuations[rows]])[:, None]
        found[rows] = np.where(is_there, at_target, 0).sum(axis=1)
    return found
