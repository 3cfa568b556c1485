"""Attention over keys and values in the blocks of a cache, kept as float32 or as integers with scales."""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined
from gptsmith.generate.native.rows import normalise
from gptsmith.generate.native.vectors import LANES

LEAST = -1e30
"""The score of a place that is no key: its weight is 1e-38."""
SMALLEST = float(numpy.finfo(numpy.float32).tiny)


@compiled
def rotate(x: int, cosines: int, sines: int, rotary_dim: int) -> None:
    """Rotates the first dimensions of a head in place, halves together."""
    half = rotary_dim // 2
    for place in range(half):
        first, second = v.load_float(x + place * 4), v.load_float(x + (half + place) * 4)
        cosine, sine = v.load_float(cosines + place * 4), v.load_float(sines + place * 4)
        v.store_float(x + place * 4, first * cosine - second * sine)
        v.store_float(x + (half + place) * 4, second * cosine + first * sine)


@inlined
def block_of(state: Any, layer: Any, row: int, position: int) -> int:
    """The number of the block that holds a position of a row's sequence."""
    table = v.load_address(layer.tables + row * 8)
    return v.load_address(table + position // state.block_size * 8)


@inlined
def scales_of(shape: Any, state: Any, scales: int, block: int, head: int) -> int:
    """Where the scales of a block's tokens lie."""
    return scales + (block * shape.num_kv_heads + head) * state.block_size * 4


@compiled
def keep_as_integers(dim: int, x: int, target: int, scale: int) -> None:
    """Writes a row (dim) as integers from -127 to 127, and its scale."""
    most = v.floats(numpy.float32(0))
    for at in range(0, dim * 4, 64):
        most = v.larger(most, v.absolute(v.load(x + at)))
    step = max(v.largest(most) / numpy.float32(127), numpy.float32(SMALLEST))
    v.store_float(scale, step)
    for at in range(0, dim * 4, 64):
        v.store_bytes(target + at // 4, v.load(x + at) / v.floats(step))


@compiled
def place_head(shape: Any, state: Any, layer: Any, norms: Any, row: int, head: int) -> None:
    """Normalises and rotates one head of a row's queries or keys; keys and values go to the cache."""
    dim, size = shape.head_dim, shape.head_dim * 4
    position = v.load_address(state.positions + row * 8)
    angles = position * shape.num_rotated * 4
    cosines, sines = state.cosines + angles, state.sines + angles
    target = scales = 0
    if head < shape.num_heads:
        x, norm = state.query + (row * shape.num_heads + head) * size, 0
    elif head < shape.num_heads + shape.num_kv_heads:
        head -= shape.num_heads
        x, norm = state.key + (row * shape.num_kv_heads + head) * size, 1
        target, scales = layer.keys, layer.key_scales
    else:
        head -= shape.num_heads + shape.num_kv_heads
        x, norm = state.value + (row * shape.num_kv_heads + head) * size, -1
        target, scales = layer.values, layer.value_scales
    if norm >= 0:
        normalise(dim, norms[norm], x, x)
        if layer.rotary_dim:
            rotate(x, cosines, sines, layer.rotary_dim)
    if norm != 0:
        block, place = block_of(state, layer, row, position), position % state.block_size
        target += block * state.block_stride + head * state.head_stride + place * dim * state.number_bytes
        if state.number_bytes == 1:
            keep_as_integers(dim, x, target, scales_of(shape, state, scales, block, head) + place * 4)
        else:
            for at in range(0, size, 64):
                v.store(target + at, v.load(x + at))


@inlined
def bend_scores(cap: float, slope: Any, position: int, scores: int, first: int, end: int) -> None:
    """Caps scores of keys, and takes from each its distance times the slope."""
    limit, two = v.floats(numpy.float32(cap)), v.floats(numpy.float32(2))
    for place in range(first, end, LANES):
        score = v.load(scores + place * 4)
        if cap != 0:
            one = v.floats(numpy.float32(1))
            score = limit * (one - two / (v.exponential(two * score / limit) + one))  # cap tanh(score / cap)
        distance = v.counted(numpy.float32(place - position))
        v.store(scores + place * 4, v.multiply_add(distance, v.floats(numpy.float32(slope)), score))


@inlined
def score_keys(shape: Any, state: Any, layer: Any, row: int, head: int, scores: int, begin: int, end: int) -> None:
    """q K' scale of one head and row, for keys from `begin` to `end`."""
    size, block_size, width = shape.head_dim * 4, state.block_size, shape.head_dim * state.number_bytes
    kv_head, scale = head // (shape.num_heads // shape.num_kv_heads), numpy.float32(shape.scale)
    query = state.query + (row * shape.num_heads + head) * size
    for start in range(begin // block_size * block_size, end, block_size):
        block = block_of(state, layer, row, start)
        keys = layer.keys + block * state.block_stride + kv_head * state.head_stride - start * width
        scales = scales_of(shape, state, layer.key_scales, block, kv_head) - start * 4
        for place in range(max(begin, start), min(start + block_size, end)):
            sums, key = v.floats(numpy.float32(0)), keys + place * width
            if state.number_bytes == 1:
                for at in range(0, size, 64):
                    sums = v.multiply_add(v.load(query + at), v.load_bytes(key + at // 4), sums)
                v.store_float(scores + place * 4, v.total(sums) * scale * v.load_float(scales + place * 4))
            else:
                for at in range(0, size, 64):
                    sums = v.multiply_add(v.load(query + at), v.load(key + at), sums)
                v.store_float(scores + place * 4, v.total(sums) * scale)


@inlined
def mix_values(
    shape: Any, state: Any, layer: Any, row: int, head: int, weights: int, begin: int, end: int, share: Any
) -> None:
    """Writes the sum of values from `begin` to `end`, weighted, times a share, of one head and row."""
    size, block_size, width = shape.head_dim * 4, state.block_size, shape.head_dim * state.number_bytes
    kv_head = head // (shape.num_heads // shape.num_kv_heads)
    target = state.attended + (row * shape.num_heads + head) * size
    for at in range(0, size, 64):
        mixed = v.floats(numpy.float32(0))
        for start in range(begin // block_size * block_size, end, block_size):
            block = block_of(state, layer, row, start)
            values = layer.values + block * state.block_stride + kv_head * state.head_stride - start * width
            scales = scales_of(shape, state, layer.value_scales, block, kv_head) - start * 4
            for place in range(max(begin, start), min(start + block_size, end)):
                weight, value = v.load_float(weights + place * 4), values + place * width
                if state.number_bytes == 1:
                    weight *= v.load_float(scales + place * 4)
                    mixed = v.multiply_add(v.floats(weight), v.load_bytes(value + at // 4), mixed)
                else:
                    mixed = v.multiply_add(v.floats(weight), v.load(value + at), mixed)
        v.store(target + at, mixed * share)


@compiled
def attend(shape: Any, state: Any, layer: Any, row: int, head: int, thread: int) -> None:
    """softmax(q K' scale) V of one head and row."""
    position = v.load_address(state.positions + row * 8)
    begin = max(0, position + 1 - layer.window)
    # Scores lie from the first key's block on; those of keys before it weigh nothing.
    first = begin // state.block_size * state.block_size
    end = first + (position - first + LANES) // LANES * LANES
    scores = state.scores + thread * state.scores_stride - first * 4
    score_keys(shape, state, layer, row, head, scores, begin, position + 1)
    if shape.score_cap != 0 or shape.slopes != 0:
        slope = v.load_float(shape.slopes + head * 4) if shape.slopes != 0 else numpy.float32(0)
        bend_scores(shape.score_cap, slope, position, scores, first, end)
    for place in range(first, begin):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    for place in range(position + 1, end):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    highest, sink = v.floats(numpy.float32(LEAST)), numpy.float32(LEAST)
    if layer.sinks != 0:
        sink = v.load_float(layer.sinks + head * 4)
        highest = v.floats(sink)
    for place in range(first, end, LANES):
        highest = v.larger(highest, v.load(scores + place * 4))
    most, sums = v.largest(highest), v.floats(numpy.float32(0))
    shift = v.floats(-most)
    for place in range(first, end, LANES):
        weights = v.exponential(v.load(scores + place * 4) + shift)
        sums = sums + weights
        v.store(scores + place * 4, weights)
    whole = v.total(sums)
    if layer.sinks != 0:
        whole += v.largest(v.exponential(v.floats(sink) + shift))
    mix_values(shape, state, layer, row, head, scores, begin, position + 1, v.floats(numpy.float32(1) / whole))
