"""The memory that a model will take to be talked to and to be tuned, before a weight of it is read; and the nearest way
that fits where there is not so much."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch

from gptsmith.base.errors import UserError
from gptsmith.base.files import readable_bytes
from gptsmith.base.hints import shell_command
from gptsmith.base.notices import Notice
from gptsmith.convert.serving_memory import ServingMemory, kept_in_memory, nearest
from gptsmith.model.config import GPTConfig
from gptsmith.model.device import choose_dtype
from gptsmith.model.linear import LinearSettings
from gptsmith.model.linear.dense import DenseLinearSettings
from gptsmith.model.linear.int8 import Int8LinearSettings
from gptsmith.model.linear.lora import LoraLinearSettings
from gptsmith.model.memory import PROCESS_BYTES, KeptBytes, kept_by_shape
from gptsmith.train.optimizers.adamw import AdamWSettings
from gptsmith.train.planning.memory import MEMORY_SHARE, TuningMemory, samples_per_pass

RANK = 8
FEW_TOKENS = 1000
SAMPLE_TOKENS = 512
"""Of a conversation that is not short."""


@dataclass(frozen=True)
class ModelMemory:
    """The memory that a model takes on a processor.

    Attributes:
        place: its name, for the commands that are shown.
        config: its shape.
        stored: the number of its parameters by the dtype that its files hold them in.
        free: the bytes of memory that are free here; None if they are not known.
    """

    place: str
    config: GPTConfig
    stored: Mapping[str, int]
    free: int | None

    @cached_property
    def _usual(self) -> tuple[GPTConfig, torch.dtype]:
        return self._kept("auto")

    def _kept(self, dtype: str) -> tuple[GPTConfig, torch.dtype]:
        return kept_in_memory(self.config, self.stored, dtype, torch.device("cpu"), self.free)

    @property
    def usual_shape(self) -> GPTConfig:
        """The shape that it has in memory with `--dtype auto`."""
        return self._usual[0]

    @property
    def usual_dtype(self) -> torch.dtype:
        """The dtype of its matrices with `--dtype auto`."""
        return self._usual[1]

    @property
    def dense_shape(self) -> GPTConfig:
        """Its shape without blocks of other programs', which are not trained themselves."""
        is_storage = self.config.linear.is_storage
        return self.config.model_copy(update={"linear": DenseLinearSettings()}) if is_storage else self.config

    @cached_property
    def serving(self) -> dict[str, ServingMemory]:
        """Talking to it, by `--dtype`; `int8` is its quantized copy."""
        ways = {name: ServingMemory.of(*self._kept(name)) for name in ("auto", "float32", "bfloat16")}
        if self.dense_shape.linear.kind == "dense":
            quantized = self.config.model_copy(update={"linear": Int8LinearSettings()})
            ways["int8"] = ServingMemory.of(quantized, self.usual_dtype)
        return ways

    @cached_property
    def _ways(self) -> dict[str, tuple[GPTConfig, bool]]:
        """The shapes that are trained, and whether with gradient checkpointing; an adapted model is tuned as it is."""
        is_adapted = self.config.linear.has_adapters
        lora = self.config if is_adapted else adapted(self.usual_shape, self.usual_shape.linear)
        whole = {} if is_adapted else {"all_weights": (self.dense_shape, False)}
        return {**whole, "lora": (lora, False), "lora_with_checkpointing": (lora, True)}

    @cached_property
    def tuning(self) -> dict[str, TuningMemory]:
        """Tuning it, by what is trained, on samples of `sample_tokens`."""
        return {name: self._tuning(shape, checkpointing) for name, (shape, checkpointing) in self._ways.items()}

    @property
    def tuning_bytes(self) -> dict[str, int]:
        """The peak of each way of tuning it."""
        sizes = {name: samples_per_pass(shape, self.sample_tokens) for name, (shape, _) in self._ways.items()}
        return {name: way.peak_bytes(sizes[name]) for name, way in self.tuning.items()}

    def _tuning(self, config: GPTConfig, checkpointing: bool) -> TuningMemory:
        dtype = choose_dtype("auto", torch.device("cpu"))
        size = samples_per_pass(config, self.sample_tokens)
        kept = kept_by_shape(config, size, self.sample_tokens, dtype, checkpointing=checkpointing)
        return _tuning_memory(config, self.sample_tokens, kept, self.usual_dtype)

    @property
    def sample_tokens(self) -> int:
        """The tokens of the samples that the memory of tuning is said for."""
        return min(self.config.context_length, SAMPLE_TOKENS)

    def figures(self) -> dict[str, Any]:
        """All of it, for `--json`."""
        usual, context = self.serving["auto"], self.config.context_length
        few = min(FEW_TOKENS, context)
        return {
            "free_bytes": self.free,
            "usual_dtype": str(self.usual_dtype).removeprefix("torch."),
            "weight_bytes": {name: way.weight_bytes for name, way in self.serving.items()},
            "kv_cache_bytes_per_1000_tokens": 1000 * usual.cache_bytes_per_token,
            "kv_cache_bytes_at_context": context * usual.cache_bytes_per_token,
            "chat_bytes": {name: way.peak_bytes(few) for name, way in self.serving.items()},
            "tuning_sample_tokens": self.sample_tokens,
            "tuning_bytes": self.tuning_bytes,
            "remarks": list(self.remarks()),
        }

    def remarks(self) -> Iterator[str]:
        """The same in sentences for a person, with the nearest that fits here."""
        usual, context = self.serving["auto"], self.config.context_length
        dtype = str(self.usual_dtype).removeprefix("torch.")
        chat_bytes = usual.peak_bytes(min(FEW_TOKENS, context))
        yield (
            f"talking to it takes about {readable_bytes(chat_bytes)} in {dtype}: "
            f"{readable_bytes(usual.weight_bytes)} of weights, and a KV cache of "
            f"{readable_bytes(1000 * usual.cache_bytes_per_token)} per 1,000 tokens, "
            f"{readable_bytes(context * usual.cache_bytes_per_token)} for a whole context of {context:,}"
        )
        words = {"all_weights": "all weights", "lora": f"--lora {RANK}",
                 "lora_with_checkpointing": f"--lora {RANK} with gradient checkpointing"}  # fmt: skip
        needed = {words[name]: num_bytes for name, num_bytes in self.tuning_bytes.items()}
        yield (
            f"tuning it takes about {', '.join(f'{readable_bytes(size)} for {way}' for way, size in needed.items())}, "
            f"on samples of {self.sample_tokens:,} tokens"
        )
        if self.free is None:
            return
        have = readable_bytes(self.free)
        if usual.added_bytes(min(FEW_TOKENS, context)) > self.free:
            yield f"{have} are free here, too little to talk to it: " + nearest(
                self.place, self.usual_shape, self.usual_dtype, self.free
            )
        elif fitting := [way for way, size in needed.items() if size - PROCESS_BYTES <= MEMORY_SHARE * self.free]:
            rest = "" if len(fitting) == len(needed) else f", and to tune it with {fitting[0]}"
            yield f"{have} are free here, enough to talk to it{rest or ' and to tune all of it'}"
        else:
            longest = self.tuning["lora_with_checkpointing"].longest_fitting(PROCESS_BYTES + MEMORY_SHARE * self.free)
            shorter = f"with --lora {RANK} and samples of {longest:,} tokens" if longest else "a smaller model"
            yield f"{have} are free here, enough to talk to it, and too little to tune it so: the nearest is {shorter}"


