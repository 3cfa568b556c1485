"""Products of quantized inputs and packed matrices.

Inputs are quantized in groups of 32 to 15 bits and a sign, so that a product of integers is as good as one of float32.
Sums of integers inside a group are exact, and the groups' sums are added in their order: a row's result depends neither
on the rows beside it nor on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy
from llvmlite import ir
from numba import types

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import Kernel, compiled, inlined, intrinsic
from gptsmith.generate.native.integer_products import group_products, store_inputs
from gptsmith.generate.native.vectors import LANES

GROUP = 32
INPUT_MAX = 127 * 256 + 127
INPUT_BYTES = 2 * GROUP
"""The bytes of a group of inputs."""

MATRIX = numpy.dtype(
    [
        (name, numpy.int64)
        for name in (
            "kernel",  # the address of the function that multiplies
            "bits",  # of a weight: 4, 5 or 8; 16 for bfloat16 and 32 for float32
            "zero",  # the integer that stands for zero
            "num_tiles",  # tiles of 16 rows
            "num_columns",
            "group",  # columns that share a scale, 32 or 16
            "scale_bytes",  # of a scale or minimum: 2 for float16, 4 for float32
            "weights",  # addresses from here on, 0 where there is nothing
            "fifths",  # of 5 bits
            "scales",  # a number a row and group
            "minimums",  # a number a row and group, added to each weight
            "row_scales",  # float32 a row
            "bias",  # float32 a row
        )
    ]
)
INPUTS = numpy.dtype([(name, numpy.int64) for name in ("bytes", "scales", "sums", "floats", "stride")])
"""Addresses of rows of inputs: quantized bytes; a scale (float32) a group and a sum (int32) for each half of it; the
floats themselves, and the bytes from one row of them to the next."""


@compiled
def quantize(row: int, inputs: Any, floats: int, num_columns: int) -> None:
    """Quantizes a row of inputs, float32 at an address, a multiple of 32 long."""
    num_groups = num_columns // GROUP
    bytes_ = inputs.bytes + row * num_groups * INPUT_BYTES
    scales = inputs.scales + row * num_groups * 4
    sums = inputs.sums + row * num_groups * 8
    for group in range(num_groups):
        first, second = v.load(floats + group * 128), v.load(floats + group * 128 + 64)
        size = max(v.largest(v.larger(v.absolute(first), v.absolute(second))), numpy.float32(1e-30))
        share = v.floats(numpy.float32(INPUT_MAX) / size)
        first, second = first * share, second * share
        store_inputs(bytes_ + group * INPUT_BYTES, first, second)
        v.store_float(scales + group * 4, size / numpy.float32(INPUT_MAX))
        v.store_integer(sums + group * 8, v.sum_of_nearest(first))
        v.store_integer(sums + group * 8 + 4, v.sum_of_nearest(second))


@inlined
def row_of(rows: int, row: int) -> int:
    """The row of inputs that a row of outputs is made of: itself if `rows`, the address of such numbers, is 0."""
    return row if rows == 0 else v.load_address(rows + row * 8)


@inlined
def finish(matrix: Any, tile: int, sums: Any, out: int) -> None:
    """Writes a tile's sums, scaled and with their bias."""
    if matrix.row_scales != 0:
        sums = sums * v.load(matrix.row_scales + tile * 64)
    if matrix.bias != 0:
        sums = sums + v.load(matrix.bias + tile * 64)
    v.store(out + tile * 64, sums)


@inlined
def lanes(address: int, number: int, size: int) -> Any:
    """Sixteen numbers, those of a group, of 2 or 4 bytes."""
    return v.load_half(address + number * 32) if size == 2 else v.load(address + number * 64)


@inlined
def scaled(matrix: Any, at: int, products: Any, scale: Any, sum_: Any, sums: Any) -> Any:
    """Sums with a group's products added, scaled: `at` counts the groups of all tiles."""
    factor = v.floats(scale)
    if matrix.scales != 0:
        factor = factor * lanes(matrix.scales, at, matrix.scale_bytes)
    sums = v.multiply_add(products, factor, sums)
    if matrix.minimums != 0:
        offset = v.floats(numpy.float32(scale * numpy.float32(sum_)))
        sums = v.multiply_add(lanes(matrix.minimums, at, matrix.scale_bytes), offset, sums)
    return sums


def _added(bits: int) -> Any:
    """The function that adds 32 columns to sums; `at` counts them over all tiles, `place` over all rows of inputs."""
    group, tile_bytes = group_products(bits), 512 if bits == 8 else 256

    @inlined
    def added(matrix: Any, at: int, inputs: Any, place: int, sums: Any) -> Any:
        scale, bytes_ = v.load_float(inputs.scales + place * 4), inputs.bytes + place * INPUT_BYTES
        both = v.load_integer(inputs.sums + place * 8) + v.load_integer(inputs.sums + place * 8 + 4)
        start = numpy.int32(-matrix.zero * both)
        products = group(start, matrix.weights + at * tile_bytes, matrix.fifths + at * 64, bytes_)
        return scaled(matrix, at, products, scale, both, sums)

    return added


