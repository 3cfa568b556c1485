"""A model with its engine, and with a bound on its requests."""

from __future__ import annotations

import math
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import cached_property
from typing import Any

from gptsmith.convert.load import Loaded
from gptsmith.explain.check import Check
from gptsmith.explain.trace.tracer import Tracer
from gptsmith.generate.engine import Engine
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.retrieval.documents import Documents
from gptsmith.serve.errors import RETRY_AFTER_S, ApiError, overloaded
from gptsmith.serve.load import LoadedRun
from gptsmith.serve.settings import ServeSettings
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer

LONGEST_RETRY_AFTER_S = 60
"""OpenAI's client takes nothing longer."""


class ServedModel:
    """A model with its engine.

    Attributes:
        kv_cache_bytes: the bound on its KV cache and that of its draft model; 0 without a bound.
        documents: in which questions to it are looked up; None if there are none.
        num_reserved: sequences that are requested and have not ended, those included whose prompt is still tokenized.
        checks: the identities that explanations rest on, once they were tried on this model.
        own_text: tokens that explanations put in place of others, once some were written.
        on_idle: called when the last of them has ended.
    """

    def __init__(
        self,
        run: LoadedRun,
        engine: Engine,
        settings: ServeSettings,
        kv_cache_bytes: int,
        documents: Documents | None = None,
    ) -> None:
        self.run, self.engine, self.settings, self.kv_cache_bytes = run, engine, settings, kv_cache_bytes
        self.documents = documents
        self.num_reserved, self.clock = 0, time.monotonic
        self.checks: list[Check] | None = None
        self.own_text: tuple[int, ...] | None = None
        self.on_idle: Callable[[], None] = lambda: None
        self._ended: deque[float] = deque(maxlen=32)

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def loaded(self) -> Loaded:
        return self.run.loaded

    @property
    def tokenizer(self) -> Tokenizer:
        return self.loaded.tokenizer

    @property
    def vocab_size(self) -> int:
        return self.loaded.config.vocab_size

    @property
    def context_length(self) -> int:
        return self.engine.context_length

    @cached_property
    def tracer(self) -> Tracer:
        """Finds texts in what the model learnt from, which is indexed the first time.

        Raises:
            UserError: that is not here.
        """
        return Tracer.of(self.loaded.run)

    def template(self) -> ChatTemplate:
        """How conversations are laid out.

        Raises:
            ApiError: the model was not made for conversations.
        """
        if self.loaded.template is None:
            raise ApiError(
                400,
                f"{self.name} is a base model, which continues text and was not tuned on conversations: "
                "use /v1/completions",
                param="model",
                code="not_a_chat_model",
            )
        return self.loaded.template

    def sampling(self, given: Mapping[str, Any]) -> SamplingSettings:
        """How tokens are sampled: as requested, else as this model usually is."""
        return self.loaded.sampling(given)

    @contextmanager
    def reserved(self, count: int) -> Iterator[None]:
        """Keeps places for so many texts while the block runs, before any work is spent on them.

        Raises:
            ApiError: there are not so many.
        """
        room = self.settings.max_sequences
        if count > room:
            raise ApiError(
                400, f"{count} sequences at once exceed the limit of {room} running and waiting ones", param="n"
            )
        if self.num_reserved + count > room:
            raise overloaded(
                f"{self.num_reserved} of at most {room} sequences are running or waiting: try again",
                self.retry_after_s(),
            )
        self.num_reserved += count
        try:
            yield
        finally:
            self.num_reserved -= count
            self._ended.extend([self.clock()] * count)
            if not self.num_reserved:
                self.on_idle()

    def retry_after_s(self) -> int:
        """The time after which half of the places will be free at the pace of the latest requests, in whole seconds. No
        client waits longer than a minute."""
        if len(self._ended) < 2:
            return RETRY_AFTER_S
        interval_s = (self.clock() - self._ended[0]) / len(self._ended)
        return min(max(math.ceil(interval_s * self.num_reserved / 2), RETRY_AFTER_S), LONGEST_RETRY_AFTER_S)
