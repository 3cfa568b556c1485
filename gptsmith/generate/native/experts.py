"""Mixtures of experts in compiled code: which experts a row chooses, their products, and the sum of their outputs.

A choice is a row and one of its experts. In the order of experts each choice has a slot: outputs of the rows that chose
one expert lie side by side, and its weights are read once for all of them.
"""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled
from gptsmith.generate.native.products import multiply
from gptsmith.generate.native.vectors import LANES

LEAST = -1e30
"""The logit of a lane without an expert, and the preference for one that is chosen already."""


@compiled
def choose(shape: Any, state: Any, bias: int, row: int) -> None:
    """Makes probabilities of a row's router logits, and notes its experts with their weights.

    Args:
        bias: the address of what is added to the probabilities for the choice alone, or 0.
    """
    num_experts, num_chosen = shape.num_experts, shape.num_chosen
    size = (num_experts + LANES - 1) // LANES * LANES * 4
    scores, preferences = state.router + row * size, state.preferences + row * size
    for at in range(num_experts * 4, size, 4):
        v.store_float(scores + at, numpy.float32(LEAST))
    highest = v.floats(numpy.float32(LEAST))
    for at in range(0, size, 64):
        highest = v.larger(highest, v.load(scores + at))
    shift, sums = v.floats(-v.largest(highest)), v.floats(numpy.float32(0))
    for at in range(0, size, 64):
        parts = v.exponential(v.load(scores + at) + shift)
        sums = sums + parts
        v.store(scores + at, parts)
    whole = v.floats(v.total(sums))
    for at in range(0, size, 64):
        probabilities = v.load(scores + at) / whole
        v.store(scores + at, probabilities)
        if bias != 0:
            probabilities = probabilities + v.load(bias + at)
        v.store(preferences + at, probabilities)
    chosen, weights, total = state.chosen + row * num_chosen * 8, state.weights + row * num_chosen * 4, numpy.float32(0)
    for number in range(num_chosen):
        best = 0
        for expert in range(1, num_experts):
            if v.load_float(preferences + expert * 4) > v.load_float(preferences + best * 4):
                best = expert
        v.store_float(preferences + best * 4, numpy.float32(LEAST))
        weight = v.load_float(scores + best * 4)
        total += weight
        v.store_address(chosen + number * 8, best)
        v.store_float(weights + number * 4, weight)
    if shape.renormalizes:
        for at in range(0, num_chosen * 4, 4):
            v.store_float(weights + at, v.load_float(weights + at) / total)


@compiled
def order_choices(shape: Any, state: Any) -> None:
    """Gives each choice its slot, and each slot its row; notes where the slots of each expert end."""
    ends, num_choices = state.ends, state.num_rows * shape.num_chosen
    for expert in range(shape.num_experts + 1):
        v.store_address(ends + expert * 8, 0)
    for choice in range(num_choices):
        next_end = ends + (v.load_address(state.chosen + choice * 8) + 1) * 8
        v.store_address(next_end, v.load_address(next_end) + 1)
    for end in range(ends + 8, ends + (shape.num_experts + 1) * 8, 8):
        v.store_address(end, v.load_address(end) + v.load_address(end - 8))
    for choice in range(num_choices):  # `ends` are the first free slots until they are filled
        end = ends + v.load_address(state.chosen + choice * 8) * 8
        slot = v.load_address(end)
        v.store_address(end, slot + 1)
        v.store_address(state.slots + choice * 8, slot)
        v.store_address(state.rows_of_slots + slot * 8, choice // shape.num_chosen)


@compiled
def multiply_chosen(shape: Any, state: Any, op: Any, matrices: Any, inputs: Any, thread: int) -> None:
    """A thread's share of the products of each expert's matrix with the rows that chose it."""
    begin = 0
    for expert in range(shape.num_experts):
        end = v.load_address(state.ends + expert * 8)
        if end > begin:
            matrix = matrices[op.number + expert]
            multiply(matrix, inputs, op.source, begin, end, op.target, op.dim * 4, thread, state.num_threads)
        begin = end


@compiled
def mix(shape: Any, state: Any, op: Any, begin: int, end: int) -> None:
    """Writes columns of the weighted sum of each row's experts, added to what is there if `op.number` is 1."""
    size = op.dim * 4
    for row in range(state.num_rows):
        y = op.target + row * size
        for at in range(begin * 4, end * 4, 64):
            sums = v.load(y + at) if op.number == 1 else v.floats(numpy.float32(0))
            for choice in range(row * shape.num_chosen, (row + 1) * shape.num_chosen):
                x = op.source + v.load_address(state.slots + choice * 8) * size
                sums = v.multiply_add(v.load(x + at), v.floats(v.load_float(state.weights + choice * 4)), sums)
            v.store(y + at, sums)


@compiled
def weigh(state: Any, op: Any, begin: int, end: int) -> None:
    """Multiplies columns of each row by the sigmoid of a number, the first of a row of sixteen."""
    zero, one = v.floats(numpy.float32(0)), v.floats(numpy.float32(1))
    for row in range(state.num_rows):
        gate = v.floats(v.load_float(op.source + row * LANES * 4))
        factor = one / (one + v.exponential(zero - gate))
        for at in range(op.target + (row * op.dim + begin) * 4, op.target + (row * op.dim + end) * 4, 64):
            v.store(at, v.load(at) * factor)
