"""The training speed of this machine, measured in a few seconds and cached for the hardware, while it keeps to it."""

from __future__ import annotations

import functools
import itertools
import math
import statistics
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from gptsmith.base.cache_folder import default_cache, private_folder
from gptsmith.base.errors import UserError
from gptsmith.base.files import read_json, write_json
from gptsmith.base.machine import processor_name
from gptsmith.base.memory import give_back_freed_memory
from gptsmith.base.settings import merged
from gptsmith.data.cache import key_of
from gptsmith.model.attention import AttentionSettings
from gptsmith.model.config import GPTConfig
from gptsmith.model.cost import cost
from gptsmith.model.gpt import GPT
from gptsmith.model.presets import smith_shape
from gptsmith.train.batch import Batch
from gptsmith.train.objectives.next_token import NextTokenSettings
from gptsmith.train.optimizers.muon import MuonSettings
from gptsmith.train.stability import gradient_norm
from gptsmith.train.step import backward
from gptsmith.version import __version__

FORMAT_VERSION = 3
PROBED_SHAPES = ((128, 4), (192, 4), (256, 4), (384, 6), (512, 8), (768, 12), (1024, 16))
PROBE_VOCAB_SIZE, PROBE_CONTEXT, PROBE_WINDOWS = 2048, 256, 8
PROBE_TOKENS = PROBE_WINDOWS * PROBE_CONTEXT
LONGEST_STEP_S = 0.5
"""Larger shapes are not tried once a step takes longer: their speed follows from their FLOPs."""
STEPS_TIMED = 5
SAME_PACE = 0.25
"""How much slower or faster the smallest shape may be than in the cache, before all of them are measured anew."""
PRODUCTS_TIMED = 20
"""The first ones are slower, by a sixth after five."""


@dataclass(frozen=True)
class Speed:
    """The time of training the default model here, by its FLOPs."""

    points: tuple[tuple[float, float, float], ...]
    """FLOPs per token, seconds per token of the passes, and seconds per step of the optimizer, small models first."""

    def seconds_per_token(self, config: GPTConfig, tokens_per_step: int) -> float:
        """Seconds of training per token: log-linear between measured sizes, in proportion to the FLOPs beyond them."""
        flops = float(cost(config).training_flops_per_token)
        points = [(size, passes_s + move_s / tokens_per_step) for size, passes_s, move_s in self.points]
        first, last = points[0], points[-1]
        if flops <= first[0]:
            return first[1]
        if flops >= last[0]:
            return last[1] * flops / last[0]
        for (low, low_s), (high, high_s) in itertools.pairwise(points):
            if flops <= high:
                return low_s * (high_s / low_s) ** (math.log(flops / low) / math.log(high / low))
        raise AssertionError("points are in order")


def measured_speed(device: torch.device, dtype: torch.dtype, cache: Path | None = None) -> Speed:
    """The speed of this machine, from the cache if this hardware was measured before and keeps to it.

    What else ran when it was measured made it slower, and may have ended: some steps of the smallest shape say so.
    """
    path = _speed_file(device, dtype, private_folder(cache or default_cache()))
    cached = _read_speed(path)
    if cached is not None and _is_kept(cached, device, dtype):
        return cached
    speed = measure(device, dtype)
    write_json(path, {"points": speed.points})
    return speed


def known_speed(device: torch.device, dtype: torch.dtype, cache: Path | None = None) -> Speed | None:
    """The speed of this machine as it was measured before; None if it was not."""
    return _read_speed(_speed_file(device, dtype, cache or default_cache()))


def _speed_file(device: torch.device, dtype: torch.dtype, folder: Path) -> Path:
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    made_by = [torch.__version__, __version__, torch.get_num_threads()]
    return folder / f"speed-{key_of(FORMAT_VERSION, name, str(dtype), *made_by)}.json"


def _read_speed(path: Path) -> Speed | None:
    try:
        points = [[float(number) for number in point] for point in read_json(path)["points"]]
        speed = Speed(tuple((flops, passes_s, move_s) for flops, passes_s, move_s in points))
    except (UserError, KeyError, TypeError, ValueError):
        return None
    return speed if speed.points else None


def _is_kept(speed: Speed, device: torch.device, dtype: torch.dtype) -> bool:
    """Whether the smallest shape takes as long now as it did then."""
    _, passes_s, move_s = speed.points[0]
    then, now = passes_s * PROBE_TOKENS + move_s, sum(_step_seconds(_probed(*PROBED_SHAPES[0]), device, dtype))
    return max(now, then) <= (1 + SAME_PACE) * min(now, then)


