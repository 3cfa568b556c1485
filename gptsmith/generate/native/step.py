"""Programs of a decoder in compiled code: what a model does with the rows of a pass, one operation after the other.

All threads run a program together, each with its share of every matrix's rows and of the heads. Between two parts that
read what others wrote stands a barrier. Rows of few tokens are normalised and quantized by each thread for itself,
which costs less than a barrier; those of many are shared out.
"""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined, kept
from gptsmith.generate.native.products import multiply, quantize
from gptsmith.generate.native.threads import YIELDS, barrier, reaches
from gptsmith.generate.native.vectors import LANES

PREPARE, MULTIPLY, PLACE, ATTEND, ADD, ACTIVATE, WAIT = range(7)
"""What a program is made of."""
OPERATION = numpy.dtype(
    [
        (name, numpy.int64)
        for name in (
            "code",
            "number",  # of a matrix, layer, norm or activation
            "first_norm",  # of queries and keys, one after the other
            "source",  # addresses of rows
            "target",
            "dim",  # of a row, in numbers
        )
    ]
    + [("multiplier", numpy.float64)]
)
"""A part of a program:

PREPARE normalises rows and quantizes them, MULTIPLY makes rows of outputs from those, PLACE normalises and rotates
queries and keys and puts keys and values into the cache, ATTEND attends, ADD adds rows to the residual stream, ACTIVATE
is the activation of rows (with a gate, if there is a source), and at WAIT threads wait for each other. ADD and ACTIVATE
work on the columns that the same thread has just made.
"""
BODY, HEAD, END = range(3)
"""The jobs."""
SILU, GELU_TANH, GELU, RELU, RELU2 = range(5)
LEAST = -1e30
"""The score of a place that is no key: its weight is 1e-38."""
ALONE = 8
"""Up to so many rows are prepared by each thread for itself."""

LAYER = numpy.dtype([(name, numpy.int64) for name in ("keys", "values", "tables", "window", "rotary_dim")])
"""Where a layer's keys and values lie, in blocks, and for each row the address of its sequence's table: the numbers of
its blocks, in order."""
NORM = numpy.dtype([("weight", numpy.int64), ("bias", numpy.int64), ("epsilon", numpy.float64)])
"""Addresses of float32; without a weight there is no norm, and one with a bias is LayerNorm."""
SHAPE = numpy.dtype(
    [(name, numpy.int64) for name in (*("num_heads", "num_kv_heads", "head_dim", "num_rotated"),)]
    + [("scale", numpy.float64)]
)
PASS = numpy.dtype(
    [
        (name, numpy.int64)
        for name in (
            *("num_rows", "positions", "cosines", "sines"),
            *("stream", "query", "key", "value", "attended", "scores", "scores_stride"),
            *("block_size", "block_stride", "head_stride", "counters", "num_barriers", "num_threads", "job"),
        )
    ]
)
"""Addresses of what a pass reads and writes, rows of float32; the tokens of a block of the cache, and its strides in
bytes."""


@compiled
def normalise(dim: int, norm: Any, x: int, y: int) -> None:
    """Writes a row (dim, a multiple of 16) normalised; without a norm, as it is."""
    if norm.weight == 0:
        if x != y:
            for at in range(0, dim * 4, 64):
                v.store(y + at, v.load(x + at))
        return
    mean = numpy.float32(0)
    if norm.bias != 0:
        sums = v.floats(numpy.float32(0))
        for at in range(0, dim * 4, 64):
            sums = sums + v.load(x + at)
        mean = v.total(sums) / numpy.float32(dim)
    shift, squares = v.floats(-mean), v.floats(numpy.float32(0))
    for at in range(0, dim * 4, 64):
        moved = v.load(x + at) + shift
        squares = v.multiply_add(moved, moved, squares)
    variance = v.total(squares) / numpy.float32(dim) + numpy.float32(norm.epsilon)
    factor = v.floats(numpy.float32(1) / numpy.sqrt(variance))
    for at in range(0, dim * 4, 64):
        value = (v.load(x + at) + shift) * factor * v.load(norm.weight + at)
        if norm.bias != 0:
            value = value + v.load(norm.bias + at)
        v.store(y + at, value)


@compiled
def prepare(state: Any, inputs: Any, dim: int, norm: Any, source: int, thread: int, is_alone: bool) -> None:
    """Normalises rows and quantizes them: all of them if a thread works for itself, else its share."""
    first, step = (0, 1) if is_alone else (thread, state.num_threads)
    for row in range(first, state.num_rows, step):
        y = inputs.floats + row * inputs.stride
        normalise(dim, norm, source + row * dim * 4, y)
        quantize(row, inputs, y, dim)


