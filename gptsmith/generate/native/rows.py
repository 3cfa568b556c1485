"""What is done with rows of float32: norms, activations, sums."""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined

SILU, GELU_TANH, GELU, RELU, RELU2, SILU_OAI = range(6)


@inlined
def row_of(rows: int, row: int) -> int:
    """The row of inputs that a row of outputs is made of: itself if `rows`, the address of such numbers, is 0."""
    return row if rows == 0 else v.load_address(rows + row * 8)


def addresses_of(num_rows: int) -> Any:
    """The function that gives the addresses of so many rows, of which those after the last one are the last one."""

    @inlined
    def of_one(start: int, stride: int, rows: int, row: int, last: int) -> tuple[int, ...]:
        return (start + row_of(rows, min(row, last - 1)) * stride,)

    if num_rows == 1:
        return of_one
    of_half, half = addresses_of(num_rows // 2), num_rows // 2

    @inlined
    def of_all(start: int, stride: int, rows: int, row: int, last: int) -> tuple[int, ...]:
        first: tuple[int, ...] = of_half(start, stride, rows, row, last)
        second: tuple[int, ...] = of_half(start, stride, rows, row + half, last)
        return first + second

    return of_all


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
    if kind == SILU_OAI:
        return x / (one + v.exponential(v.floats(numpy.float32(-1.702)) * x))
    positive = v.larger(x, zero)
    return positive if kind == RELU else positive * positive


@compiled
def smaller(x: Any, limit: float) -> Any:
    """Numbers, or a limit where they are larger."""
    zero = v.floats(numpy.float32(0))
    return zero - v.larger(zero - x, v.floats(numpy.float32(-limit)))


@compiled
def gated(kind: int, gate: Any, x: Any) -> Any:
    """The activation of sixteen gates, times what is beside them."""
    if kind == SILU_OAI:  # both are clamped, and 1 is added to what is beside them
        gate, x = smaller(gate, 7), v.larger(smaller(x, 7), v.floats(numpy.float32(-7)))
        x = x + v.floats(numpy.float32(1))
    return activate(kind, gate) * x


@compiled
def activate_columns(num_rows: int, op: Any, begin: int, end: int) -> None:
    """The activation of columns of rows; with a gate, of the gate, times the rows."""
    for row in range(num_rows):
        x = op.target + row * op.dim * 4
        gate = op.source + row * op.dim * 4
        for at in range(begin * 4, end * 4, 64):
            if op.source != 0:
                v.store(x + at, gated(op.number, v.load(gate + at), v.load(x + at)))
            else:
                v.store(x + at, activate(op.number, v.load(x + at)))
