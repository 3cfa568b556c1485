"""The models of a server: each with its engine, and with a bound on its requests."""

from __future__ import annotations

import asyncio
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any, TypeVar

from gptsmith.base.console import note
from gptsmith.base.errors import UserError
from gptsmith.base.futures import without_stop_iteration
from gptsmith.convert.load import Loaded
from gptsmith.generate.draft_model import DraftModel
from gptsmith.generate.engine import Engine
from gptsmith.generate.engine_thread import EngineThread
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.kv_memory import KVCacheMemory, free_bytes
from gptsmith.generate.sampling import SamplingSettings
from gptsmith.model.cost import cost
from gptsmith.serve.errors import RETRY_AFTER_S, ApiError, overloaded
from gptsmith.serve.load import LoadedRun, iso_time
from gptsmith.serve.settings import ServeSettings
from gptsmith.text.chat_template import ChatTemplate
from gptsmith.text.tokenizer import Tokenizer
from gptsmith.train.classifier import Classifier

T = TypeVar("T")
FREE_SHARE = 0.75
"""Of the memory that is free once the models are loaded, for KV caches."""
OWNER = "gptsmith"
NUM_READERS = 2
LONGEST_RETRY_AFTER_S = 60
"""OpenAI's client takes nothing longer."""


class ServedModel:
    """A model with its engine.

    Attributes:
        num_reserved: sequences that are requested and have not ended, those included whose prompt is still tokenized.
        card: the model as the API lists it.
    """

    def __init__(self, run: LoadedRun, engine: Engine, settings: ServeSettings) -> None:
        self.run, self.engine, self.settings = run, engine, settings
        self.num_reserved, self.clock = 0, time.monotonic
        self._ended: deque[float] = deque(maxlen=32)
        self.card = self._card()

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

    def retry_after_s(self) -> int:
        """The time after which half of the places will be free at the pace of the latest requests, in whole seconds. No
        client waits longer than a minute."""
        if len(self._ended) < 2:
            return RETRY_AFTER_S
        interval_s = (self.clock() - self._ended[0]) / len(self._ended)
        return min(max(math.ceil(interval_s * self.num_reserved / 2), RETRY_AFTER_S), LONGEST_RETRY_AFTER_S)

    def _card(self) -> dict[str, Any]:
        run, config, settings = self.run, self.loaded.config, self.settings
        return {
            "id": self.name,
            "object": "model",
            "created": run.made,
            "owned_by": OWNER,
            "gptsmith": {
                "kind": run.kind,
                "labels": None if run.classifier is None else list(run.classifier.text_labels),
                "context_length": self.context_length,
                "num_parameters": cost(config).num_parameters,
                "vocab_size": config.vocab_size,
                "trained_on": run.trained_on,
                "made": iso_time(run.made),
                "prompts": run.prompts,
                "sampling": self.sampling({}).plain(),
                "max_choices": min(settings.max_choices, settings.max_sequences),
                "max_tokens": settings.max_tokens,
                "end_tokens": [
                    self.tokenizer.decode([token], keep_special=True) for token in sorted(self.tokenizer.end_ids)
                ],
            },
        }


