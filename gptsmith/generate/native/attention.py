"""Attention over keys and values in the blocks of a cache, kept as float32 or as integers with scales.

Rows of a prompt read the keys and values of one sequence: up to four attend together, so that these are read once. Each
row's sums have the same order as if it were alone.
"""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import key_blocks, row_blocks
from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined
from gptsmith.generate.native.key_blocks import KEYS, VECTORS
from gptsmith.generate.native.rows import addresses_of, normalise
from gptsmith.generate.native.vectors import LANES

ROWS = 4
"""The most rows of a sequence that attend together."""
SHARE_BYTES = 64
"""Before a row's scores stands what their weights are multiplied by."""
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


def _score_keys(num_rows: int) -> Any:
    """The function that writes q K' scale of one head and rows of one sequence, for keys from `begin` to `end`."""
    addresses, key_addresses = addresses_of(num_rows), addresses_of(KEYS)
    dots_of_floats, dots_of_bytes = (key_blocks.dots(num_rows, are_bytes=are_bytes) for are_bytes in (False, True))
    no_sums, store_totals = row_blocks.zeros(num_rows * KEYS), key_blocks.store_totals(num_rows)
    moved = row_blocks.moved(num_rows)

    @inlined
    def score_keys(
        shape: Any, state: Any, layer: Any, row: int, last: int, head: int, scores: int, begin: int, end: int
    ) -> None:
        size, block_size, width = shape.head_dim * 4, state.block_size, shape.head_dim * state.number_bytes
        kv_head, scale = head // (shape.num_heads // shape.num_kv_heads), numpy.float32(shape.scale)
        queries = addresses(state.query + head * size, shape.num_heads * size, 0, row, last)
        targets = addresses(scores, state.scores_stride, 0, 0, last - row)
        for start in range(begin // block_size * block_size, end, block_size):
            block, stop = block_of(state, layer, row, start), min(start + block_size, end)
            keys = layer.keys + block * state.block_stride + kv_head * state.head_stride - start * width
            for place in range(max(begin, start), stop, KEYS):
                places, sums = key_addresses(keys, width, 0, place, stop), no_sums()
                if state.number_bytes == 1:
                    for at in range(0, size, 64):
                        sums = dots_of_bytes(queries, places, at, sums)
                else:
                    for at in range(0, size, 64):
                        sums = dots_of_floats(queries, places, at, sums)
                store_totals(moved(targets, place * 4), sums, scale)
            if state.number_bytes == 1:
                scales = scales_of(shape, state, layer.key_scales, block, kv_head) - start * 4
                for target in range(scores, scores + (last - row) * state.scores_stride, state.scores_stride):
                    for at in range(max(begin, start) * 4, stop * 4, 4):
                        v.store_float(target + at, v.load_float(target + at) * v.load_float(scales + at))

    return score_keys


@compiled
def weigh_keys(
    shape: Any, state: Any, layer: Any, row: int, head: int, scores: int, share: int, begin: int, end: int
) -> None:
    """Makes weights of a row's scores, which add up to 1 with a share that is written to an address. Keys from `begin`
    to `end` that are not the row's own weigh nothing."""
    position = v.load_address(state.positions + row * 8)
    own_begin = max(0, position + 1 - layer.window)
    # Scores lie from the first key's block on; those of keys before it weigh next to nothing.
    first = own_begin // state.block_size * state.block_size
    own_end = first + (position - first + LANES) // LANES * LANES
    if shape.score_cap != 0 or shape.slopes != 0:
        slope = v.load_float(shape.slopes + head * 4) if shape.slopes != 0 else numpy.float32(0)
        bend_scores(shape.score_cap, slope, position, scores, first, own_end)
    for place in range(first, own_begin):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    for place in range(position + 1, own_end):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    highest, sink = v.floats(numpy.float32(LEAST)), numpy.float32(LEAST)
    if layer.sinks != 0:
        sink = v.load_float(layer.sinks + head * 4)
        highest = v.floats(sink)
    for place in range(first, own_end, LANES):
        highest = v.larger(highest, v.load(scores + place * 4))
    most, sums = v.largest(highest), v.floats(numpy.float32(0))
    shift = v.floats(-most)
    for place in range(first, own_end, LANES):
        weights = v.exponential(v.load(scores + place * 4) + shift)
        sums = sums + weights
        v.store(scores + place * 4, weights)
    whole = v.total(sums)
    if layer.sinks != 0:
        whole += v.largest(v.exponential(v.floats(sink) + shift))
    v.store_float(share, numpy.float32(1) / whole)
    for place in range(begin, own_begin):
        v.store_float(scores + place * 4, numpy.float32(0))
    for place in range(position + 1, end):
        v.store_float(scores + place * 4, numpy.float32(0))


def _mix_values(num_rows: int) -> Any:
    """The function that writes the sums of values from `begin` to `end`, weighted, times a share of each row."""
    addresses, offsets_of = addresses_of(num_rows), addresses_of(VECTORS)
    of_floats, of_bytes = (key_blocks.weighted(num_rows, are_bytes=are_bytes) for are_bytes in (False, True))
    no_sums, store_shares = row_blocks.zeros(num_rows * VECTORS), key_blocks.store_shares(num_rows)
    moved = row_blocks.moved(num_rows)

    @inlined
    def mix_values(
        shape: Any, state: Any, layer: Any, row: int, last: int, head: int, scores: int, shares: int, begin: int,
        end: int,
    ) -> None:  # fmt: skip
        size, block_size, width = shape.head_dim * 4, state.block_size, shape.head_dim * state.number_bytes
        kv_head = head // (shape.num_heads // shape.num_kv_heads)
        targets = addresses(state.attended + head * size, shape.num_heads * size, 0, row, last)
        weights = addresses(scores, state.scores_stride, 0, 0, last - row)
        for at in range(0, size // 64, VECTORS):
            offsets, sums = offsets_of(0, 64, 0, at, size // 64), no_sums()
            for start in range(begin // block_size * block_size, end, block_size):
                block = block_of(state, layer, row, start)
                values = layer.values + block * state.block_stride + kv_head * state.head_stride - start * width
                scales = scales_of(shape, state, layer.value_scales, block, kv_head) - start * 4
                for place in range(max(begin, start), min(start + block_size, end)):
                    value, places = values + place * width, moved(weights, place * 4)
                    if state.number_bytes == 1:
                        sums = of_bytes(places, v.load_float(scales + place * 4), value, offsets, sums)
                    else:
                        sums = of_floats(places, numpy.float32(1), value, offsets, sums)
            store_shares(targets, offsets, sums, addresses(shares, state.scores_stride, 0, 0, last - row))

    return mix_values


def _attend(num_rows: int) -> Any:
    """The function that computes softmax(q K' scale) V of one head of at most so many rows of one sequence, which
    follow each other: keys and values are read once for all of them."""
    score_keys, mix_values = _score_keys(num_rows), _mix_values(num_rows)

    @compiled
    def attend_rows(shape: Any, state: Any, layer: Any, row: int, last: int, head: int, thread: int) -> None:
        begin = max(0, v.load_address(state.positions + row * 8) + 1 - layer.window)
        end = v.load_address(state.positions + (last - 1) * 8) + 1
        shares = state.scores + thread * ROWS * state.scores_stride
        scores = shares + SHARE_BYTES - begin // state.block_size * state.block_size * 4
        score_keys(shape, state, layer, row, last, head, scores, begin, end)
        for number in range(last - row):
            at = number * state.scores_stride
            weigh_keys(shape, state, layer, row + number, head, scores + at, shares + at, begin, end)
        mix_values(shape, state, layer, row, last, head, scores, shares, begin, end)

    return attend_rows


attend_one, attend_several = _attend(1), _attend(ROWS)


@compiled
def attend(shape: Any, state: Any, layer: Any, task: int, thread: int) -> None:
    """Attention of a head and of rows that read one sequence; tasks are numbered head by head."""
    head, rows = task // state.num_chunks, state.chunks + task % state.num_chunks * 16
    row, last = v.load_address(rows), v.load_address(rows + 8)
    if last - row == 1:
        attend_one(shape, state, layer, row, last, head, thread)
    else:
        attend_several(shape, state, layer, row, last, head, thread)