def _added_in_halves() -> Any:
    """The same for 8 bits in groups of 16 columns."""
    group_of_first, group_of_second = group_products(8, half=0), group_products(8, half=1)

    @inlined
    def added(matrix: Any, at: int, inputs: Any, place: int, sums: Any) -> Any:
        scale, bytes_ = v.load_float(inputs.scales + place * 4), inputs.bytes + place * INPUT_BYTES
        first, second = v.load_integer(inputs.sums + place * 8), v.load_integer(inputs.sums + place * 8 + 4)
        weights = matrix.weights + at * 512
        products = group_of_first(numpy.int32(-matrix.zero * first), weights, 0, bytes_)
        sums = scaled(matrix, 2 * at, products, scale, first, sums)
        products = group_of_second(numpy.int32(-matrix.zero * second), weights + 256, 0, bytes_)
        return scaled(matrix, 2 * at + 1, products, scale, second, sums)

    return added


def _quantized(added: Any) -> Any:
    """The function that multiplies tiles of quantized weights with rows, of which four read the weights together."""

    @compiled
    def tiles(
        matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
    ) -> None:
        num_groups, fours = matrix.num_columns // GROUP, first + (last - first) // 4 * 4
        for tile in range(begin, end):
            for row in range(first, fours, 4):
                at_a, at_b = row_of(rows, row) * num_groups, row_of(rows, row + 1) * num_groups
                at_c, at_d = row_of(rows, row + 2) * num_groups, row_of(rows, row + 3) * num_groups
                a = b = c = d = v.floats(numpy.float32(0))
                for number in range(num_groups):
                    at = tile * num_groups + number
                    a = added(matrix, at, inputs, at_a + number, a)
                    b = added(matrix, at, inputs, at_b + number, b)
                    c = added(matrix, at, inputs, at_c + number, c)
                    d = added(matrix, at, inputs, at_d + number, d)
                finish(matrix, tile, a, out + row * stride)
                finish(matrix, tile, b, out + (row + 1) * stride)
                finish(matrix, tile, c, out + (row + 2) * stride)
                finish(matrix, tile, d, out + (row + 3) * stride)
            for row in range(fours, last):
                place, sums = row_of(rows, row) * num_groups, v.floats(numpy.float32(0))
                for number in range(num_groups):
                    sums = added(matrix, tile * num_groups + number, inputs, place + number, sums)
                finish(matrix, tile, sums, out + row * stride)

    return tiles


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
def _dense_tiles(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    fours = first + (last - first) // 4 * 4
    for tile in range(begin, end):
        for row in range(first, fours, 4):
            _dense4(matrix, tile, inputs, rows, row, out + row * stride, stride)
        for row in range(fours, last):
            _dense(matrix, tile, inputs, row_of(rows, row), out + row * stride)


_tiles8, _tiles8_of_16 = _quantized(_added(8)), _quantized(_added_in_halves())
_tiles5, _tiles4 = _quantized(_added(5)), _quantized(_added(4))


# One function for each form of weights: those that a model does not have are not compiled.
def _multiply_8(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    _tiles8(matrix, inputs, rows, first, last, out, stride, begin, end)


def _multiply_8_of_16(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    _tiles8_of_16(matrix, inputs, rows, first, last, out, stride, begin, end)


def _multiply_5(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    _tiles5(matrix, inputs, rows, first, last, out, stride, begin, end)


def _multiply_4(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    _tiles4(matrix, inputs, rows, first, last, out, stride, begin, end)


def _multiply_floats(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
) -> None:
    _dense_tiles(matrix, inputs, rows, first, last, out, stride, begin, end)


_SIGNATURE = types.void(numba.from_dtype(MATRIX), numba.from_dtype(INPUTS), *[types.int64] * 7)
KERNELS = {
    (8, 32): Kernel(_multiply_8, _SIGNATURE),
    (8, 16): Kernel(_multiply_8_of_16, _SIGNATURE),
    (5, 32): Kernel(_multiply_5, _SIGNATURE),
    (4, 32): Kernel(_multiply_4, _SIGNATURE),
    (16, 32): (floats := Kernel(_multiply_floats, _SIGNATURE)),
    (32, 32): floats,
}
"""By the bits of a weight and the columns that share a scale."""


@intrinsic
def _call(
    typing: Any, address: Any, matrix: Any, inputs: Any, rows: Any, first: Any, last: Any, out: Any, stride: Any,
    begin: Any, end: Any,
) -> Any:  # fmt: skip
    """Calls a kernel at an address."""

    def code(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        given = arguments[1:]
        type_ = ir.FunctionType(ir.VoidType(), [value.type for value in given])
        builder.call(builder.inttoptr(arguments[0], type_.as_pointer()), given)
        return context.get_dummy_value()

    return types.void(address, matrix, inputs, rows, first, last, out, stride, begin, end), code


@compiled
def multiply(
    matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, thread: int, num_threads: int
) -> None:
    """A thread's share of the products: rows of outputs from `first` to before `last`, float32 at an address, `stride`
    bytes from one to the next.

    Args:
        rows: the address of the numbers of the rows of inputs that those of outputs are made of; 0 for the same.
    """
    begin, end = matrix.num_tiles * thread // num_threads, matrix.num_tiles * (thread + 1) // num_threads
    _call(matrix.kernel, matrix, inputs, rows, first, last, out, stride, begin, end)