def slow_attention_s(attention: AttentionSettings, speed: Speed, device: torch.device, dtype: torch.dtype) -> float:
    """Seconds of training that a slow kind of attention takes besides what full attention does at this speed, for one
    dimension of one query and one key; 0 if the kind is not slow.

    How many times slower it is comes from the cache if this hardware was measured before.
    """
    if not attention.is_slow:
        return 0.0
    name = torch.cuda.get_device_name(device) if device.type == "cuda" else processor_name()
    key = key_of(FORMAT_VERSION, name, str(dtype), torch.__version__, attention.kind)
    path = private_folder(default_cache()) / f"attention-{key}.json"
    full = _probed(*PROBED_SHAPES[0])
    try:
        times = float(read_json(path)["times_slower"])
    except (UserError, KeyError, TypeError, ValueError):
        slow = GPTConfig.parse(merged(full.plain(), {"attention": attention.kind}, GPTConfig))
        times = _step_seconds(slow, device, dtype)[0] / _step_seconds(full, device, dtype)[0]
        write_json(path, {"times_slower": times})
    return max(times - 1, 0.0) * speed.points[0][1] / attended_elements(full)


def attended_elements(config: GPTConfig) -> float:
    """Dimensions of the keys that a token's queries meet in training, in all layers and heads."""
    return config.num_layers * config.num_heads * config.resolved_head_dim * config.context_length / 2


def measure(device: torch.device, dtype: torch.dtype) -> Speed:
    """Times steps of growing models."""
    points: list[tuple[float, float, float]] = []
    for shape in PROBED_SHAPES:
        config = _probed(*shape)
        passes_s, move_s = _step_seconds(config, device, dtype)
        points.append((cost(config).training_flops_per_token, passes_s / PROBE_TOKENS, move_s))
        if passes_s + move_s > LONGEST_STEP_S:
            break
    give_back_freed_memory()
    return Speed(tuple(points))


def _probed(width: int, num_layers: int) -> GPTConfig:
    """The default model of a width and a depth, as it is timed."""
    shape = smith_shape(width, num_layers)
    return GPTConfig.parse({"vocab_size": PROBE_VOCAB_SIZE, "context_length": PROBE_CONTEXT, **shape})


def _step_seconds(config: GPTConfig, device: torch.device, dtype: torch.dtype) -> tuple[float, float]:
    """The median times of the passes and of the move of a step, after one that is not counted."""
    times = step_times(config, PROBE_WINDOWS, device, dtype)
    passes_s, move_s = (statistics.median(part) for part in zip(*(times[1:] or times), strict=True))
    return passes_s, move_s


def step_times(
    config: GPTConfig, num_windows: int, device: torch.device, dtype: torch.dtype, *, compiles: bool = False
) -> list[tuple[float, float]]:
    """Seconds of the first steps of training on so many windows: of the passes, and of the optimizer's move. The first
    step makes what later ones find."""
    model = GPT(config).to(device)
    model.compute_dtype = dtype
    model.use_compiled_blocks(compiles)
    optimizer = MuonSettings().build(model)
    shape = num_windows, config.context_length + 1
    ids = torch.randint(config.vocab_size, shape, generator=torch.Generator().manual_seed(0))
    batch = Batch(ids[:, :-1].contiguous().to(device), ids[:, 1:].contiguous().to(device))
    times: list[tuple[float, float]] = []
    while len(times) <= STEPS_TIMED and sum(map(sum, times[int(compiles) :])) < 3 * LONGEST_STEP_S:
        started = time.perf_counter()
        backward(model, NextTokenSettings(), [batch])
        gradient_norm(model)  # waits for a GPU
        passed = time.perf_counter()
        optimizer.step(1.0)
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append((passed - started, time.perf_counter() - passed))
    return times


@functools.cache
def product_rate(device: torch.device, dtype: torch.dtype) -> float:
    """FLOPs per second of this machine's matrix products, the best of a few, measured once per process: the peak that
    MFU refers to. They are of
    1,024 cubed on a processor and of 8,192 cubed on a GPU, which a smaller one does not fill; of random numbers, since
    a GPU multiplies equal ones faster."""
    size = 8192 if device.type == "cuda" else 1024
    generator = torch.Generator(device=device).manual_seed(0)
    a, b = (torch.randn(size, size, generator=generator, device=device).to(dtype) for _ in range(2))
    best = float("inf")
    for _ in range(PRODUCTS_TIMED):
        started = time.perf_counter()
        a @ b
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        best = min(best, time.perf_counter() - started)
    return 2.0 * size**3 / best