class ServedModels:
    """All models of a server by name. One thread owns torch; two read prompts, so that a long one of one person does
    not delay the short ones of others."""

    def __init__(self, runs: Sequence[LoadedRun], settings: ServeSettings, draft: Loaded | None = None) -> None:
        """
        Raises:
            UserError: the draft model's tokenizer is not that of the models, or it or they write no text.
        """
        if draft is not None:
            draft.require_words()
            if all(run.classifier is not None for run in runs):
                raise UserError(
                    f"--draft {draft.run.folder} proposes text, and {', '.join(run.name for run in runs)} writes none, "
                    "but labels texts: leave --draft out"
                )
            for run in runs:
                if run.classifier is None and run.loaded.tokenizer.fingerprint != draft.tokenizer.fingerprint:
                    raise UserError(
                        f"--draft {draft.run.folder} has another tokenizer than {run.name}: they must share one"
                    )
        self._thread = EngineThread()
        self._lock, self._num_reading = threading.Lock(), 0
        self._readers = ThreadPoolExecutor(NUM_READERS, thread_name_prefix="reader")
        for run in runs:
            # The server holds no weights but those that it computes with.
            run.loaded.model = inference_model(run.loaded.model)
        shares = _kv_cache_bytes(runs, settings)
        self.by_name = {
            run.name: ServedModel(
                run,
                Engine(
                    run.loaded.model,
                    run.loaded.tokenizer,
                    settings=settings.engine(shares[run.name]),
                    proposer=None if draft is None or run.classifier is not None else DraftModel(draft.model),
                    thread=self._thread,
                ),
                settings,
            )
            for run in runs
        }

    def get(self, name: str | None) -> ServedModel:
        """The model of a name; without one, the only model.

        Raises:
            ApiError: there is none of that name, or there are several to choose from.
        """
        if name is None:
            if len(self.by_name) > 1:
                raise ApiError(
                    400,
                    f"model: name one of {', '.join(self.by_name)}",
                    param="model",
                    code="missing_required_parameter",
                )
            return next(iter(self.by_name.values()))
        if name not in self.by_name:
            raise ApiError(
                404,
                f"there is no model of that name here; there are {', '.join(self.by_name)}",
                param="model",
                code="model_not_found",
            )
        return self.by_name[name]

    def writer(self, name: str | None) -> ServedModel:
        """The model of a name, which writes text.

        Raises:
            ApiError: there is none, or it is a classifier.
        """
        served = self.get(name)
        if served.run.classifier is not None:
            raise ApiError(
                400,
                f"{served.name} is a classifier, which labels texts and writes none: use /v1/classify",
                param="model",
                code="not_a_generative_model",
            )
        return served

    def classifier(self, name: str | None) -> tuple[ServedModel, Classifier]:
        """The model of a name, which labels texts.

        Raises:
            ApiError: there is none, or it is no classifier.
        """
        served = self.get(name)
        if served.run.classifier is None:
            endpoint = "/v1/chat/completions" if served.run.kind == "chat" else "/v1/completions"
            raise ApiError(
                400,
                f"{served.name} writes text and was not tuned on labels: use {endpoint}",
                param="model",
                code="not_a_classifier",
            )
        return served, served.run.classifier

    async def run_on_reader(self, work: Callable[[], T]) -> T:
        """The result of a function that reads what was sent, on a thread for that."""
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._counted(work))

    def _counted(self, work: Callable[[], T]) -> Callable[[], T]:
        def counted() -> T:
            with self._lock:
                self._num_reading += 1
            try:
                return without_stop_iteration(work)()
            finally:
                with self._lock:
                    self._num_reading -= 1

        return counted

    def close(self) -> None:
        """Ends every text and all threads; see `has_ended` for those that do not let themselves be ended."""
        for served in self.by_name.values():
            served.engine.close()
        self._thread.close()
        self._readers.shutdown(wait=False, cancel_futures=True)

    def has_ended(self, timeout_s: float) -> bool:
        """Whether no thread reads any more, after at most this long: a template may run on and on."""
        deadline = time.monotonic() + timeout_s
        while self._num_reading and time.monotonic() < deadline:
            time.sleep(0.01)
        return not self._num_reading


def _kv_cache_bytes(runs: Sequence[LoadedRun], settings: ServeSettings) -> dict[str, int | None]:
    """The memory for the KV cache of each model that writes text: equal shares of what is given, else of what is free
    on its device. A share that holds no whole context is told of.

    Raises:
        UserError: hardly a sequence would fit into a share.
    """
    given = settings.kv_cache_memory
    writers = [run for run in runs if run.classifier is None]
    shares: dict[str, int | None] = {run.name: None for run in runs}
    for run in writers:
        free = free_bytes(run.loaded.model.device) if given is None else None
        total = given if free is None else int(FREE_SHARE * free)
        shares[run.name] = None if total is None else total // len(writers)
        memory = KVCacheMemory.of(run.loaded.model, settings.engine(shares[run.name]))
        if memory.is_shorter:
            note(f"{run.name}: {memory.limit}: that is its context here (--kv-cache-memory)")
    return shares
