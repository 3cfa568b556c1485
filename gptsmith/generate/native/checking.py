"""A decoder in compiled code that has shown that it computes what a model's modules do."""

from __future__ import annotations

import torch

from gptsmith.generate.kv_cache import PagedKVCache, Segment
from gptsmith.generate.kv_memory import KVCacheMemory
from gptsmith.generate.native import products, step
from gptsmith.generate.native.compiling import forget_compiled as forget_compiled
from gptsmith.generate.native.compiling import say_what_takes_long
from gptsmith.generate.native.decoder import NativeDecoder
from gptsmith.generate.native.errors import UnsupportedModelError
from gptsmith.generate.native.products import GROUP
from gptsmith.generate.native.vectors import LANES
from gptsmith.generate.settings import EngineSettings, KVCacheDtype
from gptsmith.model.config import GPTConfig
from gptsmith.model.gpt import GPT
from gptsmith.model.linear import linear_layers

FLOAT_ROWS = 32
"""The most tokens of a pass where weights are floating point: for more, PyTorch's product is faster."""
NUM_CHECKED = 3
TOLERANCES: dict[KVCacheDtype, float] = {"auto": 1e-3, "int8": 0.05}
"""By how much logits may differ, as a share of the largest. What lies between two integers may become either."""


def compile_ahead() -> None:
    """Compiles all code, or reads what is kept of it: with a model that is as small as can be, and the kernels of all
    formats of weights besides, because any model may be wanted next."""
    settings = EngineSettings(max_num_seqs=1)
    config = GPTConfig(vocab_size=LANES, context_length=LANES, embed_dim=GROUP, num_layers=1, num_heads=2)
    checked_decoder(GPT(config).eval(), settings).close()
    for kernel in products.KERNELS.values():
        _ = kernel.address


def checked_decoder(model: GPT, settings: EngineSettings) -> NativeDecoder:
    """The decoder of a model in evaluation mode, once it has computed a few logits as the model's modules do.

    Raises:
        UnsupportedModelError: the model has a kind that is not known here, or this processor computes something else.
        CompilationError: its code cannot be compiled here.
    """
    say_what_takes_long(step.run)
    is_packed = any(layer.groups() is not None for layer in linear_layers(model).values())
    most = settings.max_prefill_tokens + settings.max_num_seqs * (1 + settings.num_speculative_tokens)
    decoder = NativeDecoder(model, torch.get_num_threads(), most if is_packed else min(most, FLOAT_ROWS))
    try:
        for cache_dtype in {"auto", settings.kv_cache_dtype}:
            _check(decoder, cache_dtype)
    except BaseException:
        decoder.close()
        raise
    return decoder


@torch.inference_mode()
def _check(decoder: NativeDecoder, cache_dtype: KVCacheDtype) -> None:
    """
    Raises:
        UnsupportedModelError: a few logits are not those of the modules.
    """
    model = decoder.model
    memory = KVCacheMemory.of(model.config, torch.float32, EngineSettings(kv_cache_dtype=cache_dtype))
    cache = PagedKVCache(model.config, memory, device=model.device, max_num_seqs=2)
    ids = [number * 7919 % model.config.vocab_size for number in range(1, NUM_CHECKED + 1)]
    table, known = cache.new_table(), cache.new_table()
    for each in (table, known):
        cache.extend(each, 0, len(ids))
    several, one = Segment(table, 0, len(ids) - 1), Segment(table, len(ids) - 1, 1)  # they go through different code
    found = torch.cat(
        [
            decoder.logits(decoder.hidden(ids[:-1], [several], cache)),
            decoder.logits(decoder.hidden(ids[-1:], [one], cache)),
        ]
    )
    cache.plan([Segment(known, 0, len(ids))])
    wanted = model(torch.tensor([ids]), cache=cache)[0].float()
    difference, size = (found - wanted).abs().max(), wanted.abs().max()
    if not difference <= TOLERANCES[cache_dtype] * (1 + size):
        raise UnsupportedModelError(f"its logits differ by {float(difference):.2g} from those of the model's modules")