@compiled
def add_rows(state: Any, dim: int, begin: int, end: int, multiplier: float, source: int) -> None:
    """Adds columns of rows to those of the residual stream."""
    factor = v.floats(numpy.float32(multiplier))
    for row in range(state.num_rows):
        x, y = state.stream + row * dim * 4, source + row * dim * 4
        for at in range(begin * 4, end * 4, 64):
            v.store(x + at, v.multiply_add(v.load(y + at), factor, v.load(x + at)))


@compiled
def error_function(x: Any) -> Any:
    """erf(x) to 1.5e-7 (Abramowitz and Stegun 1964, 7.1.26)."""
    size, one = v.absolute(x), v.floats(numpy.float32(1))
    t = one / v.multiply_add(v.floats(numpy.float32(0.3275911)), size, one)
    series = v.floats(numpy.float32(1.061405429))
    series = v.multiply_add(series, t, v.floats(numpy.float32(-1.453152027)))
    series = v.multiply_add(series, t, v.floats(numpy.float32(1.421413741)))
    series = v.multiply_add(series, t, v.floats(numpy.float32(-0.284496736)))
    series = v.multiply_add(series, t, v.floats(numpy.float32(0.254829592)))
    rest = series * t * v.exponential(v.floats(numpy.float32(0)) - size * size)
    return v.with_sign(one - rest, x)


