"""Products of quantized inputs and packed matrices.

Inputs are quantized in groups of 32 to 15 bits and a sign, so that a product of integers is as good as one of float32.
Sums of integers inside a group are exact, and the groups' sums are added in their order: a row's result depends neither
on the rows beside it nor on the number of threads.
"""

from __future__ import annotations

from functools import partial
from typing import Any

import numba
import numpy
from llvmlite import ir
from numba import types

from gptsmith.generate.native import row_blocks
from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import Kernel, compiled, inlined, intrinsic
from gptsmith.generate.native.float_products import dense_tiles
from gptsmith.generate.native.integer_products import INPUT_BYTES, OFFSET, SCALE, SUMS, group_products, store_inputs
from gptsmith.generate.native.rows import addresses_of

GROUP = 32
INPUT_MAX = 127 * 256 + 127
MANY, FEW = 8, 4
"""The rows of inputs that read weights together, and those that do where no more are left."""

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
INPUTS = numpy.dtype([(name, numpy.int64) for name in ("groups", "floats", "stride")])
"""Addresses of rows of inputs: quantized groups, and the floats themselves, with the bytes from one row of them to the
next."""


@compiled
def quantize(row: int, inputs: Any, floats: int, num_columns: int) -> None:
    """Quantizes a row of inputs, float32 at an address, a multiple of 32 long."""
    num_groups = num_columns // GROUP
    for group in range(num_groups):
        place = inputs.groups + (row * num_groups + group) * INPUT_BYTES
        first, second = v.load(floats + group * 128), v.load(floats + group * 128 + 64)
        size = max(v.largest(v.larger(v.absolute(first), v.absolute(second))), numpy.float32(1e-30))
        share, scale = v.floats(numpy.float32(INPUT_MAX) / size), size / numpy.float32(INPUT_MAX)
        first, second = first * share, second * share
        store_inputs(place, first, second)
        sum_of_first, sum_of_second = v.sum_of_nearest(first), v.sum_of_nearest(second)
        v.store_float(place + SCALE, scale)
        v.store_float(place + OFFSET, scale * numpy.float32(sum_of_first + sum_of_second))
        v.store_integer(place + SUMS, sum_of_first)
        v.store_integer(place + SUMS + 4, sum_of_second)


@inlined
def lanes(address: int, number: int, size: int) -> Any:
    """Sixteen numbers, those of a group, of 2 or 4 bytes."""
    return v.load_half(address + number * 32) if size == 2 else v.load(address + number * 64)


@inlined
def scales_of(matrix: Any, at: int) -> Any:
    """The scales of a group of a tile's rows: `at` counts the groups of all tiles."""
    return v.floats(numpy.float32(1)) if matrix.scales == 0 else lanes(matrix.scales, at, matrix.scale_bytes)


def _added(bits: int, num_rows: int) -> Any:
    """The function that adds the products of 32 columns to the sums of so many rows of inputs at `places`."""
    group, tile_bytes = group_products(bits, num_rows), 512 if bits == 8 else 256
    scaled, raised = row_blocks.scaled(num_rows), row_blocks.raised(num_rows)

    @inlined
    def added(matrix: Any, at: int, places: Any, sums: Any) -> Any:
        scales = scales_of(matrix, at)  # before the products: LLVM would load inputs twice as dearly before a branch
        products = group(matrix.weights + at * tile_bytes, matrix.fifths + at * 64, matrix.zero, places)
        sums = scaled(products, scales, places, sums)
        if matrix.minimums != 0:
            sums = raised(lanes(matrix.minimums, at, matrix.scale_bytes), places, sums)
        return sums

    return added


def _added_in_halves(num_rows: int) -> Any:
    """The same for 8 bits in groups of 16 columns."""
    group_of_first, group_of_second = (group_products(8, num_rows, half) for half in (0, 1))
    scaled = row_blocks.scaled(num_rows)
    raised_by_first, raised_by_second = (row_blocks.raised(num_rows, half) for half in (0, 1))

    @inlined
    def added(matrix: Any, at: int, places: Any, sums: Any) -> Any:
        weights, scales = matrix.weights + at * 512, scales_of(matrix, 2 * at)
        products = group_of_first(weights, 0, matrix.zero, places)
        sums = scaled(products, scales, places, sums)
        if matrix.minimums != 0:
            sums = raised_by_first(lanes(matrix.minimums, 2 * at, matrix.scale_bytes), places, sums)
        scales = scales_of(matrix, 2 * at + 1)
        products = group_of_second(weights + 256, 0, matrix.zero, places)
        sums = scaled(products, scales, places, sums)
        if matrix.minimums != 0:
            sums = raised_by_second(lanes(matrix.minimums, 2 * at + 1, matrix.scale_bytes), places, sums)
        return sums

    return added


def _tile(make_added: Any, num_rows: int) -> Any:
    """The function that multiplies a tile of quantized weights with so many rows, which read the weights together."""
    added, addresses = make_added(num_rows), addresses_of(num_rows)
    zeros, moved, store = row_blocks.zeros(num_rows), row_blocks.moved(num_rows), row_blocks.store(num_rows)

    @compiled
    def tile_products(
        matrix: Any, tile: int, inputs: Any, rows: int, row: int, last: int, out: int, stride: int
    ) -> None:
        num_groups = matrix.num_columns // GROUP
        places, sums = addresses(inputs.groups, num_groups * INPUT_BYTES, rows, row, last), zeros()
        for number in range(num_groups):
            sums = added(matrix, tile * num_groups + number, moved(places, number * INPUT_BYTES), sums)
        scales, bias = v.floats(numpy.float32(1)), v.floats(numpy.float32(0))
        if matrix.row_scales != 0:
            scales = v.load(matrix.row_scales + tile * 64)
        if matrix.bias != 0:
            bias = v.load(matrix.bias + tile * 64)
        store(addresses(out + tile * 64, stride, 0, row, last), sums, scales, bias)

    return tile_products


def _quantized(make_added: Any) -> Any:
    """The function that multiplies tiles of quantized weights with rows: as many at a time as there are registers for.
    Where a few are left, the last one is multiplied more than once."""
    many, few, one = (_tile(make_added, num_rows) for num_rows in (MANY, FEW, 1))

    @compiled
    def tiles(
        matrix: Any, inputs: Any, rows: int, first: int, last: int, out: int, stride: int, begin: int, end: int
    ) -> None:
        for tile in range(begin, end):
            row = first
            while last - row > FEW:
                many(matrix, tile, inputs, rows, row, last, out, stride)
                row += MANY
            if last - row > 1:
                few(matrix, tile, inputs, rows, row, last, out, stride)
            elif last - row == 1:
                one(matrix, tile, inputs, rows, row, last, out, stride)

    return tiles


_tiles8, _tiles8_of_16 = _quantized(partial(_added, 8)), _quantized(_added_in_halves)
_tiles5, _tiles4 = _quantized(partial(_added, 5)), _quantized(partial(_added, 4))


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
    dense_tiles(matrix, inputs, rows, first, last, out, stride, begin, end)


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
