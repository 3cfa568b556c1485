"""What a compression may read besides the model: the original, text to calibrate with, and other text to judge by."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.compress.difference import kl_divergence
from gptsmith.convert.open import OpenedModel
from gptsmith.data.prepare import PreparedData, prepare
from gptsmith.data.prepared_folder import prepared_folder
from gptsmith.data.settings import DataSettings
from gptsmith.data.shards import TokenStream
from gptsmith.data.windows import IGNORED, evaluation_windows
from gptsmith.generate.own_text import own_texts
from gptsmith.generate.settings import EngineName
from gptsmith.model.gpt import GPT
from gptsmith.model.transform import dequantize
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.forgetting import TEXT, general_text
from gptsmith.train.validation_text import pretraining_data, require_public, validation_of

OWN_TEXT, GIVEN_TEXT = "validation text", "text that was given"
COMPARED_TOKENS, COMPARED_CONTEXT = 8192, 1024
"""The number of positions whose logits are compared, and the tokens per window."""
CALIBRATION_TOKENS, TRIAL_TOKENS, CALIBRATION_CONTEXT = 8192, 1024, 256
"""The positions that calibrate and those that trials are compared on, and the tokens per window: as many in longer
ones, from fewer places, calibrate worse (LOG.md)."""
TRIAL_EVERY = 1 + CALIBRATION_TOKENS // TRIAL_TOKENS
"""Every so many rows of training text, one is for trials."""
LOGITS_AT_ONCE, TOKENS_AT_ONCE = 1 << 24, 1024
"""With logits and without."""


@dataclass(frozen=True)
class Trial:
    """A setting that was tried on the way.

    Attributes:
        name: such as `q4_0`.
        weight_bytes: the bytes of all its weights.
        kl_divergence: in nats per token, on some training text.
        is_chosen: whether the new run is what it made.
    """

    name: str
    weight_bytes: int
    kl_divergence: float
    is_chosen: bool


class Material:
    """The texts of a run, and its model before anything was changed.

    Args:
        text: files, folders and globs to take instead of the text that the run was trained on; a part is held back to
            judge by.

    Raises:
        UserError: that text cannot be read, or has no part to judge by.

    Attributes:
        run: the run that is compressed.
        original: its model, dense, in float32, in evaluation mode. No method changes it.
        unrounded: the last dense model, of which weights were then rounded.
        findings: what the methods found out, which become figures of the new run.
        trials: what was tried on the way.
    """

    def __init__(self, run: OpenedModel, original: GPT, text: Sequence[str] = ()) -> None:
        self.run, self.original = run, original
        self._given = self._prepared(text) if text else None
        self.unrounded = original
        self.findings: dict[str, Any] = {}
        self.trials: list[Trial] = []

    @cached_property
    def tokenizer(self) -> Tokenizer:
        """The run's tokenizer."""
        return self.run.tokenizer()

    def _prepared(self, text: Sequence[str]) -> PreparedData:
        folder = prepared_folder(text)
        settings = DataSettings() if folder is None else DataSettings.parse(folder.settings["data"])
        data = prepare(text, settings=settings, tokenizer=self.tokenizer, seed=0)
        if data.validation is None:
            raise UserError(f"{', '.join(text)} holds back no text to judge by: prepare it with a validation split")
        return data

    @cached_property
    def _pretraining(self) -> tuple[OpenedModel, PreparedData]:
        return pretraining_data(self.run)

    @property
    def training(self) -> PreparedData:
        """The text to learn from: what was given, or else what the run, or its base, was trained on.

        Raises:
            UserError: it is not known, or gone, or has changed since, or was trained on privately.
        """
        if self._given is not None:
            return self._given
        trained, data = self._pretraining
        require_public(trained)
        return data

    @cached_property
    def _validation_and_source(self) -> tuple[TokenStream, str]:
        if self._given is not None and self._given.validation is not None:
            return self._given.validation, GIVEN_TEXT
        try:
            stream, is_own = validation_of(self.run, *self._pretraining)
        except UserError as error:
            note(f"compared on general text, because there is no validation text: {error}", "dim")
            return general_text(self.tokenizer), TEXT
        return stream, OWN_TEXT if is_own else "base's validation text"

    @property
    def validation(self) -> TokenStream:
        """The text that the new run is judged by: a part of what was given, the run's validation text, its base's, or
        general text."""
        return self._validation_and_source[0]

    @property
    def validation_source(self) -> str:
        """What that text is: `text that was given`, `validation text`, `base's validation text` or `general text`."""
        return self._validation_and_source[1]

    @cached_property
    def _rows(self) -> Tensor:
        """Input ids (N, T) from all over the training text; of text that the original writes itself, where its training
        text cannot be read."""
        num_tokens = CALIBRATION_TOKENS + TRIAL_TOKENS
        try:
            stream = self.training.train
        except UserError as error:
            note(f"calibrated on text that the model writes itself, because there is no training text: {error}", "dim")
            is_storage = self.run.config.linear.is_storage  # which compiled code multiplies faster
            writer = self.run.model(self.original.device).float() if is_storage else self.original
            return own_rows(writer, self.tokenizer, num_tokens)
        return torch.cat([input_ids for input_ids, _ in self._windows(stream, num_tokens, CALIBRATION_CONTEXT)])

    def calibration_windows(self) -> list[Tensor]:
        """Input ids (B, T) to calibrate with."""
        rows = self._rows
        if len(rows) > 1:  # a text of one row serves both ends
            rows = rows[torch.arange(len(rows), device=rows.device) % TRIAL_EVERY > 0]
        return list(torch.split(rows, max(1, TOKENS_AT_ONCE // rows.shape[1])))

    @property
    def _trial_rows(self) -> Tensor:
        return self._rows[::TRIAL_EVERY]

    @cached_property
    @torch.inference_mode()
    def _trial_states(self) -> Tensor:
        """The last hidden states (B, T, C) of the original, which all trials are compared with."""
        return self.original.hidden(self._trial_rows)

    @torch.inference_mode()
    def try_out(self, name: str, model: GPT, *, is_chosen: bool = False) -> Trial:
        """What a smaller model costs, on training text that it was not calibrated on; kept among the trials.

        Raises:
            UserError: predictions are not finite.
        """
        computing = dequantize(model) if model.config.linear.is_storage else model
        cost = kl_divergence(self.original, self._trial_states, computing, computing.hidden(self._trial_rows))
        if not math.isfinite(cost):
            raise UserError("predictions of the model are not finite on the calibration text: it cannot be compressed")
        num_bytes = sum(parameter.nbytes for parameter in model.parameters())
        self.trials.append(Trial(name, num_bytes, cost, is_chosen))
        return self.trials[-1]

    def validation_windows(self, num_tokens: int = COMPARED_TOKENS) -> Iterator[tuple[Tensor, Tensor]]:
        """Input ids (B, T) and which positions count (B, T), from all over the validation text."""
        return self._windows(self.validation, num_tokens, COMPARED_CONTEXT)

    def _windows(self, stream: TokenStream, num_tokens: int, context: int) -> Iterator[tuple[Tensor, Tensor]]:
        config, device = self.original.config, self.original.device
        context = min(config.context_length, context)
        rows_at_once = max(1, LOGITS_AT_ONCE // (context * config.vocab_size))
        for input_ids, targets in evaluation_windows(stream, context, rows_at_once, num_tokens):
            yield torch.from_numpy(input_ids).to(device), torch.from_numpy(targets != IGNORED).to(device)


SPARE, MOST_TEXTS_EACH = 1.125, 8
"""So many times the texts that are missing are written at once, and in all: documents may end early, and a few texts
take as many steps as many."""


def own_rows(model: GPT, tokenizer: Tokenizer, num_tokens: int) -> Tensor:
    """Input ids (B, T), about so many in all, of documents that a model writes itself. They calibrate nearly as well as
    text that it was trained on (Williams et al. 2025, "Self-calibration"). Few more are written than are used. Weights
    in blocks are multiplied by compiled code, where it can be had."""
    context = min(model.config.context_length, CALIBRATION_CONTEXT)
    engine: EngineName = "auto" if model.config.linear.is_storage else "torch"
    ids: list[int] = []
    num_texts, most = 0, MOST_TEXTS_EACH * -(-num_tokens // context)
    while len(ids) < num_tokens and num_texts < most:
        mean_length = len(ids) / num_texts if num_texts else context
        wanted = min(math.ceil(SPARE * (num_tokens - len(ids)) / mean_length), most - num_texts)
        written = own_texts(model, tokenizer, num_texts=wanted, max_tokens=context, first_seed=num_texts, engine=engine)
        ids += chain(*written)
        num_texts += wanted
    rows = max(1, min(len(ids), num_tokens) // context)
    return torch.tensor(ids[: rows * context], device=model.device).view(rows, -1)