@compiled
def activate(kind: int, x: Any) -> Any:
    """The activation of sixteen numbers."""
    zero, one = v.floats(numpy.float32(0)), v.floats(numpy.float32(1))
    if kind == SILU:
        return x / (one + v.exponential(zero - x))
    if kind == GELU_TANH:
        inner = x + v.floats(numpy.float32(0.044715)) * x * x * x
        return x / (one + v.exponential(v.floats(numpy.float32(-1.5957691216)) * inner))
    if kind == GELU:
        return x * v.floats(numpy.float32(0.5)) * (one + error_function(x * v.floats(numpy.float32(0.7071067812))))
    positive = v.larger(x, zero)
    return positive if kind == RELU else positive * positive


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
    """The offset of the block that holds a position of a row's sequence."""
    table = v.load_address(layer.tables + row * 8)
    return v.load_address(table + position // state.block_size * 8) * state.block_stride


@compiled
def place_head(shape: Any, state: Any, layer: Any, norms: Any, row: int, head: int) -> None:
    """Normalises and rotates one head of a row's queries or keys; keys and values go to the cache."""
    dim, size = shape.head_dim, shape.head_dim * 4
    position = v.load_address(state.positions + row * 8)
    angles = position * shape.num_rotated * 4
    cosines, sines = state.cosines + angles, state.sines + angles
    target = 0
    if head < shape.num_heads:
        x, norm = state.query + (row * shape.num_heads + head) * size, 0
    elif head < shape.num_heads + shape.num_kv_heads:
        head -= shape.num_heads
        x, norm = state.key + (row * shape.num_kv_heads + head) * size, 1
        target = layer.keys
    else:
        head -= shape.num_heads + shape.num_kv_heads
        x, norm = state.value + (row * shape.num_kv_heads + head) * size, -1
        target = layer.values
    if norm >= 0:
        normalise(dim, norms[norm], x, x)
        if layer.rotary_dim:
            rotate(x, cosines, sines, layer.rotary_dim)
    if norm != 0:
        target += block_of(state, layer, row, position) + head * state.head_stride + position % state.block_size * size
        for at in range(0, size, 64):
            v.store(target + at, v.load(x + at))


@compiled
def attend(shape: Any, state: Any, layer: Any, row: int, head: int, thread: int) -> None:
    """softmax(q K' scale) V of one head and row."""
    size, block_size = shape.head_dim * 4, state.block_size
    position = v.load_address(state.positions + row * 8)
    shared = head // (shape.num_heads // shape.num_kv_heads) * state.head_stride
    begin = max(0, position + 1 - layer.window)
    query = state.query + (row * shape.num_heads + head) * size
    # Scores lie from the first key's block on; those of keys before it weigh nothing.
    first = begin // block_size * block_size
    scores = state.scores + thread * state.scores_stride - first * 4
    scale, most = numpy.float32(shape.scale), numpy.float32(LEAST)
    for block in range(first, position + 1, block_size):
        keys = layer.keys + block_of(state, layer, row, block) + shared - block * size
        for place in range(max(begin, block), min(block + block_size, position + 1)):
            sums = v.floats(numpy.float32(0))
            for at in range(0, size, 64):
                sums = v.multiply_add(v.load(query + at), v.load(keys + place * size + at), sums)
            score = v.total(sums) * scale
            most = max(most, score)
            v.store_float(scores + place * 4, score)
    for place in range(first, begin):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    end = first + (position - first + LANES) // LANES * LANES
    for place in range(position + 1, end):
        v.store_float(scores + place * 4, numpy.float32(LEAST))
    shift, sums = v.floats(-most), v.floats(numpy.float32(0))
    for place in range(first, end, LANES):
        weights = v.exponential(v.load(scores + place * 4) + shift)
        sums = sums + weights
        v.store(scores + place * 4, weights)
    share = v.floats(numpy.float32(1) / v.total(sums))
    target = state.attended + (row * shape.num_heads + head) * size
    for at in range(0, size, 64):
        mixed = v.floats(numpy.float32(0))
        for block in range(first, position + 1, block_size):
            values = layer.values + block_of(state, layer, row, block) + shared - block * size + at
            for place in range(max(begin, block), min(block + block_size, position + 1)):
                weight = v.floats(v.load_float(scores + place * 4))
                mixed = v.multiply_add(weight, v.load(values + place * size), mixed)
        v.store(target + at, mixed * share)


@compiled
def activate_columns(state: Any, op: Any, begin: int, end: int) -> None:
    """The activation of columns of rows; with a gate, of the gate, times the rows."""
    for row in range(state.num_rows):
        x = op.target + row * op.dim * 4
        gate = op.source + row * op.dim * 4
        for at in range(begin * 4, end * 4, 64):
            if op.source != 0:
                v.store(x + at, activate(op.number, v.load(gate + at)) * v.load(x + at))
            else:
                v.store(x + at, activate(op.number, v.load(x + at)))


@compiled
def run_program(
    shape: Any, state: Any, program: Any, layers: Any, matrices: Any, norms: Any, scratch: Any, thread: int
) -> int:
    """A thread's share of a program; returns how many barriers there have been.

    Args:
        scratch: inputs of each thread; the last are shared by all.
        thread: which of the threads this is.
    """
    number, threads, num_rows = state.num_barriers, state.num_threads, state.num_rows
    is_alone = num_rows <= ALONE or threads == 1
    inputs = scratch[thread if is_alone else threads]
    for index in range(len(program)):
        op = program[index]
        waits = op.code == WAIT
        if op.code == PREPARE:
            prepare(state, inputs, op.dim, norms[op.number], op.source, thread, is_alone)
            waits = not is_alone
        elif op.code == MULTIPLY:
            multiply(matrices[op.number], inputs, num_rows, op.target, op.dim * 4, thread, threads)
        elif op.code == PLACE:
            heads = shape.num_heads + 2 * shape.num_kv_heads
            tasks = num_rows * heads
            own = norms[op.first_norm : op.first_norm + 2]
            for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
                place_head(shape, state, layers[op.number], own, task // heads, task % heads)
        elif op.code == ATTEND:
            for task in range(thread, num_rows * shape.num_heads, threads):
                attend(shape, state, layers[op.number], task // shape.num_heads, task % shape.num_heads, thread)
        elif op.code != WAIT:
            tiles = op.dim // LANES
            begin, end = tiles * thread // threads * LANES, tiles * (thread + 1) // threads * LANES
            if op.code == ADD:
                add_rows(state, op.dim, begin, end, op.multiplier, op.source)
            else:
                activate_columns(state, op, begin, end)
        if waits:
            number += 1
            barrier(state.counters, number, threads)
    return number


@kept
def run(
    shapes: Any, states: Any, body: Any, head: Any, layers: Any, matrices: Any, norms: Any, scratch: Any,
    thread: int, next_start: int,
) -> int:  # fmt: skip
    """A thread's share of the job: the first thread's of the one that starts, that of others of each one, until none
    comes for a while, or the job is to end. Returns the number of the start that was waited for in vain."""
    state = states[0]
    while thread == 0 or reaches(state.counters, next_start, YIELDS):
        if state.job == END:
            break
        program = body if state.job == BODY else head
        number = run_program(shapes[0], state, program, layers, matrices, norms, scratch, thread)
        if thread == 0:
            state.num_barriers = number
            break
        next_start += 1
    return next_start
