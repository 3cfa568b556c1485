"""Products of quantized inputs and packed matrices.

Inputs are quantized in groups of 32 to two bytes each (15 bits and a sign), so that a product of integers is as good
as one of float32: 256 high + low, both with sign. Sums of integers inside a group are exact, and the groups' sums are
added in their order: a row's result depends neither on the rows beside it nor on the number of threads.
"""

from __future__ import annotations

from typing import Any

import numpy

from gptsmith.generate.native import vectors as v
from gptsmith.generate.native.compiling import compiled, inlined
from gptsmith.generate.native.vectors import LANES

GROUP = 32
INPUT_MAX = 127 * 256 + 127
INPUT_BYTES = 2 * GROUP
"""A group of inputs: 32 low bytes, then 32 high ones."""

MATRIX = numpy.dtype(
    [
        (name, numpy.int64)
        for name in (
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
        v.store_two_bytes(bytes_ + group * INPUT_BYTES, first)
        v.store_two_bytes(bytes_ + group * INPUT_BYTES + LANES, second)
        v.store_float(scales + group * 4, size / numpy.float32(INPUT_MAX))
        v.store_integer(sums + group * 8, v.sum_of_nearest(first))
        v.store_integer(sums + group * 8 + 4, v.sum_of_nearest(second))


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


def _quantized(bits: int, num_quads: int = 8) -> tuple[Any, Any]:
    """Functions for weights of so many bits, in groups of so many quads of columns: the products of a tile's rows with
    one row of inputs, and with four."""
    tile_bytes = 512 if bits == 8 else 256

    @inlined
    def group(zero: int, weights: int, fifths: int, bytes_: int, sum_: Any) -> Any:
        """The sums of one group's products, for a tile's rows."""
        high, low = v.integers(numpy.int32(0)), v.integers(numpy.int32(-zero * sum_))
        if bits == 8:
            for quad in range(num_quads):
                low = v.add_products_of_8_bits(low, weights + 64 * quad, bytes_ + 4 * quad)
                high = v.add_products_of_8_bits(high, weights + 64 * quad, bytes_ + 32 + 4 * quad)
        elif bits == 4:
            for quad in range(4):
                low = v.add_products_of_4_bits(low, weights + 64 * quad, bytes_ + 4 * quad)
                high = v.add_products_of_4_bits(high, weights + 64 * quad, bytes_ + 32 + 4 * quad)
        else:
            for quad in range(4):
                at, flags = weights + 64 * quad, fifths + 16 * quad
                low = v.add_products_of_5_bits(low, at, flags, bytes_ + 4 * quad)
                high = v.add_products_of_5_bits(high, at, flags, bytes_ + 32 + 4 * quad)
        return v.joined(high, low)

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

    @inlined
    def added(matrix: Any, at: int, inputs: Any, place: int, sums: Any) -> Any:
        """Sums with 32 columns added: `at` counts them over all tiles, `place` over all rows of inputs."""
        scale, bytes_ = v.load_float(inputs.scales + place * 4), inputs.bytes + place * INPUT_BYTES
        first, second = v.load_integer(inputs.sums + place * 8), v.load_integer(inputs.sums + place * 8 + 4)
        weights = matrix.weights + at * tile_bytes
        if num_quads == 4:
            products = group(matrix.zero, weights, 0, bytes_, first)
            sums = scaled(matrix, 2 * at, products, scale, first, sums)
            products = group(matrix.zero, weights + 256, 0, bytes_ + LANES, second)
            return scaled(matrix, 2 * at + 1, products, scale, second, sums)
        both = numpy.int32(first + second)
        products = group(matrix.zero, weights, matrix.fifths + at * 64, bytes_, both)
        return scaled(matrix, at, products, scale, both, sums)

    @compiled
    def one(matrix: Any, tile: int, inputs: Any, row: int, out: int) -> None:
        num_groups = matrix.num_columns // GROUP
        sums = v.floats(numpy.float32(0))
        for number in range(num_groups):
            sums = added(matrix, tile * num_groups + number, inputs, row * num_groups + number, sums)
        finish(matrix, tile, sums, out)

    @compiled
    def four(matrix: Any, tile: int, inputs: Any, row: int, out: int, stride: int) -> None:
        num_groups = matrix.num_columns // GROUP
        a = b = c = d = v.floats(numpy.float32(0))
        for number in range(num_groups):
            at, place = tile * num_groups + number, row * num_groups + number
            a = added(matrix, at, inputs, place, a)
            b = added(matrix, at, inputs, place + num_groups, b)
            c = added(matrix, at, inputs, place + 2 * num_groups, c)
            d = added(matrix, at, inputs, place + 3 * num_groups, d)
        finish(matrix, tile, a, out)
        finish(matrix, tile, b, out + stride)
        finish(matrix, tile, c, out + 2 * stride)
        finish(matrix, tile, d, out + 3 * stride)

    return one, four


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
def _dense4(matrix: Any, tile: int, inputs: Any, row: int, out: int, stride: int) -> None:
    """The same with four rows of inputs, for which weights are read once."""
    num_columns, size, far = matrix.num_columns, matrix.bits // 8, inputs.stride
    floats = inputs.floats + row * far
    for lane in range(LANES):
        weights = matrix.weights + (tile * LANES + lane) * num_columns * size
        a = b = c = d = v.floats(numpy.float32(0))
        for column in range(0, num_columns, LANES):
            x, at = floats + column * 4, weights + column * size
            weight = v.load(at) if size == 4 else v.load_bfloat16(at)
            a, b = v.multiply_add(weight, v.load(x), a), v.multiply_add(weight, v.load(x + far), b)
            c = v.multiply_add(weight, v.load(x + 2 * far), c)
            d = v.multiply_add(weight, v.load(x + 3 * far), d)
        place = out + tile * 64 + lane * 4
        v.store_float(place, v.total(a))
        v.store_float(place + stride, v.total(b))
        v.store_float(place + 2 * stride, v.total(c))
        v.store_float(place + 3 * stride, v.total(d))
    for place in range(out, out + 4 * stride, stride):
        finish(matrix, tile, v.load(place + tile * 64), place)


_one8, _four8 = _quantized(8)
_one8_of_16, _four8_of_16 = _quantized(8, num_quads=4)
_one5, _four5 = _quantized(5)
_one4, _four4 = _quantized(4)


@compiled
def multiply(matrix: Any, inputs: Any, num_rows: int, out: int, stride: int, thread: int, num_threads: int) -> None:
    """A thread's share of the products: rows of outputs, float32 at an address, `stride` bytes from one to the next."""
    first, last = matrix.num_tiles * thread // num_threads, matrix.num_tiles * (thread + 1) // num_threads
    for tile in range(first, last):
        row = 0
        while row < num_rows:
            at = out + row * stride
            if matrix.bits > 8 and row + 4 <= num_rows:
                _dense4(matrix, tile, inputs, row, at, stride)
                row += 4
            elif matrix.bits > 8:
                _dense(matrix, tile, inputs, row, at)
                row += 1
            elif row + 4 <= num_rows:
                if matrix.group == 16:
                    _four8_of_16(matrix, tile, inputs, row, at, stride)
                elif matrix.bits == 8:
                    _four8(matrix, tile, inputs, row, at, stride)
                elif matrix.bits == 5:
                    _four5(matrix, tile, inputs, row, at, stride)
                else:
                    _four4(matrix, tile, inputs, row, at, stride)
                row += 4
            else:
                if matrix.group == 16:
                    _one8_of_16(matrix, tile, inputs, row, at)
                elif matrix.bits == 8:
                    _one8(matrix, tile, inputs, row, at)
                elif matrix.bits == 5:
                    _one5(matrix, tile, inputs, row, at)
                else:
                    _one4(matrix, tile, inputs, row, at)
                row += 1
