"""Products of floating-point inputs and matrices of float32 or bfloat16, row by row."""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined
from gptsmith.generate.native.rows import row_of
from gptsmith.generate.native.vectors import LANES


@inlined
def finish(matrix: Any, tile: int, sums: Any, out: int) -> None:
    """Writes a tile's sums, scaled and with their bias."""
    if matrix.row_scales != 0:
        sums = sums * v.load(matrix.row_scales + tile * 64)
    if matrix.bias != 0:
        sums = sums + v.load(matrix.bias + tile * 64)
    v.store(out + tile * 64, sums)


@compiled
def _dense(matrix: Any, tile: int, inputs: Any, row: int, out: int) -> None:
    """The products of a tile's rows of float32 or bfloat16 with one row of inputs."""
    num_columns, floats = matrix.num_columns, inputs.floats + row * inputs.stride
    size = matrix.bits // 8
    for four in range(0, LANES, 4):
        weights = matrix.weights + (tile * LANES + four) * num_columns * size
        a = b = c = d = v.floats(numpy.float32(0))
        step = num_columns * size
        for column in range(0, num_columns, LANES):
            x, at = v.load(floats + column * 4), weights + column * size
            if size == 4:
                a, b = v.multiply_add(v.load(at), x, a), v.multiply_add(v.load(at + step), x, b)
                c, d = v.multiply_add(v.load(at + 2 * step), x, c), v.multiply_add(v.load(at + 3 * step), x, d)
            else:
                a = v.multiply_add(v.load_bfloat16(at), x, a)
                b = v.multiply_add(v.load_bfloat16(at + step), x, b)
                c = v.multiply_add(v.load_bfloat16(at + 2 * step), x, c)
                d = v.multiply_add(v.load_bfloat16(at + 3 * step), x, d)
        place = out + tile * 64 + four * 4
        v.store_float(place, v.total(a))
        v.store_float(place + 4, v.total(b))
        v.store_float(place + 8, v.total(c))
        v.store_float(place + 12, v.total(d))
    finish(matrix, tile, v.load(out + tile * 64), out)


@compiled
def _dense4(matrix: Any, tile: int, inputs: Any, rows: int, row: int, out: int, stride: int) -> None:
    """The same with four rows of inputs, for which weights are read once."""
    num_columns, size = matrix.num_columns, matrix.bits // 8
    first = inputs.floats + row_of(rows, row) * inputs.stride
    second = inputs.floats + row_of(rows, row + 1) * inputs.stride
    third = inputs.floats + row_of(rows, row + 2) * inputs.stride
    fourth = inputs.floats + row_of(rows, row + 3) * inputs.stride
    for lane in range(LANES):
        weights = matrix.weights + (tile * LANES + lane) * num_columns * size
        a = b = c = d = v.floats(numpy.float32(0))
        for column in range(0, num_columns, LANES):
            x, at = column * 4, weights + column * size
            weight = v.load(at) if size == 4 else v.load_bfloat16(at)
            a, b = v.multiply_add(weight, v.load(first + x), a), v.multiply_add(weight, v.load(second + x), b)
            c, d = v.multiply_add(weight, v.load(third + x), c), v.multiply_add(weight, v.load(fourth + x), d)
        place = out + tile * 64 + lane * 4
        v.store_float(place, v.total(a))
        v.store_float(place + stride, v.total(b))
        v.store_float(place + 2 * stride, v.total(c))
        v.store_float(place + 3 * stride, v.total(d))
    for place in range(out, out + 4 * stride, stride):
        finish(matrix, tile, v.load(place + tile * 64), place)


@compiled
def dense_tiles(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    fours = first + (last - first) // 4 * 4
    for tile in range(begin, end):
        for row in range(first, fours, 4):
            _dense4(matrix, tile, inputs, rows, row, out + row * stride, stride)
        for row in range(fours, last):
            _dense(matrix, tile, inputs, row_of(rows, row), out + row * stride)
