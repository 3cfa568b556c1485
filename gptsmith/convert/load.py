"""A trained model to work with in Python."""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.errors import UserError
from gptsmith.base.hints import shell_command
from gptsmith.convert.open import OpenedModel, open_model
from gptsmith.convert.serving_memory import kept_in_memory, require_memory
from gptsmith.generate.api import Generation, generate_batch_with, generate_with
from gptsmith.generate.kept_engine import KeptEngine
from gptsmith.generate.kv_memory import free_bytes
from gptsmith.generate.recital_guard import RecitalGuard
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.device import choose_device, choose_model_dtype
from gptsmith.model.gpt import GPT
from gptsmith.model.memory import is_converted
from gptsmith.model.taps import TapFunction, expanded_names, record, tapped
from gptsmith.model.transform import dequantize
from gptsmith.text.chat_template import ChatTemplate, Message, checked_messages
from gptsmith.text.tokenizer import Tokenizer


def require_words(config: GPTConfig, folder: Path) -> None:
    """
    Raises:
        UserError: a model of this shape predicts labels or rewards, and generates no text.
    """
    if config.num_labels:
        raise UserError(
            f"{folder} predicts labels or rewards and generates no text: use it with "
            f"{shell_command('predict', folder, 'FILE')}"
        )


class Loaded:
    """A trained model and its tokenizer.

    Attributes:
        run: the run, or a model folder of another program's, which says the same of itself.
        model: the GPT, ready to generate. Texts are those of its weights at the time, whose changes are noticed unless
            they are made by way of `.data`.
        tokenizer: text to ids and back.
        config: the model's shape.
        template: the chat template; None if the model was not made for conversations.
        recital_guard: bars recitals of training texts in all that it writes; None if they may be.
    """

    def __init__(self, run: OpenedModel, model: GPT) -> None:
        self.run, self.model = run, model
        self.tokenizer: Tokenizer = run.tokenizer()
        self.template: ChatTemplate | None = run.template()
        self.recital_guard: RecitalGuard | None = None
        self._engine = KeptEngine(self.tokenizer)

    def __repr__(self) -> str:
        config = self.config
        kind = f"{config.num_labels} labels" if config.num_labels else "chat model" if self.template else "base model"
        num_parameters = self.model.num_parameters
        return (
            f"Loaded({self.run.folder}: {kind}, {num_parameters / 1e6:.2f}M parameters, "
            f"context {config.context_length}, {str(self.model.compute_dtype).removeprefix('torch.')} on "
            f"{self.model.device})"
        )

    @property
    def config(self) -> GPTConfig:
        return self.model.config

    def require_words(self) -> None:
        """
        Raises:
            UserError: the model predicts labels or rewards, and generates no text.
        """
        require_words(self.config, self.run.folder)

    def sampling(self, given: Mapping[str, Any]) -> SamplingSettings:
        """The sampling settings: those given, else the model's own defaults; None means not given.

        Raises:
            UserError: a setting is not allowed.
        """
        chosen = {key: value for key, value in given.items() if value is not None}
        return SamplingSettings.parse({**self.run.generation(), **chosen}, "sampling")

    def generate(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        slide: bool = False,
        **sampling: Any,
    ) -> str:
        """The text that the model writes after `prompt`. `sampling` is temperature, top_k, top_p, min_p and
        repetition_penalty.

        Raises:
            UserError: the prompt is longer than the context, or a setting is not allowed.
        """
        return "".join(self.stream(prompt, max_tokens=max_tokens, seed=seed, stop=stop, slide=slide, **sampling))

    def stream(
        self,
        prompt: str = "",
        *,
        max_tokens: int = 200,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        slide: bool = False,
        **sampling: Any,
    ) -> Generation:
        """The text of `generate` as it grows: `for piece in loaded.stream("Once")`. Afterwards it has a finish_reason
        and figures.

        Raises:
            UserError: the prompt is longer than the context, or a setting is not allowed.
        """
        self.require_words()
        return generate_with(
            self._engine.of(self.model),
            self.tokenizer,
            prompt,
            max_tokens=max_tokens,
            sampling=self.sampling(sampling),
            seed=seed,
            stop=[stop] if isinstance(stop, str) else stop,
            slide=slide,
        )

    def batch(
        self,
        prompts: Sequence[str],
        *,
        max_tokens: int = 200,
        seed: int = 0,
        stop: str | Sequence[str] = (),
        **sampling: Any,
    ) -> list[str]:
        """The texts after many prompts, generated together: each as `generate` would write it alone.

        Raises:
            UserError: a prompt is longer than the context, or a setting is not allowed.
        """
        self.require_words()
        completions = generate_batch_with(
            self._engine.of(self.model),
            [self.tokenizer.prompt_ids(prompt) for prompt in prompts],
            max_tokens=max_tokens,
            sampling=self.sampling(sampling),
            seeds=[seed] * len(prompts),
            stop=[stop] if isinstance(stop, str) else stop,
        )
        return [completion.text for completion in completions]

    @torch.inference_mode()
    def log_probabilities(self, text: str) -> list[tuple[str, float]]:
        """Each token of a document, as text, and ln of its probability after those before it.

        Raises:
            UserError: the text is longer than the context.
        """
        self.require_words()
        begin, tokens = self.tokenizer.prompt_ids(""), self.tokenizer.encode(text)
        ids, limit = [*begin, *tokens], self.config.context_length
        if len(ids) - 1 > limit:
            raise UserError(f"{len(ids) - 1:,} tokens do not fit in the model's context of {limit:,}: give less text")
        logits = self.model(torch.tensor([ids[:-1]], device=self.model.device), attention_mask=None)  # (1, T, V)
        logs = logits[0, len(begin) - 1 :].float().log_softmax(-1)  # (T, V)
        found = logs.gather(-1, torch.tensor(tokens, device=logs.device, dtype=torch.long)[:, None])[:, 0].tolist()
        spelled = [self.tokenizer.decode([token], keep_special=True, begins=False) for token in tokens]
        return list(zip(spelled, found, strict=True))

    def reply(self, messages: Sequence[Message], *, max_tokens: int = 200, seed: int = 0, **sampling: Any) -> str:
        """What the model answers to a conversation: `[{"role": "user", "content": "Hello"}]`.

        Raises:
            UserError: the model was not made for conversations, or this one does not fit in its context.
        """
        if self.template is None:
            raise UserError(
                f"{self.run.folder} is a base model, which only continues text: tune it on conversations with "
                f"{shell_command('finetune', self.run.folder, 'CONVERSATIONS.jsonl')}"
            )
        prompt_ids = self.template.prompt_ids(self.tokenizer, checked_messages(messages))
        settings = self.sampling(sampling)
        generation = generate_with(
            self._engine.of(self.model), self.tokenizer, prompt_ids,
            max_tokens=max_tokens, sampling=settings, seed=seed,
        )  # fmt: skip
        return "".join(generation)

    def record(self, prompt: str | Sequence[int], *, names: Sequence[str]) -> dict[str, Tensor]:
        """The tensors inside the model as it reads a prompt (a text, or token ids), by the names of
        `gptsmith.model.taps`: `embedding`, `blocks.3.attention.pattern`, `blocks.*.output`, or of a single head,
        `blocks.3.attention.heads.2`. Nothing else is kept.

        Raises:
            UserError: there is no such name, or the prompt is empty or longer than the context.
        """
        ids = self.tokenizer.prompt_ids(prompt) if isinstance(prompt, str) else list(prompt)
        if not ids:
            raise UserError("an empty prompt has no tokens to read: give a text")
        return record(self.model, torch.tensor([ids], device=self.model.device), names)

    def guarded(self, recital_guard: RecitalGuard) -> Loaded:
        """This model with a recital guard on all that it writes."""
        return self._with(self.model, recital_guard)

    def _with(self, model: GPT, recital_guard: RecitalGuard | None) -> Loaded:
        other = copy.copy(self)
        other.model, other.recital_guard = model, recital_guard
        other._engine = KeptEngine(self.tokenizer, recital_guard)
        return other

    @contextmanager
    def patch(self, values: Mapping[str, Tensor | TapFunction]) -> Iterator[Loaded]:
        """This model with other tensors at some taps, for all that it does in the block: it writes by the ordinary
        engine. The model itself stays as it is.

        Args:
            values: by name, a tensor that broadcasts to the one it replaces (such as (C) for the residual stream), or a
                function of that one, which returns None to leave it. Writing a text calls it for some tokens at a time.

        Raises:
            UserError: there is no such name, or a tensor does not fit in its place.
        """
        functions = {name: _constant(value) if isinstance(value, Tensor) else value for name, value in values.items()}
        with tapped(self.model, functions) as model:
            yield self._with(model, self.recital_guard)

    @contextmanager
    def ablate(self, *names: str, mean_of: str | None = None) -> Iterator[Loaded]:
        """This model without some parts: `blocks.3.attention.heads.2` for a head, `blocks.3.feedforward.output` for a
        whole half, `blocks.*.feedforward.output` for all of them. See `patch`.

        Args:
            mean_of: a text whose tokens' mean a part is set to; zero if None.

        Raises:
            UserError: there is no such name, or the text is empty or longer than the context.
        """
        names = tuple(expanded_names(self.model, names))
        values: dict[str, Tensor | TapFunction] = dict.fromkeys(names, torch.zeros_like)
        if mean_of is not None:
            if patterns := [name for name in names if ".pattern" in name]:
                raise UserError(f"{patterns[0]} has no mean over tokens: name heads, or ablate it to zero")
            found = self.record(mean_of, names=names)
            values = {name: tensor[0].mean(dim=-2, keepdim=True) for name, tensor in found.items()}
        with self.patch(values) as ablated:
            yield ablated


