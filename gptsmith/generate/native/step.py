"""Programs of a decoder in compiled code: what a model does with the rows of a pass, one operation after the other.

All threads run a program together, each with its share of every matrix's rows and of the heads. Between two parts that
read what others wrote stands a barrier. Rows of few tokens are normalised and quantized by each thread for itself,
which costs less than a barrier; those of many are shared out.
"""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native.attention import attend, place_head
from gptsmith.generate.native.compiling import compiled, kept
from gptsmith.generate.native.experts import choose, mix, multiply_chosen, order_choices, weigh
from gptsmith.generate.native.products import multiply, quantize
from gptsmith.generate.native.rows import activate_columns, add_rows, normalise
from gptsmith.generate.native.threads import YIELDS, barrier, reaches
from gptsmith.generate.native.vectors import LANES

PREPARE, NORMALISE, MULTIPLY, PLACE, ATTEND, ADD, ACTIVATE, WAIT = range(8)
CHOOSE, ORDER, MULTIPLY_CHOSEN, MIX, WEIGH = range(8, 13)
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
            "per_token",  # rows: 1, or as many as experts are chosen
        )
    ]
    + [("multiplier", numpy.float64)]
)
"""A part of a program:

PREPARE normalises rows and quantizes them, NORMALISE normalises rows where they are, MULTIPLY makes rows of outputs
from prepared ones, PLACE normalises and rotates queries and keys and puts keys and values into the cache, ATTEND
attends, ADD adds rows to the residual stream, ACTIVATE is the activation of rows (with a gate, if there is a source),
and at WAIT threads wait for each other. Of experts, CHOOSE and ORDER say which compute which rows, MULTIPLY_CHOSEN is
MULTIPLY with each one's matrix, MIX adds up what they made, and WEIGH multiplies rows by the sigmoid of a number each.
ADD, ACTIVATE, MIX and WEIGH work on the columns that the same thread has just made.
"""
BODY, HEAD, END = range(3)
"""The jobs."""
ALONE = 8
"""Up to so many rows are prepared by each thread for itself."""


@compiled
def prepare(inputs: Any, op: Any, norm: Any, first: int, num_rows: int, step: int) -> None:
    """Normalises rows and quantizes them: every `step`th from `first`."""
    for row in range(first, num_rows, step):
        y = inputs.floats + row * inputs.stride
        normalise(op.dim, norm, op.source + row * op.dim * 4, y)
        quantize(row, inputs, y, op.dim)


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
    inputs = scratch[threads]
    for index in range(len(program)):
        op = program[index]
        waits = op.code == WAIT
        if op.code == PREPARE:
            count = num_rows * op.per_token
            waits = count > ALONE and threads > 1
            inputs = scratch[threads if waits else thread]
            prepare(inputs, op, norms[op.number], thread if waits else 0, count, threads if waits else 1)
        elif op.code == NORMALISE:
            for row in range(thread, num_rows, threads):
                x = op.source + row * op.dim * 4
                normalise(op.dim, norms[op.number], x, x)
        elif op.code == MULTIPLY:
            multiply(matrices[op.number], inputs, 0, 0, num_rows, op.target, op.dim * 4, thread, threads)
        elif op.code == MULTIPLY_CHOSEN:
            multiply_chosen(shape, state, op, matrices, inputs, thread)
        elif op.code == PLACE:
            heads = shape.num_heads + 2 * shape.num_kv_heads
            tasks = num_rows * heads
            own = norms[op.first_norm : op.first_norm + 2]
            for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
                place_head(shape, state, layers[op.number], own, task // heads, task % heads)
        elif op.code == ATTEND:
            tasks = state.num_chunks * shape.num_heads
            for task in range(tasks * thread // threads, tasks * (thread + 1) // threads):
                attend(shape, state, layers[op.number], task, thread)
        elif op.code == CHOOSE:
            for row in range(thread, num_rows, threads):
                choose(shape, state, op.source, row)
        elif op.code == ORDER:
            if thread == 0:
                order_choices(shape, state)
        elif op.code != WAIT:
            tiles = op.dim // LANES
            begin, end = tiles * thread // threads * LANES, tiles * (thread + 1) // threads * LANES
            if op.code == ADD:
                add_rows(state, op.dim, begin, end, op.multiplier, op.source)
            elif op.code == ACTIVATE:
                activate_columns(num_rows * op.per_token, op, begin, end)
            elif op.code == MIX:
                mix(shape, state, op, begin, end)
            else:
                weigh(state, op, begin, end)
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