def adapted(config: GPTConfig, base: LinearSettings) -> GPTConfig:
    """A shape with adapters over layers of a kind."""
    return config.model_copy(update={"linear": LoraLinearSettings(rank=RANK, base=base)})


def require_tuning_memory(config: GPTConfig, memory: ModelMemory) -> None:
    """Checks that there is memory for what is trained of a model, before it is loaded. What its activations take is
    measured afterwards.

    Args:
        config: the shape that is trained, with its adapters.
        memory: that of the base, without them.

    Raises:
        UserError: there is not; the message says how much is needed, how much is free, and the nearest that fits.
    """
    if memory.free is None:
        return
    place, limit = memory.place, MEMORY_SHARE * memory.free

    def least(shape: GPTConfig) -> int:
        """What it takes without any activation, on top of the process that loads it."""
        return _tuning_memory(shape, 1, KeptBytes(0, 0), memory.usual_dtype).fixed_bytes - PROCESS_BYTES

    if (needed := least(config)) <= limit:
        return
    base = memory.usual_shape
    ways, code = f"end other programs, or tune a smaller model than {place}", "memory"
    if not config.linear.has_adapters and (with_lora := least(adapted(base, base.linear))) <= limit:
        ways, code = f"give --lora {RANK}, with which it takes {readable_bytes(with_lora)}", "memory_lora"
    elif base.linear.kind == "dense" and (over_int8 := least(adapted(base, Int8LinearSettings()))) <= limit:
        command = shell_command("compress", place, "--to", "int8")
        ways = f"quantize it first ({command}), and tune that with --lora {RANK}: it takes {readable_bytes(over_int8)}"
    raise UserError(
        Notice(
            f"tuning {place} so takes {readable_bytes(needed)} of memory at the least, and {readable_bytes(limit)} can "
            f"be had here: {ways}",
            code,
            needed_bytes=needed,
            limit_bytes=limit,
        )
    )


def _tuning_memory(config: GPTConfig, tokens: int, kept: KeptBytes, frozen_dtype: torch.dtype) -> TuningMemory:
    return TuningMemory.of_shape(
        config, tokens, kept,
        state_bytes_per_parameter=AdamWSettings.state_bytes_per_parameter,
        dtype=choose_dtype("auto", torch.device("cpu")), frozen_dtype=frozen_dtype,
    )  # fmt: skip