def _constant(value: Tensor) -> TapFunction:
    return lambda tensor: value


def load(
    run: str | Path | OpenedModel, *, device: str = "auto", dtype: str = "auto", keeps_blocks: bool = False
) -> Loaded:
    """The best checkpoint of a run, or the model in a Hugging Face folder, as `gptsmith.load` explains it.

    Raises:
        UserError: the folder is neither, or holds no weights that can be read, or there is not enough memory for them.
    """
    opened = run if isinstance(run, OpenedModel) else open_model(run)
    place = choose_device(device)
    products, free = choose_model_dtype(dtype, place), free_bytes(place)
    shape, weights = kept_in_memory(opened.config, opened.stored_parameters, dtype, place, free)
    if keeps_blocks:
        shape = opened.config
    require_memory(str(opened.folder), shape, weights, free)
    model = opened.model(place)
    if model.config.linear.is_storage and not shape.linear.is_storage:
        model = dequantize(model)
    model.compute_dtype = products
    if dtype == "bfloat16" or weights == torch.float32:
        _convert(model, weights)
    return Loaded(opened, model)


def _convert(model: GPT, dtype: torch.dtype) -> None:
    """Changes the dtype of a model's weights, one by one, in place."""
    for parameter in model.parameters():
        if is_converted(parameter, dtype):
            parameter.data = parameter.data.to(dtype)
