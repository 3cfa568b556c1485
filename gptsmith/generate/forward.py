"""The forward passes of an engine: by the model's own modules, or by compiled code."""

from __future__ import annotations

import importlib
import importlib.util
from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol, cast

import torch
from torch import Tensor

from gptsmith.base.console import note_once
from gptsmith.base.errors import MissingExtraError, UserError, one_line
from gptsmith.generate.inference_model import inference_model
from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import cache_dtype
from gptsmith.generate.native.errors import CompilationError, UnsupportedModelError
from gptsmith.generate.settings import EngineName, EngineSettings
from gptsmith.model.gpt import GPT

if TYPE_CHECKING:
    from gptsmith.generate.native.decoder import NativeDecoder

DECODER = "gptsmith.generate.native.checking"
SMALL_BYTES = 16_000_000
"""The weights of a model that is done before compiled code is loaded."""


class Forward(Protocol):
    """A way to compute a model."""

    def hidden(self, ids: Sequence[int], segments: Sequence[Segment], cache: PagedKVCache) -> Tensor:
        """The states (N, C), from which `logits` makes logits, of the tokens of a pass. Their keys and values go to the
        cache, which has room for them."""

    def logits(self, hidden: Tensor) -> Tensor:
        """The logits (N, V) of states."""


class ModuleForward:
    """A model computed by its own modules."""

    def __init__(self, model: GPT) -> None:
        self.model = model

    def hidden(self, ids: Sequence[int], segments: Sequence[Segment], cache: PagedKVCache) -> Tensor:
        cache.plan(segments)
        return self.model.hidden(torch.tensor([ids], device=self.model.device), cache=cache)[0]

    def logits(self, hidden: Tensor) -> Tensor:
        return self.model.logits(hidden)


class Forwards:
    """The ways to compute a model that an engine has.

    Attributes:
        model: the model as its modules run it: a copy that shares the weights.
        problem: why compiled code does not run, for people; None where it does.
    """

    def __init__(self, model: GPT, settings: EngineSettings, *, int8_matmul: bool) -> None:
        """
        Raises:
            UserError: compiled code is asked for by name, and cannot run.
        """
        self.model = inference_model(model, int8_matmul=False)
        self._native, self.problem = _native(self.model, settings, quantizes_head=int8_matmul)
        if self._native is None and settings.engine == "native":
            raise UserError(f"compiled code (--engine native) cannot run this model: {self.problem}")
        if self._native is None:
            self.model = inference_model(model, int8_matmul=int8_matmul)
        self._modules = ModuleForward(self.model)

    @property
    def is_native(self) -> bool:
        """Whether compiled code runs."""
        return self._native is not None

    @property
    def description(self) -> str:
        """What decodes, in words."""
        return "decoded by compiled code" if self.is_native else f"decoded by PyTorch ({self.problem})"

    def close(self) -> None:
        """Ends the threads of compiled code."""
        if self._native is not None:
            self._native.close()

    def of(self, num_tokens: int) -> Forward:
        """The one for a pass of so many tokens."""
        native = self._native
        return native if native is not None and num_tokens <= native.max_rows else self._modules


def compile_ahead(engine: EngineName) -> None:
    """Compiles what `engine` may run, unless it is kept from another time: nobody who waits for a token waits for it
    then, and no other text pauses."""
    if engine != "torch" and importlib.util.find_spec("numba") is not None:
        try:
            importlib.import_module(DECODER).compile_ahead()
        except Exception as error:
            _say_refusal(error)


def _native(model: GPT, settings: EngineSettings, *, quantizes_head: bool) -> tuple[NativeDecoder | None, str | None]:
    """The model in compiled code, or the reason why not.

    Args:
        quantizes_head: whether the model's head may be quantized too, in place.

    Raises:
        MissingExtraError: compiled code is asked for by name, and there is no compiler.
    """
    if settings.engine == "torch":
        return None, "--engine torch"
    if settings.engine == "auto" and sum(each.nbytes for each in model.parameters()) < SMALL_BYTES:
        return None, "a small model needs none"
    if importlib.util.find_spec("numba") is None:
        if settings.engine == "native":
            raise MissingExtraError("--engine native", "gptsmith[native]")
        return None, "it comes with pip install 'gptsmith[native]'"
    if model.device.type != "cpu":
        return None, f"it is for CPUs, and the model is on {model.device.type}"
    if cache_dtype(model) != torch.float32:
        return None, "the model does not compute in float32"
    if quantizes_head:
        model.config.linear.quantize_head(model)
    try:
        return _checked_decoder(model, settings), None
    except UnsupportedModelError as error:
        return None, str(error)
    except Exception as error:
        if settings.engine == "auto":
            _say_refusal(error)
        return None, _refusal(error)


def _checked_decoder(model: GPT, settings: EngineSettings) -> NativeDecoder:
    """The decoder; compiled anew where what was kept cannot be read."""
    decoder = importlib.import_module(DECODER)  # a compiler takes a second to load: only where it is used
    try:
        return cast("NativeDecoder", decoder.checked_decoder(model, settings))
    except CompilationError:
        decoder.forget_compiled()
        return cast("NativeDecoder", decoder.checked_decoder(model, settings))


def _say_refusal(error: Exception) -> None:
    note_once(f"PyTorch decodes: {_refusal(error)}")


def _refusal(error: Exception) -> str:
    if isinstance(error, CompilationError):
        return f"numba cannot compile here: {error}"
    return f"compiled code failed: {type(error).__name__}: {one_line(error)}"
