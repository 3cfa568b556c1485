"""A model under evaluation: the log-likelihoods that it gives to choices, and its replies."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import accumulate, pairwise

from gptsmith.base.randomness import derived_seed
from gptsmith.evaluate.loglikelihood import ContinuationScore, num_truncated, score_continuations
from gptsmith.evaluate.prompt import SHOT_SEPARATOR, Prompt
from gptsmith.generate.api import generate_batch_with
from gptsmith.generate.kept_engine import KeptEngine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.gpt import GPT
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer

Observe = Callable[[int], None]
GREEDY = SamplingSettings(temperature=0)


class LanguageModel:
    """A model with its tokenizer and chat template.

    Attributes:
        template: the chat template; None for a base model, which continues text.
        num_truncated: how many prompts were too long so far and lost their beginning.
    """

    def __init__(self, model: GPT, tokenizer: Tokenizer, template: ChatTemplate | None) -> None:
        self.model, self.tokenizer, self.template = model, tokenizer, template
        self.num_truncated = 0
        self._engine = KeptEngine(tokenizer)

    def score_choices(
        self, questions: Sequence[tuple[Prompt, Sequence[str]]], observe: Observe = lambda _: None
    ) -> list[list[ContinuationScore]]:
        """The log-likelihood of each choice after its prompt.

        Args:
            questions: prompts, each with the texts of its choices.
            observe: sees the number of choices scored so far.
        """
        pairs = [self.encode_pair(prompt, choice) for prompt, choices in questions for choice in choices]
        scored = score_continuations(self.model, pairs, observe=observe)
        bounds = list(accumulate((len(choices) for _, choices in questions), initial=0))
        for start, stop in pairwise(bounds):
            context_length = self.model.config.context_length
            self.num_truncated += any(num_truncated(context_length, pair) for pair in pairs[start:stop])
        return [scored[start:stop] for start, stop in pairwise(bounds)]

    def reply(self, prompts: Sequence[Prompt], max_tokens: int, observe: Observe = lambda _: None) -> list[str]:
        """The greedy reply to each prompt, without the white space around it.

        Args:
            max_tokens: the most tokens of a reply, as in `generate`.
            observe: sees the number of finished replies.
        """
        stops = () if self.template else (SHOT_SEPARATOR,)
        ids = [self._prompt_ids(prompt) for prompt in prompts]
        return [text.strip() for text in self.generate(ids, max_tokens=max_tokens, stops=stops, observe=observe)]

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        *,
        max_tokens: int,
        stops: Sequence[str] = (),
        sampling: SamplingSettings = GREEDY,
        seed: int = 0,
        observe: Observe = lambda _: None,
    ) -> list[str]:
        """The text that the model generates after the ids of each prompt, up to the first stop string.

        Args:
            max_tokens: the most tokens of a text; half of the context if that is less, so that the prompt has room.
            seed: decides what is sampled.
            observe: sees the number of finished texts.
        """
        context_length = self.model.config.context_length
        max_tokens = min(max_tokens, max(1, context_length // 2))
        room = max(1, context_length - max_tokens)
        self.num_truncated += sum(len(prompt) > room for prompt in prompts)
        completions = generate_batch_with(
            self._engine.of(self.model),
            [prompt[-room:] for prompt in prompts],
            max_tokens=max_tokens,
            sampling=sampling,
            seeds=[derived_seed(seed, "text", number) for number in range(len(prompts))],
            stop=stops,
            observe=observe,
        )
        return [completion.text for completion in completions]

    def encode_pair(self, prompt: Prompt, answer: str) -> tuple[list[int], list[int]]:
        """The ids of a prompt and of an answer after it.

        A text is encoded together with its answer, and the white space between them is the answer's, so that tokens are
        those of a running text.
        """
        if self.template is not None:
            return self._prompt_ids(prompt), self.tokenizer.encode_inside(answer)
        text, after = prompt.text.rstrip(), prompt.space + answer
        before, whole = self.tokenizer.encode(text), self.tokenizer.encode(text + after)
        apart = whole[: len(before)] != before
        return self.tokenizer.prompt_ids(text), self.tokenizer.encode(after) if apart else whole[len(before) :]

    def _prompt_ids(self, prompt: Prompt) -> list[int]:
        if self.template is not None:
            return self.template.prompt_ids(self.tokenizer, prompt.messages)
        return self.tokenizer.prompt_ids(prompt.text.rstrip(" "))
